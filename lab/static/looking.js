// The mathematics of attention maps: pure functions on flat arrays, twins of lab.analysis.attention and lab.analysis.artifacts.

/** One token's attention over all tokens in one head (lab.analysis.attention.row): softmax of its query with every key.
    `queries`, `keys` are { data, scale } of eight-bit rows (heads × tokens × width), `head` counts through all of them. */
export function row(queries, keys, [tokens, width], head, token) {
  const from = (head * tokens + token) * width, query = Float32Array.from(queries.data.subarray(from, from + width));
  const factor = queries.scale[head * tokens + token];
  const result = new Float32Array(tokens);
  let largest = -Infinity;
  for (let n = 0; n < tokens; n++) {
    const start = (head * tokens + n) * width;
    let sum = 0;
    for (let d = 0; d < width; d++) sum += keys.data[start + d] * query[d];
    result[n] = sum * factor * keys.scale[head * tokens + n];
    if (result[n] > largest) largest = result[n];
  }
  let total = 0;
  for (let n = 0; n < tokens; n++) total += result[n] = Math.exp(result[n] - largest);
  for (let n = 0; n < tokens; n++) result[n] /= total;
  return result;
}

/** How far a map reaches, in patches: from the patch that asks (lab.analysis.attention.distance_from), or, for a token without
    a place, from the map's own centre (lab.analysis.attention.spread). */
export function reach(weights, columns, patch = null) {
  let total = 0, y = 0, x = 0;
  for (let n = 0; n < weights.length; n++) { total += weights[n]; y += weights[n] * Math.floor(n / columns); x += weights[n] * (n % columns); }
  [y, x] = patch === null ? [y / total, x / total] : [Math.floor(patch / columns), patch % columns];
  let sum = 0;
  for (let n = 0; n < weights.length; n++) sum += weights[n] * Math.hypot(Math.floor(n / columns) - y, (n % columns) - x);
  return sum / total;
}

/** What share of the attention went elsewhere: half of the summed difference of two maps (lab.analysis.attention.changed). */
export function changed(now, then) {
  const total = (map) => map.reduce((a, b) => a + b, 0) || 1, [a, b] = [total(now), total(then)];
  let sum = 0;
  for (let n = 0; n < now.length; n++) sum += Math.abs(now[n] / a - then[n] / b);
  return sum / 2;
}

/** Patches that any of the masks holds. */
export function union(masks) {
  const result = new Uint8Array(masks[0]?.length ?? 0);
  for (const mask of masks) for (let n = 0; n < mask.length; n++) result[n] |= mask[n];
  return result;
}

export function median(values) {
  const sorted = Float64Array.from(values).sort(), middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** Patches longer than `ratio` times the median one (lab.analysis.artifacts.high_norm). */
export function highNorm(norms, ratio = 2) {
  const limit = ratio * median(norms);
  return Uint8Array.from(norms, (norm) => Number(norm > limit));
}
