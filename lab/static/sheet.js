// Many small maps in one canvas, painted at once, with a button over each: moving the query repaints them all within a frame.

import { h } from "./dom.js";
import { RAMPS } from "./maps.js";

/** A grid of maps.  `cells(list)` says what stands where: [{ key, label, title }], `across` of them in a row;
    `paint(map, [rows, columns], table)` draws them: map(i) → { values, low, high } or null. */
export function sheet({ label, choose, moved = () => {} }) {
  const canvas = h("canvas", { "aria-hidden": "true" });
  const buttons = h("div", { class: "sheet-cells" });
  const element = h("div", { class: "sheet", role: "grid", "aria-label": label, tabindex: -1, onkeydown: keys }, canvas, buttons);
  let count = 0, across = 1, at = 0;

  element.cells = (list, perRow) => {
    [count, across] = [list.length, perRow];
    for (const [name, value] of [["--across", across], ["--down", Math.ceil(count / across)]])
      if (element.style.getPropertyValue(name) !== String(value)) element.style.setProperty(name, value);
    while (buttons.children.length > count) buttons.lastChild.remove();
    while (buttons.children.length < count) {
      const index = buttons.children.length;
      buttons.append(h("button", { type: "button", role: "gridcell", tabindex: -1, onclick: (event) => { at = index; choose(index, event.shiftKey || event.ctrlKey || event.metaKey); } }));
    }
    list.forEach(({ text, title, chosen }, i) => {
      const button = buttons.children[i];
      if (button.title !== title) { button.title = title; button.setAttribute("aria-label", title); }
      if (button.textContent !== text) button.textContent = text;
      if (button.ariaSelected !== String(Boolean(chosen))) button.ariaSelected = String(Boolean(chosen));
      if (button.tabIndex !== (i === at ? 0 : -1)) button.tabIndex = i === at ? 0 : -1;
    });
  };

  element.at = (index) => { at = index; };

  element.draw = (map, [rows, columns], table = "magma") => {
    canvas.hidden = !count; // who asks may have nothing to show here
    if (!count) return;
    const down = Math.ceil(count / across), colours = RAMPS[table];
    const [width, height] = [across * (columns + 1) - 1, down * (rows + 1) - 1];
    if (canvas.width !== width || canvas.height !== height) {
      [canvas.width, canvas.height] = [width, height];
      canvas.style.aspectRatio = `${width} / ${height}`;
      buttons.style.gap = `${100 / height}% ${100 / width}%`; // a patch, as between the maps
    }
    const rgba = new ImageData(width, height);
    for (let i = 0; i < count; i++) {
      const { values, low, high } = map(i) ?? {};
      if (!values) continue;
      const top = Math.floor(i / across) * (rows + 1), left = (i % across) * (columns + 1), range = high - low || 1;
      for (let n = 0; n < values.length; n++) {
        const c = 3 * Math.round(255 * Math.min(Math.max((values[n] - low) / range, 0), 1));
        const to = 4 * ((top + Math.floor(n / columns)) * width + left + (n % columns));
        rgba.data[to] = colours[c]; rgba.data[to + 1] = colours[c + 1]; rgba.data[to + 2] = colours[c + 2]; rgba.data[to + 3] = 255;
      }
    }
    canvas.getContext("2d").putImageData(rgba, 0, 0);
  };

  function keys(event) {
    const by = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: across, ArrowUp: -across }[event.key];
    if (!by) return;
    event.preventDefault();
    event.stopPropagation();
    at = Math.min(Math.max(at + by, 0), count - 1);
    choose(at, event.shiftKey);
    [...buttons.children].forEach((button, i) => { button.tabIndex = i === at ? 0 : -1; });
    buttons.children[at]?.focus();
    moved(at);
  }
  return element;
}
