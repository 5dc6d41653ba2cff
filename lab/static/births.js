/* view
{
  "page": "prototypes",
  "place": 30,
  "half": true,
  "title": "Births and deaths",
  "shows": "How many prototypes are in use through training, and at each checkpoint how many began to lead for some image (born) and how many stopped (died) since the one before.",
  "look": "Healthy: many births early, then few of either while the number in use stays. Deaths that outnumber births for long lead to collapse. Few images can only show few prototypes.",
  "needs": "probes with logits; for more images checkpoints and the run's data set",
  "records": ["run/{run}/prototypes/history?count=0&until={last}"]
}
*/
// Usage of prototypes over time, as logged, and counted over images at every checkpoint.

import { card, h, number, percent } from "./dom.js";
import { chart, scaled } from "./chart.js";
import { doing, patient } from "./crowd.js";

export function mount(element, host) {
  host.keep({ crowd: 0 });
  const body = card(element, host.about), status = h("p", { class: "hint", role: "status" });
  const found = new Map(), ask = patient(host);
  const drawn = chart(body, host, panels, { empty: "No answers yet." });
  body.append(status);
  let asked = 0;
  host.on(["run", "overlay", "crowd", "data"], load);
  load();

  async function load() {
    const track = host.run(), count = host.get("crowd"), run = host.get("run");
    if (!track?.head.probes.length) return;
    const key = `${run} ${count} ${track.head.probes.at(-1)}`;
    if (found.get(run)?.key === key) return;
    found.set(run, { ...found.get(run), key });
    const now = ++asked;
    try {
      const said = await ask(`run/${run}/prototypes/history?count=${count}&until=${track.head.probes.at(-1)}`, () => now === asked && host.shown(), (sentence, share, left) => { status.textContent = doing(sentence, share, left); });
      if (said) { found.set(run, { key, said }); drawn.redraw(); if (run === host.get("run")) status.textContent = guess(said); } else if (found.get(run)?.key === key) found.delete(run);
    } catch (error) {
      status.textContent = error.message;
    }
  }

  /** What is a guess about these counts, if anything. */
  const guess = ({ guessed, steps }) => (guessed.length ? `At ${guessed.length} of ${steps.length} checkpoints the centre was not kept and is interpolated between those that hold it: who leads there is a guess, and so are births and deaths there and at the kept one after.` : "");

  function panels(track) {
    const { curves, head } = track, said = found.get(track.id)?.said, k = head.prototypes ?? NaN;
    const counted = (name) => (said ? { x: said.steps, y: said[name] } : null), rises = (name) => (said ? { x: said.steps.slice(1), y: said[name].slice(1) } : null);
    return [
      { title: "In use, as logged", unit: "share of all prototypes, by the training batches", height: 110, range: [0, 1.05], format: ".0%", curves: [
        { name: "perplexity / K", colour: "purple", rough: true, ...scaled(curves["prototypes/perplexity"], 1 / k), shown: percent, about: "How many prototypes are used, counted by perplexity." },
        { name: "largest takes", colour: "red", rough: true, ...curves["prototypes/largest_share"], shown: percent, about: "Share of images that the most frequent prototype takes." }] },
      { title: "Leading for some image", unit: said ? `prototypes, of ${number(said.prototypes)}, over ${said.images} images` : "prototypes", height: 100, zero: true, curves: [
        { name: "in use", colour: "blue", dots: true, ...counted("used") }] },
      { title: "Since the checkpoint before", unit: "prototypes", height: 100, zero: true, curves: [
        { name: "born", colour: "green", dots: true, ...rises("born") }, { name: "died", colour: "orange", dots: true, dash: "dash", ...rises("died") }] },
    ];
  }
}
