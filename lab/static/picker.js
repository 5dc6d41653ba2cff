// Choosing a patch on a canvas: pointing shows it, a click pins it, arrow keys move it, Esc lets go.  The selection is shared.

import { patchAt } from "./tiles.js";

/** `grid()` are the rows and columns of what the canvas shows; `image` its index where that is not the chosen one. */
export function picker(canvas, host, grid, image = () => null) {
  const take = (changes) => host.set(image() === null || image() === host.get("image") ? changes : { image: image(), ...changes });
  canvas.style.cursor = "crosshair";
  canvas.addEventListener("pointermove", (event) => { if (!host.get("pinned") && grid() && event.pointerType !== "touch") take({ patch: patchAt(event, grid()) }); });
  canvas.addEventListener("pointerleave", () => { if (!host.get("pinned")) host.set({ patch: null }); });
  canvas.addEventListener("click", (event) => {
    if (!grid()) return;
    const patch = patchAt(event, grid()), same = host.get("pinned") && host.get("patch") === patch && (image() ?? host.get("image")) === host.get("image");
    take({ patch: same ? null : patch, pinned: !same });
  });
  canvas.addEventListener("keydown", (event) => {
    if (event.key === "Escape") { host.set({ patch: null, pinned: false }); return; }
    const [down, right] = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key] ?? [0, 0];
    if ((!down && !right) || !grid()) return;
    event.preventDefault();
    event.stopPropagation();
    const [rows, columns] = grid(), at = host.get("patch") ?? Math.floor(rows / 2) * columns + Math.floor(columns / 2);
    const row = Math.min(Math.max(Math.floor(at / columns) + down, 0), rows - 1), column = Math.min(Math.max((at % columns) + right, 0), columns - 1);
    take({ patch: row * columns + column, pinned: true });
  });
  return canvas;
}
