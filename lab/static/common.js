// What two networks have in common over many images: nearest neighbours, counted a little at a time so that nothing waits, and groups.

import { nearestRows } from "./points.js";

const NEIGHBOURS = 12;
const PART = 4; // of few points as many as a fourth of the others: of 15, 12 would always be common
const ASKED = 300; // points that are asked, spread over all
const SLICE = 10; // milliseconds at a stretch

/** How many neighbours of a point are compared, of so many points. */
export const neighboursOf = (points) => Math.max(1, Math.min(NEIGHBOURS, Math.floor((points - 1) / PART)));

/** The mean share of common neighbours (lab.analysis.layout.common) of two networks' rows → { share, count, chance, points, asked };
    `vectors` (P D) int8 in `rows` with `scale` (P).  Ends with null as soon as `current()` is false. */
export async function meanCommon(one, two, current = () => true) {
  const points = one.scale.data.length, count = neighboursOf(points), every = Math.ceil(points / ASKED);
  const near = ({ rows, scale }, p) => nearestRows(rows.data, scale.data, rows.shape[1], p, count).map(({ index }) => index);
  let sum = 0, asked = 0, began = performance.now();
  for (let p = 0; p < points; p += every) {
    const ours = new Set(near(one, p));
    sum += near(two, p).filter((index) => ours.has(index)).length / count;
    asked++;
    if (performance.now() - began < SLICE) continue;
    await new Promise((done) => setTimeout(done));
    if (!current()) return null;
    began = performance.now();
  }
  return { share: sum / asked, count, chance: count / (points - 1), points, asked };
}

/** Remembers the last pair: `average(one, two, then)` → what is known of it, null until then; `then()` is called when it is. */
export function commonOf() {
  let of = [], found = null;
  return function average(one, two, then) {
    if (of[0] === one && of[1] === two) return found;
    const now = (of = [one, two]);
    found = null;
    meanCommon(one, two, () => of === now).then((result) => { if (result && of === now) { found = result; then(); } });
    return null;
  };
}

/** Of the pairs that one grouping puts together the share that another does too, and what chance gives (lab.analysis.prototypes.together):
    `one` and `other` (M) are group numbers → { pairs, share, chance }. */
export function together(one, other) {
  const pairsOf = (keys) => {
    const sizes = new Map();
    for (const key of keys) sizes.set(key, (sizes.get(key) ?? 0) + 1);
    return [...sizes.values()].reduce((sum, n) => sum + (n * (n - 1)) / 2, 0);
  };
  const pairs = pairsOf(one), all = (one.length * (one.length - 1)) / 2;
  return { pairs, share: pairs ? pairsOf(Array.from(one, (group, i) => `${group} ${other[i]}`)) / pairs : 0, chance: all ? pairsOf(other) / all : 0 };
}
