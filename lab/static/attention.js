// What each head looks at: the class token's attention over the patches of a probe image, at the checkpoint the clock shows.

import { card, choice, h, number, percent, refill, toggle } from "./dom.js";
import { RAMP_CSS, jaccard, massMask, onPixels } from "./maps.js";
import { drawOutline, drawPatches, drawPicture, forget, picture, ramp, strip, tile } from "./tiles.js";

const SCALE = 6; // the brightest colour is this many times an equal share
const MASS = 0.6;

export function mount(element, host) {
  const view = { style: "heat", outline: true, object: false };
  const layers = h("select", { "aria-label": "Layer", onchange: () => host.set({ layer: Number(layers.value) }) });
  const body = card(element, {
    title: "What each head looks at",
    shows: "Attention of the class token over one image, a tile a head. Bright squares weigh much in the summary of the image.",
    look: "Untrained heads look everywhere alike. Later some outline the object though nobody pointed it out. Attention is a weight, not an explanation.",
    controls: [choice("Drawn as", { heat: "heat", light: "spotlight" }, view.style, (style) => { view.style = style; paint(); }), h("label", { class: "labelled" }, "layer ", layers)],
  });
  const images = strip(host);
  const tiles = h("div", { class: "tiles" });
  const status = h("p", { class: "hint", role: "status" });
  const object = toggle("object", view.object, (on) => { view.object = on; paint(); }, "Outline the object that the data know of; the network never sees it");
  body.append(images, h("div", { class: "controls under" },
    toggle("60 % of the attention", view.outline, (on) => { view.outline = on; paint(); }, "Outline the fewest patches that hold 60 % of the attention, the rule of the DINO paper's figure"), object,
    h("span", { class: "scale" }, "0", h("i", { style: `background:${RAMP_CSS.magma}` }), `${SCALE}× an equal share`)), tiles, status);
  host.on(["stop", "image", "layer", "run"], load);
  host.on("data", () => { if (!shown) load(); });
  let shown = null, asked = 0, wanted = "";

  async function load() {
    const track = host.run(), stop = host.stop();
    if (!track || stop === null) {
      shown = null;
      tiles.replaceChildren();
      status.textContent = track ? "The first pictures come with the first checkpoint." : "";
      return;
    }
    offerLayers(track.head);
    const layer = host.get("layer"), now = ++asked;
    const key = `${host.get("run")} ${stop} ${layer} ${host.get("image")}`;
    if (key === wanted && shown) return;
    wanted = key;
    const slow = setTimeout(() => { if (now === asked) status.textContent = "A worker computes this layer from the checkpoint …"; }, 250);
    try {
      const [maps, probe] = await Promise.all([host.tensors(`probe/${stop}/attention?layer=${layer}`), host.tensors("images")]);
      if (now !== asked) return;
      status.textContent = "";
      show(maps, probe, track.head);
    } catch (error) {
      if (now !== asked) return;
      wanted = "";
      status.textContent = error.message;
      if (!shown) tiles.replaceChildren();
    } finally {
      clearTimeout(slow);
    }
  }

  function offerLayers(head) {
    const depth = head.depth ?? 1;
    refill(layers, String(depth), () => Array.from({ length: depth }, (_, i) =>
      h("option", { value: i === depth - 1 ? -1 : i }, i === depth - 1 ? `${i + 1} (last)` : String(i + 1))));
    layers.value = String(host.get("layer"));
  }

  function show({ tensors: { attention }, said }, { tensors: probe }, head) {
    const [count, heads, patches] = attention.shape;
    const index = Math.min(host.get("image"), count - 1);
    images.fill(probe.images, probe.labels, head.classes);
    object.hidden = !probe.masks;
    const grid = [said.rows, said.columns], [, height, width] = probe.images.shape;
    const mask = probe.masks?.data.subarray(index * height * width, (index + 1) * height * width);
    const maps = Array.from({ length: heads }, (_, h) => attention.data.subarray((index * heads + h) * patches, (index * heads + h + 1) * patches));
    const mean = Float32Array.from({ length: patches }, (_, n) => maps.reduce((sum, map) => sum + map[n], 0) / heads);
    shown = { grid, mask, maps: [...maps, ...(heads > 1 ? [mean] : [])], heads, pictures: [picture(probe.images, index), picture(probe.images, index, true)], pixels: [height, width], step: said.step };
    paint();
  }

  function paint() {
    if (!shown) return;
    const key = `${shown.maps.length}`;
    if (tiles.dataset.key !== key) {
      forget(tiles);
      refill(tiles, key, () => [figure(null), ...shown.maps.map((_, i) => figure(i))]);
    }
    [...tiles.children].forEach((place, i) => {
      place.querySelector("canvas").paint();
      const words = i ? caption(i - 1) : ["image", shown.mask ? "as the network sees it" : ""];
      const [name, value] = place.querySelectorAll("b, small");
      if (name.textContent !== words[0]) name.textContent = words[0];
      if (value.textContent !== words[1]) value.textContent = words[1];
      place.querySelector("canvas").setAttribute("aria-label", words.join(": "));
    });
  }

  function figure(head) {
    return h("figure", {}, tile((context, size) => draw(context, size, head)), h("figcaption", {}, h("b"), h("small")));
  }

  function caption(i) {
    const map = shown.maps[i], mask = massMask(map, MASS);
    const count = mask.reduce((a, b) => a + b, 0);
    const overlap = shown.mask ? ` · Jaccard ${number(jaccard(onPixels(mask, shown.grid, ...shown.pixels), shown.mask), 2)}` : "";
    return [i < shown.heads ? `head ${i + 1}` : "mean of heads", `60 % on ${percent(count / map.length, 0)} of patches${overlap}`];
  }

  function draw(context, size, i) {
    if (!shown) return;
    drawPicture(context, size, shown.pictures[i !== null && view.style === "heat" ? 1 : 0]);
    if (i !== null) {
      const map = shown.maps[i], equal = map.reduce((a, b) => a + b, 0) / map.length;
      if (view.style === "heat") drawPatches(context, size, shown.grid, ramp(map, 0, SCALE * equal, "magma", 0.82));
      else drawPatches(context, size, shown.grid, (n) => [8, 10, 14, 0.9 * (1 - Math.min(map[n] / (SCALE * 0.5 * equal), 1))]);
      if (view.outline) drawOutline(context, size, massMask(map, MASS), shown.grid, { colour: "#fff", width: 1.6 });
    }
    if (view.object && shown.mask) drawOutline(context, size, shown.mask, shown.pixels, { colour: "#56b4e9", width: 1.6 });
  }
}
