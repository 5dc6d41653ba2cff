// The points of one network: asked for, drawn, and beside them the neighbours of the chosen one and what a line encloses.

import { h, number, percent, refill } from "./dom.js";
import { anchorOf, counted, gathering, patience } from "./crowd.js";
import { colouring, countOf, imageOf, labelName, labelOf, legend, values } from "./embeddingcolours.js";
import { neighboursOf } from "./common.js";
import { nearestRows } from "./points.js";
import { scatter } from "./scatter.js";
import { nameOf as networkName } from "./sight.js";
import { drawOutline, drawPicture, picture, tile } from "./tiles.js";

export const METHODS = { pca: "PCA", umap: "UMAP", tsne: "t-SNE" };
const NEIGHBOURS = 12;
const GALLERY = 60;
const NEAR = "#f0b13c", BOTH = "#009e73", ASKED = "#56b4e9"; // rings: neighbours, those in both networks, most like an image handed in

/** The side of the network that the state calls `key`.  `to` is what happens on it: `hover(p)`, `pick(p)`, `lasso(mask)`, `changed()`, `begun(count)` → what is enclosed of other points;
    `towards(layout)` → where its points are drawn; `ask` and `search` are shared with the other side. */
export function side(host, key, { ask, search, towards, changed, ...to }) {
  const plot = scatter({ hover: pointed, pick: to.pick, lasso: (mask) => { enclosed = mask; to.lasso(mask); } },
    "Points; arrow keys go from point to point, Enter chooses one, plus and minus enlarge");
  const title = h("h3", { hidden: true }), status = patience(load), key_ = h("div", { class: "legend embedding-legend" }), about = h("p", { class: "hint" });
  const beside = h("div", { class: "embedding-side", "aria-live": "polite" });
  const element = h("section", { class: "embedding-one" }, title,
    h("div", { class: "embedding-row" }, h("div", { class: "embedding-plot" }, plot.canvas, key_, status.element, about), beside));
  let asked = 0, shown = null, enclosed = null, anchor = { key: "", at: null }, waits = false;

  async function load() {
    const track = host.run(), name = host.get(key), found = gathering(host, name), { own, count } = found;
    title.textContent = networkName(host, name);
    const now = ++asked, tokens = host.get("points"), method = host.get("layout"), of = `${found.of} ${tokens}`, stop = host.stop();
    if (found.problem !== null || (own && !track)) { if (found.problem && shown?.of !== of) leave(); status.say(found.problem ?? ""); return; }
    const current = () => now === asked && host.shown() && !status.stopped;
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
        changed();
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
      if (shown?.of !== of) leave();
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
      for (const what of ["answers?count=0", `layout?count=0&anchor=${anchor.at}&tokens=${tokens}&method=pca`].map((end) => `run/${run}/crowd/${stop}/${end}`)) ask(what, () => false, null, false).catch(() => {});
    }
  }

  function show(next) {
    const keep = shown?.of === next.of;
    shown = next;
    plot.canvas.hidden = false;
    plot.state.thumbnail = thumbnail;
    drawn(keep);
    if (!keep) plot.enclose(enclosed = to.begun(countOf(next)));
    title.textContent = networkName(host, host.get(key), next.answers.said.step ?? undefined);
    legend(key_, next, host.get("colour"), only);
    changed();
  }

  /** Points where they belong, and what was done to them in words. */
  function drawn(keep) {
    const { answers: { said }, stop, own, method } = shown, name = host.get(key), fixed = said.step === null || name === "first" || name === "overlay";
    const place = (shown.place = towards(shown.layout));
    plot.show({ xy: place.xy, rgb: colouring(shown, host.get("colour")) }, { keep });
    const at = fixed || said.step === stop ? "" : ` The last checkpoint before step ${number(stop)} is ${number(said.step)}: that one is shown.`;
    const words = `${number(countOf(shown))} points${own ? "" : ` through ${networkName(host, name, said.step ?? undefined)}`}, ${METHODS[method]}${method === "pca" && host.get("layout") !== "pca" ? " until the rest is ready" : ""}${place.words ?? matched()}.${at}`;
    if (about.textContent !== words) about.textContent = words;
  }

  const matched = () => (shown.layout.said.anchor === null ? "" : `, turned to match step ${number(shown.layout.said.anchor)}`);

  /** The other side's points have moved. */
  function realign() { if (shown && towards(shown.layout).xy !== shown.place.xy) drawn(true); }

  /** The picture of a point; a patch is cut out of its image with what is around it. */
  function thumbnail(p) {
    const whole = picture(shown.pictures.tensors.images, imageOf(shown, p));
    if (shown.tokens === "cls") return whole;
    shown.cut ??= new Map();
    if (!shown.cut.has(p)) {
      const [rows, columns] = shown.layout.tensors.grid.data, place = shown.layout.tensors.place.data[p], wide = 1.8;
      const [w, hh] = [whole.width / columns, whole.height / rows], x = ((place % columns) + 0.5 - wide / 2) * w, y = (Math.floor(place / columns) + 0.5 - wide / 2) * hh;
      const canvas = h("canvas", { width: 32, height: 32 });
      canvas.getContext("2d").drawImage(whole, x, y, wide * w, wide * hh, 0, 0, 32, 32);
      shown.cut.set(p, canvas);
    }
    return shown.cut.get(p);
  }

  function paint() {
    if (!shown) return;
    plot.recolour(colouring(shown, host.get("colour")));
    legend(key_, shown, host.get("colour"), only);
  }

  /** The points of one label or prototype alone; of those that are alone already, all again. */
  function only(group) {
    const mask = Uint8Array.from(values(shown, host.get("colour")), (value) => Number(value === group));
    plot.select(enclosed?.every((on, p) => on === mask[p]) ? null : mask);
  }

  // ---- beside the points

  function pointed(p) {
    plot.canvas.title = p === null || !shown ? "" : describe(p);
    to.hover(p);
  }

  const nameOf = (p) => labelName(shown, labelOf(shown, p));
  const describe = (p) => `image ${imageOf(shown, p) + 1}, ${nameOf(p)}, ${shown.answers.tensors.top ? `prototype ${values(shown, "prototype")[p]}, entropy ${number(shown.answers.tensors.entropy.data[imageOf(shown, p)], 3)} nats` : "no prototypes"}${shown.loss ? `, loss ${number(shown.loss.values[imageOf(shown, p)])} nats` : ""}`;

  /** The neighbours of a point, most alike first → [{ index, cosine }]; of few points fewer, where they are to be compared. */
  function near(p, compared) {
    if (p === null || !shown?.vectors) return [];
    const { rows, scale } = shown.vectors;
    return nearestRows(rows.data, scale.data, rows.shape[1], p, compared ? neighboursOf(scale.data.length) : NEIGHBOURS);
  }

  /** Show what is chosen: point `spot` (null: none) with its neighbours, of which those in `both` are the other side's too. */
  function fill(spot, neighbours, both) {
    if (!shown) return;
    plot.state.picked = spot;
    plot.state.marks = new Map(neighbours.map(({ index }) => [index, both?.has(index) ? BOTH : NEAR]));
    const chosen = enclosed ? [...enclosed.keys()].filter((p) => enclosed[p]) : [];
    const source = shown.own ? `run:${host.get("run")}:${shown.answers.said.step}:teacher` : shown.source;
    search.look(source);
    const like = shown.vectors && shown.tokens === "cls" ? search.near(source, shown.vectors, NEIGHBOURS) : [];
    like.forEach(({ index }) => plot.state.marks.set(index, ASKED));
    plot.draw();
    refill(beside, `${shown.key} ${spot} ${shown.vectors ? 1 : 0} ${chosen.join()} ${search.key(source)} ${like.length} ${neighbours.length} ${both ? [...both] : ""}`, () => [
      ...(like.length ? searched(like) : []), ...(spot === null ? [] : neighbourhood(spot, neighbours, both)), ...(chosen.length ? group(chosen) : []),
      spot === null && !chosen.length ? h("p", { class: "hint" }, "Click a point for its neighbours, or draw a line around some: hold shift, or switch the lasso on.") : null,
    ]);
  }

  const searched = (like) => [
    h("h3", {}, "Most like your image", h("small", {}, " cosine of features")), h("div", { class: "shots" }, search.shown(), like.map(({ index, cosine }) => shot(index, number(cosine, 2)))),
    h("p", { class: "hint" }, `Labels: ${counted(like.map(({ index }) => labelOf(shown, index))).slice(0, 3).map(([label, n]) => `${shown.classes[label] ?? (label < 0 ? "none" : `class ${label}`)} ${n}`).join(", ")}. `, search.forget())];

  const neighbourhood = (spot, neighbours, both) => [
    h("h3", {}, "Nearest neighbours", h("small", {}, " cosine of features")),
    h("div", { class: "shots" }, shot(spot, "chosen"), neighbours.map(({ index, cosine }) => shot(index, `${number(cosine, 2)}${both?.has(index) ? " ✓" : ""}`, both?.has(index)))),
    neighbours.length ? h("p", { class: "hint" }, `${neighbours.filter(({ index }) => labelOf(shown, index) === labelOf(shown, spot)).length} of ${neighbours.length} neighbours have its label (${nameOf(spot)}).`) : null,
    h("p", { class: "hint" }, describe(spot))];

  const group = (chosen) => [
    h("h3", {}, `${number(chosen.length)} points chosen`, h("small", {}, ` ${percent(chosen.length / countOf(shown), 0)} of all`)),
    h("p", { class: "hint" }, counted(chosen.map((p) => labelOf(shown, p))).slice(0, 5).map(([label, n]) => `${labelName(shown, label)} ${n}`).join(", ")),
    h("div", { class: "shots" }, chosen.slice(0, GALLERY).map((p) => shot(p, nameOf(p)))),
    chosen.length > GALLERY ? h("p", { class: "hint" }, `${GALLERY} of them are shown.`) : null];

  function shot(p, words, both = false) {
    return h("button", { type: "button", class: "shot", title: `${describe(p)}${both ? "; a neighbour to both networks" : ""}`, "data-both": both ? "yes" : null, onclick: () => to.pick(p), onpointerenter: () => { plot.point(p); to.hover(p); }, onpointerleave: () => { plot.point(null); to.hover(null); } },
      tile((context, size) => {
        drawPicture(context, size, picture(shown.pictures.tensors.images, imageOf(shown, p)));
        if (shown.tokens !== "patches") return;
        const grid = [...shown.layout.tensors.grid.data], mask = new Uint8Array(grid[0] * grid[1]);
        mask[shown.layout.tensors.place.data[p]] = 1;
        drawOutline(context, size, mask, grid, { width: 2 });
      }, { "aria-hidden": "true" }), h("small", {}, words));
  }

  /** No network stands here any more. */
  function leave() {
    asked++;
    waits = false;
    shown = enclosed = null;
    plot.canvas.hidden = true;
    status.say("");
    for (const place of [about, key_, beside]) { place.replaceChildren(); delete place.dataset.key; }
  }

  return {
    element, plot, title, load, leave, paint, priced, realign, near, fill,
    anew: status.anew, shown: () => shown, waits: () => waits, enclosed: () => enclosed, enclose(mask) { enclosed = mask; plot.enclose(mask); },
  };
}
