/* view
{
  "page": "prototypes",
  "place": 30,
  "half": true,
  "title": "Births and deaths",
  "shows": "How many prototypes are in use through training, and at each checkpoint how many began to lead for some image (born) and how many stopped (died) since the one before.",
  "look": "Healthy: many births early, then few of either while the number in use stays. Deaths that outnumber births for long lead to collapse. Few images can only show few prototypes.",
  "needs": "probes with logits; for more images checkpoints and the run's data set",
  "records": ["run/{run}/prototypes/history?count={count}&until={last}"]
}
*/
// Usage of prototypes over time, as logged, and counted over images at every checkpoint.

import { card, h, number, percent } from "./dom.js";
import { chart, scaled } from "./chart.js";
import { doing, patient } from "./crowd.js";
import { laid } from "./laid.js";

export function mount(element, host) {
  host.keep({ crowd: 0 });
  const body = card(element, host.about), status = h("p", { class: "hint", role: "status" });
  const found = new Map(), ask = patient(host);
  const drawn = chart(body, host, panels, { empty: "No answers yet." });
  body.append(status);
  let asked = 0;
  host.on(["run", "overlay", "beside", "crowd", "data"], load);
  load();

  /** Of the run and of those laid over it, one after the other. */
  async function load() {
    const count = host.get("crowd"), now = ++asked;
    for (const { id, track } of laid(host)) {
      const last = track?.head.probes.at(-1), key = `${id} ${count} ${last}`;
      if (last === undefined || found.get(id)?.key === key) continue;
      const tell = (sentence, share, left) => { status.textContent = doing(sentence, share, left); };
      try {
        const said = await ask(`run/${id}/prototypes/history?count=${count}&until=${last}`, () => now === asked && host.shown(), tell);
        if (now !== asked) return;
        if (said) found.set(id, { key, said }); else found.delete(id);
        drawn.redraw();
        status.textContent = guess();
      } catch (error) {
        if (now !== asked) return;
        if (!(error instanceof TypeError)) found.set(id, { key }); // not asked again before there is more
        status.textContent = id === host.get("run") ? error.message : `${track.head.name}: ${error.message}`;
      }
    }
  }

  /** What is a guess about these counts, if anything. */
  const guess = () => laid(host).map(({ id, track }) => [track, found.get(id)?.said]).filter(([, said]) => said?.guessed.length).map(([track, { guessed, steps }]) =>
    `${host.overlay() ? `${track.head.name}: at` : "At"} ${guessed.length} of ${steps.length} checkpoints the centre was not kept and is interpolated between those that hold it: who leads there is a guess, and so are births and deaths there and at the kept one after.`).join(" ");

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
