// A picture of very many points: splatted into a pixel buffer (50 000 of them in a few milliseconds), moved and enlarged by hand,
// pointed at through an index of cells.  Knows nothing of runs: `show` gives it positions and colours, callbacks say what happened.

import { h } from "./dom.js";
import { bounds, gridIndex, inside, towards } from "./points.js";

const MOVE = 420; // milliseconds from one layout to the next
const REACH = 14; // CSS pixels around the pointer in which a point is found
const MOST_THUMBNAILS = 160;

/** `on.hover(p)`, `on.pick(p)`, `on.lasso(mask)`; p is null for none. */
export function scatter(on, label) {
  const canvas = h("canvas", { tabindex: 0, role: "img", "aria-label": label, class: "scatter" });
  const context = canvas.getContext("2d");
  let now = null, from = null, began = 0, buffer = null, index = null, queued = false, drag = null;
  let view = { x: 0, y: 0, zoom: 1 }, home = { x: 0, y: 0, scale: 1 };
  const state = { hovered: null, picked: null, selected: null, thumbnail: null, thumbnails: false, lassoing: false, marks: new Map(), frames: [] };

  const scale = () => home.scale * view.zoom * (Math.min(canvas.width, canvas.height) / 2) * 0.92;
  const toScreen = (x, y) => [canvas.width / 2 + (x - view.x) * scale(), canvas.height / 2 - (y - view.y) * scale()];
  const toData = (x, y) => [(x - canvas.width / 2) / scale() + view.x, (canvas.height / 2 - y) / scale() + view.y];

  /** New positions `xy` (P 2) and colours `rgb` (P 3); with as many points as before they move there rather than jump. */
  function show({ xy, rgb }, { keep = true } = {}) {
    const moves = keep && now && now.xy.length === xy.length && now.xy !== xy && !matchMedia("(prefers-reduced-motion: reduce)").matches;
    from = moves ? current() : null;
    began = performance.now();
    if (!now || !keep || now.xy.length !== xy.length) { state.selected = state.hovered = state.picked = null; fit(xy, true); } else if (now.xy !== xy) fit(xy, false);
    now = { xy, colours: packed(rgb) };
    index = null;
    draw();
  }

  function recolour(rgb) { if (now) { now.colours = packed(rgb); draw(); } }

  function fit(xy, reset) {
    const [low, high] = bounds(xy), middle = [0, 1].map((c) => (low[c] + high[c]) / 2);
    const reach = Math.max(high[0] - low[0], high[1] - low[1], 1e-9) / 2;
    const pan = home.scale ? [(view.x - home.x) * home.scale, (view.y - home.y) * home.scale] : [0, 0];
    home = { x: middle[0], y: middle[1], scale: 1 / reach };
    view = reset ? { x: home.x, y: home.y, zoom: 1 } : { x: home.x + pan[0] / home.scale, y: home.y + pan[1] / home.scale, zoom: view.zoom };
  }

  const moving = () => from !== null && performance.now() - began < MOVE;

  function current() {
    if (!moving()) return now.xy;
    const t = (performance.now() - began) / MOVE, eased = t * t * (3 - 2 * t), result = new Float32Array(now.xy.length);
    for (let i = 0; i < result.length; i++) result[i] = from[i] + (now.xy[i] - from[i]) * eased;
    return result;
  }

  function draw() {
    if (queued) return;
    queued = true;
    requestAnimationFrame(() => { queued = false; paint(); });
  }

  function paint() {
    if (!now || !canvas.clientWidth) return;
    const start = performance.now(), ratio = devicePixelRatio || 1;
    const [width, height] = [Math.round(canvas.clientWidth * ratio), Math.round(canvas.clientHeight * ratio)];
    if (canvas.width !== width || canvas.height !== height || !buffer) {
      [canvas.width, canvas.height] = [width, height];
      buffer = new ImageData(width, height);
      buffer.words = new Uint32Array(buffer.data.buffer);
    }
    const xy = current(), count = xy.length / 2, radius = Math.max(1, Math.round(ratio * Math.min(5, 1.2 + 60 / Math.sqrt(count) + view.zoom / 8)));
    const words = buffer.words.fill(0), offsets = disc(radius), factor = scale(), [cx, cy] = [width / 2 - view.x * factor, height / 2 + view.y * factor];
    const { selected } = state;
    const splat = (p, colour) => {
      const x = Math.round(cx + xy[2 * p] * factor), y = Math.round(cy - xy[2 * p + 1] * factor);
      if (x < radius || y < radius || x >= width - radius || y >= height - radius) return;
      const at = y * width + x;
      for (let i = 0; i < offsets.length; i += 2) words[at + offsets[i + 1] * width + offsets[i]] = colour;
    };
    for (let p = 0; p < count; p++) if (!selected || !selected[p]) splat(p, selected ? 0x50868c96 : now.colours[p]);
    if (selected) for (let p = 0; p < count; p++) if (selected[p]) splat(p, now.colours[p]);
    context.putImageData(buffer, 0, 0);
    overlays(xy, ratio);
    state.frames.push(performance.now() - start);
    if (state.frames.length > 240) state.frames.shift();
    if (moving()) draw(); else from = null;
  }

  /** Thumbnails, rings around what is pointed at, the lasso. */
  function overlays(xy, ratio) {
    if (state.thumbnail && (state.thumbnails || view.zoom > 3)) thumbnails(xy, ratio);
    const ring = (p, colour, size) => {
      const [x, y] = toScreen(xy[2 * p], xy[2 * p + 1]);
      context.lineWidth = 2.2 * ratio;
      for (const [stroke, grow] of [["rgba(0, 0, 0, .75)", 1.6], [colour, 0]]) {
        context.strokeStyle = stroke;
        context.beginPath();
        context.arc(x, y, size * ratio + grow * ratio, 0, 7);
        context.stroke();
      }
    };
    state.marks.forEach((colour, p) => ring(p, colour, 6));
    if (state.picked !== null) ring(state.picked, "#fff", 8);
    if (state.hovered !== null) {
      ring(state.hovered, "#56b4e9", 7);
      const small = state.thumbnail?.(state.hovered), [x, y] = toScreen(xy[2 * state.hovered], xy[2 * state.hovered + 1]), side = 72 * ratio;
      if (small) stamp(small, Math.min(Math.max(x + 12 * ratio, 0), canvas.width - side), Math.min(Math.max(y - side - 8 * ratio, 0), canvas.height - side), side, ratio);
    }
    if (drag?.polygon) {
      context.strokeStyle = "#56b4e9";
      context.lineWidth = 2 * ratio;
      context.setLineDash([6 * ratio, 4 * ratio]);
      context.beginPath();
      drag.polygon.forEach(([x, y]) => context.lineTo(...toScreen(x, y)));
      context.closePath();
      context.stroke();
      context.setLineDash([]);
    }
  }

  function stamp(small, x, y, side, ratio) {
    context.imageSmoothingEnabled = true;
    context.drawImage(small, x, y, side, side);
    context.strokeStyle = "rgba(255, 255, 255, .85)";
    context.lineWidth = ratio;
    context.strokeRect(x, y, side, side);
  }

  /** As many as fit without covering each other, the first come first. */
  function thumbnails(xy, ratio) {
    const side = Math.round(ratio * Math.min(56, 22 + 3 * view.zoom)), taken = new Set();
    let drawn = 0;
    for (let p = 0; p < xy.length / 2 && drawn < MOST_THUMBNAILS; p++) {
      if (state.selected && !state.selected[p]) continue;
      const [x, y] = toScreen(xy[2 * p], xy[2 * p + 1]);
      if (x < 0 || y < 0 || x > canvas.width || y > canvas.height) continue;
      const [column, row] = [Math.floor(x / side), Math.floor(y / side)];
      let free = true;
      for (let r = row - 1; r <= row + 1; r++) for (let c = column - 1; c <= column + 1; c++) if (taken.has(r * 4096 + c)) free = false;
      if (!free) continue;
      const small = state.thumbnail(p);
      if (!small) continue;
      taken.add(row * 4096 + column);
      stamp(small, x - side / 2, y - side / 2, side, ratio);
      drawn++;
    }
  }

  // ---- hands

  const place = (event) => {
    const box = canvas.getBoundingClientRect(), ratio = canvas.width / box.width;
    return [(event.clientX - box.left) * ratio, (event.clientY - box.top) * ratio];
  };

  function at(event) {
    if (!now) return null;
    index ??= gridIndex(now.xy);
    const [x, y] = toData(...place(event));
    return index.nearest(x, y, (REACH * canvas.width) / canvas.clientWidth / scale());
  }

  function hover(p) {
    if (p === state.hovered) return;
    state.hovered = p;
    on.hover?.(p);
    draw();
  }

  canvas.addEventListener("pointerdown", (event) => {
    if (!now || event.button) return;
    canvas.setPointerCapture(event.pointerId);
    const start = place(event);
    drag = { start, x: view.x, y: view.y, moved: false, polygon: state.lassoing || event.shiftKey ? [toData(...start)] : null };
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!drag) return hover(at(event));
    const [x, y] = place(event);
    if (Math.hypot(x - drag.start[0], y - drag.start[1]) > 4) drag.moved = true;
    if (drag.polygon) drag.polygon.push(toData(x, y));
    else view = { ...view, x: drag.x - (x - drag.start[0]) / scale(), y: drag.y + (y - drag.start[1]) / scale() };
    draw();
  });
  canvas.addEventListener("pointerup", (event) => {
    const ended = drag;
    drag = null;
    if (!ended) return;
    if (ended.moved && ended.polygon?.length > 2) select(inside(now.xy, ended.polygon));
    else if (!ended.moved) pick(at(event));
    draw();
  });
  canvas.addEventListener("pointercancel", () => { drag = null; draw(); });
  canvas.addEventListener("pointerleave", () => { if (!drag) hover(null); });
  canvas.addEventListener("wheel", (event) => {
    if (document.activeElement !== canvas && !event.ctrlKey) return; // until it is clicked, the page scrolls
    event.preventDefault();
    zoom(Math.exp(-event.deltaY / 400), place(event));
  }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    const [dx, dy] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key] ?? [0, 0];
    const actions = { "+": () => zoom(1.4), "-": () => zoom(1 / 1.4), "0": () => reset(), Escape: () => { pick(null); select(null); }, Enter: () => pick(state.hovered) };
    if (!now || (!dx && !dy && !actions[event.key])) return;
    event.preventDefault();
    event.stopPropagation();
    if (dx || dy) hover(state.hovered === null ? 0 : towards(now.xy, state.hovered, dx, dy) ?? state.hovered);
    else actions[event.key]();
  });

  function zoom(by, around = [canvas.width / 2, canvas.height / 2]) {
    const before = toData(...around);
    view = { ...view, zoom: Math.min(Math.max(view.zoom * by, 0.5), 400) };
    const after = toData(...around);
    view = { ...view, x: view.x + before[0] - after[0], y: view.y + before[1] - after[1] };
    draw();
  }

  function reset() { view = { x: home.x, y: home.y, zoom: 1 }; draw(); }

  function pick(p) { state.picked = p; on.pick?.(p); draw(); }

  /** Ring what is pointed at elsewhere, and show what was enclosed elsewhere: nothing is called back. */
  function point(p) { if (p !== state.hovered) { state.hovered = p; draw(); } }
  function enclose(mask) { state.selected = mask; draw(); }

  function select(mask) {
    state.selected = mask && mask.some(Boolean) ? mask : null;
    on.lasso?.(state.selected);
    draw();
  }

  new ResizeObserver(draw).observe(canvas);
  return { canvas, show, recolour, draw, zoom, reset, pick, select, point, enclose, state, position: (p) => toScreen(now.xy[2 * p], now.xy[2 * p + 1]) };
}

/** Colours as the words of a pixel buffer (little-endian, as all browsers' machines are). */
function packed(rgb) {
  const words = new Uint32Array(rgb.length / 3);
  for (let p = 0; p < words.length; p++) words[p] = (0xff000000 | (rgb[3 * p + 2] << 16) | (rgb[3 * p + 1] << 8) | rgb[3 * p]) >>> 0;
  return words;
}

const discs = new Map();
function disc(radius) {
  if (!discs.has(radius)) {
    const offsets = [];
    for (let y = -radius; y <= radius; y++) for (let x = -radius; x <= radius; x++) if (x * x + y * y <= radius * radius + 0.4 * radius) offsets.push(x, y);
    discs.set(radius, Int32Array.from(offsets));
  }
  return discs.get(radius);
}
