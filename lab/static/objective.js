/* view
{
  "page": "objective",
  "place": 10,
  "title": "One step, stage by stage",
  "shows": "What a checkpoint computes for one image: its crops, what teacher and student say about them, and how the loss and its gradient come of it.",
  "look": "Step forward, and point at any number: what it was made of lights up. Then switch any stage off: a sentence says what becomes of the loss.",
  "needs": "A run with a checkpoint, or a published file that holds its head; the student only where it was kept, else the teacher stands in for it.",
  "records": ["run/{run}/images", "run/{run}/stages/{checkpoint}?image={image}&seed=0", "run/{beside}&image={image}&seed=0", "sight/images?images={images}", "stages?source={model}&images={images}&image={image}&seed=0"]
}
*/
// The objective with the real tensors of a checkpoint (lab/stages.py), step by step; a second network's beside it, on the same crops.

import { arrange, card, h, number, percent, refill } from "./dom.js";
import { side, stepOf } from "./objectiveside.js";
import { keepSight } from "./sight.js";
import { strip } from "./tiles.js";

export function mount(element, host) {
  keepSight(host).keep({ seed: 0 });
  const again = h("button", { type: "button", class: "step-button", onclick: () => host.set({ seed: (host.get("seed") + 1) % 1000 }) }, "other crops");
  const body = card(element, { ...host.about, controls: host.recorded ? [] : [again] }); // a file holds one set of crops
  const images = strip(host), row = h("div", { class: "objective-sides" }), both = h("div", { class: "objective-both" });
  const seen = (probe) => images.fill(probe.tensors.images, probe.tensors.labels, host.run()?.head.classes ?? []);
  const first = side(host, "source", { element, seen, changed: compare });
  let second = null; // made when it is first asked for
  body.append(images, both, row);
  host.on(["stop", "run", "overlay", "image", "seed", "source", "against", "images"], load);
  host.on("data", () => standing().forEach((one) => { if (!one.shown()) one.load(); }));
  row.addEventListener("pointerover", ({ target }) => twin(target.closest("[data-cell]")?.dataset.cell));
  row.addEventListener("pointerleave", () => twin());
  load();

  function two() { return Boolean(host.get("against")); }
  function standing() { return two() ? [first, (second ??= side(host, "against", { element, beside, changed: compare }))] : [first]; }

  /** The run whose image and crops the second is shown with: the first's, where that is a run. */
  function beside() {
    const name = host.get("source"), found = name?.startsWith("model:") ? "" : stepOf(host, name);
    return typeof found === "string" ? null : found;
  }

  function load() {
    const sides = standing();
    row.dataset.two = String(two());
    arrange(row, sides.map((one) => one.element));
    sides.forEach((one) => { one.title.hidden = !two(); });
    const { element: alone, controls } = first.made, place = two() ? body : alone;
    if (controls[0].parentElement !== place) { if (two()) row.before(...controls); else alone.prepend(...controls); }
    sides.forEach((one) => one.load());
    compare();
  }

  /** Pairs and the loss are of the same crops: the same number of the other network lights up too. */
  function twin(cell) {
    row.querySelectorAll("[data-twin]").forEach((other) => other.removeAttribute("data-twin"));
    if (two() && /^(pairs|loss)\./.test(cell ?? "")) row.querySelectorAll(`[data-cell="${cell}"]`).forEach((other) => { other.dataset.twin = "yes"; });
  }

  /** The two steps in numbers. */
  function compare() {
    const sides = two() ? standing() : [], shown = sides.map((one) => one.shown()).filter((one) => one?.all);
    if (shown.length < 2) { refill(both, "", () => []); return; }
    const [a, b] = shown.map(({ all, tensors }) => ({ all, K: tensors.centre.shape[0], boxes: tensors.boxes.data })), same = a.boxes.length === b.boxes.length && a.boxes.every((value, i) => Math.abs(value - b.boxes[i]) < 1e-5);
    const line = (name, of, show) => h("tr", {}, h("th", { scope: "row" }, name), [a, b].map((one) => h("td", {}, show(of(one)))));
    const nats = (value) => `${number(value)} nats`, length = (rows) => Math.hypot(...rows.flatMap((values) => [...values]));
    refill(both, sides.map((one, i) => `${one.title.textContent} ${shown[i].all.loss} ${length(shown[i].all.gradient)}`).join(), () => [
      h("table", { class: "step-numbers" }, h("caption", {}, "the two steps"), h("thead", {}, h("tr", {}, h("th", {}), sides.map((one) => h("th", { scope: "col" }, one.title.textContent)))), h("tbody", {},
        line("loss", ({ all }) => all.loss, nats), line("H(t), the teacher's entropy", ({ all }) => all.entropy, nats), line("of ln K, its most", ({ all, K }) => all.entropy / Math.log(K), (value) => percent(value, 0)),
        line("KL(t‖s)", ({ all }) => all.divergence, nats), line("length of the gradient", ({ all }) => length(all.gradient), number))),
      h("p", { class: "hint" }, same ? "Both are shown the same crops of the same image; prototypes of two networks have nothing to do with each other, pairs and losses have."
        : "Their crops differ, for a published file is shown crops as in the 2021 paper and a run those it is trained with: compare entropies and divergences, not pair with pair.")]);
  }
}
