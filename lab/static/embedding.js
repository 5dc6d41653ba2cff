/* view
{
  "page": "embedding",
  "place": 10,
  "title": "Images as points",
  "shows": "Every point is an image (or a patch); near points are alike to the network chosen above. Axes have no unit and no meaning of their own: only nearness counts.",
  "look": "Scrub the clock: a cloud falls apart into groups that nobody named. Click a point for its neighbours, enclose some (shift and drag), search with an image of yours; a second network beside it shares all this.",
  "needs": "probes; for more images, or a folder of them, a checkpoint or a published network",
  "records": ["run/{run}/crowd/pictures?count={count}", "run/{run}/crowd/{step}/answers?count={count}", "run/{run}/crowd/{step}/loss?count={count}", "run/{run}/crowd/{step}/vectors?count={count}&tokens={tokens:cls|patches}", "run/{run}/crowd/{step}/layout?count={count}&anchor={last}&tokens={tokens:cls|patches}&method=pca",
    "gathered/pictures?{many}", "gathered/answers?source={weights}&{many}&size=0", "gathered/vectors?source={weights}&{many}&size=0&tokens={tokens:cls|patches}", "gathered/layout?{turned}&{many}&size=0&tokens={tokens:cls|patches}&method=pca",
    "run/{run}/crowd/{step}/layout?count={count}&anchor={last}&tokens=cls&method={method:umap|tsne}", "gathered/layout?{turned}&{many}&size=0&tokens=cls&method={method:umap|tsne}"]
}
*/
// PCA, UMAP and t-SNE of what a network says of images, aligned through training, with neighbours and galleries; a second network beside it.

import { bound, switched } from "./bound.js";
import { arrange, card, h, number, percent, toggle } from "./dom.js";
import { howMany, patient } from "./crowd.js";
import { labelName, values } from "./embeddingcolours.js";
import { METHODS, side } from "./embeddingside.js";
import { commonOf } from "./common.js";
import { counterparts, enclosedBy, named, turned } from "./points.js";
import { retrieval } from "./retrieval.js";
import { keepSight } from "./sight.js";

export function mount(element, host) {
  keepSight(host).keep({ layout: "pca", points: "cls", crowd: 0, colour: "label", spot: -1, enclosed: "", thumbnails: 0 });
  const body = card(element, {
    ...host.about,
    controls: [bound(host, "Layout", METHODS, "layout"),
      bound(host, "Points", { cls: "images", patches: "patches" }, "points", { spot: -1, enclosed: "" }),
      howMany(host)],
    data: () => ({ points: table() }),
  });
  const all = (act) => sides.forEach(({ plot }) => act(plot));
  const lasso = toggle("lasso", false, (on) => all((plot) => { plot.state.lassoing = on; }), "Draw a line around points (or hold shift)");
  const small = switched(host, "thumbnails", "thumbnails", "Pictures instead of dots where there is room; always when enlarged");
  const zooms = [["+", "Enlarge", (plot) => plot.zoom(1.5)], ["−", "Make smaller", (plot) => plot.zoom(1 / 1.5)], ["⤢", "Show all", (plot) => plot.reset()]]
    .map(([text, title, act]) => h("button", { type: "button", class: "follow", title, "aria-label": title, onclick: () => all(act) }, text));
  const colours = bound(host, "Coloured by", { label: "label", prototype: "prototype", entropy: "entropy", loss: "loss", neighbours: "neighbours" }, "colour");
  const search = retrieval(host, () => chosen()), ask = patient(host);
  const sides = ["source", "against"].map((key, i) => side(host, key, { ask, search, changed: moved, towards: (layout) => (i ? aligned(layout) : { xy: layout.tensors.xy.data }),
    hover: (p) => sides[1 - i].plot.point(across(i, p)), lasso: (mask) => enclosed(i, mask), begun: (count) => begun(i, count), pick: (p) => host.set({ spot: (i ? across(1, p) ?? p : p) ?? -1, ...elsewhere(sides[i].shown(), p) }) }));
  const row = h("div", { class: "embedding-sides" }), common = h("p", { class: "hint embedding-common", role: "status" });
  const average = commonOf();
  let restored = false, links = { of: [], ways: null }, turn = { of: [], place: null }; // of the layouts that are shown
  for (const { plot } of sides) {
    plot.canvas.addEventListener("dragover", (event) => { if (!host.recorded) event.preventDefault(); });
    plot.canvas.addEventListener("drop", (event) => { event.preventDefault(); event.stopPropagation(); search.hand([...event.dataTransfer.files]); });
  }
  body.append(h("div", { class: "controls under" }, h("span", { class: "labelled" }, "colour ", colours), lasso, small, search.element, h("span", { class: "scale" }, zooms)), search.said, common, row);
  host.on(["stop", "run", "overlay", "layout", "points", "crowd", "source", "against", "images", "size"], () => { sides.forEach((one) => one.anew()); load(); });
  host.on("page", () => shownSides().forEach((one) => { if (one.waits()) one.load(); })); // what was not waited for goes on
  host.on("colour", () => sides.forEach((one) => { one.paint(); one.priced(); }));
  host.on("spot", chosen);
  host.on("thumbnails", pictured);
  host.on(["image", "patch"], () => shownSides().forEach((one) => one.plot.point(pointFor(one.shown(), host.get("image"), host.get("patch")))));
  host.on("data", () => shownSides().forEach((one) => { if (!one.shown()) one.load(); }));
  load();

  function pictured() { all((plot) => { plot.state.thumbnails = Boolean(host.get("thumbnails")); plot.draw(); }); }

  function two() { return Boolean(host.get("against")); }
  function shownSides() { return two() ? sides : [sides[0]]; }

  function load() {
    const both = two();
    row.dataset.two = String(both);
    arrange(row, shownSides().map((one) => one.element));
    sides.forEach((one) => { one.title.hidden = !both; });
    pictured();
    if (!both) { sides[1].leave(); common.textContent = ""; }
    shownSides().forEach((one) => one.load());
  }

  function table() {
    const columns = ["network", "point", "x", "y", "image", "patch", "label", "prototype", "entropy_nats"], rows = columns.map(() => []);
    for (const one of shownSides()) if (one.shown()) pointsOf(one.shown(), one.title.textContent, rows);
    return Object.fromEntries(columns.map((name, i) => [name, rows[i]]));
  }

  // ---- what holds the two sides together

  /** For the points of each side the one of the other that shows the same; null while there are not two. */
  function between() {
    const layouts = sides.map((one) => one.shown()?.layout ?? null);
    if (!two() || !layouts.every(Boolean)) return null;
    if (layouts.some((layout, i) => layout !== links.of[i])) links = { of: layouts, ways: linked(...layouts) };
    return links.ways;
  }

  /** The point of the other side for point `p` of side `i`; null where there is none. */
  function across(i, p) {
    const ways = between(), q = p === null || !ways ? -1 : ways[i][p] ?? -1;
    return q < 0 ? null : q;
  }

  /** Where the second side's points are drawn: turned as the first's are. */
  function aligned(layout) {
    const first = sides[0].shown()?.layout;
    if (!first) return { xy: layout.tensors.xy.data };
    if (turn.of[0] !== first || turn.of[1] !== layout) {
      turn = { of: [first, layout], place: { xy: turned(layout.tensors.xy.data, first.tensors.xy.data, linked(layout, first)[0]), words: ", turned to match the points beside it" } };
    }
    return turn.place;
  }

  function moved() {
    if (two()) sides[1].realign();
    const [one, other] = sides.map((side) => side.enclosed());
    if (one && !other && between()) enclosed(0, one); else chosen();
  }

  function enclosed(i, mask) {
    const back = between()?.[1 - i];
    if (back) sides[1 - i].enclose(mask && Uint8Array.from(back, (q) => (q < 0 ? 0 : mask[q])));
    host.set({ enclosed: named(sides[0].enclosed()) });
    chosen();
  }

  /** What of other points than before is enclosed: at first what the address says, then nothing. */
  function begun(i, count) {
    const mask = i || restored ? null : enclosedBy(host.get("enclosed"), count);
    if (!i && restored) host.set({ enclosed: "" });
    restored ||= !i;
    return mask;
  }

  /** The chosen point on both sides, with its neighbours and how many of them are the same. */
  function chosen() {
    const spot = host.get("spot"), ways = between(), first = sides[0].shown();
    const spots = sides.map((one, i) => inside(one, spot < 0 ? null : i && first && two() ? across(0, spot) : spot));
    const comparable = ways && same(ways), near = sides.map((one, i) => one.near(spots[i], comparable));
    const both = comparable && near.every((ones) => ones.length) ? near[0].filter(({ index }) => near[1].some((other) => other.index === index)) : null;
    sides.forEach((one, i) => one.fill(spots[i], near[i], both && new Set(both.map(({ index }) => index))));
    if (two()) told(comparable, both, near[0].length, spots[0]);
  }

  const inside = (one, p) => (p !== null && one.shown() && p < one.shown().layout.tensors.image.data.length ? p : null);

  /** How alike the two order the images, in a sentence. */
  function told(comparable, both, count, spot) {
    const shown = sides.map((one) => one.shown()), vectors = shown.map((one) => one?.vectors);
    if (!shown.every(Boolean)) { common.textContent = ""; return; }
    if (!comparable) { common.textContent = "The two sides show different patches of the images, so their neighbours can't be counted against each other; images can."; return; }
    const one = both ? `Of the ${count} nearest neighbours of ${shown[0].tokens === "patches" ? `patch ${spot + 1}` : `image ${spot + 1}`}, ${both.length} are the same in both (${percent(both.length / count, 0)}; ringed in green, ✓). ` : "";
    const every = vectors.every(Boolean) ? average(...vectors, () => chosen()) : null;
    common.textContent = one + (every ? `Over ${every.asked < every.points ? `${number(every.asked)} of ${number(every.points)}` : `all ${number(every.points)}`} points ${percent(every.share, 0)} of the ${every.count} nearest neighbours are common on average; chance gives ${percent(every.chance, every.chance < 0.01 ? 1 : 0)}.` : "");
  }
}

const numbered = (shown) => shown?.kind === "probe" || shown?.kind === "set"; // images that the other views number in the same way

/** What a chosen point is in the other views: its image, and its patch where the point is one. */
function elsewhere(shown, p) {
  if (!numbered(shown)) return {};
  const { image, place } = shown.layout.tensors;
  if (p === null) return place ? { patch: null, pinned: false } : {};
  return { image: image.data[p], ...(place ? { patch: place.data[p], pinned: true } : {}) };
}

/** The point of a patch that is pointed at in another view; where points are images, the one it is of. */
function pointFor(shown, index, patch) {
  if (patch === null || !numbered(shown)) return null;
  const { image, place } = shown.layout.tensors, p = image.data.findIndex((of, i) => of === index && (!place || place.data[i] === patch));
  return p < 0 ? null : p;
}

/** A row a point of each side: where it is drawn, and what it is of. */
function pointsOf(shown, network, rows) {
  const { image, place } = shown.layout.tensors, kinds = ["label", "prototype", "entropy"].map((kind) => values(shown, kind));
  image.data.forEach((of, p) => [network, p + 1, shown.place.xy[2 * p], shown.place.xy[2 * p + 1], of + 1, place ? place.data[p] + 1 : "", labelName(shown, kinds[0][p]), kinds[1][p] < 0 ? "" : kinds[1][p], kinds[2][p]].forEach((value, i) => rows[i].push(value)));
}

const parts = ({ tensors: { image, place, grid } }) => ({ image: image.data, place: place?.data, grid: grid?.data });
const linked = (a, b) => [counterparts(parts(a), parts(b)), counterparts(parts(b), parts(a))];

/** Whether both sides have the same points in the same order. */
const same = ([there, back]) => there.length === back.length && there.every((q, p) => q === p);
