// One step of the playground in slow motion: nine sub-steps, each with the numbers of four images and the formula that made them.

import { h, refill } from "./dom.js";
import { FEATURES, INPUT, entropy, softmax } from "./simulator.js";

const SAMPLES = 4, COLUMNS = 6;
const digits = (x) => (Math.abs(x) >= 9.995 ? x.toFixed(1) : Math.abs(x) < 0.0005 && x !== 0 ? x.toExponential(0) : x.toFixed(3)).replace("-", "−");

/** The sub-steps of a step that was done with `next(true)`: [{ title, formula, says, head, rows }]. */
export function walk(last, simulator) {
  const K = last.before.centre.length, n = Math.min(SAMPLES, last.batch), { options: o } = last, B = last.batch;
  const view = (x, v, image, width) => x.slice((v * B + image) * width, (v * B + image + 1) * width);
  const images = Array.from({ length: n }, (_, i) => i);
  const columns = most(images.map((i) => view(last.targets, 1, i, K)), K);
  const head = columns.map((k) => `prototype ${k + 1}`);
  const table = (x, v, sum) => images.map((i) => { const row = view(x, v, i, K); return [`image ${i + 1}`, ...columns.map((k) => row[k]), sum(row)]; });
  const total = (row) => row.reduce((a, b) => a + b, 0), others = ["sum of all " + K];
  const centred = Float64Array.from(last.teacher, (z, i) => z - (o.centering && !o.sinkhorn ? last.before.centre[i % K] : 0));
  const mean = images.map((i) => [`image ${i + 1}`, ...losses(last, i, K)]);
  const weights = [0, 1, 2, 3, 4, 5], w = simulator.student, from = w.all.length - K * FEATURES;
  return [
    { title: "Views", formula: "x₁ = x + σ ε₁,  x₂ = x + σ ε₂", says: `Each image of the batch (${B}) is seen twice, with fresh noise σ = ${o.noise}${o.local_views ? `, and ${o.local_views} times more by the student alone, with noise ${o.local_noise}` : ""}. The first numbers of 16:`,
      head: ["class", "x₁, coordinate 1", "2", "3", "x₂, coordinate 1", "2", "3"], rows: images.map((i) => [`image ${i + 1}`, String(last.labels[i] + 1), ...view(last.points, 0, i, INPUT).slice(0, 3), ...view(last.points, 1, i, INPUT).slice(0, 3)]) },
    { title: "Teacher", formula: "z = ⟨g_θt(x₂), w_k⟩", says: "The teacher looks at view 2. Its logits are cosines between its feature and each prototype; shown are the prototypes that these images choose most.", head: [...head, "largest of all " + K], rows: table(last.teacher, 1, (row) => Math.max(...row)) },
    { title: o.sinkhorn ? "Sinkhorn instead of the centre" : "Centre", formula: o.sinkhorn ? "Q = exp(z / τt), columns and rows in turn to equal sums" : "z − c",
      says: o.sinkhorn ? "Over the whole batch every prototype is to be used alike; three rounds of scaling come near it. The logits before:" : o.centering ? "The running mean of the teacher's logits is taken away: what all images have in common stops counting." : "Centering is off: the logits stay as they are, and with them what all images have in common.",
      head: [...head, "largest of all " + K], rows: [...(o.sinkhorn || !o.centering ? [] : [["centre", ...columns.map((k) => last.before.centre[k]), Math.max(...last.before.centre)]]), ...table(centred, 1, (row) => Math.max(...row))] },
    { title: "Sharpen", formula: `t = ${o.sinkhorn ? "Q, rows summing to 1" : "softmax((z − c) / τt)"},  τt = ${last.temperature}`, says: o.sharpening ? `A temperature below the student's (${o.student_temperature}) makes the answer surer than the student's can be yet. These are the targets:` : "Sharpening is off: the teacher's temperature is the student's. These are the targets:", head: [...head, ...others], rows: table(last.targets, 1, total) },
    { title: "Student", formula: `p = softmax(⟨g_θs(x₁), w_k⟩ / τs),  τs = ${o.student_temperature}`, says: "The student looks at the other view, x₁, with its own weights and temperature, and without a centre.", head: [...head, ...others], rows: table(last.answers, 0, total) },
    { title: "Cross-entropy", formula: "L = −Σ t log p = H(t) + KL(t‖p)", says: `For these images, view 2 teaching view 1, in nats (ln K = ${digits(Math.log(K))}). The loss is the mean over all ${B} images and ${2 * last.views - 2} pairs of views: ${digits(last.loss)}.`, head: ["−Σ t log p", "H(t)", "KL(t‖p)"], rows: mean },
    { title: "Gradient", formula: "∂L/∂z = (p − t) / τs, per image and pair", says: "Where the target is larger than the answer the gradient is negative: the logit will rise. It sums to 0, and it flows into the student alone; from here it goes back through the network.", head: [...head, ...others], rows: images.map((i) => { const p = view(last.answers, 0, i, K), t = view(last.targets, 1, i, K), g = p.map((x, k) => (x - t[k]) / o.student_temperature); return [`image ${i + 1}`, ...columns.map((k) => g[k]), total(g)]; }) },
    { title: "EMA", formula: `θt ← ${o.momentum} θt + ${digits(1 - o.momentum)} θs`, says: "Adam moves the student's weights along the gradient; the teacher follows slowly. Six numbers of prototype 1:", head: weights.map((i) => `weight ${i + 1}`), rows: [
      ["student before", ...weights.map((i) => last.before.student[from + i])], ["student now", ...weights.map((i) => w.all[from + i])], ["teacher before", ...weights.map((i) => last.before.teacher[from + i])], ["teacher now", ...weights.map((i) => simulator.teacher.all[from + i])]] },
    { title: "Centre update", formula: `c ← ${o.centre_momentum} c + ${digits(1 - o.centre_momentum)} mean(z)`, says: o.centering ? "Last, the centre moves by the mean of the teacher's logits over the batch; it counts from the next step on." : "Centering is off: the centre stays.", head, rows: [
      ["centre before", ...columns.map((k) => last.before.centre[k])], ["mean of the batch", ...columns.map((k) => last.mean[k])], ["centre now", ...columns.map((k) => simulator.centre[k])]] },
  ];
}

/** The columns that a few rows hold most in. */
function most(rows, K) {
  const sums = Array.from({ length: K }, (_, k) => rows.reduce((sum, row) => sum + row[k], 0));
  return sums.map((_, k) => k).sort((a, b) => sums[b] - sums[a]).slice(0, COLUMNS).sort((a, b) => a - b);
}

function losses(last, image, K) {
  const at = (last.batch + image) * K, t = last.targets.subarray(at, at + K), p = softmax(last.student.slice(image * K, (image + 1) * K), 1, K, last.options.student_temperature);
  const cross = t.reduce((sum, x, k) => sum - (x > 0 ? x * Math.log(Math.max(p[k], 1e-300)) : 0), 0), own = entropy(t);
  return [cross, own, cross - own];
}

/** The panel that shows one sub-step after the other. */
export function stepper({ forward, back, close }) {
  const list = h("ol", { class: "pg-phases" }), body = h("div", { class: "pg-phase", role: "status" });
  const element = h("section", { class: "pg-steps", hidden: true, "aria-label": "One step in slow motion" }, list, body);
  return { element, show(phases, index, step) {
    element.hidden = phases === null;
    if (!phases) return;
    refill(list, `${index} ${phases.map((phase) => phase.title)}`, () => phases.map(({ title }, i) => h("li", { "aria-current": i === index ? "step" : null, "data-done": i < index }, title)));
    const { title, formula, says, head, rows } = phases[index], numbers = rows.flat().filter((x) => typeof x === "number"), largest = Math.max(...numbers.map(Math.abs), 1e-12);
    refill(body, `${step} ${index}`, () => [
      h("div", { class: "panel-head" }, h("h3", {}, `Step ${step}, ${index + 1} of ${phases.length}: ${title}`), h("code", {}, formula)),
      h("p", {}, says),
      h("div", { class: "pg-table" }, h("table", {},
        h("thead", {}, h("tr", {}, h("td"), head.map((name) => h("th", { scope: "col" }, name)))),
        h("tbody", {}, rows.map(([name, ...cells]) => h("tr", {}, h("th", { scope: "row" }, name), cells.map((x) => h("td", typeof x === "number" ? { style: `--x:${(Math.abs(x) / largest).toFixed(3)}`, "data-sign": x < 0 ? "less" : "more" } : {}, typeof x === "number" ? digits(x) : x))))))),
      h("div", { class: "controls" }, h("button", { type: "button", class: "pg-button", disabled: index === 0, onclick: back }, "‹ back"), h("button", { type: "button", class: "pg-button", onclick: forward }, index === phases.length - 1 ? "next step ›" : "next ›"), h("button", { type: "button", class: "quiet", onclick: close }, "close")),
    ]);
  } };
}
