/* view
{
  "page": "attention",
  "place": 10,
  "title": "All heads of all layers",
  "shows": "Where one token looks: a tile a head, a row a layer, over the same image. Bright tiles weigh much in what the token becomes.",
  "look": "Early layers look around the patch that asks, late ones at things. Point at a patch and see who asks for what. A weight is not an explanation.",
  "needs": "A checkpoint at the clock's step for all layers; between checkpoints the last layer's class token.",
  "records": ["sight/images?images={images}", "sight/heads?source={source}&images={images}&image={image}"]
}
*/
// Attention of all heads of all layers for the token that asks, one network or two side by side, derived here from queries and keys.

import { card, h, refill, toggle } from "./dom.js";
import { LOOKED_AT, ahead, keepSight, latest, pictures, seen, sidesFor } from "./sight.js";
import { headsPanel } from "./headspanel.js";
import { columnsOf } from "./numbers.js";
import { shareScale } from "./shares.js";
import { slider } from "./slider.js";
import { afterwards, inTurn, strip } from "./tiles.js";

const SORTS = { layer: "by layer", entropy: "by entropy, narrow first", distance: "by distance, near first", jaccard: "by overlap with the object", change: "by change since the first checkpoint" };

export function mount(element, host) {
  keepSight(host).keep({ asks: "cls", mass: 0.6, heads: "", head: 0, sort: "layer", opacity: 0.8 });
  const asks = h("select", { "aria-label": "Token that asks", onchange: () => host.set({ asks: asks.value, patch: null, pinned: false }) });
  const sort = h("select", { "aria-label": "Order of the heads", onchange: () => host.set({ sort: sort.value }) }, Object.entries(SORTS).map(([key, text]) => h("option", { value: key }, text)));
  const body = card(element, { ...host.about, data: () => ({ heads: columnsOf(sides.flatMap((side) => side.rows())) }), controls: [h("label", { class: "labelled" }, "asked by", asks), h("label", { class: "labelled" }, "sorted", sort)] });
  const images = strip(host, "Images");
  const several = toggle("several heads", host.get("heads").includes(","), (on) => { view.several = on; if (!on) host.set({ heads: "" }); }, "Click heads to add them and take them away; their union is outlined as one segmentation");
  const view = { several: host.get("heads").includes(",") };
  const panels = h("div", { class: "sides" }), status = h("p", { class: "hint", role: "status" });
  body.append(images, h("div", { class: "controls under" },
    slider(host, "mass", "mass", [0.05, 0.95, 0.05], (mass) => `${Math.round(100 * mass)} %`), slider(host, "opacity", "opacity", [0, 1, 0.05], (share) => `${Math.round(100 * share)} %`), several,
    shareScale()), panels, status);
  let sides = [], whole = false;
  const load = latest(host, fetchAll), rest = afterwards(() => sides.forEach((side) => side.rest()));
  /** What the token that asks changes: the maps first, words a frame later. */
  const point = inTurn(body, () => {
    sort.value = host.get("sort");
    sides.forEach((side) => side.paint());
    if (whole) sides.forEach((side) => side.rest()); else rest();
    whole = false;
  });
  host.on([...LOOKED_AT, "image", "layer"], load);
  host.on("data", () => { if (!sides.some((side) => side.shown())) load(); });
  host.on(["asks", "mass", "heads", "sort", "opacity", "head"], paint);
  host.on("patch", point);
  offerAsks();
  host.on("sort", () => { if (host.get("sort") === "change" && !sides.every((side) => side.shown()?.before)) load(); });
  load();

  async function fetchAll(current) {
    sides = sidesFor(host, panels, sides, (name) => headsPanel(host, name, view));
    let probe;
    try { probe = await pictures(host); } catch (error) { if (current()) status.textContent = error.message; return; }
    if (!current()) return;
    status.textContent = "";
    images.fill(probe.tensors.images, probe.tensors.labels, host.get("images") ? null : host.run()?.head.classes);
    const image = Math.min(host.get("image"), probe.tensors.images.shape[0] - 1);
    await Promise.all(sides.map(async (side) => {
      const slow = setTimeout(() => { if (current()) side.say("A worker looks through this network …"); }, 500);
      try {
        const more = { image };
        let found = await seen(host, "heads", side.name, more);
        const layers = found.said.layers;
        if (layers && layers.length < found.said.depth && host.get("layer") !== -1 && !layers.includes(host.get("layer"))) found = await seen(host, "heads", side.name, { image, layer: host.get("layer") });
        const before = await began(side.name, found, more);
        if (!current()) return;
        side.show(found, probe, image, before);
        offerAsks();
        paint();
        ahead(host, "heads", side.name, more);
      } catch (error) {
        if (current()) side.fail(error.message);
      } finally {
        clearTimeout(slow);
      }
    }));
  }

  /** What the heads were at the run's first checkpoint, where they are sorted by what became of them. */
  async function began(name, found, more) {
    if (host.get("sort") !== "change" || name?.startsWith("model:") || name === "overlay") return null;
    const first = await seen(host, "heads", "first", more);
    return first.tensors.attention && found.tensors.attention?.shape.join() === first.tensors.attention.shape.join() ? first.tensors : null;
  }

  /** The class token, each register, and the chosen patch. */
  function offerAsks() {
    const registers = Math.max(0, ...sides.map((side) => side.shown()?.said.registers ?? 0));
    refill(asks, String(registers), () => [h("option", { value: "cls" }, "class token"), ...Array.from({ length: registers }, (_, i) => h("option", { value: `r${i + 1}` }, `register ${i + 1}`))]);
    asks.value = host.get("asks");
    if (asks.selectedIndex < 0) asks.value = "cls";
  }

  function paint() {
    whole = true;
    point();
  }
}
