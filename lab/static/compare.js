/* view
{
  "page": "compare",
  "place": 10,
  "title": "The same image through other networks",
  "shows": "A column a network: the last layer's class-token attention, mean over heads, three components in its own basis, and what is like the patch under the pointer.",
  "look": "Always compare with the untrained column: what it shows too, nobody has learnt. Point at a patch and see which networks find its like; a click holds it.",
  "needs": "A run with a checkpoint, or models given with dino-lab watch --models.",
  "records": ["sight/images?images={images}", "sight/features?source={source}&images={images}&image={image}", "sight/heads?source={source}&images={images}&image={image}", "compare/pca?source={source}&images={images}&image={image}"]
}
*/
// One image through several networks, side by side, with one pointer (lab/views/compare.py, lab/sight.py).

import { switched } from "./bound.js";
import { arrange, card, h, number, percent } from "./dom.js";
import { RAMP_CSS, componentColour, similarity } from "./maps.js";
import { LOOKED_AT, imagesOf, keepSight, nameOf, pictures, seen, sourceOf, sourcesOf } from "./sight.js";
import { afterwards, drawOutline, drawPatches, drawPicture, inTurn, patchAt, picture, ramp, strip, tile } from "./tiles.js";

const MOST = 6; // even shares of the attention that are drawn brightest
const LIKE = 0.6; // cosine from which a patch counts as like another
const scale = (from, table, to) => h("span", { class: "scale" }, from, h("i", { style: `background:${RAMP_CSS[table]}` }), to);

export function mount(element, host) {
  keepSight(host).keep({ ownscale: 0 });
  let offered = [], columns = [], spot = null, shown = null, asked = 0;
  const body = card(element, { ...host.about, controls: [switched(host, "each its own scale", "ownscale", "Cosine from the 2nd to the 98th percentile of each column, instead of −0.2 to 1 in all")], data: table });
  const images = strip(host, "Images"), status = h("p", { class: "hint", role: "status" }), place = h("div", { class: "networks" });
  const likes = h("span"), spoken = h("p", { class: "sr-only", role: "status" });
  const told = afterwards(count), paint = inTurn(body, () => { columns.forEach((column) => column.paint()); told(); });
  scaled();
  body.append(images, h("div", { class: "controls under" }, scale("attention: none", "magma", `${MOST} × an even share`), likes), status, spoken, place);
  host.on([...LOOKED_AT, "image", "runs"], load);
  host.on("data", () => { if (!shown) load(); });
  host.on("ownscale", () => { scaled(); paint(); });
  host.on("patch", () => { if (host.get("patch") === null) move(null); });
  host.sure("sight").then(({ models }) => { offered = models.length ? models.map((name) => `model:${name}`) : ["first"]; load(); }, (error) => { status.textContent = error.message; });

  function scaled() { likes.replaceChildren(host.get("ownscale") ? scale("cosine: each column's least", "cividis", "most") : scale("cosine −0.2", "cividis", "1")); }

  const chosen = () => Math.min(host.get("image"), shown.images.shape[0] - 1);

  async function load() {
    const now = ++asked;
    if (!imagesOf(host)) { status.textContent = "There is no run to take images from; hand some in above, or choose a folder."; return; }
    try {
      const probe = await pictures(host);
      if (now !== asked) return;
      shown = { ...probe.tensors, key: imagesOf(host) };
      status.textContent = "";
      images.hidden = place.hidden = false;
    } catch (error) {
      if (now !== asked) return;
      status.textContent = error.message;
      images.hidden = place.hidden = true; // what stood there was of other images
      return;
    }
    images.fill(shown.images, shown.labels, host.get("images") ? null : host.run()?.head.classes);
    const names = [...new Set([...sourcesOf(host), ...(host.overlay() ? ["overlay"] : []), ...offered])].filter((name) => sourceOf(host, name));
    columns = names.map((name) => columns.find((column) => column.name === name) ?? made(name));
    arrange(place, columns.map((column) => column.element));
    columns.forEach((column) => look(column, now)); // a slow network keeps nobody waiting
  }

  async function look(column, now) {
    const image = chosen(), size = host.get("size"), called = nameOf(host, column.name), of = `${imagesOf(host)} ${image}`;
    if (column.data && column.data.of !== of) { column.data = null; column.paint(); } // nothing of another picture over this one
    if (!column.data) [column.title.textContent, column.words.textContent] = [called, "A worker looks through this network …"];
    try {
      const source = encodeURIComponent(sourceOf(host, column.name)), seenOn = encodeURIComponent(imagesOf(host));
      const [features, scores, heads] = await Promise.all([seen(host, "features", column.name, { image }), host.kept(`compare/pca?source=${source}&images=${seenOn}&image=${image}${size ? `&size=${size}` : ""}`),
        seen(host, "heads", column.name, { image }).catch(() => null)]);
      if (now !== asked) return;
      const { said, tensors } = features;
      column.title.textContent = called;
      column.data = { of, features: tensors, said, scores: scores.tensors.scores.data, attention: heads ? lastOf(heads, said) : null };
      const strongest = column.data.attention && Math.max(...column.data.attention);
      column.words.textContent = `${said.rows} × ${said.columns} patches, ${tensors.patches.shape[2]} features; ${percent(scores.said.explained.reduce((a, b) => a + b, 0), 0)} of the variance in three components; ${heads ? `most attention on one patch ${percent(strongest)}, ${number(strongest * said.rows * said.columns, 2)} × an even share` : "no attention to show"}`;
    } catch (error) {
      if (now !== asked) return;
      column.data = null;
      column.title.textContent = called;
      column.words.textContent = error.message;
    }
    column.paint();
    if (column.data) held(column);
    told();
  }

  /** The last layer's class-token attention over patches, mean over heads, as shares. */
  function lastOf({ tensors }, { rows, columns: across }) {
    const count = rows * across, from = tensors.attention ?? tensors.maps;
    const [heads, tokens] = from.shape.slice(-2), start = from.data.length - heads * tokens, mean = new Float32Array(count);
    for (let head = 0; head < heads; head++) for (let n = 0; n < count; n++) mean[n] += from.data[start + head * tokens + tokens - count + n];
    const total = mean.reduce((a, b) => a + b, 0);
    return mean.map((value) => value / (total || 1));
  }

  function made(name) {
    const title = h("h3"), words = h("p", { class: "hint" }), found = h("small", {}, "like the patch");
    const column = { name, title, words, found, data: null };
    const one = (kind, label, paintTile) => {
      const canvas = tile((context, size) => { if (shown && column.data) paintTile(context, size, column.data, [column.data.said.rows, column.data.said.columns]); }, { "aria-label": label, "data-kind": kind, tabindex: kind === "similar" ? 0 : null });
      canvas.addEventListener("pointermove", (event) => { if (column.data && !host.get("pinned")) move(over(event, column)); });
      canvas.addEventListener("pointerleave", () => { if (!host.get("pinned")) move(null); });
      canvas.addEventListener("click", (event) => { if (column.data) pin(over(event, column)); });
      canvas.addEventListener("keydown", (event) => keys(event, column));
      return h("figure", {}, canvas, h("figcaption", {}, kind === "similar" ? found : h("small", {}, label)));
    };
    const tiles = [one("attention", "attention", attention), one("components", "components", components), one("similar", "like the patch", similar)];
    column.element = h("section", { class: "network", "data-network": name ?? "" }, title, h("div", { class: "network-tiles" }, tiles), words);
    column.paint = () => column.element.querySelectorAll("canvas").forEach((canvas) => canvas.paint());
    return column;

    function attention(context, size, data, grid) {
      drawPicture(context, size, picture(shown.images, chosen(), true));
      if (data.attention) drawPatches(context, size, grid, ramp(data.attention, 0, MOST / data.attention.length, "magma", 0.85));
      outline(context, size, grid);
    }
    function components(context, size, data, grid) {
      drawPatches(context, size, grid, (n) => [0, 1, 2].map((c) => componentColour(data.scores[3 * n + c])));
      outline(context, size, grid);
    }
    function similar(context, size, data, grid) {
      drawPicture(context, size, picture(shown.images, chosen(), spot !== null));
      if (spot) {
        const map = likeness(data, grid), own = host.get("ownscale"), sorted = own ? Float32Array.from(map).sort() : null;
        const [low, high] = own ? [sorted[Math.floor(0.02 * sorted.length)], sorted[Math.floor(0.98 * (sorted.length - 1))]] : [-0.2, 1];
        drawPatches(context, size, grid, ramp(map, low, high, "cividis", 0.88));
      }
      outline(context, size, grid);
    }
  }

  /** What share of the other patches is like the one that is pointed at, in each network: below its map, and for who can't see it. */
  function count() {
    const shares = columns.map((column) => {
      if (!spot || !column.data) { column.found.textContent = "like the patch"; return null; }
      const map = likeness(column.data, [column.data.said.rows, column.data.said.columns]);
      const share = (map.filter((cosine) => cosine > LIKE).length - 1) / Math.max(map.length - 1, 1);
      column.found.textContent = `alike (> ${LIKE}): ${percent(share, 0)}`;
      return `${column.title.textContent} ${percent(share, 0)}`;
    }).filter(Boolean);
    spoken.textContent = shares.length ? `Patches whose cosine to this one is above ${LIKE}: ${shares.join(", ")}.` : "";
  }

  /** A row a patch of every network. */
  function table() {
    const rows = { network: [], row: [], column: [], attention_share: [], component_1: [], component_2: [], component_3: [], cosine_to_patch: [] };
    for (const { title, data } of columns.filter((column) => column.data)) {
      const grid = [data.said.rows, data.said.columns], map = spot ? likeness(data, grid) : null;
      for (let n = 0; n < grid[0] * grid[1]; n++)
        [title.textContent, Math.floor(n / grid[1]) + 1, (n % grid[1]) + 1, data.attention?.[n] ?? "", ...data.scores.slice(3 * n, 3 * n + 3), map?.[n] ?? ""].forEach((value, i) => Object.values(rows)[i].push(value));
    }
    return { patches: rows };
  }

  const patchOf = ([rows, columns]) => Math.min(Math.floor(spot[1] * rows), rows - 1) * columns + Math.min(Math.floor(spot[0] * columns), columns - 1);

  function likeness({ features: { patches, scale } }, grid) {
    return similarity(patches.data, scale.data, patches.shape, 0, patchOf(grid));
  }

  function outline(context, size, grid) {
    if (!spot) return;
    const mask = new Uint8Array(grid[0] * grid[1]);
    mask[patchOf(grid)] = 1;
    drawOutline(context, size, mask, grid, { width: 1.6 });
  }

  const middle = (patch, [rows, across]) => [((patch % across) + 0.5) / across, (Math.floor(patch / across) + 0.5) / rows];

  /** The middle of the patch that is pointed at; null beside all. */
  function over(event, { data: { said } }) {
    const grid = [said.rows, said.columns], patch = patchAt(event, grid);
    return patch === null ? null : middle(patch, grid);
  }

  /** Hold a patch, so that the pointer may go elsewhere; let go of one that is held. */
  function pin(to) {
    const same = host.get("pinned") && JSON.stringify(to) === JSON.stringify(spot);
    move(to);
    host.set({ pinned: to !== null && !same });
  }

  /** The patch that a link or another page holds. */
  function held({ name, data: { said } }) {
    if (!spot && host.get("pinned") && host.get("patch") !== null && !name?.startsWith("model:")) move(middle(host.get("patch"), [said.rows, said.columns]));
  }

  function keys(event, { data }) {
    if (event.key === "Escape") { move(null); host.set({ pinned: false }); }
    const by = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] }[event.key];
    if (!by || !data) return;
    event.preventDefault();
    event.stopPropagation();
    const inside = (value) => Math.min(Math.max(value, 0.001), 0.999), at = spot ?? [0.5, 0.5];
    move([inside(at[0] + by[0] / data.said.columns), inside(at[1] + by[1] / data.said.rows)]);
    host.set({ pinned: true });
  }

  function move(to) {
    if (JSON.stringify(to) === JSON.stringify(spot)) return;
    spot = to;
    const first = columns.find((column) => column.data && !column.name?.startsWith("model:"))?.data.said;
    if (first) host.set({ patch: spot ? patchOf([first.rows, first.columns]) : null });
    paint();
  }
}
