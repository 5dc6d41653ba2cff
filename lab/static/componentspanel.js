// One network's side of the components view: image, colours, histogram of what tells foreground, scree, and all images small.

import { h, number, percent, refill } from "./dom.js";
import { bars, histogram } from "./bars.js";
import { componentColour, jaccard, onPixels } from "./maps.js";
import { linearProbe } from "./matches.js";
import { picker } from "./picker.js";
import { nameOf } from "./sight.js";
import { drawOutline, drawPatches, drawPicture, forget, patchAt, picture, ramp, tile } from "./tiles.js";

const DARK = [20, 22, 26, 1]; // what is not foreground

export function componentsPanel(host, name) {
  const title = h("h3"), status = h("p", { class: "hint", role: "status" }), about = h("p", { class: "hint numbers" });
  const chart = h("div", { class: "sight-chart" }), scree = h("div", { class: "sight-chart" }), small = h("div", { class: "tiles small" });
  const stage = h("div", { class: "sight-stage" }, figure("image", "the image, with the foreground outlined"), figure("components", "components as colours; arrow keys choose a patch"), chart, scree);
  const content = h("div", { hidden: true }, stage, about, small);
  const element = h("section", { class: "side", "aria-label": "Components of one network" }, title, status, content);
  let shown = null, scores = null, scored = "", masks = new Map();

  function figure(kind, label) {
    const canvas = tile((context, size) => { if (shown) (kind === "image" ? drawImage : drawComponents)(context, size, index()); }, { tabindex: kind === "components" ? 0 : null, "data-kind": kind, "aria-label": label });
    canvas.addEventListener("click", example, { capture: true });
    canvas.addEventListener("contextmenu", example, { capture: true }); // a long press on a phone
    picker(canvas, host, () => shown?.grid);
    return h("figure", { "data-kind": kind }, canvas, h("figcaption", {}, h("b"), h("small")));
  }

  /** In pointing mode a click is an example; the same again takes it away. */
  function example(event) {
    if (host.get("foreground") !== "clicked" || !shown) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    const patch = patchAt(event, shown.grid), sign = event.shiftKey || event.type === "contextmenu" ? "-" : "+", mark = `${index()}.${patch}`;
    const others = host.get("examples").split(" ").filter((text) => text && text.slice(0, -1) !== mark);
    const same = host.get("examples").split(" ").includes(mark + sign);
    host.set({ examples: [...others, ...(same ? [] : [mark + sign])].join(" ") });
  }

  function show({ tensors, said }, { tensors: features }, { tensors: probe }) {
    shown = { tensors, said, features, probe, grid: [said.rows, said.columns], count: said.rows * said.columns };
    scored = "";
    masks = new Map();
    content.hidden = false;
    status.textContent = "";
    title.textContent = nameOf(host, name);
    scree.replaceChildren(screeChart());
  }

  function fail(sentence) {
    shown = null;
    content.hidden = true;
    title.textContent = nameOf(host, name);
    status.textContent = sentence;
  }

  const index = () => Math.min(host.get("image"), shown.probe.images.shape[0] - 1);

  const examples = () => host.get("examples").split(" ").filter(Boolean).map((text) => ({ image: Number(text.split(".")[0]), patch: parseInt(text.split(".")[1], 10), positive: text.endsWith("+") }))
    .filter(({ image, patch }) => image < shown.probe.images.shape[0] && patch < shown.count);

  /** What tells foreground: the first component, or the probe of the patches pointed at; null where nothing does. */
  function telling() {
    const kind = host.get("foreground"), key = `${kind} ${host.get("examples")}`;
    if (key !== scored) {
      scored = key;
      scores = kind === "clicked" ? linearProbe(shown.features, examples()) : kind === "off" ? null : shown.tensors.first.data;
    }
    return scores;
  }

  function maskOf(i) {
    const told = telling(), key = `${scored} ${host.get("cut")}`;
    if (!told) return null;
    if (masks.key !== key) { masks = new Map(); masks.key = key; }
    if (!masks.has(i)) masks.set(i, Uint8Array.from(told.subarray(i * shown.count, (i + 1) * shown.count), (value) => Number(value > host.get("cut"))));
    return masks.get(i);
  }

  function paint() {
    if (!shown) return;
    const images = shown.probe.images.shape[0];
    if (small.dataset.key !== String(images)) {
      forget(small);
      refill(small, String(images), () => Array.from({ length: images }, (_, i) => h("button", { type: "button", class: "tile-button", title: `image ${i + 1}`, "aria-label": `components of image ${i + 1}`, onclick: () => host.set({ image: i, patch: null, pinned: false }) },
        tile((context, size) => { if (shown) drawComponents(context, size, i); }, { "aria-hidden": "true" }))));
    }
    [...small.children].forEach((button, i) => button.setAttribute("aria-pressed", i === index() ? "true" : "false"));
    words();
    element.querySelectorAll("canvas").forEach((canvas) => canvas.paint());
  }

  /** Only what the patch that is pointed at changes. */
  function point() { if (shown) stage.querySelectorAll("canvas").forEach((canvas) => canvas.paint()); }

  function words() {
    const { said } = shown, channels = host.get("channels").split(","), told = telling(), mask = maskOf(index());
    const share = channels.reduce((sum, c) => sum + (said.explained[c] ?? 0), 0);
    const matched = said.change === undefined ? "" : said.basis === "matched" ? ` Turned by ${number(said.angle)}° to match; colours differ from the reference's by ${percent(said.change)} of their range, ${percent(said.unmatched)} unmatched.`
      : ` In the reference's basis; colours differ from the reference's by ${percent(said.change)} of their range, ${percent(said.unmatched)} in its own.`;
    about.textContent = `${percent(share)} of the variance of the patches fitted is in ${channels.length > 1 ? "these components" : "this component"}.${matched}`;
    const [image, colours] = stage.children;
    image.querySelector("b").textContent = mask ? `foreground: ${mask.reduce((a, b) => a + b, 0)} of ${shown.count} patches` : "image";
    image.querySelector("small").textContent = mask ? overlap(mask) : host.get("foreground") === "clicked" ? "point at one patch of the object and one of the background at least" : "";
    colours.querySelector("b").textContent = channels.length > 1 ? `components ${channels.map((c) => Number(c) + 1).join(", ")}` : `component ${Number(channels[0]) + 1}`;
    chart.style.visibility = told ? "" : "hidden"; // it keeps its place: nothing jumps under the pointer
    if (told) chart.replaceChildren(groundChart(told, mask));
  }

  function overlap(mask) {
    const { masks } = shown.probe;
    if (!masks) return "";
    const [images, height, width] = masks.shape, objects = (i) => masks.data.subarray(i * height * width, (i + 1) * height * width);
    const own = jaccard(onPixels(mask, shown.grid, height, width), objects(index()));
    const all = Array.from({ length: images }, (_, i) => jaccard(onPixels(maskOf(i), shown.grid, height, width), objects(i))).filter((value) => !Number.isNaN(value));
    return `Jaccard with the object ${number(own, 2)}; mean over ${all.length} images ${number(all.reduce((a, b) => a + b, 0) / all.length, 2)}`;
  }

  function groundChart(told, mask) {
    const cut = host.get("cut"), pointed = host.get("foreground") === "clicked", low = Math.min(-1, ...told), high = Math.max(1, ...told);
    return bars({ heights: histogram(told, low, high), low, high, x: pointed ? "score of the linear probe" : "first component (s.d. from Otsu's threshold)", y: "patches, all images", lit: (i) => low + ((i + 0.5) * (high - low)) / 40 > cut,
      words: `Histogram of ${told.length} patches from ${number(low)} to ${number(high)}; threshold ${number(cut)}, ${mask.reduce((a, b) => a + b, 0)} patches of this image above it.`,
      marks: [{ at: 0, text: pointed ? "even" : "Otsu", colour: "blue" }, ...(Math.abs(cut) > 0.2 ? [{ at: cut, text: "threshold", colour: "red" }] : [])] });
  }

  function screeChart() {
    const { explained } = shown.said, chosen = host.get("channels").split(",").map(Number);
    return bars({ heights: explained.map((share) => 100 * share), low: 0.5, high: explained.length + 0.5, ticks: [1, 4, 8, 12, 16].filter((rank) => rank <= explained.length), x: "component (rank)", y: "% of the variance", lit: (i) => chosen.includes(i),
      words: `Explained variance: ${explained.slice(0, 8).map((share, i) => `component ${i + 1} ${percent(share)}`).join(", ")}.` });
  }

  function drawImage(context, size, i) {
    drawPicture(context, size, picture(shown.probe.images, i));
    const mask = maskOf(i);
    if (mask) drawOutline(context, size, mask, shown.grid, { width: 1.8 });
    for (const { image, patch, positive } of host.get("foreground") === "clicked" ? examples() : []) if (image === i) mark(context, size, patch, positive ? "#56b4e9" : "#e69f00");
    if (host.get("patch") !== null) mark(context, size, host.get("patch"), "#fff");
  }

  function drawComponents(context, size, i) {
    const { data, shape } = shown.tensors.scores, channels = shape[2], mask = host.get("foreground") === "off" ? null : maskOf(i);
    const at = i * shown.count;
    if (channels === 1) {
      const colour = ramp(data.subarray(at, at + shown.count), -2.5, 2.5, "cividis");
      drawPatches(context, size, shown.grid, (n) => (mask && !mask[n] ? DARK : colour(n)));
    } else drawPatches(context, size, shown.grid, (n) => (mask && !mask[n] ? DARK : [0, 1, 2].map((c) => componentColour(data[channels * (at + n) + Math.min(c, channels - 1)]))));
    if (i === index() && host.get("patch") !== null) mark(context, size, host.get("patch"), "#fff");
  }

  function mark(context, size, patch, colour) {
    const mask = new Uint8Array(shown.count);
    mask[patch] = 1;
    drawOutline(context, size, mask, shown.grid, { colour, width: 1.8 });
  }

  /** The chosen image's patches. */
  function rows() {
    if (!shown) return [];
    const { data, shape } = shown.tensors.scores, channels = host.get("channels").split(","), mask = maskOf(index()), told = telling(), at = index() * shown.count;
    return Array.from({ length: shown.count }, (_, n) => ({ network: nameOf(host, name), patch: n + 1, row: 1 + Math.floor(n / shown.grid[1]), column: 1 + (n % shown.grid[1]),
      ...Object.fromEntries(channels.slice(0, shape[2]).map((c, i) => [`component ${Number(c) + 1} (s.d.)`, data[shape[2] * (at + n) + i]])), ...(mask ? { "what tells foreground": told[at + n], foreground: mask[n] ? "yes" : "no" } : {}) }));
  }

  const explained = () => (shown ? shown.said.explained.map((share, i) => ({ network: nameOf(host, name), component: i + 1, "share of the variance": share })) : []);

  return { element, name, show, fail, paint, point, rows, explained, say: (text) => { status.textContent = text; }, shown: () => shown };
}
