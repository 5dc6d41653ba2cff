/* view
{
  "page": "embedding",
  "place": 10,
  "title": "Images as points",
  "shows": "Every point is an image (or a patch); near points are alike to the network chosen above. Axes have no unit and no meaning of their own: only nearness counts.",
  "look": "Scrub the clock: a cloud falls apart into groups that nobody named. Draw a line around a group (shift and drag) to see what it holds; click a point for its neighbours, or search with an image of yours.",
  "needs": "probes; for more images, or a folder of them, a checkpoint or a published network",
  "records": ["run/{run}/crowd/pictures?count=0", "run/{run}/crowd/{step}/answers?count=0", "run/{run}/crowd/{step}/loss?count=0", "run/{run}/crowd/{step}/vectors?count=0&tokens={tokens:cls|patches}", "run/{run}/crowd/{step}/layout?count=0&anchor={last}&tokens={tokens:cls|patches}&method=pca", "run/{run}/crowd/{step}/layout?count=0&anchor={last}&tokens=cls&method={method:umap|tsne}"]
}
*/
// PCA, UMAP and t-SNE of what the network says of images, aligned through training, with neighbours and galleries.

import { card, choice, h, number, percent, refill, toggle } from "./dom.js";
import { GROUPS, OTHER, anchorOf, byGroup, byValue, counted, gathering, howMany, patience, patient } from "./crowd.js";
import { RAMP_CSS } from "./maps.js";
import { nearestRows } from "./points.js";
import { retrieval } from "./retrieval.js";
import { scatter } from "./scatter.js";
import { keepSight, nameOf as networkName } from "./sight.js";
import { drawOutline, drawPicture, picture, tile } from "./tiles.js";

const NEIGHBOURS = 12;
const GALLERY = 60;
const SAMPLED = 3000; // points up to which 1500 are asked for their neighbours
const NAMED = 8; // prototypes that have a colour of their own
const METHODS = { pca: "PCA", umap: "UMAP", tsne: "t-SNE" };

export function mount(element, host) {
  keepSight(host).keep({ layout: "pca", points: "cls", crowd: 0, colour: "label", spot: -1 });
  const body = card(element, {
    ...host.about,
    controls: [choice("Layout", METHODS, host.get("layout"), (layout) => host.set({ layout })),
      choice("Points", { cls: "images", patches: "patches" }, host.get("points"), (points) => host.set({ points, spot: -1 })),
      howMany(host)],
  });
  const lasso = toggle("lasso", false, (on) => { plot.state.lassoing = on; }, "Draw a line around points (or hold shift)");
  const small = toggle("thumbnails", false, (on) => { plot.state.thumbnails = on; plot.draw(); }, "Pictures instead of dots where there is room; always when enlarged");
  const zooms = [["+", "Enlarge", () => plot.zoom(1.5)], ["−", "Make smaller", () => plot.zoom(1 / 1.5)], ["⤢", "Show all", () => plot.reset()]]
    .map(([text, title, onclick]) => h("button", { type: "button", class: "follow", title, "aria-label": title, onclick }, text));
  const colours = choice("Coloured by", { label: "label", prototype: "prototype", entropy: "entropy", loss: "loss", neighbours: "neighbours" }, host.get("colour"), (colour) => host.set({ colour }));
  const plot = scatter({ hover: pointed, pick: (p) => host.set({ spot: p ?? -1 }), lasso: (mask) => { enclosed = mask; gallery(); } },
    "Points; arrow keys go from point to point, Enter chooses one, plus and minus enlarge");
  const status = patience(() => load()), legend = h("div", { class: "legend embedding-legend" });
  const side = h("div", { class: "embedding-side", "aria-live": "polite" }), about = h("p", { class: "hint" });
  const search = retrieval(host, () => gallery());
  plot.canvas.addEventListener("dragover", (event) => { if (!host.recorded) event.preventDefault(); });
  plot.canvas.addEventListener("drop", (event) => { event.preventDefault(); event.stopPropagation(); search.hand([...event.dataTransfer.files]); });
  body.append(h("div", { class: "controls under" }, h("span", { class: "labelled" }, "colour ", colours), lasso, small, search.element, h("span", { class: "scale" }, zooms)),
    h("div", { class: "embedding-row" }, h("div", { class: "embedding-plot" }, plot.canvas, legend, status.element, about), side));
  const ask = patient(host);
  let asked = 0, shown = null, enclosed = null, anchor = { key: "", at: null }, waits = false;
  host.on(["stop", "run", "overlay", "layout", "points", "crowd", "source", "images", "size"], () => { status.anew(); load(); });
  host.on("page", () => { if (waits) load(); }); // what was not waited for goes on
  host.on("colour", () => { paint(); priced(); });
  host.on("spot", gallery);
  host.on("data", () => { if (!shown) load(); });
  load();

  async function load() {
    const track = host.run(), found = gathering(host), { own, count } = found;
    if (found.problem !== null || (own && !track)) { status.say(found.problem ?? ""); return; }
    const now = ++asked, current = () => now === asked && host.shown() && !status.stopped;
    const tokens = host.get("points"), method = host.get("layout"), of = `${found.of} ${tokens}`, stop = host.stop();
    if (anchor.key !== of) anchor = { key: of, at: anchorOf(host, found) };
    const tell = (sentence, share, left) => { if (now === asked) status.tell(sentence, share, left); };
    const { path } = found, layout = (which) => path("layout", `&anchor=${encodeURIComponent(anchor.at)}&tokens=${tokens}&method=${which}`);
    waits = true;
    try {
      const pictures = await ask(path("pictures"), current, tell);
      const answers = pictures && await ask(path("answers"), current, tell);
      const first = answers && await ask(layout("pca"), current, tell);
      if (!first || now !== asked) return;
      const classes = found.kind === "folder" ? pictures.said.classes : track?.head.classes ?? [];
      const base = { ...found, of, stop, count, tokens, pictures, answers, classes, vectors: null, key: `${of} ${found.source}` };
      const quick = method === "pca" || !(shown?.of === of && shown.method === method);
      if (quick) show({ ...base, method: "pca", layout: first });
      ask(path("vectors", `&tokens=${tokens}`), current).then((rows) => {
        if (!rows || now !== asked) return;
        base.vectors = shown.vectors = rows.tensors;
        gallery();
        if (host.get("colour") === "neighbours") paint();
      }, (error) => console.warn(error.message));
      if (method !== "pca") {
        const placed = await ask(layout(method), current, tell);
        if (!placed || now !== asked) return;
        show({ ...base, method, layout: placed });
      }
      waits = false;
      status.say("");
      priced();
      ahead(found, tokens, method);
    } catch (error) {
      if (now !== asked) return;
      waits = false;
      status.say(error.message);
    }
  }

  /** Each image's own loss is computed when it is asked for. */
  async function priced() {
    const of = shown;
    if (!of?.own || of.loss || host.get("colour") !== "loss") return;
    try {
      const found = await ask(of.path("loss"), () => shown === of && host.get("colour") === "loss" && host.shown(), (sentence, share, left) => { if (shown === of) status.tell(sentence, share, left); });
      if (!found || shown !== of) return;
      of.loss = { values: found.tensors.loss.data, said: found.said };
      status.say("");
      paint();
    } catch (error) {
      if (shown === of) status.say(error.message);
    }
  }

  /** Neighbouring checkpoints of the probe images are quick: fetch them before they are asked for. */
  function ahead({ own, kind }, tokens, method) {
    if (!own || kind !== "probe" || method !== "pca") return;
    const run = host.get("run");
    const stops = host.stops(), at = stops.indexOf(host.stop());
    for (const stop of [stops[at + 1], stops[at - 1]]) {
      if (stop === undefined) continue;
      for (const what of ["answers?count=0", `layout?count=0&anchor=${anchor.at}&tokens=${tokens}&method=pca`].map((end) => `run/${run}/crowd/${stop}/${end}`)) ask(what, () => false).catch(() => {});
    }
  }

  function show(next) {
    const keep = shown?.of === next.of;
    shown = next;
    if (!keep) enclosed = null;
    plot.state.thumbnail = thumbnail;
    plot.show({ xy: next.layout.tensors.xy.data, rgb: colouring() }, { keep });
    plot.state.picked = host.get("spot") >= 0 && host.get("spot") < count() ? host.get("spot") : null;
    const said = next.answers.said, to = next.layout.said.anchor, fixed = said.step === null || host.get("source") === "first" || host.get("source") === "overlay";
    const at = fixed || said.step === next.stop ? "" : ` The last checkpoint before step ${number(next.stop)} is ${number(said.step)}: that one is shown.`;
    const words = `${number(count())} points${next.own ? "" : ` through ${networkName(host)}`}, ${METHODS[next.method]}${next.method === "pca" && host.get("layout") !== "pca" ? " until the rest is ready" : ""}${to === null ? "" : `, turned to match step ${number(to)}`}.${at}`;
    if (about.textContent !== words) about.textContent = words;
    legendOf();
    gallery();
  }

  const count = () => shown.layout.tensors.image.data.length;
  const imageOf = (p) => shown.layout.tensors.image.data[p];
  const labelOf = (p) => shown.pictures.tensors.labels.data[imageOf(p)];
  const nameOf = (p) => shown.classes[labelOf(p)] ?? (labelOf(p) >= 0 ? `class ${labelOf(p)}` : "no label");

  /** The picture of a point; a patch is cut out of its image with what is around it. */
  function thumbnail(p) {
    const whole = picture(shown.pictures.tensors.images, imageOf(p));
    if (shown.tokens === "cls") return whole;
    shown.cut ??= new Map();
    if (!shown.cut.has(p)) {
      const [rows, columns] = shown.layout.tensors.grid.data, place = shown.layout.tensors.place.data[p], side = 1.8;
      const [w, hh] = [whole.width / columns, whole.height / rows], x = ((place % columns) + 0.5 - side / 2) * w, y = (Math.floor(place / columns) + 0.5 - side / 2) * hh;
      const canvas = h("canvas", { width: 32, height: 32 });
      canvas.getContext("2d").drawImage(whole, x, y, side * w, side * hh, 0, 0, 32, 32);
      shown.cut.set(p, canvas);
    }
    return shown.cut.get(p);
  }

  // ---- colours

  /** Of every point: its image's value; of patches its own where there is one. */
  function values(kind) {
    const { answers, tokens, layout } = shown, images = layout.tensors.image.data, K = answers.tensors.top?.shape[1];
    if (!K && (kind === "entropy" || kind === "prototype")) return (kind === "entropy" ? Float32Array : Int32Array).from(images, () => (kind === "entropy" ? NaN : -1));
    if (kind === "entropy") return Float32Array.from(images, (i) => answers.tensors.entropy.data[i]);
    if (kind === "loss") return Float32Array.from(images, (i) => shown.loss?.values[i] ?? NaN);
    if (kind === "prototype") {
      const own = tokens === "patches" && answers.tensors.patch_top;
      return Int32Array.from(images, (i, p) => (own ? own.data[i * own.shape[1] + layout.tensors.place.data[p]] : answers.tensors.top.data[i * K]));
    }
    return Int32Array.from(images, (i) => shown.pictures.tensors.labels.data[i]);
  }

  function colouring() {
    const kind = host.get("colour");
    if (kind === "entropy") return byValue(values("entropy"), 0, Math.log(shown.answers.said.prototypes ?? 2));
    if (kind === "neighbours") return byValue(agreements(), 0, 1);
    if (kind === "loss") return byValue(values("loss"), ...bounds());
    const groups = values(kind);
    if (kind === "label") return byGroup(groups);
    shown.named = counted(groups).slice(0, NAMED).map(([group]) => group);
    return byGroup(Array.from(groups, (group) => shown.named.indexOf(group)));
  }

  /** Where the colours of losses begin and end. */
  function bounds() {
    const losses = shown.loss?.values ?? [0, 1];
    return [Math.min(...losses), Math.max(...losses)];
  }

  /** The share of each point's ten nearest neighbours that have its label. */
  function agreements() {
    if (!shown.vectors) return new Float32Array(count());
    const every = Math.ceil(Math.max(count(), count() ** 2 / SAMPLED) / 1500); // of many points some, of very many fewer
    shown.agreement ??= Float32Array.from({ length: count() }, (_, p) => {
      if (p % every) return NaN;
      const near = nearestRows(shown.vectors.rows.data, shown.vectors.scale.data, shown.vectors.rows.shape[1], p, 10);
      return near.filter(({ index }) => labelOf(index) === labelOf(p)).length / Math.max(near.length, 1);
    });
    return shown.agreement;
  }

  function paint() {
    if (!shown) return;
    plot.recolour(colouring());
    legendOf();
  }

  function legendOf() {
    const kind = host.get("colour"), swatch = (rgb) => h("i", { class: "dot", style: `--c:rgb(${rgb.join()})` });
    const ramp = (from, to) => [h("span", { class: "scale" }, from, h("i", { style: `background:${RAMP_CSS.cividis}` }), to)];
    refill(legend, `${kind} ${shown.key} ${shown.named} ${Boolean(shown.loss)}`, () => {
      if (!shown.answers.tensors.top && (kind === "entropy" || kind === "prototype")) return [h("span", {}, `No ${kind} to colour by: ${shown.answers.said.why}.`)];
      if (kind === "loss" && !shown.own) return [h("span", {}, "An image's own loss is known of a run's teacher over the run's own images: choose those above.")];
      if (kind === "entropy") return ramp("entropy of the answer: 0", `ln K = ${number(Math.log(shown.answers.said.prototypes ?? 2))} nats`);
      if (kind === "loss") return shown.loss ? [...ramp(`own loss: ${number(bounds()[0])}`, `${number(bounds()[1])} nats`), h("span", {}, `step ${number(shown.loss.said.step)}${shown.loss.said.student ? "" : "; the teacher stands in for the student, which was not kept"}`)] : [h("span", {}, "each image's own loss is being computed …")];
      if (kind === "neighbours") return [...ramp("neighbours of the same label: none of 10", "all"), ...(count() > 1500 ? [h("span", {}, "grey: not asked, of so many")] : [])];
      if (kind === "prototype") return [...shown.named.map((group, i) => h("div", {}, h("dt", {}, swatch(GROUPS[i]), `prototype ${group}`))), h("div", {}, h("dt", {}, swatch(OTHER), "others"))];
      return counted(values("label")).sort((a, b) => a[0] - b[0]).map(([label, n]) =>
        h("div", {}, h("dt", {}, swatch(label < 0 ? OTHER : GROUPS[label % GROUPS.length]), shown.classes[label] ?? (label < 0 ? "no label" : `class ${label}`)), h("dd", {}, String(n))));
    });
  }

  // ---- beside the points

  function pointed(p) {
    if (p === null || !shown) { plot.canvas.title = ""; return; }
    plot.canvas.title = describe(p);
  }

  const describe = (p) => `image ${imageOf(p) + 1}, ${nameOf(p)}, ${shown.answers.tensors.top ? `prototype ${values("prototype")[p]}, entropy ${number(shown.answers.tensors.entropy.data[imageOf(p)], 3)} nats` : "no prototypes"}${shown.loss ? `, loss ${number(shown.loss.values[imageOf(p)])} nats` : ""}`;

  function gallery() {
    if (!shown) return;
    const spot = host.get("spot");
    plot.state.picked = spot >= 0 && spot < count() ? spot : null;
    plot.state.marks = new Map();
    const chosen = enclosed ? [...enclosed.keys()].filter((p) => enclosed[p]) : [];
    const near = plot.state.picked !== null && shown.vectors ? nearestRows(shown.vectors.rows.data, shown.vectors.scale.data, shown.vectors.rows.shape[1], spot, NEIGHBOURS) : [];
    near.forEach(({ index }) => plot.state.marks.set(index, "#f0b13c"));
    search.look(shown.own ? `run:${host.get("run")}:${shown.answers.said.step}:teacher` : shown.source);
    const like = shown.vectors && shown.tokens === "cls" ? search.near(shown.vectors, NEIGHBOURS) : [];
    like.forEach(({ index }) => plot.state.marks.set(index, "#56b4e9"));
    plot.draw();
    refill(side, `${shown.key} ${spot} ${shown.vectors ? 1 : 0} ${chosen.join()} ${search.key()} ${like.length}`, () => [
      search.said,
      ...(like.length ? [h("h3", {}, "Most like your image", h("small", {}, " cosine of features")), h("div", { class: "shots" }, search.shown(), like.map(({ index, cosine }) => shot(index, number(cosine, 2)))),
        h("p", { class: "hint" }, `Labels: ${counted(like.map(({ index }) => labelOf(index))).slice(0, 3).map(([label, n]) => `${shown.classes[label] ?? (label < 0 ? "none" : `class ${label}`)} ${n}`).join(", ")}. `, search.forget)] : []),
      ...(plot.state.picked === null ? [] : [
        h("h3", {}, "Nearest neighbours", h("small", {}, " cosine of features")),
        h("div", { class: "shots" }, shot(spot, "chosen"), ...near.map(({ index, cosine }) => shot(index, number(cosine, 2)))),
        near.length ? h("p", { class: "hint" }, `${near.filter(({ index }) => labelOf(index) === labelOf(spot)).length} of ${near.length} neighbours have its label (${nameOf(spot)}).`) : null,
        h("p", { class: "hint" }, describe(spot))]),
      ...(chosen.length ? [
        h("h3", {}, `${chosen.length} points inside the line`, h("small", {}, ` ${percent(chosen.length / count(), 0)} of all`)),
        h("p", { class: "hint" }, counted(chosen.map(labelOf)).slice(0, 5).map(([label, n]) => `${shown.classes[label] ?? `class ${label}`} ${n}`).join(", ")),
        h("div", { class: "shots" }, chosen.slice(0, GALLERY).map((p) => shot(p, nameOf(p)))),
        chosen.length > GALLERY ? h("p", { class: "hint" }, `${GALLERY} of them are shown.`) : null] : []),
      plot.state.picked === null && !chosen.length ? h("p", { class: "hint" }, "Click a point for its neighbours, or draw a line around some: hold shift, or switch the lasso on.") : null,
    ]);
  }

  function shot(p, words) {
    return h("button", { type: "button", class: "shot", title: describe(p), onclick: () => host.set({ spot: p }) },
      tile((context, size) => {
        drawPicture(context, size, picture(shown.pictures.tensors.images, imageOf(p)));
        if (shown.tokens !== "patches") return;
        const grid = [...shown.layout.tensors.grid.data], mask = new Uint8Array(grid[0] * grid[1]);
        mask[shown.layout.tensors.place.data[p]] = 1;
        drawOutline(context, size, mask, grid, { width: 2 });
      }, { "aria-hidden": "true" }), h("small", {}, words));
  }
}
