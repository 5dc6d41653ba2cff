// What the colours of points mean: label, prototype, entropy, loss, neighbours.  `shown` is what one side of the embedding shows.

import { h, number, refill } from "./dom.js";
import { OTHER, byGroup, byValue, colourOf, counted } from "./crowd.js";
import { RAMP_CSS } from "./maps.js";
import { nearestRows } from "./points.js";

const SAMPLED = 3000; // points up to which 1500 are asked for their neighbours
const NAMED = 8; // prototypes that have a colour of their own

export const countOf = (shown) => shown.layout.tensors.image.data.length;
export const imageOf = (shown, p) => shown.layout.tensors.image.data[p];
export const labelOf = (shown, p) => shown.pictures.tensors.labels.data[imageOf(shown, p)];
export const labelName = (shown, label) => shown.classes[label] ?? (label >= 0 ? `class ${label}` : "no label");

/** Of every point: its image's value; of patches its own where there is one. */
export function values(shown, kind) {
  const { answers, tokens, layout } = shown, images = layout.tensors.image.data, K = answers.tensors.top?.shape[1];
  if (!K && (kind === "entropy" || kind === "prototype")) return (kind === "entropy" ? Float32Array : Int32Array).from(images, () => (kind === "entropy" ? NaN : -1));
  if (kind === "entropy") return Float32Array.from(images, (i) => answers.tensors.entropy.data[i]);
  if (kind === "loss") return Float32Array.from(images, (i) => shown.loss?.values[i] ?? NaN);
  if (kind === "prototype") {
    const own = tokens === "patches" && answers.tensors.patch_top;
    return Int32Array.from(images, (i, p) => (own ? own.data[i * own.shape[1] + layout.tensors.place.data[p]] : answers.tensors.top.data[i * K]));
  }
  return Int32Array.from(images, (i) => shown.pictures.tensors.labels.data[i]);
}

/** Colours (P 3) of the points. */
export function colouring(shown, kind) {
  if (kind === "entropy") return byValue(values(shown, "entropy"), 0, Math.log(shown.answers.said.prototypes ?? 2));
  if (kind === "neighbours") return byValue(agreements(shown), 0, 1);
  if (kind === "loss") return byValue(values(shown, "loss"), ...bounds(shown));
  const groups = values(shown, kind);
  if (kind === "label") return byGroup(groups);
  shown.named = counted(groups).slice(0, NAMED).map(([group]) => group);
  return byGroup(Array.from(groups, (group) => shown.named.indexOf(group)));
}

/** Where the colours of losses begin and end. */
function bounds(shown) {
  const losses = shown.loss?.values ?? [0, 1];
  return [Math.min(...losses), Math.max(...losses)];
}

/** The share of each point's ten nearest neighbours that have its label. */
function agreements(shown) {
  const count = countOf(shown);
  if (!shown.vectors) return new Float32Array(count);
  const every = Math.ceil(Math.max(count, count ** 2 / SAMPLED) / 1500); // of many points some, of very many fewer
  shown.agreement ??= Float32Array.from({ length: count }, (_, p) => {
    if (p % every) return NaN;
    const near = nearestRows(shown.vectors.rows.data, shown.vectors.scale.data, shown.vectors.rows.shape[1], p, 10);
    return near.filter(({ index }) => labelOf(shown, index) === labelOf(shown, p)).length / Math.max(near.length, 1);
  });
  return shown.agreement;
}

/** What the colours mean, into an element.  `only(groups)` is called with the group whose points alone are to be seen. */
export function legend(element, shown, kind, only) {
  const swatch = (rgb) => h("i", { class: "dot", style: `--c:rgb(${rgb.join()})` });
  const entry = (group, colour, words, n) => h("div", {}, h("dt", {}, h("button", { type: "button", title: "These points alone; once more: all", onclick: () => only(group) }, swatch(colour), words)), n === undefined ? null : h("dd", {}, String(n)));
  const ramp = (from, to) => [h("span", { class: "scale" }, from, h("i", { style: `background:${RAMP_CSS.cividis}` }), to)];
  refill(element, `${kind} ${shown.key} ${shown.named} ${Boolean(shown.loss)}`, () => {
    if (!shown.answers.tensors.top && (kind === "entropy" || kind === "prototype")) return [h("span", {}, `No ${kind} to colour by: ${shown.answers.said.why}.`)];
    if (kind === "loss" && !shown.own) return [h("span", {}, "An image's own loss is known of a run's teacher over the run's own images: choose those above.")];
    if (kind === "entropy") return ramp("entropy of the answer: 0", `ln K = ${number(Math.log(shown.answers.said.prototypes ?? 2))} nats`);
    if (kind === "loss") return shown.loss ? [...ramp(`own loss: ${number(bounds(shown)[0])}`, `${number(bounds(shown)[1])} nats`), h("span", {}, `step ${number(shown.loss.said.step)}${shown.loss.said.student ? "" : "; the teacher stands in for the student, which was not kept"}`)] : [h("span", {}, "each image's own loss is being computed …")];
    if (kind === "neighbours") return [...ramp("neighbours of the same label: none of 10", "all"), ...(countOf(shown) > 1500 ? [h("span", {}, "grey: not asked, of so many")] : [])];
    if (kind === "prototype") return [...shown.named.map((group, i) => entry(group, colourOf(i), `prototype ${group}`)), h("div", {}, h("dt", {}, swatch(OTHER), "others"))];
    return counted(values(shown, "label")).sort((a, b) => a[0] - b[0]).map(([label, n]) => entry(label, colourOf(label), labelName(shown, label), n));
  });
}
