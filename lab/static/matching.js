/* view
{
  "page": "patches",
  "place": 20,
  "title": "What a patch is like, and where it is elsewhere",
  "shows": "Cosine similarity of the patch pointed at to every patch of every image; lines join patches of two images that belong together.",
  "look": "Point at an ear, a wheel, a leaf: does its kind light up in the other image? Mutual pairs with a small ratio are the ones to trust.",
  "needs": "Two images at least for correspondences.",
  "records": ["sight/images?images={images}", "sight/features?source={source}&images={images}"]
}
*/
// Similarity of one patch to all, and correspondences between two images, derived here from eight-bit features.

import { card, h, number, percent, refill, toggle } from "./dom.js";
import { RAMP_CSS, similarity } from "./maps.js";
import { nearest, pairs, rowsOf } from "./matches.js";
import { picker } from "./picker.js";
import { columnsOf } from "./numbers.js";
import { LOOKED_AT, ahead, keepSight, latest, nameOf, pictures, seen, sidesFor } from "./sight.js";
import { slider } from "./slider.js";
import { afterwards, drawOutline, drawPatches, drawPicture, forget, inTurn, patchAt, picture, ramp, tile } from "./tiles.js";

const NS = "http://www.w3.org/2000/svg";
const COLOURS = ["#e69f00", "#56b4e9", "#009e73", "#f0e442", "#d55e00", "#cc79a7", "#0072b2"];

export function mount(element, host) {
  keepSight(host).keep({ partner: -1, lines: 20, ratio: 1, mutual: 1 });
  const partner = h("select", { "aria-label": "Second image", onchange: () => host.set({ partner: Number(partner.value) }) });
  const body = card(element, { ...host.about, data: () => ({ pairs: columnsOf(sides.flatMap((side) => side.pairs())), patches: columnsOf(sides.flatMap((side) => side.alike())) }), controls: [h("label", { class: "labelled" }, "second image", partner)] });
  const panels = h("div", { class: "sides" }), status = h("p", { class: "hint", role: "status" });
  body.append(h("div", { class: "controls under" }, slider(host, "lines", "lines", [0, 120, 1]), slider(host, "ratio", "ratio", [0.5, 1, 0.01], (ratio) => (ratio < 1 ? ratio.toFixed(2) : "any")),
    toggle("mutual", host.get("mutual") === 1, (on) => host.set({ mutual: Number(on) }), "Only pairs of which each is the other's most similar patch"),
    h("span", { class: "scale" }, "cosine −0.2", h("i", { style: `background:${RAMP_CSS.cividis}` }), "1")), panels, status);
  let sides = [];
  const load = latest(host, fetchAll), paint = inTurn(body, () => sides.forEach((side) => side.paint()));
  host.on(LOOKED_AT, load);
  host.on("data", () => { if (!sides.some((side) => side.shown())) load(); });
  host.on(["image", "patch", "partner", "lines", "ratio", "mutual"], paint);
  load();

  async function fetchAll(current) {
    sides = sidesFor(host, panels, sides, (name) => panel(host, name));
    let probe;
    try { probe = await pictures(host); } catch (error) { if (current()) status.textContent = error.message; return; }
    if (!current()) return;
    const count = probe.tensors.images.shape[0], called = probe.said.names;
    status.textContent = count < 2 ? "One image alone has no correspondences: hand in two, or choose others." : "";
    refill(partner, called.join("|"), () => [h("option", { value: -1 }, "the next one"), ...called.map((text, i) => h("option", { value: i }, text))]);
    partner.value = String(Math.min(host.get("partner"), count - 1));
    await Promise.all(sides.map(async (side) => {
      const slow = setTimeout(() => { if (current()) side.say("A worker looks through this network …"); }, 500);
      try {
        const found = await seen(host, "features", side.name);
        if (!current()) return;
        side.show(found, probe);
        paint();
        ahead(host, "features", side.name);
      } catch (error) { if (current()) side.fail(error.message); } finally { clearTimeout(slow); }
    }));
  }
}

function panel(host, name) {
  const title = h("h3"), status = h("p", { class: "hint", role: "status" }), numbers = h("p", { class: "hint numbers" });
  const lines = document.createElementNS(NS, "svg");
  lines.setAttribute("viewBox", "0 0 208 100");
  lines.setAttribute("class", "lines");
  lines.setAttribute("aria-hidden", "true");
  const two = [0, 1].map((which) => tile((context, size) => { if (shown) draw(context, size, both()[which]); }, { tabindex: which ? null : 0, "aria-label": which ? "second image; a click makes it the first" : "image; arrow keys choose a patch" }));
  picker(two[0], host, () => shown?.grid);
  two[1].addEventListener("pointermove", (event) => { if (!host.get("pinned") && shown) ask(patchAt(event, shown.grid)); });
  two[1].addEventListener("click", () => { const [image, other] = both(); host.set({ image: other, partner: image, pinned: false, patch: null }); });
  const small = h("div", { class: "tiles small" });
  const content = h("div", { hidden: true }, h("div", { class: "matched" }, ...two, lines), numbers, small);
  const element = h("section", { class: "side", "aria-label": "Similarity in one network" }, title, status, content);
  const known = new WeakMap(); // features → pairs that were found in them: scrubbing finds them here
  let shown = null, maps = null, mapsOf = "", matched = null, matchedOf = "", painted = {};
  const paintSmall = afterwards(() => small.querySelectorAll("canvas").forEach((canvas) => canvas.paint()));

  function show({ tensors, said }, { tensors: probe }) {
    shown = { ...tensors, said, probe, grid: [said.rows, said.columns], count: said.rows * said.columns, width: tensors.patches.shape[2], version: (shown?.version ?? 0) + 1 };
    mapsOf = matchedOf = "";
    content.hidden = false;
    status.textContent = "";
    title.textContent = nameOf(host, name);
  }

  function fail(sentence) {
    shown = null;
    content.hidden = true;
    title.textContent = nameOf(host, name);
    status.textContent = sentence;
  }

  /** A patch of the second image points back at the one of the first that is most like it. */
  function ask(patch) {
    if (patch !== null && matched) host.set({ patch: nearest(matched.others, patch, matched.rows, shown.width).best });
  }

  /** The chosen image and its partner. */
  function both() {
    const images = shown.probe.images.shape[0], image = Math.min(host.get("image"), images - 1), partner = host.get("partner");
    return [image, partner < 0 || partner >= images ? (image + 1) % images : partner];
  }

  function paint() {
    if (!shown) return;
    const [image, other] = both(), patch = host.get("patch"), images = shown.probe.images.shape[0];
    const key = patch === null || patch >= shown.count ? "" : `${shown.version} ${image} ${patch}`;
    if (key !== mapsOf) { mapsOf = key; maps = key ? alikeTo(image, patch) : null; }
    if (small.dataset.key !== String(images)) {
      forget(small);
      refill(small, String(images), () => Array.from({ length: images }, (_, i) => h("button", { type: "button", class: "tile-button", title: `image ${i + 1}`, "aria-label": `image ${i + 1} beside this one`, onclick: (event) => host.set(event.shiftKey ? { image: i, patch: null, pinned: false } : { partner: i }) },
        tile((context, size) => { if (shown) draw(context, size, i); }, { "aria-hidden": "true" }))));
    }
    [...small.children].forEach((button, i) => button.setAttribute("aria-pressed", i === image || i === other ? "true" : "false"));
    match(image, other);
    drawLines(image, other);
    two.forEach((canvas) => canvas.paint());
    if (painted.of !== mapsOf || painted.probe !== shown.probe) paintSmall();
    painted = { of: mapsOf, probe: shown.probe };
  }

  /** image → how much alike its patches are to one, each found when it is first drawn: the two that are large before the others. */
  function alikeTo(image, patch) {
    const found = new Map(), { patches, scale } = shown;
    return (i) => {
      if (!found.has(i)) found.set(i, similarity(patches.data, scale.data, patches.shape, image, patch, i));
      return found.get(i);
    };
  }

  function match(image, other) {
    const key = `${shown.version} ${image} ${other} ${host.get("ratio")} ${host.get("mutual")}`;
    if (key === matchedOf) return;
    matchedOf = key;
    const rows = rowsOf(shown, image), others = rowsOf(shown, other);
    const asked = `${image} ${other} ${host.get("ratio")} ${host.get("mutual")}`;
    if (!known.has(shown.patches)) known.set(shown.patches, new Map());
    const of = known.get(shown.patches);
    if (!of.has(asked)) of.set(asked, pairs(rows, others, shown.width, { both: host.get("mutual") === 1, ratio: host.get("ratio") }));
    matched = { rows, others, ...of.get(asked) };
  }

  function drawLines(image, other) {
    const [rows, columns] = shown.grid, place = (n, left) => [left + (100 * ((n % columns) + 0.5)) / columns, (100 * (Math.floor(n / columns) + 0.5)) / rows];
    const patch = host.get("patch"), chosen = matched.found.slice(0, host.get("lines"));
    const line = (a, b, colour, width) => {
      const element = document.createElementNS(NS, "line"), [x1, y1] = place(a, 0), [x2, y2] = place(b, 108);
      for (const [attribute, value] of Object.entries({ x1, y1, x2, y2, stroke: colour, "stroke-width": width })) element.setAttribute(attribute, value);
      return element;
    };
    const asked = patch !== null && patch < shown.count ? nearest(matched.rows, patch, matched.others, shown.width) : null;
    lines.replaceChildren(...(asked ? [line(patch, asked.best, "#fff", 1.4), line(patch, asked.best, "#000", 0.6)] : chosen.map(({ a, b }, i) => line(a, b, COLOURS[i % COLOURS.length], 0.7))));
    const sampled = matched.every > 1 ? ` of every ${matched.every}th patch` : "", kind = host.get("mutual") ? "mutual pairs" : "nearest patches";
    const mean = chosen.reduce((sum, { value }) => sum + value, 0) / (chosen.length || 1);
    numbers.textContent = asked
      ? `Patch ${patch + 1} of image ${image + 1} is most like patch ${asked.best + 1} of image ${other + 1}: cosine ${number(asked.value)}; ${alike(image)} other patches of its own image are above 0.6.`
      : `${matched.found.length} ${kind}${sampled} between images ${image + 1} and ${other + 1} (${percent((matched.found.length * matched.every) / shown.count, 0)} of the patches); the ${chosen.length} drawn have a mean cosine of ${number(mean)}.`;
    numbers.setAttribute("role", host.get("pinned") ? "status" : "note");
  }

  const alike = (image) => maps(image).reduce((sum, value) => sum + (value > 0.6), 0) - 1;

  function draw(context, size, i) {
    drawPicture(context, size, picture(shown.probe.images, i, Boolean(maps)));
    if (maps) drawPatches(context, size, shown.grid, ramp(maps(i), -0.2, 1, "cividis", 0.85));
    if (host.get("patch") === null || i !== both()[0]) return;
    const mask = new Uint8Array(shown.count);
    mask[host.get("patch")] = 1;
    drawOutline(context, size, mask, shown.grid, { width: 1.8 });
  }

  /** Correspondences, the most alike first, and of a chosen patch the cosine to all of both images. */
  const found = () => (shown && matched ? matched.found.map(({ a, b, value }) => ({ network: nameOf(host, name), image: both()[0] + 1, patch: a + 1, "other image": both()[1] + 1, "other patch": b + 1, cosine: value })) : []);
  const cosines = () => (shown && maps ? both().flatMap((image) => [...maps(image)].map((value, n) => ({ network: nameOf(host, name), image: image + 1, patch: n + 1, [`cosine to patch ${host.get("patch") + 1} of image ${both()[0] + 1}`]: value }))) : []);

  return { element, name, show, fail, paint, pairs: found, alike: cosines, say: (text) => { status.textContent = text; }, shown: () => shown };
}
