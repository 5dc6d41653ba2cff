/* view
{
  "page": "gram",
  "place": 30,
  "half": true,
  "title": "What each term adds to the loss",
  "shows": "Each term's share of the loss: its weight times its size, without its sign. Terms are logged raw, their weights beside them.",
  "look": "A step in a share is a weight that changed (see the bands). A small share can still pull hard: a term's pull is its gradient, drawn below where a run logs it.",
  "needs": "a run with several terms"
}
*/
// Shares of the loss by term, the raw terms, and gradients by term where they are logged.

import { card, h, percent } from "./dom.js";
import { chart, termName } from "./chart.js";

const COLOURS = { dino: "blue", ibot: "orange", koleo: "green", gram: "red" };
const PARTS = ["dino_local", "dino_global"]; // of a term that is there itself

export function mount(element, host) {
  const body = card(element, host.about), note = h("p", { class: "hint" });
  chart(body, host, panels, { empty: "This run has logged no terms yet." });
  body.append(note);

  function panels(track) {
    const { curves } = track;
    const terms = Object.keys(curves).filter((name) => name.startsWith("loss/")).map((name) => name.slice(5)).filter((name) => !PARTS.includes(name));
    const pulls = Object.keys(curves).filter((name) => name.startsWith("gradient/term/"));
    if (track === host.run()) {
      note.textContent = pulls.length ? "" : `This run logs no gradient by term, so how strongly each one pulls on the network is not known; shares of the loss are all there is${terms.length < 2 ? ", and it has a single term" : ""}.`;
    }
    const shares = sharesOf(terms, curves);
    const colour = (name, i) => COLOURS[name] ?? ["purple", "sky", "grey", "ink"][i % 4];
    return [
      { title: "Share of the loss", unit: "|weight × term| over their sum", height: 130, range: [0, 1.02], format: ".0%",
        curves: terms.map((name, i) => ({ name: termName(name), colour: colour(name, i), rough: true, ...shares[name], shown: percent })) },
      { title: "Pull on the network", unit: "share of the gradient's length", height: 110, range: [0, 1.02], format: ".0%",
        curves: pulls.map((name, i) => ({ name: termName(name.slice(14)), colour: colour(name.slice(14), i), rough: true, ...curves[name], shown: percent })) },
      { title: "Gram loss", unit: "squared cosine, raw", height: 90, zero: true, curves: [{ name: "Gram", colour: "red", rough: true, ...curves["loss/gram"] }] },
    ];
  }
}

/** |weight × value| of each term over their sum, at the steps where it was logged; a weight that is not logged counts 1. */
export function sharesOf(terms, curves) {
  const parts = new Map();
  for (const name of terms) {
    const { x, y } = curves[`loss/${name}`], weights = curves[`loss_weight/${name}`];
    const weight = new Map(weights?.x.map((step, i) => [step, weights.y[i]]) ?? []);
    parts.set(name, new Map(x.map((step, i) => [step, y[i] === null ? null : Math.abs((weight.get(step) ?? 1) * y[i])])));
  }
  const total = new Map();
  for (const values of parts.values()) for (const [step, value] of values) total.set(step, (total.get(step) ?? 0) + (value ?? 0));
  return Object.fromEntries([...parts].map(([name, values]) => [name,
    { x: [...values.keys()], y: [...values].map(([step, value]) => (value === null || !total.get(step) ? null : value / total.get(step))) }]));
}
