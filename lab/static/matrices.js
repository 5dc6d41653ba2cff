// The mathematics of the Gram matrix: pure functions on flat arrays, each with a twin in lab/analysis/gram.py that a test holds it to.

/** Rows of length one of one image as Float32Array (N D), from eight-bit `patches` (I N D); their common scale drops out. */
export function rowsOf(patches, [, count, width], image) {
  const rows = new Float32Array(count * width);
  for (let n = 0; n < count; n++) {
    const from = (image * count + n) * width;
    const length = Math.sqrt(dot(patches, from, patches, from, width)) || 1;
    for (let d = 0; d < width; d++) rows[n * width + d] = patches[from + d] / length;
  }
  return rows;
}

/** One row of the Gram matrix: cosines of a patch to all others. */
export function gramRow(rows, width, patch) {
  const count = rows.length / width, result = new Float32Array(count);
  for (let n = 0; n < count; n++) result[n] = dot(rows, n * width, rows, patch * width, width);
  return result;
}

function dot(a, i, b, j, width) {
  let sum = 0;
  for (let d = 0; d < width; d++) sum += a[i + d] * b[j + d];
  return sum;
}

/** Patches in an order in which alike ones stand together (lab.analysis.gram.order). */
export function gramOrder(rows, width, groups = 8, rounds = 12) {
  const count = rows.length / width;
  let centres = spreadOut(rows, width, Math.min(groups, count));
  const many = centres.length / width, mine = new Int32Array(count), best = new Float64Array(count);
  const assign = () => {
    for (let n = 0; n < count; n++) {
      best[n] = -Infinity;
      for (let g = 0; g < many; g++) {
        const like = dot(rows, n * width, centres, g * width, width);
        if (like > best[n]) { best[n] = like; mine[n] = g; }
      }
    }
  };
  for (let round = 0; round < rounds; round++) {
    assign();
    const sums = new Float64Array(many * width);
    for (let n = 0; n < count; n++) for (let d = 0; d < width; d++) sums[mine[n] * width + d] += rows[n * width + d];
    for (let g = 0; g < many; g++) {
      const length = Math.sqrt(dot(sums, g * width, sums, g * width, width));
      if (length > 1e-9) for (let d = 0; d < width; d++) centres[g * width + d] = sums[g * width + d] / length;
    }
  }
  assign();
  const members = Array.from({ length: many }, () => []);
  mine.forEach((g, n) => members[g].push(n));
  const chain = [members.reduce((largest, group, g) => (group.length > members[largest].length ? g : largest), 0)];
  const left = new Set(members.keys());
  left.delete(chain[0]);
  while (left.size) {
    const like = (g) => dot(centres, g * width, centres, chain.at(-1) * width, width);
    const next = [...left].reduce((found, g) => (like(g) > like(found) ? g : found));
    chain.push(next);
    left.delete(next);
  }
  return Int32Array.from(chain.flatMap((g) => members[g].sort((a, b) => whole(best[b]) - whole(best[a]) || a - b)));
}

const whole = (like) => Math.round(1e5 * like); // the two of a pair are equally typical, whatever rounding says

function spreadOut(rows, width, many) {
  const count = rows.length / width, mean = new Float64Array(width), nearest = new Float64Array(count).fill(-Infinity);
  for (let n = 0; n < count; n++) for (let d = 0; d < width; d++) mean[d] += rows[n * width + d] / count;
  let chosen = 0, most = -Infinity;
  for (let n = 0; n < count; n++) { const like = dot(rows, n * width, mean, 0, width); if (like > most) { most = like; chosen = n; } }
  const centres = new Float64Array(many * width);
  for (let g = 0; ; g++) {
    centres.set(rows.subarray(chosen * width, (chosen + 1) * width), g * width);
    if (g === many - 1) return centres;
    let least = Infinity, next = 0;
    for (let n = 0; n < count; n++) {
      nearest[n] = Math.max(nearest[n], dot(rows, n * width, rows, chosen * width, width));
      if (nearest[n] < least) { least = nearest[n]; next = n; }
    }
    chosen = next;
  }
}

/** The Gram matrix in an order, each entry the mean over its block of pairs (lab.analysis.gram.binned) → Float32Array (P P). */
export function gramBinned(rows, width, order, bins) {
  const count = rows.length / width, many = Math.min(bins, count);
  const means = new Float32Array(many * width), sizes = new Int32Array(many);
  for (let p = 0; p < count; p++) sizes[Math.floor((p * many) / count)]++;
  for (let p = 0; p < count; p++) {
    const b = Math.floor((p * many) / count), from = order[p] * width;
    for (let d = 0; d < width; d++) means[b * width + d] += rows[from + d] / sizes[b];
  }
  const result = new Float32Array(many * many);
  for (let i = 0; i < many; i++)
    for (let j = 0; j <= i; j++) result[i * many + j] = result[j * many + i] = dot(means, i * width, means, j * width, width);
  return result;
}

/** How much each patch's similarities differ from the anchor's (lab.analysis.gram.changed); both of the same patches. */
export function gramChanged(rows, width, others, otherWidth) {
  const count = rows.length / width, sums = new Float64Array(count);
  for (let i = 0; i < count; i++)
    for (let j = 0; j < i; j++) {
      const square = (dot(rows, i * width, rows, j * width, width) - dot(others, i * otherWidth, others, j * otherWidth, otherWidth)) ** 2;
      sums[i] += square;
      sums[j] += square;
    }
  return Float32Array.from(sums, (sum) => Math.sqrt(sum / count));
}

/** Root mean square over all pairs, from the rows' (lab.analysis.gram.distance). */
export const overall = (changed) => Math.sqrt(changed.reduce((sum, value) => sum + value * value, 0) / changed.length);
