// The prototypes of one network: asked for, and in rows.

import { h, number, percent, refill } from "./dom.js";
import { counted, gathering, patience } from "./crowd.js";
import { nameOf } from "./sight.js";
import { drawOutline, drawPicture, forget, picture, tile } from "./tiles.js";

const ROWS = 12, SHOTS = 9;

/** The side of the network that the state calls `key`; `ask` is shared with the other.  `point(image)` is called when an image is pointed at,
    `changed()` when there is something new. */
export function side(host, key, { ask, point, changed }) {
  const title = h("h3", { hidden: true }), status = patience(load), about = h("p", { class: "hint" }), list = h("ol", { class: "prototype-rows" });
  const element = h("section", { class: "prototype-side" }, title, about, status.element, list);
  let asked = 0, shown = null, waits = false;

  async function load() {
    const track = host.run(), found = gathering(host, host.get(key)), now = ++asked;
    title.textContent = nameOf(host, host.get(key));
    if (found.problem !== null || (found.own && !track)) { empty(); status.say(found.problem ?? ""); return; }
    const current = () => now === asked && host.shown() && !status.stopped;
    const tell = (sentence, share, left) => { if (now === asked) status.tell(sentence, share, left); };
    waits = true;
    try {
      const pictures = await ask(found.path("pictures"), current, tell);
      const answers = pictures && await ask(found.path("answers"), current, tell);
      if (!answers || now !== asked) return;
      waits = false;
      if (!answers.tensors.top) { empty(); status.say(`${nameOf(host, host.get(key))} names no prototypes: ${answers.said.why}.`); return; }
      status.say("");
      const classes = found.kind === "folder" ? pictures.said.classes : track?.head.classes ?? [];
      shown = { ...found, key: `${found.of} ${answers.said.step}`, stop: host.stop(), images: pictures.tensors.images, labels: pictures.tensors.labels.data, classes, ...answers.tensors, said: answers.said };
      title.textContent = nameOf(host, host.get(key), answers.said.step ?? undefined);
      fill();
      changed();
    } catch (error) {
      if (now !== asked) return;
      waits = false;
      empty();
      status.say(error.message);
    }
  }

  function empty() {
    shown = null;
    forget(list);
    refill(list, "", () => []);
    about.textContent = "";
    changed();
  }

  /** No network stands here any more. */
  function leave() {
    asked++;
    waits = false;
    status.say("");
    empty();
  }

  /** For each prototype that leads somewhere: where, the greatest share first → Map(prototype → [{ image, place, share }]). */
  function led() {
    const patches = host.get("prototypesOf") === "patches", found = new Map();
    const add = (prototype, one) => { if (!found.has(prototype)) found.set(prototype, []); found.get(prototype).push(one); };
    if (patches) {
      const [images, count] = shown.patch_top.shape;
      for (let i = 0; i < images; i++) for (let n = 0; n < count; n++) add(shown.patch_top.data[i * count + n], { image: i, place: n, share: shown.patch_probability.data[i * count + n] });
    } else {
      const [images, kept] = shown.top.shape;
      for (let i = 0; i < images; i++) add(shown.top.data[i * kept], { image: i, place: null, share: shown.probability.data[i * kept] });
    }
    for (const ones of found.values()) ones.sort((a, b) => b.share - a.share);
    return found;
  }

  function fill() {
    if (!shown) return;
    const of = host.get("prototypesOf"), by = host.get("prototypesBy");
    const problem = of === "patches" && !shown.patch_top
      ? !shown.own ? "Prototypes of patches are shown of a run's own teacher over its own images; here prototypes answer for images only."
        : shown.kind === "probe" ? "Patches of probe images have no stored answers: choose images of the data set, which a worker shows to the checkpoint." : "This network has no patch head: its prototypes answer for images only."
      : by === "twins" && (of === "patches" || !shown.twins)
        ? of === "patches" ? "Duplicates are compared for the prototypes of images." : "Duplicates are read off a checkpoint's weights: choose images of the data set." : null;
    status.say(problem ?? "");
    if (problem) { forget(list); refill(list, problem, () => []); about.textContent = ""; return; }
    const found = led(), total = of === "patches" ? shown.said.patch_prototypes : shown.said.prototypes;
    const many = of === "patches" ? shown.patch_top.data.length : shown.top.shape[0];
    const order = [...found].sort((a, b) => b[1].length - a[1].length || a[0] - b[0]).map(([prototype]) => prototype);
    const rows = by === "twins" ? twins() : (by === "most" ? order : order.toReversed()).slice(0, ROWS).map((prototype) => ({ prototypes: [prototype] }));
    const at = !shown.own ? `, as ${nameOf(host, host.get(key), shown.said.step ?? undefined)} sees them` : shown.said.step === shown.stop ? "" : ` as the last checkpoint before (step ${number(shown.said.step)}) sees them`;
    about.textContent = `${found.size} of ${total ?? "?"} prototypes lead for some of ${number(many)} ${of}${at}; the others are dead for these.${order.length ? ` The most used leads for ${percent(found.get(order[0]).length / many)}.` : ""} Answers: ${shown.said.centred ? "centred, " : ""}temperature ${number(shown.said.temperature)}.`;
    const filled = `${shown.key} ${of} ${by} ${host.get("prototype")}`;
    if (list.dataset.key !== filled) forget(list);
    refill(list, filled, () => rows.map((row) => oneRow(row, found, many)));
    if (!rows.length) status.say("No two prototypes are alike by a cosine of 0.5 or more.");
  }

  const twins = () => Array.from({ length: Math.min(ROWS, shown.twin_cosine.data.length) }, (_, i) =>
    ({ prototypes: [shown.twins.data[2 * i], shown.twins.data[2 * i + 1]], cosine: shown.twin_cosine.data[i] }));

  function oneRow({ prototypes, cosine }, found, many) {
    return h("li", { class: "prototype-row", "aria-current": key === "source" && prototypes.includes(host.get("prototype")) ? "true" : null },
      cosine === undefined ? null : h("p", { class: "hint" }, `cosine ${number(cosine, 3)}${cosine > 0.95 ? ": duplicates" : ""}`),
      prototypes.map((prototype) => {
        const ones = found.get(prototype) ?? [], labels = counted(ones.map(({ image }) => shown.labels[image])).filter(([label]) => label >= 0);
        const kind = labels.length ? `${shown.classes[labels[0][0]] ?? `class ${labels[0][0]}`} ${percent(labels[0][1] / ones.length, 0)}` : "";
        const words = [h("b", {}, `prototype ${prototype}`), h("small", {}, ones.length ? `first for ${ones.length} (${percent(ones.length / many)})` : "leads for none"), h("small", {}, kind)];
        return h("div", { class: "prototype-one" },
          key === "against" ? h("div", { class: "prototype-name" }, words)
            : h("button", { type: "button", class: "prototype-name", title: "Mark this prototype in the other views", onclick: () => host.set({ prototype: host.get("prototype") === prototype ? -1 : prototype }) }, words),
          h("div", { class: "prototype-shots" }, ones.slice(0, SHOTS).map(shot)));
      }));
  }

  function shot({ image, place, share }) {
    const name = shown.classes[shown.labels[image]] ?? "", { images, said } = shown;
    const label = `image ${image + 1}${name ? `, ${name}` : ""}${place === null ? "" : `, patch ${place + 1}`}: share ${percent(share, share < 0.095 ? 1 : 0)}`;
    const canvas = tile((context, size) => {
      drawPicture(context, size, picture(images, image));
      if (place === null) return;
      const mask = new Uint8Array(said.rows * said.columns);
      mask[place] = 1;
      drawOutline(context, size, mask, [said.rows, said.columns], { width: 2.4 });
    }, { "aria-label": label });
    const small = h("small", {}, percent(share, share < 0.095 ? 1 : 0));
    const lit = { "data-image": image, onpointerenter: () => point(image), onpointerleave: () => point(null), onfocus: () => point(image), onblur: () => point(null) };
    return shown.kind === "probe"
      ? h("button", { type: "button", class: "shot", title: label, ...lit, onclick: () => host.set({ image, ...(shown.own ? { patch: place, pinned: place !== null } : {}) }) }, canvas, small)
      : h("div", { class: "shot", title: label, ...lit }, canvas, small);
  }

  /** A row a prototype that leads for something, the most used first. */
  function rows() {
    if (!shown || (host.get("prototypesOf") === "patches" && !shown.patch_top)) return [];
    const of = host.get("prototypesOf"), many = of === "patches" ? shown.patch_top.data.length : shown.top.shape[0];
    return [...led()].sort((a, b) => b[1].length - a[1].length || a[0] - b[0]).map(([prototype, ones]) => {
      const [label, count] = counted(ones.map(({ image }) => shown.labels[image])).find(([one]) => one >= 0) ?? [];
      return { network: nameOf(host, host.get(key), shown.said.step ?? undefined), prototype, [`${of} it leads for`]: ones.length, "share of them": ones.length / many, "largest share of an answer": ones[0].share,
        "most frequent label": label === undefined ? "" : shown.classes[label] ?? `class ${label}`, "its share": label === undefined ? "" : count / ones.length };
    });
  }

  return { element, title, load, leave, fill, rows, anew: status.anew, shown: () => shown, waits: () => waits };
}
