/* view
{
  "page": "prototypes",
  "place": 10,
  "title": "What prototypes fire on",
  "shows": "For each prototype, the images (or patches) whose answer it leads with the greatest share. The teacher's answer is centred and sharpened as in training.",
  "look": "One kind of thing in a row: the prototype stands for it, though no label was used. The same images under two prototypes: duplicates. In a collapse one row takes everything. Pointing at an image lights it up beside.",
  "needs": "probes with logits; for more images a checkpoint; a published network with its head (a full checkpoint); a patch head for patches",
  "records": ["run/{run}/crowd/pictures?count={count}", "run/{run}/crowd/{step}/answers?count={count}", "gathered/pictures?{many}", "gathered/answers?source={weights}&{many}&size=0"]
}
*/
// Galleries of prototypes: the most used, the rarest, and pairs whose directions are nearly one; a second network's beside them.

import { bound } from "./bound.js";
import { arrange, card, h, number, percent } from "./dom.js";
import { howMany, patient } from "./crowd.js";
import { together } from "./common.js";
import { columnsOf } from "./numbers.js";
import { side } from "./prototypesside.js";
import { keepSight } from "./sight.js";

export function mount(element, host) {
  keepSight(host).keep({ crowd: 0, prototypesOf: "images", prototypesBy: "most", prototype: -1 });
  const body = card(element, {
    ...host.about,
    data: () => ({ prototypes: columnsOf(standing().flatMap((one) => one.rows())) }),
    controls: [bound(host, "Prototypes", { most: "most used", rare: "rarest", twins: "duplicates" }, "prototypesBy"),
      bound(host, "Of", { images: "images", patches: "patches" }, "prototypesOf"),
      howMany(host)],
  });
  const row = h("div", { class: "prototype-sides" }), common = h("p", { class: "hint embedding-common", role: "status" }), ask = patient(host);
  const sides = ["source", "against"].map((key) => side(host, key, { ask, point, changed: compare }));
  body.append(common, row);
  host.on(["stop", "run", "overlay", "crowd", "source", "against", "images", "size"], () => { sides.forEach((one) => one.anew()); load(); });
  host.on("page", () => standing().forEach((one) => { if (one.waits()) one.load(); }));
  host.on(["prototypesOf", "prototypesBy", "prototype"], () => { standing().forEach((one) => one.fill()); compare(); });
  host.on("data", () => standing().forEach((one) => { if (!one.shown()) one.load(); }));
  load();

  function two() { return Boolean(host.get("against")); }
  function standing() { return two() ? sides : [sides[0]]; }

  function load() {
    row.dataset.two = String(two());
    arrange(row, standing().map((one) => one.element));
    sides.forEach((one) => { one.title.hidden = !two(); });
    if (!two()) { sides[1].leave(); common.textContent = ""; }
    standing().forEach((one) => one.load());
  }

  /** The same image everywhere, under whichever prototype it is; null for none. */
  function point(image) {
    row.querySelectorAll(".shot").forEach((shot) => { if (Number(shot.dataset.image) === image && two()) shot.dataset.lit = "yes"; else delete shot.dataset.lit; });
  }

  /** How alike the two group the images: their numbers of prototypes have nothing to do with each other. */
  function compare() {
    const [one, other] = sides.map((each) => each.shown());
    if (!two() || !one || !other || host.get("prototypesOf") === "patches" || one.top.shape[0] !== other.top.shape[0]) { common.textContent = ""; return; }
    const first = ({ top: { data, shape: [, kept] } }) => data.filter((_, i) => i % kept === 0), found = together(first(one), first(other));
    common.textContent = found.pairs
      ? `Of the pairs of images that share a first prototype in the first network (${number(found.pairs)}), ${percent(found.share, 0)} share one in the second too; chance gives ${percent(found.chance, 0)}.`
      : "No two images share a first prototype in the first network, so there is no grouping to compare.";
  }
}
