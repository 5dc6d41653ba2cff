// Pictures of patches: an image, a map of its patches over it, outlines.  Patches are drawn as the squares they are.

import { h } from "./dom.js";
import { RAMPS } from "./maps.js";

/** A square canvas that paints itself again when its size changes.  `paint(context, size)` is given sizes in device pixels. */
export function tile(paint, attributes = {}) {
  const canvas = h("canvas", { role: "img", ...attributes });
  canvas.paint = () => {
    const size = Math.round((canvas.side ?? canvas.clientWidth) * (devicePixelRatio || 1));
    if (!size) return;
    if (canvas.width !== size) canvas.width = canvas.height = size;
    const context = canvas.getContext("2d");
    context.clearRect(0, 0, size, size);
    paint(context, size);
  };
  sizes.observe(canvas);
  return canvas;
}

const sizes = new ResizeObserver((entries) => entries.forEach(({ target, contentRect }) => {
  target.side = Math.round(contentRect.width); // so that painting need not ask for it, and have the page laid out for the answer
  target.paint();
}));

/** Stop watching the size of tiles that leave the page. */
export const forget = (element) => element.querySelectorAll("canvas").forEach((canvas) => { sizes.unobserve(canvas); delete canvas.side; });

/** The next frame has been painted. */
export const painted = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)));

/** What has the work done in the next frame, once however often it is called by then.  Of views that follow a patch the one that is
    pointed at comes first, the others a frame later. */
export function inTurn(element, work) {
  let queued = false;
  const now = () => { queued = false; work(); };
  return () => {
    if (queued) return;
    queued = true;
    const pointed = globalThis.event?.type === "pointermove" ? globalThis.event.target : null;
    const elsewhere = pointed && !element.closest("[data-view]")?.contains(pointed);
    requestAnimationFrame(elsewhere ? () => requestAnimationFrame(now) : now);
  };
}

/** What does the work a frame later, unless it is called again by then: what is pointed at goes first. */
export function afterwards(work) {
  let called = 0;
  return async () => {
    const now = ++called;
    await painted();
    if (now === called) work();
  };
}

const kept = new WeakMap(); // probe images → small canvases, each made once

/** One probe image as a canvas of its own size; in grey as a ground for colours. */
export function picture(images, index, grey = false) {
  if (!kept.has(images)) kept.set(images, new Map());
  const made = kept.get(images), key = 2 * index + Number(grey);
  if (made.has(key)) return made.get(key);
  const [, height, width] = images.shape;
  const rgba = new ImageData(width, height);
  const from = index * height * width * 3;
  for (let i = 0; i < height * width; i++) {
    const pixel = images.data.subarray(from + 3 * i, from + 3 * i + 3);
    const light = 30 + 0.76 * (0.3 * pixel[0] + 0.59 * pixel[1] + 0.11 * pixel[2]);
    for (let c = 0; c < 3; c++) rgba.data[4 * i + c] = grey ? light : pixel[c];
    rgba.data[4 * i + 3] = 255;
  }
  made.set(key, onCanvas(rgba));
  return made.get(key);
}

function onCanvas(rgba) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [rgba.width, rgba.height];
  canvas.getContext("2d", { willReadFrequently: true }).putImageData(rgba, 0, 0); // stays where it is written
  return canvas;
}

export function drawPicture(context, size, source) {
  context.imageSmoothingEnabled = true;
  context.drawImage(source, 0, 0, size, size);
}

/** Patches by `colour(n)` → [r, g, b, a] with a from 0 to 1. */
export function drawPatches(context, size, [rows, columns], colour) {
  const { canvas, pixels, rgba } = ground(rows, columns);
  for (let n = 0, at = 0; n < rows * columns; n++, at += 4) {
    const [r, g, b, a = 1] = colour(n);
    rgba[at] = r; rgba[at + 1] = g; rgba[at + 2] = b; rgba[at + 3] = 255 * a;
  }
  canvas.getContext("2d").putImageData(pixels, 0, 0);
  context.imageSmoothingEnabled = false;
  context.drawImage(canvas, 0, 0, size, size);
}

const grounds = new Map(); // "rows columns" → a canvas of a pixel a patch, filled anew for each map: to make one takes longer than to fill it

function ground(rows, columns) {
  const key = `${rows} ${columns}`;
  if (!grounds.has(key)) {
    const pixels = new ImageData(columns, rows);
    grounds.set(key, { canvas: onCanvas(pixels), pixels, rgba: pixels.data });
  }
  return grounds.get(key);
}

/** Values → colours of a table, from `low` to `high`. */
export function ramp(values, low, high, table = "magma", alpha = 1) {
  const colours = RAMPS[table];
  return (n) => {
    const i = 3 * Math.round(255 * Math.min(Math.max((values[n] - low) / (high - low || 1), 0), 1));
    return [colours[i], colours[i + 1], colours[i + 2], alpha];
  };
}

const outlines = new WeakMap(); // masks → their border at the size last drawn: an object's mask has as many places as its image pixels

function outline(mask, [rows, columns], size) {
  const known = outlines.get(mask);
  if (known?.size === size) return known;
  const at = (r, c) => (r < 0 || c < 0 || r >= rows || c >= columns ? 0 : mask[r * columns + c]);
  const path = new Path2D();
  runs(rows, columns, (r, c) => at(r - 1, c) !== at(r, c), (r, from, to) => line(path, [from, r], [to, r], [columns, rows], size));
  runs(columns, rows, (c, r) => at(r, c - 1) !== at(r, c), (c, from, to) => line(path, [c, from], [c, to], [columns, rows], size));
  const made = { size, path, style: null, drawn: null };
  outlines.set(mask, made);
  return made;
}

/** Along each of the lines between rows, where `edge` holds from one place to another. */
function runs(rows, columns, edge, found) {
  for (let r = 0; r <= rows; r++)
    for (let c = 0, from = -1; c <= columns; c++) {
      const on = c < columns && edge(r, c);
      if (on && from < 0) from = c;
      if (!on && from >= 0) { found(r, from, c); from = -1; }
    }
}

function line(path, [x0, y0], [x1, y1], [columns, rows], size) {
  path.moveTo((x0 * size) / columns, (y0 * size) / rows);
  path.lineTo((x1 * size) / columns, (y1 * size) / rows);
}

/** The border of a mask that does not change afterwards (rows × columns, any resolution), light on dark so that it shows on anything.
    Drawn again it is a picture by then: an object's border takes longer than all else that moves with the pointer. */
export function drawOutline(context, size, mask, grid, { colour = "#fff", width = 2, dash = [] } = {}) {
  const known = outline(mask, grid, size), style = `${colour} ${width} ${dash}`;
  if (known.style !== style) {
    Object.assign(known, { style, drawn: null });
    stroke(context, size, known.path, colour, width, dash);
    return;
  }
  if (!known.drawn) {
    known.drawn = document.createElement("canvas");
    known.drawn.width = known.drawn.height = size;
    stroke(known.drawn.getContext("2d", { willReadFrequently: true }), size, known.path, colour, width, dash);
  }
  context.drawImage(known.drawn, 0, 0);
}

function stroke(context, size, path, colour, width, dash) {
  const unit = Math.max(1, size / 180);
  context.save();
  context.lineCap = "square";
  context.strokeStyle = "rgba(0, 0, 0, .75)";
  context.lineWidth = (width + 1.6) * unit;
  context.stroke(path);
  context.setLineDash(dash.map((d) => d * unit));
  context.strokeStyle = colour;
  context.lineWidth = width * unit;
  context.stroke(path);
  context.restore();
}

/** A row of small pictures to choose one from; arrows move, as in a list box. */
export function strip(host, label = "Probe images") {
  const element = h("div", { class: "strip", role: "listbox", "aria-label": label, tabindex: 0, onkeydown: keys });
  let count = 0;

  element.fill = (images, labels, classes) => {
    if (element.images !== images) {
      element.images = images;
      forget(element);
      count = images.shape[0];
      element.replaceChildren(...Array.from({ length: count }, (_, i) => {
        const name = classes?.[labels?.data[i]] ?? "";
        const choice = h("div", { class: "strip-item", role: "option", id: `probe-${i}`, title: `image ${i + 1}${name ? ": " + name : ""}`, onclick: () => host.set({ image: i, patch: null, pinned: false }) },
          tile((context, size) => drawPicture(context, size, picture(images, i)), { "aria-label": `image ${i + 1} ${name}` }));
        return choice;
      }));
    }
    [...element.children].forEach((child, i) => child.setAttribute("aria-selected", i === host.get("image") ? "true" : "false"));
    element.setAttribute("aria-activedescendant", `probe-${host.get("image")}`);
  };

  function keys(event) {
    const by = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!by) return;
    event.preventDefault();
    event.stopPropagation();
    host.set({ image: (host.get("image") + by + count) % count, patch: null, pinned: false });
    element.children[host.get("image")].scrollIntoView({ block: "nearest", inline: "nearest" });
  }
  return element;
}

/** Which patch of a canvas the pointer is over. */
export function patchAt(event, [rows, columns]) {
  const box = event.currentTarget.getBoundingClientRect();
  const column = Math.floor(((event.clientX - box.left) / box.width) * columns);
  const row = Math.floor(((event.clientY - box.top) / box.height) * rows);
  return row >= 0 && column >= 0 && row < rows && column < columns ? row * columns + column : null;
}
