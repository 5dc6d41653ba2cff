/* view
{
  "page": "monitor",
  "place": 20,
  "half": true,
  "title": "What each head looks at",
  "shows": "Attention of the class token over one image, a tile a head. Bright squares weigh much in the summary of the image.",
  "look": "Untrained heads look everywhere alike. Later some find the object though nobody pointed it out. Attention is a weight, not an explanation.",
  "records": ["run/{run}/images", "run/{run}/probe/{step}/attention?layer={layer}"]
}
*/
// What each head looks at: the class token's attention over the patches of a probe image, at the checkpoint the clock shows,
// and below it one head through all of training.

import { bound, switched } from "./bound.js";
import { arrange, card, h, number, refill } from "./dom.js";
import { jaccard, massMask, onPixels } from "./maps.js";
import { columnsOf } from "./numbers.js";
import { SCALE, shareScale, strongest, whyDark } from "./shares.js";
import { drawOutline, drawPatches, drawPicture, forget, picture, ramp, strip, tile } from "./tiles.js";

const MASS = 0.6;
const FRAMES = 9; // of the film

export function mount(element, host) {
  host.keep({ drawn: "heat", outlined: 1, object: 0, tile: -1 });
  const layers = h("select", { "aria-label": "Layer", onchange: () => host.set({ layer: Number(layers.value) }) });
  const body = card(element, {
    ...host.about,
    data: () => ({ heads: columnsOf(rows()), weights: columnsOf(weights()) }),
    controls: [bound(host, "Drawn as", { heat: "heat", light: "spotlight" }, "drawn"), h("label", { class: "labelled" }, "layer ", layers)],
  });
  const images = strip(host);
  const tiles = h("div", { class: "tiles" });
  const film = h("div", { class: "film" }), filmTitle = h("h3", { class: "film-head" });
  const status = h("p", { class: "hint", role: "status" });
  const object = switched(host, "object", "object", "Outline the object that the data know of; the network never sees it");
  body.append(images, h("div", { class: "controls under" },
    switched(host, "60 % of the attention", "outlined", "Outline the fewest patches that hold 60 % of the attention, the rule of the DINO paper's figure"), object,
    shareScale()), tiles, status, filmTitle, film);
  host.on(["stop", "image", "layer", "run"], load);
  host.on(["drawn", "outlined", "object", "tile"], () => { if (!shown) return; paint(); fillFilm(); });
  host.on("data", () => { if (!shown) load(); else fillFilm(); });
  const frames = { of: null, at: new Map() };
  let shown = null, asked = 0, wanted = "";

  async function load() {
    const track = host.run(), stop = host.stop();
    if (!track || stop === null) {
      asked++; // what is under way is of another run
      shown = null;
      [wanted, frames.of] = ["", null];
      for (const place of [tiles, film, filmTitle]) { forget(place); place.replaceChildren(); delete place.dataset.key; }
      status.textContent = track ? "The first pictures come with the first checkpoint." : "";
      return;
    }
    offerLayers(track.head);
    const key = `${host.get("run")} ${stop} ${host.get("layer")} ${host.get("image")}`;
    if (key === wanted && shown) return; // asked already: that answer is not to be thrown away
    const now = ++asked;
    wanted = key;
    const slow = setTimeout(() => { if (now === asked) status.textContent = "A worker computes this layer from the checkpoint …"; }, 400);
    try {
      const [maps, probe] = await Promise.all([host.tensors(path(stop)), host.tensors("images")]);
      if (now !== asked) return;
      status.textContent = "";
      show(maps, probe, track.head);
      fillFilm();
    } catch (error) {
      if (now !== asked) return;
      wanted = "";
      status.textContent = error.message;
    } finally {
      clearTimeout(slow);
    }
  }

  const path = (stop) => `probe/${stop}/attention?layer=${host.get("layer")}`;

  function offerLayers(head) {
    const depth = head.depth ?? 1;
    refill(layers, String(depth), () => Array.from({ length: depth }, (_, i) =>
      h("option", { value: i === depth - 1 ? -1 : i }, i === depth - 1 ? `${i + 1} (last)` : String(i + 1))));
    layers.value = String(host.get("layer"));
  }

  /** The maps of one image, a head each, and their mean. */
  function mapsOf({ attention: { shape: [count, heads, patches], data } }) {
    const index = Math.min(host.get("image"), count - 1);
    const maps = Array.from({ length: heads }, (_, i) => data.subarray((index * heads + i) * patches, (index * heads + i + 1) * patches));
    return heads > 1 ? [...maps, Float32Array.from({ length: patches }, (_, n) => maps.reduce((sum, map) => sum + map[n], 0) / heads)] : maps;
  }

  function show({ tensors, said }, { tensors: probe }, head) {
    const [count, heads] = tensors.attention.shape;
    const index = Math.min(host.get("image"), count - 1);
    images.fill(probe.images, probe.labels, head.classes);
    object.hidden = !probe.masks;
    const [, height, width] = probe.images.shape;
    shown = {
      image: index, grid: [said.rows, said.columns], maps: mapsOf(tensors), heads, pixels: [height, width],
      mask: probe.masks?.data.subarray(index * height * width, (index + 1) * height * width),
      pictures: [picture(probe.images, index), picture(probe.images, index, true)],
    };
    paint();
  }

  function paint() {
    if (!shown) return;
    const key = String(shown.maps.length);
    if (tiles.dataset.key !== key) {
      forget(tiles);
      refill(tiles, key, () => [h("figure", {}, tile((context, size) => draw(context, size, null)), h("figcaption", {}, h("b", {}, "image"))), ...shown.maps.map((_, i) => figure(i))]);
    }
    tiles.querySelectorAll("canvas").forEach((canvas) => canvas.paint());
    paintFilm();
    status.textContent = whyDark(shown.maps, shown.maps.map((_, i) => named(i)));
    shown.maps.forEach((map, i) => {
      const place = tiles.children[i + 1], words = caption(map, i);
      place.dataset.chosen = String(i === head());
      place.querySelector("button").setAttribute("aria-label", `${words.join(", ")}; show it through training`);
      place.querySelectorAll("b, small").forEach((part, n) => { if (part.textContent !== words[n]) part.textContent = words[n] ?? ""; });
    });
  }

  function figure(i) {
    return h("figure", {}, h("button", { type: "button", class: "head-tile", onclick: () => host.set({ tile: i === shown.maps.length - 1 ? -1 : i }) }, tile((context, size) => draw(context, size, shown.maps[i], host.get("outlined")))),
      h("figcaption", {}, h("b"), h("small"), h("small")));
  }

  /** The chosen tile; without a choice the mean of the heads, which stands last. */
  const head = () => (shown.maps[host.get("tile")] ? host.get("tile") : shown.maps.length - 1);
  const named = (i) => (i < shown.heads ? `head ${i + 1}` : "mean of heads");

  function caption(map, i) {
    const mask = massMask(map, MASS);
    const count = mask.reduce((a, b) => a + b, 0);
    return [named(i), `60 % in ${count} of ${map.length}`, shown.mask ? `Jaccard ${jaccard(onPixels(mask, shown.grid, ...shown.pixels), shown.mask).toFixed(2)}` : ""];
  }

  const overlap = (map) => (shown.mask ? jaccard(onPixels(massMask(map, MASS), shown.grid, ...shown.pixels), shown.mask) : "");
  const rows = () => (shown?.maps ?? []).map((map, i) => ({ head: named(i), "patches with 60 % of the attention": massMask(map, MASS).reduce((a, b) => a + b, 0), "of patches": map.length,
    "most on one patch, in equal shares": strongest(map), "Jaccard with the object": overlap(map) }));
  const weights = () => (shown?.maps ?? []).flatMap((map, i) => [...map].map((share, n) => ({ head: named(i), row: 1 + Math.floor(n / shown.grid[1]), column: 1 + (n % shown.grid[1]), "share of the attention": share })));

  function draw(context, size, map, outline = false) {
    if (!shown) return;
    drawPicture(context, size, shown.pictures[map && host.get("drawn") === "heat" ? 1 : 0]);
    if (map) {
      const equal = map.reduce((a, b) => a + b, 0) / map.length;
      if (host.get("drawn") === "heat") drawPatches(context, size, shown.grid, ramp(map, 0, SCALE * equal, "magma", 0.8));
      else drawPatches(context, size, shown.grid, (n) => [8, 10, 14, 0.9 * (1 - Math.min(map[n] / (SCALE * 0.5 * equal), 1))]);
      if (outline) drawOutline(context, size, massMask(map, MASS), shown.grid, { width: 1.6 });
    }
    if (host.get("object") && shown.mask) drawOutline(context, size, shown.mask, shown.pixels, { colour: "#56b4e9", width: 1.6 });
  }

  /** The place of a checkpoint in the film, the same for as long as it is there. */
  function frame(stop) {
    if (frames.at.has(stop)) return frames.at.get(stop);
    let maps = null;
    const canvas = tile((context, size) => {
      if (maps && shown) draw(context, size, mapsOf(maps)[head()]);
      else host.tensors(path(stop)).then(({ tensors }) => { maps = tensors; canvas.paint(); }).catch(() => {});
    }, { "aria-hidden": "true" });
    const button = h("button", { type: "button", class: "head-tile", "data-stop": stop, title: `Go to step ${number(stop)}`, onclick: () => host.seek(stop) }, canvas, h("small", {}, number(stop)));
    frames.at.set(stop, button);
    return button;
  }

  /** The chosen head at a few checkpoints spread by ratio; each fetched when it is drawn. */
  function fillFilm() {
    const stops = spread(host.stops(), FRAMES);
    const last = host.get("layer") === -1; // other layers are computed on demand, not nine at a time
    filmTitle.hidden = film.hidden = stops.length < 3 || !last || !shown;
    if (filmTitle.hidden) return;
    const title = `${named(head())} through training`;
    if (filmTitle.textContent !== title) filmTitle.textContent = title;
    const key = `${host.get("run")} ${stops.join()}`;
    if (film.dataset.key !== key) {
      film.dataset.key = key;
      film.style.setProperty("--stops", stops.length);
      if (frames.of !== host.get("run")) Object.assign(frames, { of: host.get("run"), at: new Map() });
      for (const [stop, button] of frames.at) if (!stops.includes(stop)) { forget(button); frames.at.delete(stop); }
      arrange(film, stops.map(frame));
    }
    [...film.children].forEach((button) => button.setAttribute("aria-current", Number(button.dataset.stop) === host.stop() ? "true" : "false"));
    paintFilm();
  }

  /** Only when something else than the clock has changed: it shows all checkpoints at any. */
  function paintFilm() {
    const key = [film.dataset.key, shown.image, head(), host.get("drawn"), host.get("object")].join();
    if (film.dataset.painted === key) return;
    film.dataset.painted = key;
    film.querySelectorAll("canvas").forEach((canvas) => canvas.paint());
  }
}

/** At most `count` of the steps, dense at first; the first and the last are always there (lab.analysis.curves.log_spaced). */
export function spread(steps, count) {
  if (steps.length <= count) return steps;
  const [from, to] = [steps[0], steps.at(-1)];
  const wanted = Array.from({ length: count }, (_, i) => from - 1 + (to - from + 1) ** (i / (count - 1)));
  const nearest = wanted.map((step) => steps.reduce((best, other) => (Math.abs(other - step) < Math.abs(best - step) ? other : best)));
  return [...new Set([from, ...nearest, to])];
}
