// What pages of many images share: which images and whose eyes, asking for what takes a worker a while, colours of groups.

import { duration, h, number, offer } from "./dom.js";
import { RAMPS } from "./maps.js";
import { imagesOf, sourceOf } from "./sight.js";

const AGAIN = 500; // milliseconds between questions after something that is being computed
const KEPT = 48; // answers kept for scrubbing

/** Ask until it is there.  `ask(path, current, tell)` → { tensors, said } or JSON, null once `current()` is false;
    `tell(sentence, share, left)` hears how far it is, and how many seconds are left once that can be told; not `noted` is what is not drawn yet. */
export function patient(host) {
  const answers = new Map(), open = new Map();
  /** Several who ask the same at the same time ask once. */
  function once(path, noted) {
    if (!open.has(path)) open.set(path, (noted ? host.ask(path) : host.unnoted(path)).finally(() => open.delete(path)));
    return open.get(path);
  }
  /** The checkpoint of a step comes a little after its pictures; what was answered before is another answer. */
  const whole = (path) => `${path} ${host.run()?.head.checkpoints.findLast((step) => step <= Number(/crowd\/(\d+)\//.exec(path)?.[1]))}`;
  return async function ask(path, current, tell, noted = true) {
    const name = whole(path);
    if (answers.has(name)) {
      const known = answers.get(name);
      answers.delete(name);
      answers.set(name, known);
      if (noted) host.uses(path, known);
      return known;
    }
    let begun = null;
    for (;;) {
      const answer = await once(path, noted);
      if (!answer?.waiting) {
        answers.set(name, answer);
        if (answers.size > KEPT) answers.delete(answers.keys().next().value);
        tell?.("", 1);
        return answer;
      }
      if (!current()) return null;
      const kind = answer.waiting.replace(/\d+/g, ""); // one thing after another, each at a pace of its own
      if (begun?.kind !== kind) begun = answer.share > 0 ? { kind, share: answer.share, at: Date.now() } : null;
      const passed = begun ? (Date.now() - begun.at) / 1000 : 0, done = answer.share - (begun?.share ?? 0);
      tell?.(answer.waiting, answer.share, passed > 4 && done > 0 ? (passed * (1 - answer.share)) / done : null);
      await new Promise((done) => setTimeout(done, AGAIN));
      if (!current()) return null;
    }
  };
}

/** What is being done, how much of it is done, and how long it takes yet. */
export const doing = (sentence, share, left = null) => (sentence ? `${sentence} (${Math.round(100 * share)} %${left === null ? "" : `, about ${duration(left)} left`}) …` : "");

const COUNTS = [300, 1000, 3000, 10_000, 20_000];
const LONG = 3000; // images beyond which one should know that it takes long

/** Which images, how many, and through which network: what `source` (or the network beside it), `images`, `size` and `crowd` of the state
    mean here.  `own`: a run's teacher over the run's own images, of which the run kept answers.  `problem` says what is missing.
    `path(what, more)` is the question; `of` names everything but the clock. */
export function gathering(host, network = host.get("source")) {
  const chosen = host.get("images"), size = host.recorded ? 0 : host.get("size");
  const name = network === "teacher" ? null : network;
  const kind = /^(folder|set):/.exec(chosen ?? "")?.[1] ?? (chosen === "data" || host.get("crowd") ? "data" : "probe");
  const count = kind === "probe" || kind === "set" ? 0 : host.get("crowd") || COUNTS[0], run = host.get("run"), stop = host.stop();
  const own = !name && !size && (kind === "probe" || kind === "data");
  if (own) {
    const path = (what, more = "") => `run/${run}/crowd/${what === "pictures" ? what : `${stop}/${what}`}?count=${count}${more}`;
    const problem = !host.run() ? "" : stop === null ? "The first points come with the first probes." : null;
    return { own, kind, count, path, name, of: `${run} ${count}`, source: run && stop !== null ? `run:${run}:${stop}:teacher` : null, problem };
  }
  const source = shownAt(host, name, stop), images = kind === "data" ? (run ? `data:${run}` : null) : imagesOf(host);
  const coming = host.runs() === null || [[host.get("run"), host.run()], [host.get("overlay"), host.overlay()]].some(([id, track]) => id && !track);
  const problem = !source && coming ? "" : !images ? "There is no run to take images from: choose a folder, or hand some in."
    : !source ? (name === "overlay" ? "Lay a run over this one (the button beside its name) to look through it." : "These images need a checkpoint to look through; the first has not been written yet.") : null;
  const asked = `images=${encodeURIComponent(images)}&count=${count}`;
  const path = (what, more = "") => (what === "pictures" ? `gathered/pictures?${asked}` : `gathered/${what}?source=${encodeURIComponent(source)}&${asked}&size=${size}${more}`);
  return { own, kind, count, path, name, of: `${name} ${run} ${images} ${count} ${size}`, source, problem };
}

/** A network that can be shown new images: of a run a checkpoint, the last one not after the clock. */
function shownAt(host, name, stop) {
  if (name?.startsWith("model:")) return name;
  const track = name === "overlay" ? host.overlay() : host.run(), known = track?.head.checkpoints ?? [];
  const at = name === "first" ? known[0] : known.findLast((step) => step <= (stop ?? Infinity)) ?? known[0];
  return at === undefined ? null : `run:${track.id}:${at}:${name === "student" ? "student" : "teacher"}`;
}

/** What the layouts of a gathering are turned towards: the newest that is there. */
export function anchorOf(host, { own, source, name }) {
  if (own) return String(host.stops().at(-1));
  if (!source?.startsWith("run:") || source.endsWith(":student") || name === "first") return source;
  const track = host.track(source.split(":")[1]);
  return `${source.split(":").slice(0, 2).join(":")}:${track.head.checkpoints.at(-1)}:teacher`;
}

/** How many images are shown, to choose. */
export function howMany(host) {
  const list = h("select", { "aria-label": "How many images", onchange: () => choose(Number(list.value)) });
  const element = h("label", { class: "labelled" }, "how many ", list);
  const choose = (crowd) => host.set({ crowd, spot: -1, enclosed: "", ...(/^(folder|set):/.test(host.get("images") ?? "") ? {} : { images: crowd ? "data" : null }) });
  let folders = [], recorded = null; // a file holds some numbers of images alone
  function fill() {
    const { kind, count } = gathering(host), ofData = kind === "probe" || kind === "data", from = ofData ? " of the data" : " of the folder";
    const there = (ofData ? host.run()?.head.images : folders[Number(/\d+$/.exec(host.get("images")))]?.all) ?? Infinity;
    const counts = COUNTS.filter((many, i) => (recorded ? recorded.includes(many) : !i || COUNTS[i - 1] < there)); // the last of them is all there are
    offer(list, [...(ofData ? [["0", "probe images"]] : []), ...counts.map((many) => [String(many), `${many < there ? number(many) : `all ${number(there)}`}${from}${Math.min(many, there) > LONG ? ", takes long" : ""}`])]);
    list.value = String(count && Math.min(count, counts.at(-1)));
    element.hidden = kind === "set" || Boolean(recorded && (!ofData || recorded.length < 2));
  }
  host.sure("sight").then((offered) => { folders = offered.folders; recorded = offered.counts ?? null; fill(); }, () => {});
  host.on(["images", "crowd", "run", "data"], fill);
  fill();
  return element;
}

/** What is being computed, in words, with a button that ends it: what was made is kept, and goes on from there.
    `again()` is called to go on. */
export function patience(again) {
  const words = h("span"), button = h("button", { type: "button", class: "quiet", hidden: true, onclick: () => { stopped = !stopped; show(); if (!stopped) again(); } }, "stop");
  const element = h("p", { class: "hint embedding-status", role: "status" }, words, " ", button);
  let stopped = false, last = "";
  const show = () => {
    words.textContent = stopped ? `Stopped. ${last.replace(/ …$/, "")}: what was made is kept.` : last;
    button.textContent = stopped ? "go on" : "stop";
    button.hidden = !last.endsWith(" …");
  };
  return {
    element,
    get stopped() { return stopped; },
    /** Something else is asked for. */
    anew() { stopped = false; },
    tell(sentence, share, left) { last = doing(sentence, share, left); if (!stopped) show(); },
    say(text) { last = text; stopped = false; show(); },
  };
}

/** Okabe and Ito's colours and two greys, as numbers. */
export const GROUPS = [[0, 114, 178], [230, 159, 0], [0, 158, 115], [204, 121, 167], [213, 94, 0], [86, 180, 233], [240, 228, 66], [120, 94, 240], [150, 75, 0], [120, 130, 140]];
export const OTHER = [134, 140, 150];

/** The colour of a group; -1 is grey.  Those beyond the colours there are have darker ones, then lighter ones. */
export function colourOf(group) {
  if (group < 0) return OTHER;
  const [to, share] = [[0, 0], [0, 0.42], [255, 0.5]][Math.floor(group / GROUPS.length) % 3];
  return GROUPS[group % GROUPS.length].map((value) => Math.round(value + share * (to - value)));
}

/** Colours (P 3) by group number. */
export function byGroup(groups) {
  const rgb = new Uint8Array(3 * groups.length), known = new Map();
  groups.forEach((group, p) => {
    if (!known.has(group)) known.set(group, colourOf(group));
    rgb.set(known.get(group), 3 * p);
  });
  return rgb;
}

/** Colours (P 3) by value, dark for little; grey where there is none. */
export function byValue(values, low, high) {
  const rgb = new Uint8Array(3 * values.length), table = RAMPS.cividis;
  values.forEach((value, p) => {
    if (Number.isNaN(value)) { rgb.set(OTHER, 3 * p); return; }
    const at = 3 * Math.round(255 * Math.min(Math.max((value - low) / (high - low || 1), 0), 1));
    rgb.set(table.subarray(at, at + 3), 3 * p);
  });
  return rgb;
}

/** How often each number occurs, the most frequent first → [[number, count], …]. */
export function counted(numbers) {
  const found = new Map();
  for (const number of numbers) found.set(number, (found.get(number) ?? 0) + 1);
  return [...found].sort((a, b) => b[1] - a[1] || a[0] - b[0]);
}
