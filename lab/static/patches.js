/* view
{
  "page": "monitor",
  "place": 21,
  "half": true,
  "title": "Which patches are alike",
  "shows": "Three principal components of the patch features as red, green and blue: patches of one colour mean the same to the network.",
  "look": "Parts of one kind take one colour across images. Point at a patch: everything similar to it lights up, in every image.",
  "records": ["run/{run}/images", "run/{run}/probe/{step}/features", "run/{run}/probe/{step}/pca?anchor={last}&mode={mode:joint|image}&foreground={foreground:false|true}"]
}
*/
// What patches are alike: principal components as colours, and cosine similarity to the patch under the pointer.

import { bound, switched } from "./bound.js";
import { columnsOf } from "./numbers.js";
import { card, h, number, percent, refill } from "./dom.js";
import { RAMP_CSS, componentColour, similarity } from "./maps.js";
import { beside } from "./sight.js";
import { afterwards, drawOutline, drawPatches, drawPicture, forget, inTurn, patchAt, picture, ramp, tile } from "./tiles.js";

export function mount(element, host) {
  host.keep({ partsof: "joint", front: 0 });
  const body = card(element, {
    ...host.about,
    data: () => ({ patches: columnsOf(rows()) }),
    controls: [bound(host, "Components of", { joint: "all images", image: "each image" }, "partsof"),
      switched(host, "foreground only", "front", "First component above Otsu's threshold; its sign is chosen so that the border is background")],
  });
  const large = h("div", { class: "pair" });
  const small = h("div", { class: "tiles small" });
  const status = h("p", { class: "hint", role: "status" });
  const about = h("p", { class: "hint" });
  body.append(large, h("div", { class: "controls under" }, about, h("span", { class: "scale" }, "cosine −0.2", h("i", { style: `background:${RAMP_CSS.cividis}` }), "1")), small, status);
  host.on(["stop", "run", "partsof", "front"], load);
  let shown = null, asked = 0, anchor = { run: null, step: null }, maps = null, mapsOf = "";
  const paint = inTurn(body, () => { if (shown) fill(); });
  host.on(["image", "patch"], paint);
  host.on("data", () => { if (!shown) load(); });

  /** The chosen image's patches: components, and how alike each is to the chosen patch. */
  function rows() {
    if (!shown) return [];
    const [height, width] = shown.grid, n = height * width, image = Math.min(host.get("image"), shown.images.shape[0] - 1), patch = host.get("patch");
    const like = patch !== null && patch < n ? similarity(shown.patches.data, shown.scale.data, shown.patches.shape, image, patch, image) : null;
    return Array.from({ length: n }, (_, p) => ({ patch: p + 1, row: 1 + Math.floor(p / width), column: 1 + (p % width),
      ...Object.fromEntries([0, 1, 2].map((c) => [`component ${c + 1} (s.d.)`, shown.scores.data[3 * (image * n + p) + c]])), ...(like ? { [`cosine to patch ${patch + 1}`]: like[p] } : {}) }));
  }

  const paintSmall = afterwards(() => small.querySelectorAll("canvas").forEach((canvas) => canvas.paint()));

  async function load() {
    const track = host.run(), stop = host.stop();
    if (!track || stop === null) {
      asked++; // what is under way is of another run
      shown = null;
      [large, small].forEach((place) => { forget(place); place.replaceChildren(); delete place.dataset.key; });
      status.textContent = track ? "The first pictures come with the first checkpoint." : "";
      return;
    }
    if (anchor.run !== host.get("run")) anchor = { run: host.get("run"), step: host.stops().at(-1) };
    const now = ++asked;
    try {
      const query = `anchor=${anchor.step}&mode=${host.get("partsof")}&foreground=${Boolean(host.get("front"))}`;
      const [scores, features, probe] = await Promise.all([host.tensors(`probe/${stop}/pca?${query}`), host.tensors(`probe/${stop}/features`), host.tensors("images")]);
      if (now !== asked) return;
      status.textContent = "";
      shown = { ...scores.tensors, ...features.tensors, images: probe.tensors.images, labels: probe.tensors.labels, classes: track.head.classes,
        said: scores.said, grid: [scores.said.rows, scores.said.columns], key: `${host.get("run")} ${stop}` };
      const text = `${percent(scores.said.explained.reduce((a, b) => a + b, 0), 0)} of the variance is in these three components`
        + (scores.said.angle ? `; turned ${scores.said.angle}° to match step ${number(scores.said.anchor)}.` : ".");
      if (about.textContent !== text) about.textContent = text;
      paint();
      ahead(query);
    } catch (error) {
      if (now === asked) status.textContent = error.message;
    }
  }

  /** Fetch the neighbours, so that scrubbing and playing find them here. */
  function ahead(query) {
    const attention = host.get("layer") === -1 ? ["attention?layer=-1"] : [];
    host.ahead("patches", beside(host).flatMap((stop) => [`pca?${query}`, "features", ...attention].map((what) => [`run/${host.get("run")}/probe/${stop}/${what}`])));
  }

  function fill() {
    const count = shown.images.shape[0], image = Math.min(host.get("image"), count - 1), patch = host.get("patch");
    if (patch !== null) {
      const key = `${shown.key} ${image} ${patch}`;
      if (mapsOf !== key) { maps = similarity(shown.patches.data, shown.scale.data, shown.patches.shape, image, patch); mapsOf = key; }
    } else { maps = null; mapsOf = ""; }
    if (large.dataset.key !== "made") {
      refill(large, "made", () => [
        big("image", (context, size) => drawPicture(context, size, picture(shown.images, chosen()))),
        big("components", (context, size) => components(context, size, chosen())),
        big("similar", (context, size) => similar(context, size, chosen())),
      ]);
      large.append(h("span", { class: "sr-only", role: "status", "data-words": "" }));
    }
    if (small.dataset.key !== `${count}`) {
      forget(small);
      small.dataset.named = "";
      refill(small, `${count}`, () => Array.from({ length: count }, (_, i) =>
        h("button", { type: "button", class: "tile-button", onclick: () => host.set({ image: i, patch: null, pinned: false }) },
          tile((context, size) => (maps ? similar : components)(context, size, i), { "aria-hidden": "true" }))));
    }
    const named = `${host.get("run")} ${count} ${image}`;
    if (small.dataset.named !== named) [...small.children].forEach((button, i) => {
      const name = shown.classes?.[shown.labels?.data[i]];
      button.setAttribute("aria-pressed", i === image ? "true" : "false");
      button.setAttribute("aria-label", `image ${i + 1}${name ? `, ${name}` : ""}`);
      button.title = `image ${i + 1}${name ? `: ${name}` : ""}`;
    });
    small.dataset.named = named;
    large.querySelectorAll("canvas").forEach((canvas) => canvas.paint());
    paintSmall();
    const words = {
      image: "image", components: "components",
      similar: patch === null ? "point at a patch" : `like patch ${patch + 1}${host.get("pinned") ? ", pinned" : ""}`,
    };
    large.querySelectorAll("figure").forEach((figure) => {
      const caption = figure.querySelector("b");
      if (caption.textContent !== words[figure.dataset.kind]) caption.textContent = words[figure.dataset.kind];
    });
    if (maps && host.get("pinned")) summarise(image, patch);
  }

  const chosen = () => Math.min(host.get("image"), shown.images.shape[0] - 1);

  function summarise(image, patch) {
    const n = shown.grid[0] * shown.grid[1], own = maps.subarray(image * n, (image + 1) * n);
    const alike = own.reduce((sum, value) => sum + (value > 0.6), 0) - 1;
    large.querySelector("[data-words]").textContent = `Patch ${patch + 1}, row ${Math.floor(patch / shown.grid[1]) + 1}, column ${(patch % shown.grid[1]) + 1}: ${alike} other patches of this image have a cosine similarity above 0.6.`;
  }

  function components(context, size, i) {
    const n = shown.grid[0] * shown.grid[1], scores = shown.scores.data, above = shown.above.data;
    drawPatches(context, size, shown.grid, (p) => {
      const at = i * n + p;
      if (host.get("front") && above[at] <= 0) return [20, 22, 26, 1];
      return [0, 1, 2].map((c) => componentColour(scores[3 * at + c]));
    });
    marker(context, size, i);
  }

  function similar(context, size, i) {
    drawPicture(context, size, picture(shown.images, i, true));
    if (maps) {
      const n = shown.grid[0] * shown.grid[1];
      drawPatches(context, size, shown.grid, ramp(maps.subarray(i * n, (i + 1) * n), -0.2, 1, "cividis", 0.88));
    }
    marker(context, size, i);
  }

  function marker(context, size, i) {
    if (host.get("patch") === null || i !== chosen()) return;
    const mask = new Uint8Array(shown.grid[0] * shown.grid[1]);
    mask[host.get("patch")] = 1;
    drawOutline(context, size, mask, shown.grid, { colour: "#fff", width: 1.6 });
  }

  function big(kind, paintTile) {
    const canvas = tile(paintTile, { tabindex: kind === "components" ? 0 : null, "aria-label": `${kind}; arrow keys choose a patch`, "data-kind": kind });
    canvas.addEventListener("pointermove", (event) => { if (!host.get("pinned")) host.set({ patch: patchAt(event, shown.grid) }); });
    canvas.addEventListener("pointerleave", () => { if (!host.get("pinned")) host.set({ patch: null }); });
    canvas.addEventListener("click", (event) => {
      const patch = patchAt(event, shown.grid);
      const same = host.get("pinned") && host.get("patch") === patch;
      host.set({ patch, pinned: !same });
      paint();
    });
    canvas.addEventListener("keydown", keys);
    return h("figure", { "data-kind": kind }, canvas, h("figcaption", {}, h("b")));
  }

  function keys(event) {
    if (event.key === "Escape") { host.set({ patch: null, pinned: false }); return; }
    const [rows, columns] = shown.grid;
    const [down, right] = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key] ?? [0, 0];
    if (!down && !right) return;
    event.preventDefault();
    event.stopPropagation();
    const at = host.get("patch") ?? Math.floor((rows * columns) / 2);
    const row = Math.min(Math.max(Math.floor(at / columns) + down, 0), rows - 1), column = Math.min(Math.max((at % columns) + right, 0), columns - 1);
    host.set({ patch: row * columns + column, pinned: true });
  }

  host.keys((event) => { if (event.key === "Escape" && host.get("patch") !== null) host.set({ patch: null, pinned: false }); });
}
