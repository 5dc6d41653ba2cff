/* view
{
  "page": "attention",
  "place": 20,
  "title": "Tokens of unusual length",
  "shows": "The length of every patch token after each block, before the final norm; outlined are those far longer than the median.",
  "look": "Large networks without registers keep notes in a few dull background patches: they light up here, and heads look at them. Registers take them over.",
  "needs": "A checkpoint at the clock's step, or a model.",
  "records": ["sight/images?images={images}", "sight/heads?source={source}&images={images}&image={image}"]
}
*/
// Norms of the residual stream, a map a layer, and their histogram at one of them.

import { card, h, number } from "./dom.js";
import { bars, histogram } from "./bars.js";
import { RAMP_CSS } from "./maps.js";
import { highNorm, median } from "./looking.js";
import { picker } from "./picker.js";
import { sheet } from "./sheet.js";
import { columnsOf } from "./numbers.js";
import { LOOKED_AT, keepSight, latest, nameOf, pictures, seen, sidesFor } from "./sight.js";
import { afterwards, drawOutline, drawPatches, drawPicture, picture, ramp, tile } from "./tiles.js";

export function mount(element, host) {
  keepSight(host).keep({ normlayer: -1, longer: 2 });
  const body = card(element, { ...host.about, data: () => ({ layers: columnsOf(sides.flatMap((side) => side.rows())) }) });
  const output = h("output"), slider = h("input", { type: "range", min: 1.2, max: 6, step: 0.1, "aria-label": "Times the median that counts as unusual", oninput: () => host.set({ longer: Number(slider.value) }) });
  const panels = h("div", { class: "sides" });
  body.append(h("div", { class: "controls under" }, h("label", { class: "labelled range" }, "unusual beyond", slider, output),
    h("span", { class: "scale" }, "0", h("i", { style: `background:${RAMP_CSS.cividis}` }), "3 × the layer's median")), panels);
  let sides = [];
  const look = latest(host, load);
  host.on([...LOOKED_AT, "image"], look);
  host.on(["normlayer", "longer"], paint);
  host.on("patch", afterwards(() => sides.forEach((side) => side.mark())));
  paint();
  look();

  async function load(current) {
    sides = sidesFor(host, panels, sides, (name) => panel(host, name));
    await Promise.all(sides.map(async (side) => {
      const slow = setTimeout(() => { if (current() && !side.shown()) side.fail("A worker looks through this network …"); }, 500);
      try {
        const probe = await pictures(host), image = Math.min(host.get("image"), probe.tensors.images.shape[0] - 1);
        const found = await seen(host, "heads", side.name, { image });
        if (current()) side.show(found, probe, image);
      } catch (error) { if (current()) side.fail(error.message); } finally { clearTimeout(slow); }
    }));
    paint();
  }

  function paint() {
    slider.value = host.get("longer");
    output.textContent = `${host.get("longer")} × median`;
    sides.forEach((side) => side.paint());
  }
}

function panel(host, name) {
  const title = h("h3"), status = h("p", { class: "hint", role: "status" }), numbers = h("p", { class: "hint numbers" });
  const maps = sheet({ label: "Norms after each block", choose: (at) => host.set({ normlayer: at === shown.norms.length - 1 ? -1 : at }) });
  const large = tile((context, size) => { if (shown) draw(context, size); }, { "aria-label": "norms of one layer over the image" }), chart = h("div", { class: "sight-chart" });
  picker(large, host, () => shown?.grid);
  const caption = h("b"), content = h("div", { hidden: true }, h("div", { class: "sight-stage" }, h("figure", {}, large, h("figcaption", {}, caption)), chart), numbers, maps);
  const element = h("section", { class: "side", "aria-label": "Norms of one network" }, title, status, content);
  let shown = null;

  function show({ tensors, said }, { tensors: probe }, image) {
    if (!tensors.norms) { fail("At this step there is no checkpoint, so what happens between the layers is not known."); return; }
    const [count, tokens] = tensors.norms.shape, prefix = 1 + said.registers;
    shown = { grid: [said.rows, said.columns], prefix, grey: picture(probe.images, image, true),
      norms: Array.from({ length: count }, (_, i) => tensors.norms.data.subarray(i * tokens + prefix, (i + 1) * tokens)),
      first: Array.from({ length: count }, (_, i) => tensors.norms.data.subarray(i * tokens, i * tokens + prefix)) };
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

  const layer = () => { const at = host.get("normlayer"); return at < 0 || at >= shown.norms.length ? shown.norms.length - 1 : at; };
  const named = (at) => (at ? `after block ${at}` : "before the first block");

  function paint() {
    if (!shown) return;
    const at = layer(), norms = shown.norms[at], ratio = host.get("longer"), middle = median(norms), high = highNorm(norms, ratio);
    const many = high.reduce((a, b) => a + b, 0), top = Math.max(...norms, ratio * middle) * 1.04;
    maps.at(at);
    maps.cells(shown.norms.map((_, i) => ({ text: String(i), title: `norms ${named(i)}`, chosen: i === at })), Math.min(shown.norms.length, 7));
    maps.draw((i) => ({ values: shown.norms[i], low: 0, high: 3 * median(shown.norms[i]) }), shown.grid, "cividis");
    const others = [...shown.first[at]].map((norm, i) => `${i ? `register ${i}` : "class token"} ${number(norm)}`).slice(0, 5).join(", ");
    const words = `${named(at)}: median ${number(middle)}, largest ${number(Math.max(...norms))}; ${many} of ${norms.length} patches beyond ${ratio} times the median; ${others}.`;
    caption.textContent = named(at);
    numbers.textContent = words[0].toUpperCase() + words.slice(1);
    const key = `${at} ${ratio} ${norms.byteOffset} ${title.textContent} ${norms[0]}`;
    if (chart.dataset.key !== key) {
      chart.dataset.key = key;
      chart.replaceChildren(bars({ heights: histogram(norms, 0, top), low: 0, high: top, x: "norm of a patch token", y: "patches", words, lit: (i) => ((i + 0.5) * top) / 40 > ratio * middle,
        marks: [{ at: middle, text: "median", colour: "blue" }, { at: ratio * middle, text: `${ratio} ×`, colour: "red" }] }));
    }
    large.paint();
  }

  function draw(context, size) {
    const norms = shown.norms[layer()], middle = median(norms);
    drawPicture(context, size, shown.grey);
    drawPatches(context, size, shown.grid, ramp(norms, 0, 3 * middle, "cividis", 0.85));
    drawOutline(context, size, highNorm(norms, host.get("longer")), shown.grid, { colour: "#e69f00", width: 1.8 });
    const patch = host.get("patch");
    if (patch === null) return;
    const mask = new Uint8Array(norms.length);
    mask[patch] = 1;
    drawOutline(context, size, mask, shown.grid, { width: 1.6 });
  }

  /** A row a layer. */
  const rows = () => (shown ? shown.norms.map((norms, i) => ({ network: title.textContent, layer: named(i), median: median(norms), largest: Math.max(...norms),
    [`patches beyond ${host.get("longer")} times the median`]: highNorm(norms, host.get("longer")).reduce((a, b) => a + b, 0), "class token": shown.first[i][0] })) : []);

  return { element, name, show, fail, paint, rows, mark: () => { if (shown) large.paint(); }, shown: () => shown };
}
