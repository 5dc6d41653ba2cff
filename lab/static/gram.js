/* view
{
  "page": "gram",
  "place": 10,
  "title": "The Gram matrix of one image",
  "shows": "How alike any two patches of an image are: now, at an earlier checkpoint taken as the anchor, and the difference. Rows and columns are the same patches in the same order.",
  "look": "Bright blocks are parts. Dense decay blurs them: the matrix turns evenly bright and the difference orange. Point at a patch or at a row: its map lights up, in every picture.",
  "needs": "probes with patch features",
  "records": ["sight/images?images={images}", "sight/features?source={source}&images={images}"]
}
*/
// Gram matrices and patch maps of the network now, of an anchor, and their difference: derived here from eight-bit features.

import { bound } from "./bound.js";
import { card, h, number, offer, refill } from "./dom.js";
import { RAMP_CSS } from "./maps.js";
import { gramBinned, gramChanged, gramOrder, gramRow, overall, rowsOf } from "./matrices.js";
import { columnsOf } from "./numbers.js";
import { LOOKED_AT, ahead, imagesOf, keepSight, latest, nameOf, pictures, sourceOf } from "./sight.js";
import { drawOutline, drawPatches, drawPicture, forget, inTurn, patchAt, picture, ramp, strip, tile } from "./tiles.js";

const BINS = 256; // rows of a drawn matrix; with more patches each row is the mean of neighbours in the order
const AT_ONCE = 300; // patches up to which "how much each changed" is worked out before painting
const KNOWN = 6000; // patches of all checkpoints, some 8 KB each, whose matrices are kept: those of a small image through 30 checkpoints
const EARLY = 0.95; // of the best dense quality: the first checkpoint that has it is offered as anchor
const KINDS = { now: "now", anchor: "anchor", difference: "now − anchor" };

export function mount(element, host) {
  keepSight(host).keep({ anchor: null, gramOrder: "groups" });
  const anchors = h("select", { "aria-label": "Anchor checkpoint", onchange: () => host.set({ anchor: anchors.value }) });
  const body = card(element, {
    ...host.about,
    data: () => ({ patches: columnsOf([...first.rows(), ...second.rows()]) }),
    controls: [bound(host, "Order", { groups: "by likeness", raster: "by place" }, "gramOrder"),
      h("label", { class: "labelled" }, "anchor ", anchors)],
  });
  const images = strip(host, "Images"), status = h("p", { class: "hint", role: "status" }), why = h("p", { class: "hint" });
  const scales = h("div", { class: "controls under" }, why,
    h("span", { class: "scale" }, "cosine 0", h("i", { style: `background:${RAMP_CSS.cividis}` }), "1"),
    h("span", { class: "scale" }, "difference −0.6", h("i", { style: `background:${RAMP_CSS.balance}` }), "0.6"));
  const first = side(host, false), second = side(host, true);
  body.append(images, scales, first.element, second.element, status);
  let shownImages = null, classes = null;
  const load = latest(host, fetchAll), paint = inTurn(body, () => {
    if (shownImages) images.fill(shownImages.images, shownImages.labels, classes);
    first.paint();
    second.paint();
  });
  host.on([...LOOKED_AT, "anchor"], load);
  host.on(["image", "patch", "gramOrder", "pinned"], paint);
  host.on("data", () => { if (!first.ready() || (beside(host) !== null) !== second.ready()) load(); });
  load();

  async function fetchAll(current) {
    const track = host.run(), stop = host.stop();
    if (!sourceOf(host)) {
      first.clear();
      second.clear();
      status.textContent = track ? "The first pictures come with the first probes." : "";
      return;
    }
    const [anchor, reason] = track && stop !== null ? anchorOf(host, track) : [null, "Without a run there is no earlier checkpoint to hold a network against."];
    offerAnchors(host.stops(), anchor);
    why.textContent = reason;
    try {
      const found = await pictures(host), other = beside(host);
      if (!current()) return;
      shownImages = found.tensors;
      classes = host.get("images") ? null : track?.head.classes;
      const problems = await Promise.all([looked(first, host.get("source"), anchor, current), other === null ? second.clear() : looked(second, other, anchor, current)]);
      if (!current()) return;
      status.textContent = problems.filter(Boolean).join(" ");
      paint();
      if (!problems[0]) ahead(host, "features", host.get("source"));
    } catch (error) {
      if (!current()) return;
      first.clear();
      second.clear();
      status.textContent = error.message;
    }
  }

  /** Show one network against its anchor; a sentence where that can't be. */
  async function looked(place, name, anchor, current) {
    const slow = setTimeout(() => { if (current()) status.textContent = "A worker looks through this network …"; }, 500);
    try {
      const source = sourceOf(host, name), against = anchorFor(host, source, name, anchor), images = imagesFor(host, source);
      if (!source) throw new Error("There is no such network at this step.");
      const [now, then, shown] = await Promise.all([features(source, images), against ? features(against, images) : null, host.kept(`sight/images?images=${encodeURIComponent(images)}`)]);
      if (!current()) return "";
      const title = source.startsWith("run:") && against ? `${labelOf(host, source)}: step ${number(stepOf(source))} against its step ${number(stepOf(against))}` : `${nameOf(host, name)}${against ? ` against ${labelOf(host, against)} at step ${number(stepOf(against))}` : ""}`;
      place.show({ now: now.tensors, then: then?.tensors ?? null, grid: [now.said.rows, now.said.columns], title, key: `${source} ${against} ${images} ${host.get("size")}`, images: shown.tensors });
      return "";
    } catch (error) {
      if (!current()) return "";
      place.clear();
      return error.message.includes("did not keep the student") ? "This run kept the teacher's features only: there is no student to show here." : error.message;
    } finally {
      clearTimeout(slow);
    }
  }

  function features(source, images) {
    const size = host.get("size");
    return host.kept(`sight/features?source=${encodeURIComponent(source)}&images=${encodeURIComponent(images)}${size ? `&size=${size}` : ""}`);
  }

  function offerAnchors(stops, anchor) {
    offer(anchors, stops.map((stop) => [stop, `step ${number(stop)}`]));
    anchors.parentElement.hidden = anchor === null;
    anchors.value = String(anchor);
  }

}

/** The network beside the first: the one that is chosen, else the run that is laid over this one; null for none. */
const beside = (host) => host.get("against") || (host.overlay()?.head.probes.length ? "overlay" : null);

const stepOf = (source) => (source ? Number(source.split(":")[2]) : null);

/** What a run's network at a step is called, without the step. */
function labelOf(host, source) {
  const [, run, , network] = source.split(":");
  return `${host.runs()?.find(({ id }) => id === run)?.name ?? "run"}${network === "student" ? ", student" : ""}`;
}

/** The network that one is held against: its own run's teacher at the anchor, or, of a model, the chosen run's; null for none. */
function anchorFor(host, source, name, anchor) {
  if (!source || anchor === null) return null;
  const run = source.startsWith("run:") ? source.split(":")[1] : host.get("run");
  const { probes, checkpoints } = (name === "overlay" ? host.overlay() : host.run()).head;
  const stops = host.get("images") || host.get("size") ? checkpoints : probes; // other images need a network that was kept
  const before = stops.findLast((stop) => stop <= anchor) ?? stops[0];
  return before === undefined ? null : `run:${run}:${before}:teacher`;
}

/** The images that are chosen; else each run's own probe images. */
const imagesFor = (host, source) => (host.get("images") || !source?.startsWith("run:") ? imagesOf(host) : `probe:${source.split(":")[1]}`);

/** The chosen anchor, or the one that this run's training suggests, and why. */
export function anchorOf(host, track) {
  const stops = host.stops(), chosen = Number(host.get("anchor") ?? NaN);
  if (stops.includes(chosen)) return [chosen, ""];
  const nearest = (step) => stops.findLast((stop) => stop <= step) ?? stops[0];
  const phase = track.events.find((event) => event.event === "phase" && event.index > 0 && JSON.stringify(event.changed ?? {}).includes("gram"));
  if (phase) return [nearest(phase.step), `Anchor: the step at which Gram anchoring began (${phase.name}).`];
  const run = host.get("run"), known = suggested.get(run);
  if (known && stops.includes(known[0])) return known;
  const found = suggestion(stops, track, nearest);
  if (stops.length >= SETTLED) suggested.set(run, found);
  return found;
}

const SETTLED = 5; // stops from which on a suggestion stays: whoever compares with it is not to have it moved by the next checkpoint
const suggested = new Map(); // run → anchor and reason

function suggestion(stops, track, nearest) {
  const dense = track.curves.pca_iou, best = Math.max(...(dense?.y ?? []).filter(Number.isFinite));
  const early = dense?.y.findIndex((y) => y !== null && y >= EARLY * best) ?? -1;
  if (early >= 0) return [nearest(dense.x[early]), `Anchor: the first checkpoint whose first component found objects within ${100 - 100 * EARLY} % of the best; choose any other.`];
  return [stops[Math.floor(stops.length / 2)], "Anchor: the checkpoint in the middle of training; choose any other."];
}

/** Pictures and matrices of one run. */
function side(host, isSecond) {
  const head = h("h3", { class: "film-head" }), pictures = h("div", { class: "gram-row" }), matrices = h("div", { class: "gram-row" });
  const numbers = h("p", { class: "hint", role: "status" }), readout = h("p", { class: "hint gram-readout" });
  const element = h("section", { class: "gram-side", hidden: true, "aria-label": isSecond ? "Second network" : "Chosen network" }, head, pictures, matrices, readout, numbers);
  const known = new Map(); // what was derived of the last checkpoints: scrubbing finds it here
  let shown = null, derived = null, hovered = null;

  const image = () => Math.min(host.get("image"), shown.images.images.shape[0] - 1, shown.now.patches.shape[0] - 1);

  /** Everything that depends on image and checkpoint, kept until one of them changes. */
  function derive() {
    const key = `${shown.key} ${image()} ${host.get("gramOrder")}`;
    if (derived?.key === key) return derived;
    if (known.has(key)) return (derived = known.get(key));
    const rows = (t) => [rowsOf(t.patches.data, t.patches.shape, image()), t.patches.shape[2]];
    const [now, width] = rows(shown.now), [then, thenWidth] = shown.then ? rows(shown.then) : [null, 0];
    const count = now.length / width, same = then !== null && count === then.length / thenWidth;
    const order = host.get("gramOrder") === "raster" ? Int32Array.from({ length: count }, (_, n) => n) : same ? gramOrder(then, thenWidth) : gramOrder(now, width);
    const bins = Math.min(BINS, count);
    derived = { key, now, width, then, thenWidth, count, same, order, bins, place: Int32Array.from(order), matrix: { now: gramBinned(now, width, order, bins) }, changed: null };
    known.set(key, derived);
    while (known.size * count > KNOWN && known.size > 1) known.delete(known.keys().next().value);
    order.forEach((patch, at) => { derived.place[patch] = Math.floor((at * bins) / count); });
    if (same) {
      derived.matrix.anchor = gramBinned(then, thenWidth, order, bins);
      derived.matrix.difference = derived.matrix.now.map((value, i) => value - derived.matrix.anchor[i]);
      const own = derived, work = () => { Object.assign(own, { changed: gramChanged(now, width, then, thenWidth), words: null }); };
      if (count <= AT_ONCE) work();
      else setTimeout(() => { work(); if (derived === own) paint(); }, 120);
    }
    return derived;
  }

  /** Cosines to the chosen patch; nothing chosen: nothing. */
  function maps() {
    const patch = host.get("patch"), d = derive();
    if (patch === null || patch >= d.count) return {};
    if (d.mapsOf === patch) return d.maps;
    const now = gramRow(d.now, d.width, patch), anchor = d.same ? gramRow(d.then, d.thenWidth, patch) : null;
    d.mapsOf = patch;
    d.maps = { now, anchor, difference: anchor && now.map((value, n) => value - anchor[n]) };
    return d.maps;
  }

  function build() {
    refill(pictures, "made", () => [
      big("image", "image", (context, size) => drawPicture(context, size, picture(shown.images.images, image()))),
      ...Object.entries(KINDS).map(([kind, word]) => big(kind, word, (context, size) => patchMap(context, size, kind)))]);
    refill(matrices, "made", () => [
      big("changed", "how much each patch changed", (context, size) => changedMap(context, size)),
      ...Object.entries(KINDS).map(([kind, word]) => square(kind, word))]);
  }

  const colours = (values, kind, alpha = 1) => (kind === "difference" ? ramp(values, -0.6, 0.6, "balance", alpha) : ramp(values, 0, 1, "cividis", alpha));

  function patchMap(context, size, kind) {
    drawPicture(context, size, picture(shown.images.images, image(), true));
    const values = maps()[kind];
    if (values) drawPatches(context, size, shown.grid, colours(values, kind, 0.9));
    marks(context, size);
  }

  function changedMap(context, size) {
    drawPicture(context, size, picture(shown.images.images, image(), true));
    const { changed } = derive();
    if (changed) drawPatches(context, size, shown.grid, ramp(changed, 0, 0.6, "magma", 0.85));
    marks(context, size);
  }

  function marks(context, size) {
    const outline = (patch, colour, dash) => {
      if (patch === null || patch >= derived.count) return;
      const mask = new Uint8Array(derived.count);
      mask[patch] = 1;
      drawOutline(context, size, mask, shown.grid, { colour, width: 1.8, dash });
    };
    outline(host.get("patch"), "#fff");
    outline(hovered, "#56b4e9", [3, 2]);
  }

  function drawMatrix(context, size, kind) {
    const d = derive(), values = d.matrix[kind];
    if (!values) return;
    d.drawn ??= {};
    d.drawn[kind] ??= drawnOnce(values, d.bins, colours(values, kind));
    context.imageSmoothingEnabled = false;
    context.drawImage(d.drawn[kind], 0, 0, size, size);
    const patch = host.get("patch");
    if (patch === null || patch >= d.count) return;
    const cell = size / d.bins, at = d.place[patch] * cell;
    context.strokeStyle = kind === "difference" ? "rgba(0, 0, 0, .8)" : "rgba(255, 255, 255, .9)";
    context.lineWidth = Math.max(1, size / 260);
    context.strokeRect(0, at, size, Math.max(cell, 1));
    context.strokeRect(at, 0, Math.max(cell, 1), size);
  }

  function big(kind, word, paintTile) {
    const canvas = tile((context, size) => { if (shown) { derive(); paintTile(context, size); } }, { tabindex: kind === "image" ? 0 : null, "data-kind": kind, "aria-label": `${word}; arrow keys choose a patch` });
    choosePatch(canvas, host, () => shown?.grid);
    return h("figure", { "data-kind": kind }, canvas, h("figcaption", {}, h("b", {}, word)));
  }

  function square(kind, word) {
    const canvas = tile((context, size) => { if (shown) drawMatrix(context, size, kind); }, { "data-matrix": kind, "aria-label": `Gram matrix, ${word}` });
    const at = (event) => {
      const box = canvas.getBoundingClientRect(), d = derive();
      const bin = (share) => Math.min(Math.max(Math.floor(share * d.bins), 0), d.bins - 1);
      const patch = (b) => d.order[Math.min(Math.ceil((b * d.count) / d.bins), d.count - 1)];
      return [patch(bin((event.clientY - box.top) / box.height)), patch(bin((event.clientX - box.left) / box.width))];
    };
    canvas.addEventListener("pointermove", (event) => {
      const [row, column] = at(event);
      hovered = column;
      if (!host.get("pinned")) host.set({ patch: row });
      tell(host.get("pinned") ? host.get("patch") : row, column);
      paint();
    });
    canvas.addEventListener("pointerleave", () => { hovered = null; readout.textContent = ""; if (!host.get("pinned")) host.set({ patch: null }); paint(); });
    canvas.addEventListener("click", (event) => {
      const [row] = at(event), same = host.get("pinned") && host.get("patch") === row;
      host.set({ patch: row, pinned: !same });
    });
    return h("figure", { "data-kind": `matrix-${kind}` }, canvas, h("figcaption", {}, h("b", {}, `matrix, ${word}`)));
  }

  function tell(row, column) {
    const { now, anchor } = maps();
    if (!now) return;
    readout.textContent = `patches ${row + 1} and ${column + 1}: cosine ${number(now[column], 2)} now${anchor ? `, ${number(anchor[column], 2)} at the anchor` : ""}`;
  }

  function paint() {
    if (!shown) return;
    build();
    const d = derive();
    for (const kind of ["anchor", "difference", "changed", "matrix-anchor", "matrix-difference"]) element.querySelector(`[data-kind=${kind}]`).hidden = !d.same;
    element.querySelectorAll("canvas").forEach((canvas) => canvas.paint());
    if (head.textContent !== shown.title) head.textContent = shown.title;
    d.words ??= !d.same ? `Image ${image() + 1}, ${d.count} patches: mean cosine ${number(mean(d.matrix.now), 3)}. ${shown.then ? "What it is held against cuts the image into other patches, so the matrices can't be compared; another number of pixels may fit." : ""}`
      : `Image ${image() + 1}, ${d.count} patches${d.bins < d.count ? ` (drawn as ${d.bins} rows, each a mean)` : ""}: distance of the matrices ${d.changed ? number(overall(d.changed), 3) : "…"} (root mean square), mean cosine ${number(mean(d.matrix.now), 3)} now and ${number(mean(d.matrix.anchor), 3)} at the anchor.`;
    if (numbers.textContent !== d.words) numbers.textContent = d.words;
  }

  /** A row a patch: how much it changed, and its cosine to the chosen one. */
  function rows() {
    if (!shown) return [];
    const d = derive(), { now, anchor } = maps(), to = host.get("patch");
    return Array.from({ length: d.count }, (_, n) => ({ network: shown.title, patch: n + 1, row: 1 + Math.floor(n / shown.grid[1]), column: 1 + (n % shown.grid[1]), ...(d.changed ? { "how much it changed": d.changed[n] } : {}),
      ...(now ? { [`cosine to patch ${to + 1} now`]: now[n] } : {}), ...(anchor ? { "at the anchor": anchor[n] } : {}) }));
  }

  const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

  return {
    element, paint, rows, ready: () => shown !== null,
    show(next) { shown = next; element.hidden = false; build(); },
    clear() { shown = derived = null; known.clear(); element.hidden = true; [pictures, matrices].forEach((place) => { forget(place); place.replaceChildren(); delete place.dataset.key; }); },
  };
}

/** A matrix as a canvas of its own size, so that pointing at it draws no entry again. */
function drawnOnce(values, bins, colour) {
  const canvas = h("canvas", { width: bins, height: bins });
  drawPatches(canvas.getContext("2d"), bins, [bins, bins], colour);
  return canvas;
}

/** Pointer and arrow keys on a picture choose the patch that all pictures mark. */
export function choosePatch(canvas, host, grid) {
  canvas.style.cursor = "crosshair";
  canvas.addEventListener("pointermove", (event) => { if (!host.get("pinned") && grid()) host.set({ patch: patchAt(event, grid()) }); });
  canvas.addEventListener("pointerleave", () => { if (!host.get("pinned")) host.set({ patch: null }); });
  canvas.addEventListener("click", (event) => {
    const patch = patchAt(event, grid()), same = host.get("pinned") && host.get("patch") === patch;
    host.set({ patch, pinned: !same });
  });
  canvas.addEventListener("keydown", (event) => {
    if (event.key === "Escape") { host.set({ patch: null, pinned: false }); return; }
    const [down, right] = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key] ?? [0, 0];
    if ((!down && !right) || !grid()) return;
    event.preventDefault();
    event.stopPropagation();
    const [rows, columns] = grid(), at = host.get("patch") ?? Math.floor((rows * columns) / 2);
    const row = Math.min(Math.max(Math.floor(at / columns) + down, 0), rows - 1), column = Math.min(Math.max((at % columns) + right, 0), columns - 1);
    host.set({ patch: row * columns + column, pinned: true });
  });
}
