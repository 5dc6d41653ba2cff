// Curves on a canvas, for systems that run in the page: redrawn many times a second, which is too often for plotly.
// The same look as chart.js: title, unit, a legend that tells values, "training step" below the lowest.

import { h, number, refill } from "./dom.js";

const LEFT = 40, RIGHT = 10, TOP = 7;
const POINTS = 3000; // kept of one curve; beyond, every other one goes

/** Curves that grow: a column a name, thinned where they get long. */
export class History {
  constructor(names) {
    this.names = names;
    this.clear();
  }

  clear() {
    this.columns = Object.fromEntries(this.names.map((name) => [name, []]));
    this.every = 1;
  }

  get length() { return this.columns[this.names[0]].length; }

  add(values) {
    if (values[this.names[0]] % this.every) return;
    for (const name of this.names) this.columns[name].push(values[name] ?? null);
    if (this.length <= POINTS) return;
    this.every *= 2;
    const kept = this.columns[this.names[0]].map((x) => x % this.every === 0);
    for (const name of this.names) this.columns[name] = this.columns[name].filter((_, i) => kept[i]);
  }

  /** Mean of the last values of a column. */
  recent(name, count) {
    const values = this.columns[name].slice(-count).filter((value) => value !== null);
    return values.length ? values.reduce((a, b) => a + b, 0) / values.length : null;
  }
}

/** A canvas that is as wide as its place and `height` pixels tall; `paint(context, width, height)` works in pixels of the page. */
export function sheet(height, paint, attributes = {}) {
  const canvas = h("canvas", { role: "img", class: "pg-sheet", style: `height:${height}px`, ...attributes });
  canvas.paint = () => {
    const width = canvas.clientWidth, tall = canvas.clientHeight, ratio = devicePixelRatio || 1;
    if (!width || !tall) return;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(tall * ratio)) [canvas.width, canvas.height] = [Math.round(width * ratio), Math.round(tall * ratio)];
    const context = canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, tall);
    context.font = "11px system-ui, sans-serif";
    const style = getComputedStyle(canvas);
    paint(context, width, tall, (name) => style.getPropertyValue(`--${name}`).trim());
  };
  new ResizeObserver(() => canvas.paint()).observe(canvas);
  return canvas;
}

/** One panel.  `draw({ x, curves: [{ name, colour, y, fill, dash, shown, about }], lines, marks: [{ x, label }], end })`; `fill` is "zero" or "below" (the
    curve before it). */
export function lines({ title, unit, height = 120, range = [0, 1.08], lowest = false, about = "" }) {
  const legend = h("dl", { class: "legend" }), bottom = lowest ? 32 : 8;
  const canvas = sheet(height + TOP + bottom, paint, { tabindex: null, "aria-label": `${title}. ${about}` });
  const element = h("section", { class: "panel" }, h("div", { class: "panel-head" }, h("h3", {}, title, unit ? h("small", {}, ` ${unit}`) : null), legend), canvas);
  let now = { x: [], curves: [], end: 10 }, hovered = null;
  canvas.addEventListener("pointermove", (event) => hover((event.clientX - canvas.getBoundingClientRect().left - LEFT) / (canvas.clientWidth - LEFT - RIGHT)));
  canvas.addEventListener("pointerleave", () => hover(null));

  function hover(at) {
    hovered = at === null || at < 0 || at > 1 || !now.x.length ? null : nearest(now.x, at * now.end);
    canvas.paint();
    told();
  }

  function draw(data) {
    now = data;
    if (hovered !== null && hovered >= now.x.length) hovered = null;
    canvas.paint();
    told();
  }

  function told() {
    refill(legend, now.curves.map((curve) => curve.name + curve.colour).join("|"), () => now.curves.map((curve) => h("div", { title: curve.about ?? null },
      h("dt", {}, h("i", { class: "swatch", style: `--c:var(--${curve.colour})`, "data-dash": curve.dash ?? "solid" }), curve.name), h("dd"))));
    const words = now.curves.map((curve) => (curve.shown ?? number)((curve.told ?? curve.y)[hovered ?? curve.y.length - 1]));
    legend.querySelectorAll("dd").forEach((place, i) => { if (place.textContent !== words[i]) place.textContent = words[i]; });
    const label = `${title}${now.x.length ? `, at step ${now.x[hovered ?? now.x.length - 1]}: ${now.curves.map((curve, i) => `${curve.name} ${words[i]}`).join(", ")}` : ", no steps yet"}. ${about}`;
    if (!canvas.matches(":hover") && Date.now() - (told.last ?? 0) < 900) return;
    told.last = Date.now();
    canvas.setAttribute("aria-label", label);
  }

  function paint(context, width, tall, css) {
    const { x, curves, marks = [], end } = now, limits = typeof range === "function" ? range(now) : range;
    const inside = { left: LEFT, right: width - RIGHT, top: TOP, bottom: tall - bottom };
    const px = (step) => inside.left + (step / end) * (inside.right - inside.left);
    const py = (value) => inside.bottom - ((value - limits[0]) / (limits[1] - limits[0])) * (inside.bottom - inside.top);
    axes(context, inside, limits, py, px, end, css, lowest);
    for (const line of now.lines ?? []) level(context, inside, py(line.y), line, css);
    for (const mark of marks) flag(context, inside, px(mark.x), mark, css);
    context.save();
    context.beginPath();
    context.rect(inside.left - 1, inside.top - 2, inside.right - inside.left + 2, inside.bottom - inside.top + 4);
    context.clip();
    curves.forEach((curve, i) => {
      if (curve.fill) area(context, x, curve.y, curve.fill === "below" ? curves[i - 1].y : null, px, py, css(curve.colour));
      context.strokeStyle = css(curve.colour);
      context.lineWidth = curve.thin ? 1 : 2;
      context.setLineDash({ dash: [6, 4], dot: [2, 3] }[curve.dash] ?? []);
      context.beginPath();
      let pen = false;
      for (let n = 0; n < x.length; n++) {
        if (curve.y[n] === null) { pen = false; continue; }
        if (pen) context.lineTo(px(x[n]), py(curve.y[n])); else context.moveTo(px(x[n]), py(curve.y[n]));
        pen = true;
      }
      context.stroke();
      context.setLineDash([]);
    });
    context.restore();
    if (hovered !== null) cursor(context, inside, px(x[hovered]), x[hovered], css);
  }

  return { element, draw, canvas };
}

function nearest(x, value) {
  let low = 0, high = x.length - 1;
  while (high - low > 1) { const middle = (low + high) >> 1; if (x[middle] < value) low = middle; else high = middle; }
  return value - x[low] < x[high] - value ? low : high;
}

/** Round distances between ticks: 1, 2 or 5 times a power of ten. */
export function ticks(from, to, about) {
  const rough = (to - from) / about, ten = 10 ** Math.floor(Math.log10(rough)), step = [1, 2, 5, 10].find((by) => by * ten >= rough) * ten;
  const found = [];
  for (let value = Math.ceil(from / step - 1e-9) * step; value <= to + 1e-9 * step; value += step) found.push(Math.abs(value) < step / 1e6 ? 0 : value);
  return found;
}

function axes(context, inside, limits, py, px, end, css, lowest) {
  context.fillStyle = css("muted");
  context.strokeStyle = css("grid");
  context.lineWidth = 1;
  context.textAlign = "right";
  context.textBaseline = "middle";
  for (const value of ticks(limits[0], limits[1], inside.bottom - inside.top < 90 ? 2 : 5)) {
    context.beginPath();
    context.moveTo(inside.left, Math.round(py(value)) + 0.5);
    context.lineTo(inside.right, Math.round(py(value)) + 0.5);
    context.stroke();
    context.fillText(String(Number(value.toPrecision(6))), inside.left - 6, py(value));
  }
  if (!lowest) return;
  context.textAlign = "center";
  context.textBaseline = "top";
  for (const value of ticks(0, end, inside.right - inside.left < 380 ? 4 : 8)) context.fillText(number(value), px(value), inside.bottom + 4);
  context.fillText("training step", (inside.left + inside.right) / 2, inside.bottom + 17);
}

function level(context, inside, y, line, css) {
  context.strokeStyle = context.fillStyle = css(line.colour ?? "muted");
  context.setLineDash([5, 4]);
  context.lineWidth = 1.2;
  context.beginPath();
  context.moveTo(inside.left, y);
  context.lineTo(inside.right, y);
  context.stroke();
  context.setLineDash([]);
  if (!line.label) return;
  context.textAlign = line.left ? "left" : "right";
  context.textBaseline = line.below ? "top" : "bottom";
  context.fillText(line.label, line.left ? inside.left + 4 : inside.right - 2, y + (line.below ? 2 : -2));
}

function flag(context, inside, x, mark, css) {
  const colour = css(mark.colour ?? "ink");
  context.strokeStyle = context.fillStyle = colour;
  context.lineWidth = 1.4;
  context.setLineDash([2, 2]);
  context.beginPath();
  context.moveTo(x, inside.top);
  context.lineTo(x, inside.bottom);
  context.stroke();
  context.setLineDash([]);
  if (!mark.label) return;
  context.textBaseline = "top";
  const room = inside.right - x > context.measureText(mark.label).width + 8;
  context.textAlign = room ? "left" : "right";
  context.fillText(mark.label, x + (room ? 4 : -4), inside.top + 1 + 13 * (mark.row ?? 0));
}

function area(context, x, y, under, px, py, colour) {
  context.fillStyle = colour;
  context.globalAlpha = 0.28;
  context.beginPath();
  for (let n = 0; n < x.length; n++) context[n ? "lineTo" : "moveTo"](px(x[n]), py(y[n] ?? 0));
  for (let n = x.length - 1; n >= 0; n--) context.lineTo(px(x[n]), py(under ? under[n] ?? 0 : 0));
  context.fill();
  context.globalAlpha = 1;
}

function cursor(context, inside, x, step, css) {
  context.strokeStyle = css("ink");
  context.fillStyle = css("ink");
  context.lineWidth = 1;
  context.beginPath();
  context.moveTo(x, inside.top);
  context.lineTo(x, inside.bottom);
  context.stroke();
  const right = x > (inside.left + inside.right) / 2;
  context.textAlign = right ? "right" : "left";
  context.textBaseline = "bottom";
  context.fillText(`step ${number(step)}`, x + (right ? -4 : 4), inside.bottom - 3);
}
