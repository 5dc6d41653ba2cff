// The mathematics of points on a plane: pure functions on flat arrays.  Twins in lab/analysis/layout.py, held together by a test.

/** The `count` rows most alike to row `of` by cosine, nearest first → [{ index, cosine }] (lab.analysis.layout.neighbours).
    `rows` (P D) int8 with `scale` (P), of length one. */
export function nearestRows(rows, scale, width, of, count) {
  const query = Float32Array.from(rows.subarray(of * width, (of + 1) * width)), factor = scale[of];
  const found = [];
  for (let p = 0; p < scale.length; p++) {
    if (p === of) continue;
    let sum = 0;
    for (let d = 0; d < width; d++) sum += rows[p * width + d] * query[d];
    found.push({ index: p, cosine: sum * scale[p] * factor });
  }
  return found.sort((a, b) => b.cosine - a.cosine || a.index - b.index).slice(0, count);
}

/** The same for a row from elsewhere, `query` (D) of length one, to which any row may be the nearest. */
export function nearestTo(rows, scale, query, count) {
  const width = query.length, found = [];
  for (let p = 0; p < scale.length; p++) {
    let sum = 0;
    for (let d = 0; d < width; d++) sum += rows[p * width + d] * query[d];
    found.push({ index: p, cosine: sum * scale[p] });
  }
  return found.sort((a, b) => b.cosine - a.cosine || a.index - b.index).slice(0, count);
}

/** Which points a closed line encloses (lab.analysis.layout.inside): `xy` (P 2), `polygon` [[x, y], …] → Uint8Array (P). */
export function inside(xy, polygon) {
  const result = new Uint8Array(xy.length / 2);
  for (let p = 0; p < result.length; p++) {
    const x = xy[2 * p], y = xy[2 * p + 1];
    for (let i = 0, j = polygon.length - 1; i < polygon.length; j = i++) {
      const [x0, y0] = polygon[i], [x1, y1] = polygon[j];
      if ((y0 > y) !== (y1 > y) && x < ((x1 - x0) * (y - y0)) / (y1 - y0) + x0) result[p] ^= 1;
    }
  }
  return result;
}

/** An index of cells over the points, so that finding the one under the pointer looks at a handful.  `nearest(x, y, reach)` → index or null. */
export function gridIndex(xy) {
  const count = xy.length / 2, [low, high] = bounds(xy);
  const across = Math.max(1, Math.ceil(Math.sqrt(count / 2)));
  const size = [0, 1].map((c) => (high[c] - low[c]) / across || 1);
  const cell = (value, c) => Math.min(Math.max(Math.floor((value - low[c]) / size[c]), 0), across - 1);
  const starts = new Int32Array(across * across + 1), members = new Int32Array(count);
  for (let p = 0; p < count; p++) starts[cell(xy[2 * p + 1], 1) * across + cell(xy[2 * p], 0) + 1]++;
  for (let i = 0; i < across * across; i++) starts[i + 1] += starts[i];
  const at = starts.slice();
  for (let p = 0; p < count; p++) members[at[cell(xy[2 * p + 1], 1) * across + cell(xy[2 * p], 0)]++] = p;
  return {
    nearest(x, y, reach) {
      let best = null, least = reach * reach;
      const rows = [cell(y - reach, 1), cell(y + reach, 1)], columns = [cell(x - reach, 0), cell(x + reach, 0)];
      for (let r = rows[0]; r <= rows[1]; r++)
        for (let i = starts[r * across + columns[0]]; i < starts[r * across + columns[1] + 1]; i++) {
          const p = members[i], distance = (xy[2 * p] - x) ** 2 + (xy[2 * p + 1] - y) ** 2;
          if (distance < least || (distance === least && best === null)) { least = distance; best = p; }
        }
      return best;
    },
  };
}

export function bounds(xy) {
  const low = [Infinity, Infinity], high = [-Infinity, -Infinity];
  for (let i = 0; i < xy.length; i++) {
    const c = i & 1;
    if (xy[i] < low[c]) low[c] = xy[i];
    if (xy[i] > high[c]) high[c] = xy[i];
  }
  return [low, high];
}

/** The point nearest to `from` in a direction (dx, dy), within 45° of it; null where there is none. */
export function towards(xy, from, dx, dy) {
  let best = null, least = Infinity;
  for (let p = 0; p < xy.length / 2; p++) {
    const x = xy[2 * p] - xy[2 * from], y = xy[2 * p + 1] - xy[2 * from + 1], along = x * dx + y * dy, aside = Math.abs(x * dy - y * dx);
    if (p === from || along <= 0 || aside > along) continue;
    const far = along + 2 * aside;
    if (far < least) { least = far; best = p; }
  }
  return best;
}
