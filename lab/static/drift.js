/* view
{
  "page": "prototypes",
  "place": 20,
  "half": true,
  "title": "Where one image's answer goes",
  "shows": "The teacher's answer for the chosen probe image through training: a row a prototype (those that ever lead), a column a checkpoint, bright for a large share.",
  "look": "A bright row that lasts: the network has made up its mind. Rows that take turns: prototypes are still being born. Evenly dark to the end: the answer says nothing.",
  "needs": "probes with logits",
  "records": ["run/{run}/images", "run/{run}/prototypes/image?image={probe}"]
}
*/
// Where one probe image's answer goes through training, and where it goes in a run that is laid over and was probed with the same image.

import { switched } from "./bound.js";
import { card, h, percent } from "./dom.js";
import { answerMap } from "./answermap.js";
import { RAMP_CSS } from "./maps.js";
import { strip } from "./tiles.js";

export function mount(element, host) {
  host.keep({ prototype: -1, brighter: 0 });
  const body = card(element, { ...host.about, data: () => ({ shares: shares() }) }), images = strip(host);
  const brightest = h("span", {}, "100 %"), stretch = switched(host, "brighter", "brighter", "The brightest colour is the largest share there is, so that answers which name no prototype show what little they say");
  const most = () => (host.get("brighter") ? Math.max(...maps.flatMap((map) => map.shown()?.shares.flat() ?? []), 1e-9) : 1);
  const maps = [true, false].map((main) => answerMap(host, element, { main, most })), [first, second] = maps;
  let asked = 0, other = "";
  body.append(images, h("div", { class: "controls under" }, stretch, h("span", { class: "scale" }, "share 0 %", h("i", { style: `background:${RAMP_CSS.cividis}` }), brightest)), first.element);
  host.on(["run", "image", "overlay"], load);
  host.on("data", () => { if (!first.shown() || host.stops().length !== first.shown().steps.length || other !== wanted()) load(); });
  host.on(["stop", "prototype", "theme", "brighter"], paint);
  load();

  /** What of the run that is laid over is to be shown. */
  function wanted() { const over = host.overlay(); return over ? `${over.id} ${over.head.probes.length}` : ""; }

  async function load() {
    const track = host.run(), now = ++asked;
    if (!track || !host.stops().length) { first.clear(track ? "The first answers come with the first probes." : ""); return; }
    const run = host.get("run");
    other = wanted();
    try {
      const probe = await host.tensors("images");
      const image = Math.min(host.get("image"), probe.tensors.images.shape[0] - 1);
      const found = await host.ask(`run/${run}/prototypes/image?image=${image}`);
      if (now !== asked) return;
      images.fill(probe.tensors.images, probe.tensors.labels, track.head.classes);
      first.show(found, image);
      paint();
      await laidOver(now, probe.tensors.images, image);
    } catch (error) {
      if (now === asked) first.clear(error.message);
    }
  }

  /** The same image's answer in the run that is laid over, below the first. */
  async function laidOver(now, pictures, image) {
    const over = host.overlay();
    first.title.hidden = !over;
    if (!over) { second.element.remove(); second.clear(); return; }
    first.title.textContent = host.run().head.name;
    if (second.title.textContent !== over.head.name) second.clear();
    second.title.textContent = over.head.name;
    second.title.hidden = false;
    body.append(second.element);
    try {
      const theirs = (await host.kept(`run/${over.id}/images`)).tensors.images;
      if (now !== asked) return;
      if (!sameImage(pictures, theirs, image)) { second.clear(`${over.head.name} was probed with other images, so it says nothing of this one.`); return; }
      const found = await host.ask(`run/${over.id}/prototypes/image?image=${image}`);
      if (now !== asked) return;
      second.show(found, image);
      paint();
    } catch (error) {
      if (now === asked) second.clear(error.message);
    }
  }

  function paint() {
    maps.forEach((map) => map.paint());
    brightest.textContent = percent(most(), most() < 0.1 ? 1 : 0);
  }

  /** A row a checkpoint: the share of each prototype, and the entropy in nats. */
  function shares() {
    const shown = first.shown();
    return shown ? { step: shown.steps, entropy_nats: shown.entropy, ...Object.fromEntries(shown.prototypes.map((prototype, p) => [`prototype ${prototype}`, shown.shares.map((row) => row[p])])) } : {};
  }
}

/** Whether two sets of pictures hold the same at this place. */
function sameImage(one, other, image) {
  const size = one.shape.slice(1).reduce((a, b) => a * b, 1);
  if (other.shape[0] <= image || String(other.shape.slice(1)) !== String(one.shape.slice(1))) return false;
  return one.data.subarray(image * size, (image + 1) * size).every((value, i) => value === other.data[image * size + i]);
}
