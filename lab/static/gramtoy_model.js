// A constructed system in which dense features decay, are kept, or are repaired: the mathematics alone.  Its twin is gram_toy in
// lab/analysis/simulate.py; the same seed gives the same curves there.
//
//   L = mean_p (1 - x_p · c) + weight · mean_pq (x_p · x_q - a_p · a_q)²        (Gram anchoring: DINOv3, Sec. 4)
//
// 196 patches of length one; c is the image token, a_p the patches of the anchor.  Nothing here is a network.

import { keyOf, normals, product, productOverRows } from "./simulator.js";

export const ACROSS = 14, COUNT = ACROSS * ACROSS, WIDTH = 24, STEPS = 400;
export const PARTS = ["sky", "ground", "body", "head", "legs"];
const OWN = 0.45, COMMON = 0.65, ASIDE = 1.2, RATE = 0.003;

/** Which part a patch belongs to. */
function partOf(row, column) {
  if (row >= 9 && row <= 11 && (column === 4 || column === 8)) return 4;
  if ((row - 4) ** 2 + (column - 10.5) ** 2 <= 4.5) return 3;
  if (((row - 6.5) / 2.6) ** 2 + ((column - 6) / 3.8) ** 2 <= 1) return 2;
  return row >= 10 ? 1 : 0;
}

export const parts = Uint8Array.from({ length: COUNT }, (_, p) => partOf(Math.floor(p / ACROSS), p % ACROSS));

/** Bring each row to length one. */
function unit(x) {
  for (let at = 0; at < x.length; at += WIDTH) {
    let sum = 0;
    for (let d = at; d < at + WIDTH; d++) sum += x[d] * x[d];
    const length = Math.max(Math.sqrt(sum), 1e-12);
    for (let d = at; d < at + WIDTH; d++) x[d] /= length;
  }
  return x;
}

function scene(seed) {
  const drawn = normals(keyOf(seed, 2, 1), (PARTS.length + 2 + COUNT) * WIDTH), directions = unit(drawn.slice(0, (PARTS.length + 2) * WIDTH));
  const at = (row, d) => directions[row * WIDTH + d], patches = new Float64Array(COUNT * WIDTH), mean = new Float64Array(WIDTH);
  for (let p = 0; p < COUNT; p++)
    for (let d = 0; d < WIDTH; d++) patches[p * WIDTH + d] = at(parts[p], d) + COMMON * at(PARTS.length, d) + (OWN * drawn[(PARTS.length + 2 + p) * WIDTH + d]) / Math.sqrt(WIDTH);
  unit(patches);
  for (let i = 0; i < patches.length; i++) mean[i % WIDTH] += patches[i] / COUNT;
  const cls = unit(unit(mean).map((x, d) => x + ASIDE * at(PARTS.length + 1, d)));
  return { patches, cls };
}

/** aᵀ b of two sets of patches: WIDTH × WIDTH. */
function between(a, b) {
  const result = new Float64Array(WIDTH * WIDTH);
  productOverRows(a, b, COUNT, WIDTH, WIDTH, result);
  return result;
}

/** Root mean squared difference of two Gram matrices x xᵀ and y yᵀ, by way of the smaller products. */
function gramDistance(xx, yx, yy) {
  let sum = 0;
  for (let i = 0; i < xx.length; i++) sum += xx[i] ** 2 - 2 * yx[i] ** 2 + yy[i] ** 2;
  return Math.sqrt(Math.max(sum, 0)) / COUNT;
}

/** Mean similarity within parts less that between parts; the sum of all pairs is the square of a sum. */
export function contrast(x) {
  const sums = new Float64Array(PARTS.length * WIDTH), sizes = new Float64Array(PARTS.length), all = new Float64Array(WIDTH);
  for (let i = 0; i < x.length; i++) {
    sums[parts[Math.floor(i / WIDTH)] * WIDTH + (i % WIDTH)] += x[i];
    all[i % WIDTH] += x[i];
  }
  parts.forEach((part) => { sizes[part] += 1; });
  const square = (values) => values.reduce((sum, value) => sum + value * value, 0), pairs = square(sizes), within = square(sums);
  return (within - COUNT) / (pairs - COUNT) - (square(all) - within) / (COUNT * COUNT - pairs);
}

/** The whole course: curves of STEPS + 1 numbers, the patches at each step, and the step that is the anchor there (-1: none). */
export function course({ weight = 0, start = 0, anchor = 0, refresh = 0, steps = STEPS, seed = 0 } = {}) {
  const { patches: first, cls } = scene(seed), of = { step: -1, patches: null };
  const result = { step: [], contrast: [], to_cls: [], gram_error: [], anchors: [], patches: [] }, began = between(first, first);
  let x = first;
  for (let step = 0; step <= steps; step++) {
    result.patches.push(x);
    const from = Math.min(anchor, start);
    if (step === start && weight) Object.assign(of, { step: from, patches: result.patches[from] });
    else if (refresh && weight && step > start && (step - start) % refresh === 0) Object.assign(of, { step, patches: x });
    const xx = between(x, x), fromFirst = between(first, x);
    result.step.push(step);
    result.contrast.push(contrast(x));
    result.to_cls.push(meanCosine(x, cls));
    result.gram_error.push(gramDistance(xx, fromFirst, began));
    result.anchors.push(of.step);
    x = moved(x, cls, weight, of.patches, xx, of.patches === first || !of.patches ? fromFirst : between(of.patches, x));
  }
  return result;
}

function meanCosine(x, cls) {
  let sum = 0;
  for (let i = 0; i < x.length; i++) sum += x[i] * cls[i % WIDTH];
  return sum / COUNT;
}

/** One step down the gradient, on the sphere; `own` is xᵀ x, `other` heldᵀ x. */
function moved(x, cls, weight, held, own, other) {
  const next = new Float64Array(x.length), now = new Float64Array(x.length), then = new Float64Array(x.length), scale = held ? (4 * weight) / COUNT : 0;
  if (held) {
    product(x, own, COUNT, WIDTH, WIDTH, now);
    product(held, other, COUNT, WIDTH, WIDTH, then);
  }
  for (let p = 0; p < x.length; p += WIDTH) {
    let along = 0;
    for (let d = 0; d < WIDTH; d++) {
      next[p + d] = cls[d] - scale * (now[p + d] - then[p + d]);
      along += next[p + d] * x[p + d];
    }
    for (let d = 0; d < WIDTH; d++) next[p + d] = x[p + d] + RATE * (next[p + d] - along * x[p + d]);
  }
  return unit(next);
}

/** Similarity of every patch to one. */
export function toPatch(x, patch) {
  const result = new Float64Array(COUNT);
  for (let p = 0; p < COUNT; p++) for (let d = 0; d < WIDTH; d++) result[p] += x[p * WIDTH + d] * x[patch * WIDTH + d];
  return result;
}
