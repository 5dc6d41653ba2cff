/* view
{
  "page": "attention",
  "place": 15,
  "title": "What became of each head",
  "shows": "A small chart a head of the last layer, over training: how widely its class token looks, how well that covers the object, and how much of it went elsewhere since the start.",
  "look": "Heads part ways: some narrow down on the object, others keep to the background. Click one to see its map above.",
  "needs": "Probes with attention; Jaccard: masks of the data.",
  "records": ["run/{run}/heads?image={probe}"]
}
*/
// Entropy, Jaccard and change of every head at every probe of the run (lab/views/heads.py), as small charts of one scale.

import { bound } from "./bound.js";
import { card, h, number, percent, refill } from "./dom.js";

const NS = "http://www.w3.org/2000/svg", WIDE = 180, TALL = 70, LEFT = 22, BELOW = 14, ABOVE = 4, RIGHT = 4;
const LINES = [
  { key: "entropy", name: "entropy / ln N", colour: "blue", dash: null },
  { key: "jaccard", name: "Jaccard with the object", colour: "orange", dash: null },
  { key: "changed", name: "went elsewhere", colour: "purple", dash: "3 2" },
];
const SORTS = { head: "by head", changed: "most changed first", jaccard: "best overlap first", entropy: "narrowest first" };

export function mount(element, host) {
  host.keep({ headsby: "head", head: 0 });
  const order = bound(host, "Order", SORTS, "headsby");
  const body = card(element, { ...host.about, controls: [order], data: () => tables(shown) });
  const status = h("p", { class: "hint", role: "status" }), list = h("div", { class: "sparks" });
  const legend = h("div", { class: "legend" }, LINES.map(({ name, colour, dash }) => h("div", {}, h("dt", {}, h("i", { class: "swatch", style: `--c: var(--${colour})`, "data-dash": dash ? "dash" : "solid" }), name))), h("div", {}, h("dt", {}, "across: training step, logarithmic; up: share, 0 to 1")));
  body.append(legend, list, status);
  let shown = null, asked = 0, last = "";
  host.on(["run", "image"], load);
  host.on("data", () => { if (!shown || host.stops().length !== shown.steps.length) load(); });
  host.on(["stop", "headsby", "head", "theme"], paint);
  load();

  async function load() {
    const now = ++asked;
    if (!host.run() || !host.stops().length) { status.textContent = host.run() ? "The first pictures come with the first checkpoint." : ""; return; }
    const run = host.get("run"), key = `${run} ${host.get("image")} ${host.stops().length}`;
    if (key === last) return;
    try {
      const found = await host.ask(`run/${run}/heads?image=${host.get("image")}`);
      if (now !== asked) return;
      last = key;
      shown = found;
      paint();
    } catch (error) {
      if (now !== asked) return;
      shown = null;
      last = "";
      refill(list, "", () => []);
      status.textContent = error.message;
    }
  }

  const at = () => Math.max(0, shown.steps.findLastIndex((step) => step <= (host.stop() ?? Infinity)));
  const value = (key, step, head) => shown[key]?.[step]?.[head] ?? null;

  function ordered() {
    const heads = [...shown.entropy[0].keys()], by = host.get("headsby");
    if (by === "head") return heads;
    const sign = by === "entropy" ? 1 : -1;
    return heads.sort((a, b) => sign * ((value(by, at(), a) ?? 0) - (value(by, at(), b) ?? 0)) || a - b);
  }

  function paint() {
    if (!shown) return;
    const now = at(), chosen = host.get("layer") === -1 ? host.get("head") ?? 0 : null;
    refill(list, JSON.stringify([last, now, host.get("headsby"), chosen]), () => ordered().map((head) => one(head, now, chosen)));
    const mean = (key) => { const known = shown[key]?.[now].filter((v) => v !== null) ?? []; return known.length ? known.reduce((a, b) => a + b, 0) / known.length : NaN; };
    status.textContent = `Step ${number(shown.steps[now])}, image ${shown.image + 1}, ${shown.entropy[0].length} heads: mean entropy ${percent(mean("entropy"), 0)} of ln ${shown.patches}${shown.jaccard ? `, mean Jaccard ${number(mean("jaccard"), 2)}` : ""}; ${percent(mean("changed"), 0)} of the attention went elsewhere since step ${number(shown.steps[0])}.${shown.jaccard ? "" : " This run has no masks, so overlap is not known."}`;
  }

  function one(head, now, chosen) {
    const said = LINES.map(({ key, name }) => (value(key, now, head) === null ? null : `${name} ${number(value(key, now, head), 2)}`)).filter(Boolean).join(", ");
    return h("button", { type: "button", class: "spark-card", "aria-pressed": head === chosen ? "true" : "false", "aria-label": `head ${head + 1}: ${said}`, title: said, onclick: () => host.set({ head, layer: -1, heads: "" }) },
      h("span", {}, h("b", {}, `head ${head + 1}`), h("small", {}, said.replaceAll(" with the object", "").replaceAll(" / ln N", ""))), spark(head, now));
  }

  function spark(head, now) {
    const { steps } = shown, low = Math.log1p(steps[0]), wide = Math.log1p(steps.at(-1)) - low || 1;
    const x = (i) => LEFT + ((Math.log1p(steps[i]) - low) / wide) * (WIDE - LEFT - RIGHT), y = (v) => ABOVE + (1 - v) * (TALL - ABOVE - BELOW);
    const svg = made("svg", { viewBox: `0 0 ${WIDE} ${TALL}`, class: "spark", "aria-hidden": "true" });
    for (const v of [0, 1]) svg.append(made("line", { x1: LEFT, x2: WIDE - RIGHT, y1: y(v), y2: y(v), class: "axis" }), made("text", { x: LEFT - 4, y: y(v) + 3, "text-anchor": "end" }, String(v)));
    svg.append(made("text", { x: LEFT, y: TALL - 2 }, number(steps[0])), made("text", { x: WIDE - RIGHT, y: TALL - 2, "text-anchor": "end" }, number(steps.at(-1))));
    svg.append(made("line", { x1: x(now), x2: x(now), y1: y(1), y2: y(0), class: "now" }));
    for (const { key, colour, dash } of LINES) {
      const points = steps.map((_, i) => [i, value(key, i, head)]).filter(([, v]) => v !== null).map(([i, v]) => `${x(i).toFixed(1)},${y(v).toFixed(1)}`);
      if (points.length) svg.append(made("polyline", { points: points.join(" "), fill: "none", style: `stroke: var(--${colour})`, ...(dash ? { "stroke-dasharray": dash } : {}) }));
    }
    return svg;
  }
}

function made(tag, attributes, text = null) {
  const element = document.createElementNS(NS, tag);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== null) element.textContent = text;
  return element;
}

/** A row a head and stop. */
function tables(shown) {
  const rows = { step: [], head: [], entropy_share_of_ln_n: [], jaccard: [], went_elsewhere_share: [] };
  shown?.steps.forEach((step, s) => shown.entropy[s].forEach((entropy, head) => {
    rows.step.push(step);
    rows.head.push(head + 1);
    rows.entropy_share_of_ln_n.push(entropy);
    rows.jaccard.push(shown.jaccard?.[s][head] ?? "");
    rows.went_elsewhere_share.push(shown.changed[s][head]);
  }));
  return { heads: rows };
}
