// One network's side of the heads view: the image with the chosen heads over it, rollout, and the sheet of all heads.

import { h, number, percent } from "./dom.js";
import { changed, highNorm, reach, row, union } from "./looking.js";
import { entropy, jaccard, massMask, onPixels } from "./maps.js";
import { picker } from "./picker.js";
import { EVEN, SCALE } from "./shares.js";
import { sheet } from "./sheet.js";
import { nameOf } from "./sight.js";
import { drawOutline, drawPatches, drawPicture, picture, ramp, tile } from "./tiles.js";

export function headsPanel(host, name, view) {
  const title = h("h3"), status = h("p", { class: "hint", role: "status" }), numbers = h("p", { class: "hint numbers" }), words = h("p", { class: "sr-only", role: "status" });
  const sheetOf = sheet({ label: "Heads: rows are layers", choose });
  const stage = h("div", { class: "pair" },
    figure("image", "arrow keys move the patch that asks", drawImage), figure("heads", "the chosen heads", drawChosen), figure("rollout", "attention through all layers", drawRolled));
  const large = [...stage.querySelectorAll("canvas")];
  const content = h("div", { hidden: true }, stage, numbers, sheetOf);
  const element = h("section", { class: "side", "aria-label": "Heads of one network" }, title, status, content, words);
  let shown = null, maps = [], order = [], measured = [];

  function figure(kind, label, paintTile) {
    const canvas = tile((context, size) => { if (shown) paintTile(context, size); }, { "data-kind": kind, "aria-label": label });
    picker(canvas, host, () => shown?.grid);
    if (kind === "image") canvas.tabIndex = 0;
    return h("figure", { "data-kind": kind }, canvas, h("figcaption", {}, h("b"), h("small")));
  }

  function show({ tensors, said }, { tensors: probe }, image, before = null) {
    const [, height, width] = probe.images.shape;
    shown = {
      tensors, said, image, before, grid: [said.rows, said.columns], prefix: 1 + said.registers, pixels: [height, width],
      pictures: [picture(probe.images, image), picture(probe.images, image, true)],
      mask: probe.masks?.data.subarray(image * height * width, (image + 1) * height * width),
      // which layer each row of the sheet is
      layers: tensors.attention ? Array.from({ length: said.depth }, (_, i) => i) : [said.depth - 1],
    };
    content.hidden = false;
    status.textContent = tensors.attention ? "" : "At this step there is no checkpoint, only what the probe kept: the class token's attention in the last layer.";
    title.textContent = nameOf(host, name);
  }

  function fail(sentence) {
    shown = null;
    content.hidden = true;
    title.textContent = nameOf(host, name);
    status.textContent = sentence;
  }

  /** Token that asks: a patch where one is pointed at, else the class token or a register. */
  function asker() {
    const patch = host.get("patch");
    if (patch !== null && patch < shown.grid[0] * shown.grid[1]) return { token: shown.prefix + patch, patch, text: `patch ${patch + 1}` };
    const register = /^r(\d+)$/.exec(host.get("asks"))?.[1];
    return register && register <= shown.said.registers ? { token: Number(register), patch: null, text: `register ${register}` } : { token: 0, patch: null, text: "class token" };
  }

  /** A row a head of the token that asks, over the patches; null where only other layers' queries and keys are here. */
  function rowsOf({ token }, tensors = shown.tensors) {
    const { said, prefix, layers } = shown, heads = said.heads;
    if (!tensors.attention) return token ? [] : Array.from({ length: heads }, (_, i) => tensors.maps.data.subarray(i * tensors.maps.shape[1], (i + 1) * tensors.maps.shape[1]));
    const tokens = tensors.attention.shape[2];
    if (token === 0) return Array.from({ length: layers.length * heads }, (_, i) => tensors.attention.data.subarray(i * tokens + prefix, (i + 1) * tokens));
    const [queries, keys] = ["queries", "keys"].map((key) => ({ data: tensors[key].data, scale: tensors[`${key}_scale`].data }));
    return Array.from({ length: layers.length * heads }, (_, i) => {
      const at = said.layers.indexOf(Math.floor(i / heads));
      return at < 0 ? null : row(queries, keys, [tokens, tensors.keys.shape[3]], at * heads + (i % heads), token).subarray(prefix);
    });
  }

  function measure(map, patch) {
    if (!map) return null;
    const mask = massMask(map, host.get("mass"));
    return { mask, entropy: entropy(map), distance: reach(map, shown.grid[1], patch), sum: map.reduce((a, b) => a + b, 0),
      jaccard: shown.mask ? jaccard(onPixels(mask, shown.grid, ...shown.pixels), shown.mask) : NaN };
  }

  function paint() {
    if (!shown) return;
    const asked = asker(), sort = host.get("sort");
    maps = rowsOf(asked);
    const wanted = chosen();
    measured = maps.map((map, i) => (sort === "layer" && !wanted.includes(i) ? null : measure(map, asked.patch)));
    order = maps.map((_, i) => i);
    if (sort === "change") {
      const then = shown.before ? rowsOf(asked, shown.before) : [];
      measured.forEach((one, i) => { if (one && then[i]) one.change = changed(maps[i], then[i]); });
    }
    if (sort !== "layer") order.sort((a, b) => (["jaccard", "change"].includes(sort) ? -1 : 1) * ((measured[a]?.[sort] ?? Infinity) - (measured[b]?.[sort] ?? Infinity)) || a - b);
    sheetOf.at(Math.max(0, order.indexOf(wanted[0])));
    sheetOf.cells(order.map((i) => ({ text: label(i, sort), title: named(i), chosen: wanted.includes(i) })), shown.said.heads);
    sheetOf.draw((at) => scaled(maps[order[at]]), shown.grid);
    large.slice(0, 2).forEach((canvas) => canvas.paint());
  }

  /** Words, and rollout, in which the token that asks is only marked. */
  function rest() {
    if (!shown) return;
    captions(asker(), chosen());
    large[2].paint();
  }

  const scaled = (map) => map && { values: map, low: 0, high: SCALE / shown.grid[0] / shown.grid[1] };
  const named = (i) => `layer ${shown.layers[Math.floor(i / shown.said.heads)] + 1}, head ${(i % shown.said.heads) + 1}`;

  /** Rows are numbered by their layer; heads that stand elsewhere say where they are from. */
  function label(i, sort) {
    const layer = shown.layers[Math.floor(i / shown.said.heads)] + 1, head = i % shown.said.heads;
    return sort === "layer" ? (head ? "" : String(layer)) : `${layer}·${head + 1}`;
  }

  /** Chosen heads as indices of `maps`; by default the shared layer and head. */
  function chosen() {
    const { heads } = shown.said, first = shown.layers[0];
    const listed = host.get("heads").split(",").filter(Boolean).map((text) => text.split(".").map(Number)).map(([l, hd]) => (l - first) * heads + hd);
    const layer = host.get("layer") < 0 ? shown.layers.length - 1 : Math.max(0, shown.layers.indexOf(host.get("layer")));
    const found = listed.length ? listed : [layer * heads + Math.min(host.get("head") ?? 0, heads - 1)];
    return found.filter((i) => i >= 0 && i < maps.length);
  }

  function choose(at, add) {
    const i = order[at], { heads } = shown.said, layer = shown.layers[Math.floor(i / heads)], head = i % heads;
    const all = chosen();
    if (!add && !view.several) { host.set({ heads: "", layer: layer === shown.said.depth - 1 ? -1 : layer, head }); return; }
    const next = all.includes(i) && all.length > 1 ? all.filter((other) => other !== i) : [...new Set([...all, i])];
    host.set({ heads: next.map((n) => `${shown.layers[Math.floor(n / heads)]}.${n % heads}`).join() });
  }

  function captions(asked, wanted) {
    const [image, heads, rolled] = stage.children, say = (place, text) => { if (place.textContent !== text) place.textContent = text; };
    const put = (place, bold, small) => { say(place.querySelector("b"), bold); say(place.querySelector("small"), small); };
    put(image, `asked by: ${asked.text}`, asked.patch === null ? "point at a patch to ask it" : host.get("pinned") ? "pinned; Esc lets go" : "click to pin");
    const parts = wanted.map((i) => measured[i]).filter(Boolean), mass = percent(host.get("mass"), 0);
    if (!parts.length) {
      put(heads, wanted.length ? named(wanted[0]) : "", "this layer's queries and keys are not here: choose its head again to fetch them");
      numbers.textContent = words.textContent = "";
    } else {
      const mask = union(parts.map((part) => part.mask)), covered = mask.reduce((a, b) => a + b, 0);
      const overlap = shown.mask ? jaccard(onPixels(mask, shown.grid, ...shown.pixels), shown.mask) : NaN;
      put(heads, wanted.length > 1 ? `union of ${wanted.length} heads` : named(wanted[0]), `${mass} in ${covered} of ${mask.length} patches${shown.mask ? `, Jaccard ${overlap.toFixed(2)}` : ""}`);
      say(numbers, sentence(asked, wanted, parts));
      if (host.get("pinned") || asked.patch === null) words.textContent = `${nameOf(host, name)}, asked by ${asked.text}: ${numbers.textContent}`;
    }
    put(rolled, shown.tensors.rollout ? "rollout" : "", shown.tensors.rollout ? rolledWords(asked.token) : "needs a checkpoint");
  }

  function sentence({ patch }, wanted, parts) {
    const mean = (key) => parts.reduce((sum, part) => sum + part[key], 0) / parts.length;
    const { entropy: whole, distance: far } = shown.tensors, total = Math.log(shown.grid[0] * shown.grid[1]);
    const most = Math.max(...together(wanted.filter((i) => maps[i]))) * shown.grid[0] * shown.grid[1];
    const strongest = ` At most ${number(most, 2)} × an equal share on one patch${most < EVEN ? ": nearly even, so dark" : ""}.`;
    const own = `Entropy ${number(mean("entropy"))} of ${number(total)} nats; ${patch === null ? "spread about its centre" : "mean distance"} ${number(mean("distance"))} patches; ${percent(1 - mean("sum"), 0)} of the attention goes to the class token${shown.said.registers ? " and registers" : ""}.${strongest}`;
    const became = Number.isFinite(parts[0].change) ? ` ${percent(mean("change"), 0)} of the attention went elsewhere since the first checkpoint.` : "";
    const high = unusual(wanted), many = high?.reduce((a, b) => a + b, 0);
    const long = high ? ` ${many === 1 ? "1 patch of unusual length after this layer is" : `${many} patches of unusual length after this layer are`} outlined by dashes.` : "";
    if (!whole || wanted.length > 1) return own + became + long;
    return `${own}${became}${long} Over all patches as askers: entropy ${number(whole.data[wanted[0]])} nats, distance ${number(far.data[wanted[0]])} patches.`;
  }

  function drawImage(context, size) {
    drawPicture(context, size, shown.pictures[0]);
    if (shown.mask) drawOutline(context, size, shown.mask, shown.pixels, { colour: "#56b4e9", width: 1.4 });
    mark(context, size);
  }

  function drawChosen(context, size) {
    const wanted = chosen().filter((i) => maps[i]);
    drawPicture(context, size, shown.pictures[1]);
    if (!wanted.length) return;
    const mean = together(wanted), { low, high } = scaled(mean);
    drawPatches(context, size, shown.grid, ramp(mean, low, high, "magma", host.get("opacity")));
    drawOutline(context, size, union(wanted.map((i) => measured[i]?.mask ?? massMask(maps[i], host.get("mass")))), shown.grid, { width: 1.6 });
    if (shown.mask) drawOutline(context, size, shown.mask, shown.pixels, { colour: "#56b4e9", width: 1.4 });
    const long = unusual(wanted);
    if (long) drawOutline(context, size, long, shown.grid, { colour: "#e69f00", width: 1.8, dash: [3, 3] });
    mark(context, size);
  }

  /** The mean of some heads, which is what is drawn of several. */
  function together(some) {
    return Float32Array.from({ length: maps[some[0]].length }, (_, n) => some.reduce((sum, i) => sum + maps[i][n], 0) / some.length);
  }

  function drawRolled(context, size) {
    drawPicture(context, size, shown.pictures[1]);
    const { rollout } = shown.tensors, { token } = asker();
    if (!rollout || token >= rollout.shape[0]) return;
    const { map, low, high } = rolledOf(token);
    drawPatches(context, size, shown.grid, ramp(map, low, high, "magma", host.get("opacity")));
    mark(context, size);
  }

  /** Rollout of a token with where its colours begin and end: a patch keeps much of itself, so that the second largest is the brightest. */
  function rolledOf(token) {
    const { data, shape: [, tokens] } = shown.tensors.rollout, map = data.subarray(token * tokens + shown.prefix, (token + 1) * tokens);
    const sorted = Float32Array.from(map).sort();
    return { map, low: sorted[0], high: sorted.at(-2) ?? 1 };
  }

  function rolledWords(token) {
    if (token >= shown.tensors.rollout.shape[0]) return "here only for the class token";
    const { map, low, high } = rolledOf(token), shares = [low, high].map((value) => `${number(value * map.length, 2)}×`);
    return `attention multiplied through all layers, half past each; colours from ${shares.join(" to ")} an equal share`;
  }

  /** Patches of unusual length after the layer of the first chosen head; null where lengths are not known or none stands out. */
  function unusual(wanted) {
    const { norms } = shown.tensors;
    if (!norms || !wanted.length) return null;
    const tokens = norms.shape[1], at = shown.layers[Math.floor(wanted[0] / shown.said.heads)] + 1;
    const high = highNorm(norms.data.subarray(at * tokens + shown.prefix, (at + 1) * tokens), host.get("longer") ?? 2);
    return high.some(Boolean) ? high : null;
  }

  function mark(context, size) {
    const { patch } = asker();
    if (patch === null) return;
    const mask = new Uint8Array(shown.grid[0] * shown.grid[1]);
    mask[patch] = 1;
    drawOutline(context, size, mask, shown.grid, { width: 1.8 });
  }

  /** A row a head. */
  function rows() {
    if (!shown) return [];
    const asked = asker();
    return maps.map((map, i) => [map, i]).filter(([map]) => map).map(([map, i]) => {
      const { mask, entropy: nats, distance, sum, jaccard: overlap } = measure(map, asked.patch);
      return { network: nameOf(host, name), "asked by": asked.text, layer: shown.layers[Math.floor(i / shown.said.heads)] + 1, head: (i % shown.said.heads) + 1, "entropy (nats)": nats, "distance (patches)": distance,
        "share that goes to patches": sum, "most on one patch, in equal shares": Math.max(...map) * map.length, [`patches with ${percent(host.get("mass"), 0)} of it`]: mask.reduce((a, b) => a + b, 0), "Jaccard with the object": Number.isNaN(overlap) ? "" : overlap };
    });
  }

  return { element, name, show, fail, paint, rest, rows, say: (text) => { status.textContent = text; }, shown: () => shown };
}
