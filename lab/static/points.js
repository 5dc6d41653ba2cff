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

/** For every point of `a` the one of `b` that shows the same: of the same image, and of patches the one at the nearest place; −1 where
    there is none (lab.analysis.layout.counterparts).  `a` and `b` have `image` (P), and of patches `place` (P) on a `grid` [rows, columns]. */
export function counterparts(a, b) {
  const ofImage = new Map(), one = spots(a), two = spots(b);
  b.image.forEach((image, q) => { if (!ofImage.has(image)) ofImage.set(image, []); ofImage.get(image).push(q); });
  return Int32Array.from(a.image, (image, p) => {
    let best = -1, least = Infinity;
    for (const q of ofImage.get(image) ?? []) {
      const far = (two[2 * q] - one[2 * p]) ** 2 + (two[2 * q + 1] - one[2 * p + 1]) ** 2;
      if (far < least) { least = far; best = q; }
    }
    return best;
  });
}

/** Where in its image each point is, from 0 to 1 (P 2); a whole image is in its middle. */
function spots({ image, place, grid }) {
  const found = new Float64Array(2 * image.length).fill(0.5);
  if (place) place.forEach((n, p) => { found[2 * p] = ((n % grid[1]) + 0.5) / grid[1]; found[2 * p + 1] = (Math.floor(n / grid[1]) + 0.5) / grid[0]; });
  return found;
}

/** Points moved, turned and perhaps mirrored, so that each is as near to its counterpart in `reference` as can be (Procrustes,
    lab.analysis.layout.align; in the plane a sum of sines and cosines).  `partner` (P) as `counterparts` gives it; those without come along. */
export function turned(xy, reference, partner) {
  const pairs = [...partner.keys()].filter((p) => partner[p] >= 0);
  if (!pairs.length) return xy;
  const mean = (values, of, c) => pairs.reduce((sum, p) => sum + values[2 * of(p) + c], 0) / pairs.length, own = (p) => p, theirs = (p) => partner[p];
  const [x0, y0, u0, v0] = [mean(xy, own, 0), mean(xy, own, 1), mean(reference, theirs, 0), mean(reference, theirs, 1)];
  let [xu, xv, yu, yv] = [0, 0, 0, 0];
  for (const p of pairs) {
    const x = xy[2 * p] - x0, y = xy[2 * p + 1] - y0, u = reference[2 * partner[p]] - u0, v = reference[2 * partner[p] + 1] - v0;
    xu += x * u; xv += x * v; yu += y * u; yv += y * v;
  }
  const mirror = Math.hypot(xu - yv, xv + yu) > Math.hypot(xu + yv, xv - yu) ? -1 : 1, angle = Math.atan2(xv - mirror * yu, xu + mirror * yv);
  const [cos, sin] = [Math.cos(angle), Math.sin(angle)], result = new Float32Array(xy.length);
  for (let p = 0; p < xy.length / 2; p++) {
    const x = xy[2 * p] - x0, y = mirror * (xy[2 * p + 1] - y0);
    result[2 * p] = x * cos - y * sin + u0;
    result[2 * p + 1] = x * sin + y * cos + v0;
  }
  return result;
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

/** Which points a mask has, as an address says it: 0, 3 to 7 and 12 as "0.3-7.12"; "" where that would be longer than `most`. */
export function named(mask, most = 1500) {
  const runs = [];
  mask?.forEach((on, p) => { if (on) { if (runs.at(-1)?.[1] === p - 1) runs.at(-1)[1] = p; else runs.push([p, p]); } });
  const text = runs.map(([from, to]) => (from === to ? from : `${from}-${to}`)).join(".");
  return text.length > most ? "" : text;
}

/** The same back, of `count` points; null where none of them is meant. */
export function enclosedBy(text, count) {
  const mask = new Uint8Array(count);
  for (const [from, to = from] of text.split(".").map((run) => run.split("-").map(Number))) if (from <= to) mask.fill(1, from, to + 1);
  return text && mask.some(Boolean) ? mask : null;
}
