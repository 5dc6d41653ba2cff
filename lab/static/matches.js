// The mathematics of correspondence: pure functions on eight-bit features, twins of lab.analysis.matching and lab.analysis.examples.

const WORK = 1.5e8; // products for one search; beyond it, every second, third … patch is asked

/** One image's patches as rows of length one, what rounding to eight bits took or gave them made good: Float32Array (N D). */
export function rowsOf({ patches }, image) {
  const [, count, width] = patches.shape, rows = new Float32Array(count * width);
  for (let n = 0; n < count; n++) {
    const from = (image * count + n) * width;
    let square = 0;
    for (let d = 0; d < width; d++) square += patches.data[from + d] ** 2;
    const factor = 1 / Math.max(Math.sqrt(square), 1e-12);
    for (let d = 0; d < width; d++) rows[n * width + d] = patches.data[from + d] * factor;
  }
  return rows;
}

/** The most similar row to one of `rows`, its cosine, and the second best cosine. */
export function nearest(rows, patch, others, width) {
  const from = patch * width;
  let best = -1, value = -Infinity, second = -Infinity;
  for (let m = 0, at = 0; at < others.length; m++, at += width) {
    let sum = 0;
    for (let d = 0; d < width; d++) sum += rows[from + d] * others[at + d];
    if (sum > value) { second = value; value = sum; best = m; } else if (sum > second) second = sum;
  }
  return { best, value, second };
}

/** Pairs { a, b, value } of two images, most similar first; `both`: each the other's nearest (lab.analysis.matching.mutual).
    `every` says that of larger grids only every so many patches were asked. */
export function pairs(rows, others, width, { both = true, ratio = 1 } = {}) {
  const count = rows.length / width, every = Math.ceil((count * others.length) / WORK), found = [];
  for (let a = 0; a < count; a += every) {
    const { best, value, second } = nearest(rows, a, others, width);
    if (ratio < 1 && apart(value) > ratio * apart(second)) continue;
    if (both && nearest(others, best, rows, width).best !== a) continue;
    found.push({ a, b: best, value });
  }
  found.sort((one, other) => other.value - one.value || one.a - other.a);
  return { found, every };
}

/** A mask on the first image, `labels` (N), carried to the others → Float32Array (I N) (lab.analysis.matching.propagate). */
export function propagate(features, labels, { top, context, temperature = 0.1 }) {
  const [images, count, width] = features.patches.shape, rows = Array.from({ length: images }, (_, i) => rowsOf(features, i));
  const carried = new Float32Array(images * count);
  carried.set(labels);
  for (let t = 1; t < images; t++) {
    const sources = [0];
    for (let s = Math.max(1, t - context); s < t; s++) sources.push(s);
    for (let n = 0; n < count; n++) carried[t * count + n] = voted(rows, n, t, sources, carried, { top, count, width, temperature });
  }
  return carried;
}

/** One patch's label: those of the `top` patches most like it, weighed by a softmax of their cosines; of equals the first. */
function voted(rows, n, t, sources, carried, { top, count, width, temperature }) {
  const best = []; // [cosine, label], most alike first
  for (const s of sources) {
    for (let m = 0; m < count; m++) {
      let sum = 0;
      for (let d = 0; d < width; d++) sum += rows[t][n * width + d] * rows[s][m * width + d];
      if (best.length === top && sum <= best[top - 1][0]) continue;
      let at = best.length;
      while (at && best[at - 1][0] < sum) at--;
      best.splice(at, 0, [sum, carried[s * count + m]]);
      if (best.length > top) best.pop();
    }
  }
  const weights = best.map(([cosine]) => Math.exp((cosine - best[0][0]) / temperature));
  return best.reduce((sum, [, label], i) => sum + weights[i] * label, 0) / weights.reduce((a, b) => a + b, 0);
}

const apart = (cosine) => Math.sqrt(Math.max(2 - 2 * cosine, 0));

/** Scores (I N) by a linear classifier of a few patches, [{ image, patch, positive }] (lab.analysis.examples.linear_probe);
    null without an example of each kind. */
export function linearProbe({ patches, scale }, examples, decay = 0.1) {
  const [images, count, width] = patches.shape;
  const kinds = [true, false].map((kind) => examples.filter(({ positive }) => positive === kind));
  if (!kinds[0].length || !kinds[1].length) return null;
  const row = ({ image, patch }) => Float64Array.from(patches.data.subarray((image * count + patch) * width, (image * count + patch + 1) * width), (v) => v * scale.data[image * count + patch]);
  const rows = examples.map(row), centre = new Float64Array(width);
  for (const kind of kinds) for (const one of kind.map(row)) for (let d = 0; d < width; d++) centre[d] += one[d] / kind.length / 2;
  const centred = rows.map((r) => r.map((v, d) => v - centre[d]));
  const gram = centred.map((p, i) => centred.map((q, j) => p.reduce((sum, v, d) => sum + v * q[d], 0) + (i === j ? decay : 0)));
  const a = solve(gram, examples.map(({ positive }) => (positive ? 1 : -1)));
  const w = new Float32Array(width);
  centred.forEach((r, i) => { for (let d = 0; d < width; d++) w[d] += a[i] * r[d]; });
  const offset = w.reduce((sum, v, d) => sum + v * centre[d], 0);
  const scores = new Float32Array(images * count);
  for (let n = 0; n < scores.length; n++) {
    let sum = 0;
    for (let d = 0; d < width; d++) sum += patches.data[n * width + d] * w[d];
    scores[n] = sum * scale.data[n] - offset;
  }
  return scores;
}

/** A x = y by elimination, the largest pivot first. */
export function solve(matrix, right) {
  const rows = matrix.map((row, i) => [...row, right[i]]), n = rows.length;
  for (let c = 0; c < n; c++) {
    let pivot = c;
    for (let r = c + 1; r < n; r++) if (Math.abs(rows[r][c]) > Math.abs(rows[pivot][c])) pivot = r;
    [rows[c], rows[pivot]] = [rows[pivot], rows[c]];
    for (let r = c + 1; r < n; r++) {
      const factor = rows[r][c] / rows[c][c];
      for (let k = c; k <= n; k++) rows[r][k] -= factor * rows[c][k];
    }
  }
  const x = new Array(n).fill(0);
  for (let r = n - 1; r >= 0; r--) {
    let sum = rows[r][n];
    for (let k = r + 1; k < n; k++) sum -= rows[r][k] * x[k];
    x[r] = sum / rows[r][r];
  }
  return x;
}
