// What views on the pages of attention, patches, Gram and comparison look at: which network sees, and which images are seen.
//
// The state keeps `source` (null: the run's teacher at the clock; "student", "first", "overlay", "model:NAME"), `against` (a second one,
// to compare), `images` (null: the run's probe images; "data": of its data set; "folder:K", "set:HASH") and `size` (pixels a side; 0: as the network was trained).

import { grouped } from "./dom.js";
import { forget } from "./tiles.js";

export const LOOKED_AT = ["stop", "run", "overlay", "source", "against", "images", "size"];

export function keepSight(host) {
  host.keep({ source: null, against: null, images: null, size: 0 });
  return host;
}

/** What the lab calls a network of the state, at the clock's step; null while there is none. */
export function sourceOf(host, name = host.get("source")) {
  if (name?.startsWith("model:")) return name;
  const stop = host.stop();
  if (name === "overlay") {
    const stops = host.overlay()?.head.probes ?? [];
    return stops.length ? `run:${host.get("overlay")}:${stops.findLast((s) => s <= (stop ?? 0)) ?? stops[0]}:teacher` : null;
  }
  if (!host.run() || stop === null) return null;
  return `run:${host.get("run")}:${name === "first" ? host.stops()[0] : stop}:${name === "student" ? "student" : "teacher"}`;
}

/** The same in words; `step` where what is shown is not of the clock's. */
export function nameOf(host, name = host.get("source"), step = sourceOf(host, name)?.split(":")[2]) {
  if (name?.startsWith("model:")) return name.slice(6).replace(/^random:/, "untrained ");
  const run = host.runs()?.find(({ id }) => id === (name === "overlay" ? host.get("overlay") : host.get("run")))?.name ?? "run";
  return `${run}, ${name === "student" ? "student" : "teacher"}${step === undefined ? "" : ` at step ${grouped(Number(step))}`}`;
}

/** The networks that are shown: one, or two side by side. */
export const sourcesOf = (host) => [host.get("source"), ...(host.get("against") ? [host.get("against")] : [])];

/** A side for each network that is shown: those that are there where they are the same networks, else new ones in their place. */
export function sidesFor(host, place, sides, make) {
  const names = sourcesOf(host);
  if (JSON.stringify(sides.map((side) => side.name)) === JSON.stringify(names)) return sides;
  forget(place);
  const fresh = names.map(make);
  place.replaceChildren(...fresh.map((side) => side.element));
  return fresh;
}

export function imagesOf(host) {
  const chosen = host.get("images"), run = host.get("run");
  return chosen && chosen !== "data" ? chosen : run ? `${chosen ?? "probe"}:${run}` : null;
}

const query = (values) => Object.entries(values).filter(([, value]) => value !== null && value !== undefined)
  .map(([key, value]) => `${key}=${encodeURIComponent(value)}`).join("&");

/** { images, labels, masks } and names, of the images that are looked at. */
export function pictures(host) {
  const images = imagesOf(host);
  return images ? host.kept(`sight/images?${query({ images })}`) : Promise.reject(new Error(host.runs() === null ? "One moment …" : "There is no run to take images from; hand some in, or choose a folder."));
}

/** Answers about a network and the images: `what` is "features" or "heads"; `more` are further values of the question. */
export function seen(host, what, name = host.get("source"), more = {}) {
  const source = sourceOf(host, name), images = imagesOf(host);
  if (!source || !images) return Promise.reject(new Error(name === "overlay" ? "Lay a run over this one (the button beside its name) to compare with it." : host.runs() === null || (host.get("run") && !host.run()) ? "One moment …" : "The first pictures come with the first checkpoint."));
  return host.kept(`sight/${what}?${query({ source, images, size: host.get("size") || null, ...more })}`, what === "heads" ? wholeOf(host, source) : "");
}

/** A checkpoint comes a little after the pictures of its step; from then on all layers can be seen. */
function wholeOf(host, source) {
  const [kind, run, step] = source.split(":"), known = [[host.get("run"), host.run()], [host.get("overlay"), host.overlay()]];
  return kind === "run" && known.some(([id, track]) => id === run && track?.head.checkpoints.includes(Number(step))) ? "whole" : "";
}

/** The same network where its weights are: a run's step that kept its answers alone gives way to the nearest before it that kept them. */
export function weighed(host, source) {
  const [kind, run, step, network] = source?.split(":") ?? [];
  const track = [[host.get("run"), host.run()], [host.get("overlay"), host.overlay()]].find(([id]) => id === run)?.[1];
  if (kind !== "run" || network !== "teacher" || !track?.head.checkpoints.length || track.head.checkpoints.includes(Number(step))) return source;
  return `run:${run}:${track.head.checkpoints.findLast((one) => one <= Number(step)) ?? track.head.checkpoints[0]}:teacher`;
}

/** Run `load` whenever it is called, but never twice at a time: the last call waits for the one before, those between are left out.
    Other images wait for nothing: what was asked about those before may take a network a while, and is not to be shown any more,
    which `load(current)` learns from `current()`. */
export function latest(host, load) {
  let now = null, again = false;
  return async function run() {
    const images = imagesOf(host);
    if (now?.images === images) { again = true; return; }
    const mine = now = { images };
    again = false;
    try { await load(() => now === mine); } finally {
      if (now === mine) {
        now = null;
        if (again) run();
      }
    }
  };
}

/** Steps beside the clock's, for fetching ahead: so that scrubbing and playing find them here. */
export function beside(host) {
  const stops = host.stops(), at = stops.indexOf(host.stop());
  return [stops[at + 1], stops[at + 2], stops[at - 1]].filter((stop) => stop !== undefined);
}

/** The same question at another step, asked so that its answer is there when the clock gets to it. */
export function ahead(host, what, name, more = {}) {
  if (name?.startsWith("model:") || name === "overlay" || name === "first" || host.get("images")?.startsWith("set:")) return;
  const images = imagesOf(host), size = host.get("size") || null;
  host.ahead(`${what} ${name}`, beside(host).map((stop) => {
    const source = `run:${host.get("run")}:${stop}:${name === "student" ? "student" : "teacher"}`;
    return [`sight/${what}?${query({ source, images, size, ...more })}`, what === "heads" ? wholeOf(host, source) : ""];
  }));
}
