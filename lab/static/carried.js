/* view
{
  "page": "patches",
  "place": 30,
  "title": "A mask carried along",
  "shows": "Patches marked on the first image, carried to the others by nearest patches: frame by frame through a video, or from image to image.",
  "look": "Nothing is trained for this: how well a mask stays on its object is a test of the features alone.",
  "needs": "A video for frames in order; any images otherwise.",
  "records": ["sight/images?images={images}", "sight/features?source={source}&images={images}"]
}
*/
// Label propagation (lab.analysis.matching.propagate), computed by the lab: it compares every patch of every frame.

import { bound } from "./bound.js";
import { card, h, number, refill } from "./dom.js";
import { jaccard, onPixels } from "./maps.js";
import { propagate } from "./matches.js";
import { columnsOf } from "./numbers.js";
import { LOOKED_AT, keepSight, latest, nameOf, pictures, seen, sidesFor } from "./sight.js";
import { drawOutline, drawPatches, drawPicture, forget, patchAt, picture, tile } from "./tiles.js";

export function mount(element, host) {
  keepSight(host).keep({ marked: "", top: 5, memory: "auto" });
  const body = card(element, { ...host.about, data: () => ({ images: columnsOf(sides.flatMap((side) => side.rows())) }), controls: [bound(host, "Labels come from", { auto: "automatic", first: "the first image", frames: "the first and 7 before" }, "memory")] });
  const top = h("input", { type: "range", min: 1, max: 20, step: 1, "aria-label": "Nearest patches that vote", oninput: () => host.set({ top: Number(top.value) }) }), votes = h("output");
  const object = h("button", { type: "button", class: "follow", onclick: markObject }, "mark the object"), none = h("button", { type: "button", class: "quiet", onclick: () => host.set({ marked: "" }) }, "mark nothing");
  const panels = h("div", { class: "sides" }), status = h("p", { class: "hint", role: "status" });
  body.append(h("div", { class: "controls under" }, object, none, h("label", { class: "labelled range" }, "nearest patches", top, votes)), panels, status);
  let sides = [], probe = null;
  const load = latest(host, fetchAll);
  host.on([...LOOKED_AT, "marked", "top", "memory"], load);
  host.on("data", () => { if (!sides.some((side) => side.shown())) load(); });
  load();

  async function fetchAll(current) {
    sides = sidesFor(host, panels, sides, (name) => panel(host, name));
    let found;
    try { found = await pictures(host); } catch (error) { if (current()) status.textContent = error.message; return; }
    if (!current()) return;
    probe = found;
    top.value = host.get("top");
    votes.textContent = host.get("top");
    object.hidden = !probe.tensors.masks;
    none.hidden = !host.get("marked");
    status.textContent = host.get("marked") ? "" : `Click patches of the first image to mark them${probe.tensors.masks ? ", or mark the object that the data know of" : ""}.`;
    await Promise.all(sides.map(async (side) => {
      try {
        const memory = host.get("memory"), context = memory === "frames" || (memory === "auto" && probe.said.video) ? 7 : 0;
        const labels = await carried(side.name, context);
        if (current()) side.show(labels, found);
      } catch (error) { if (current()) side.fail(error.message); }
    }));
  }

  /** The mask on every image; nothing marked: the grid alone.  A file carries it itself, from the features it holds. */
  async function carried(name, context) {
    const start = host.get("marked"), top = host.get("top");
    if (start && !host.recorded) return seen(host, "propagate", name, { start, top, context });
    const { tensors, said } = await seen(host, "features", name), [images, count] = tensors.patches.shape;
    const labels = new Float32Array(count), marked = start.split(",").filter(Boolean).map(Number);
    for (const n of marked) if (n < count) labels[n] = 1;
    return { said, tensors: { labels: { data: marked.length ? propagate(tensors, labels, { top, context }) : new Float32Array(images * count) } } };
  }

  /** The patches of which most is object, on the first network's grid. */
  function markObject() {
    const side = sides.find((one) => one.shown()), { masks } = probe.tensors;
    if (!side) return;
    const [rows, columns] = side.shown().grid, [, height, width] = masks.shape, inside = new Float32Array(rows * columns), all = new Float32Array(rows * columns);
    for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) {
      const n = Math.floor((y * rows) / height) * columns + Math.floor((x * columns) / width);
      all[n]++;
      inside[n] += masks.data[y * width + x];
    }
    host.set({ marked: [...inside.keys()].filter((n) => inside[n] > all[n] / 2).join() });
  }
}

function panel(host, name) {
  const title = h("h3"), status = h("p", { class: "hint", role: "status" }), numbers = h("p", { class: "hint numbers" }), frames = h("div", { class: "tiles" });
  const element = h("section", { class: "side", "aria-label": "A mask carried by one network" }, title, status, numbers, frames);
  let shown = null;

  function show({ tensors, said }, { tensors: probe, said: { names } }) {
    const marked = host.get("marked"), grid = [said.rows, said.columns];
    const bare = !marked && shown?.marked === "" && shown.probe === probe && shown.grid.join() === grid.join(); // as it was: at any step
    shown = { labels: tensors.labels.data, grid, count: said.rows * said.columns, probe, marked };
    status.textContent = "";
    frames.hidden = false;
    title.textContent = nameOf(host, name);
    refill(frames, `${names.join()}`, () => { forget(frames); return names.map((text, i) => frame(i, text)); });
    const overlaps = names.map((_, i) => overlap(i));
    [...frames.children].forEach((figure, i) => { figure.querySelector("small").textContent = Number.isNaN(overlaps[i]) ? "" : `Jaccard ${overlaps[i].toFixed(2)}`; });
    const known = overlaps.slice(1).filter((value) => !Number.isNaN(value));
    numbers.textContent = host.get("marked") ? `${host.get("marked").split(",").length} patches marked on the first image.${known.length ? ` Mean Jaccard of the carried mask (labels above one half) with the objects of ${known.length} other images: ${number(known.reduce((a, b) => a + b, 0) / known.length, 2)}.` : ""}` : "";
    if (!bare) frames.querySelectorAll("canvas").forEach((canvas) => canvas.paint());
  }

  function fail(sentence) {
    shown = null;
    frames.hidden = true;
    numbers.textContent = "";
    title.textContent = nameOf(host, name);
    status.textContent = sentence;
  }

  function frame(i, text) {
    const canvas = tile((context, size) => { if (shown) draw(context, size, i); }, { tabindex: i ? null : 0, "aria-label": i ? text : `${text}: click patches to mark them` });
    if (!i) {
      canvas.style.cursor = "crosshair";
      canvas.addEventListener("click", (event) => mark(patchAt(event, shown.grid)));
    }
    return h("figure", {}, canvas, h("figcaption", {}, h("b", {}, text), h("small")));
  }

  function mark(patch) {
    const marked = new Set(host.get("marked").split(",").filter(Boolean).map(Number));
    if (!marked.delete(patch)) marked.add(patch);
    host.set({ marked: [...marked].sort((a, b) => a - b).join() });
  }

  const labelsOf = (i) => shown.labels.subarray(i * shown.count, (i + 1) * shown.count);
  const maskOf = (i) => Uint8Array.from(labelsOf(i), (label) => Number(label > 0.5));

  function overlap(i) {
    const { masks } = shown.probe;
    if (!masks || !host.get("marked")) return NaN;
    const [, height, width] = masks.shape;
    return jaccard(onPixels(maskOf(i), shown.grid, height, width), masks.data.subarray(i * height * width, (i + 1) * height * width));
  }

  function draw(context, size, i) {
    const labels = labelsOf(i);
    drawPicture(context, size, picture(shown.probe.images, i));
    drawPatches(context, size, shown.grid, (n) => [230, 159, 0, 0.62 * labels[n]]);
    drawOutline(context, size, maskOf(i), shown.grid, { width: 1.6 });
  }

  /** A row an image: how much of it the mask is, and where the object is known, how well it covers that. */
  const rows = () => (shown && host.get("marked") ? Array.from({ length: shown.probe.images.shape[0] }, (_, i) => {
    const value = overlap(i);
    return { network: nameOf(host, name), image: i + 1, "patches of the mask": maskOf(i).reduce((a, b) => a + b, 0), "of patches": shown.count, "Jaccard with the object": Number.isNaN(value) ? "" : value };
  }) : []);

  return { element, name, show, fail, rows, shown: () => shown };
}
