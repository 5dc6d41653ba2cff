/* view
{
  "page": "monitor",
  "place": 11,
  "half": true,
  "title": "What the loss is made of",
  "shows": "Between views the loss is how unsure the teacher is, H(t), plus how far the student is from it, KL; other terms are drawn below, before their weights.",
  "look": "Collapse hides in a good-looking loss: KL at 0 means there is nothing left to learn; H at ln K means every answer is alike, at 0 that one prototype takes all."
}
*/
// What the loss is made of: cross-entropy = entropy of the teacher + Kullback-Leibler divergence to the student.

import { card, number } from "./dom.js";
import { chart, last, resampled, termName } from "./chart.js";

export function mount(element, host) {
  const body = card(element, host.about);
  chart(body, host, panels);
}

function panels({ curves, head }) {
  const entropy = curves["teacher/entropy"], kl = curves.kl, loss = curves.loss;
  const uniform = head.prototypes ? Math.log(head.prototypes) : NaN;
  const between = resampled(entropy, kl), terms = Object.keys(curves).filter((key) => /^loss\/(?!dino_)/.test(key)).sort();
  const both = entropy && between ? { x: entropy.x, y: entropy.y.map((y, i) => (y === null || between[i] === null ? null : y + between[i])) } : null;
  const total = terms.length > 1 ? both : loss;
  return [{
    title: "Cross-entropy", unit: "nats", zero: true, height: 250,
    range: Number.isFinite(uniform) ? [0, Math.max(uniform * 1.12, 1.05 * (last(total) ?? 0))] : undefined,
    curves: [
      { name: "H(t) of the teacher", colour: "orange", rough: true, fill: "tozeroy", ...entropy, about: "Mean entropy of the teacher's answers: how unsure it is about each image." },
      { name: "+ KL(t‖s)", colour: "blue", rough: true, fill: "tonexty", ...both, shown: () => number(last(kl)), about: "How far the student's answers are from the teacher's." },
      { name: terms.length > 1 ? "between views" : "loss", key: "loss", main: true, colour: "ink", rough: true, ...total, about: "Cross-entropy between teacher and student: what is minimised." },
    ],
    lines: [
      { y: uniform, label: `ln K = ${number(uniform)} — all ${head.prototypes} prototypes alike`, colour: "red" },
      { y: 0, label: "one prototype takes all", colour: "red" },
    ],
  }, ...(terms.length > 1 ? [termsOf(curves, terms)] : [])];
}

function termsOf(curves, terms) {
  const colours = ["blue", "orange", "green", "purple", "red"];
  return {
    title: "All terms", unit: "before weights", height: 160,
    curves: [
      { name: "sum, weighted", colour: "ink", rough: true, ...curves.loss, about: "What is minimised: every term times its weight." },
      ...terms.map((key, i) => ({ name: termName(key.slice(5)), colour: colours[i % colours.length], rough: true, ...curves[key], about: `The term ${termName(key.slice(5))} of the loss.` })),
    ],
  };
}
