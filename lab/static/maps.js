// The mathematics of the pictures: pure functions on flat arrays.  Each has a twin in lab/analysis; a test holds them together.

/** Cosine similarity of every patch of every image to one of them (lab.analysis.similarity.to_patch).
    `patches` (I N D) int8 with `scale` (I N), rows of length one → Float32Array (I N), with `only` of that image (N). */
export function similarity(patches, scale, [images, count, width], image, patch, only = null) {
  const from = (image * count + patch) * width;
  const query = Float32Array.from(patches.subarray(from, from + width));
  const factor = scale[image * count + patch];
  const first = only === null ? 0 : only * count, result = new Float32Array(only === null ? images * count : count);
  for (let n = 0; n < result.length; n++) {
    const start = (first + n) * width;
    let sum = 0;
    for (let d = 0; d < width; d++) sum += patches[start + d] * query[d];
    result[n] = sum * scale[first + n] * factor;
  }
  return result;
}

/** The fewest patches that hold a share of the attention (lab.analysis.attention.mass_mask) → Uint8Array (N). */
export function massMask(weights, mass = 0.6) {
  const order = Array.from(weights.keys()).sort((a, b) => weights[b] - weights[a] || a - b);
  const total = order.reduce((sum, n) => sum + weights[n], 0);
  const mask = new Uint8Array(weights.length);
  let held = 0;
  for (const n of order) {
    if (!(held < mass * total * (1 - 1e-12))) break;
    mask[n] = 1;
    held += weights[n];
  }
  return mask;
}

/** A mask over patches as one over pixels, each pixel asking its own patch (lab.analysis.attention.on_pixels). */
export function onPixels(mask, [rows, columns], height, width) {
  const result = new Uint8Array(height * width), column = Int32Array.from({ length: width }, (_, x) => Math.floor((x * columns) / width));
  for (let y = 0, at = 0; y < height; y++) {
    const row = Math.floor((y * rows) / height) * columns;
    for (let x = 0; x < width; x++, at++) result[at] = mask[row + column[x]];
  }
  return result;
}

/** What two masks share over what either covers (lab.analysis.attention.jaccard); NaN where both are empty. */
export function jaccard(mask, target) {
  let shared = 0, either = 0;
  for (let i = 0; i < mask.length; i++) {
    shared += mask[i] & target[i];
    either += mask[i] | target[i];
  }
  return either ? shared / either : NaN;
}

/** How widely a head looks, in nats (lab.analysis.attention.head_entropy). */
export function entropy(weights) {
  let total = 0, sum = 0;
  for (const w of weights) total += w;
  for (const w of weights) if (w > 0) sum -= (w / total) * Math.log(w / total);
  return sum;
}

/** Scores in units of their spread → a colour: logistic, so that outliers do not dim the rest. */
export function componentColour(score) {
  return 255 / (1 + Math.exp(-1.3 * score));
}

const MAGMA = ["#000004", "#120d31", "#331067", "#59157e", "#7e2482", "#a3307e", "#c83e73", "#e95462", "#fa7d5e", "#fea973", "#fed395", "#fcfdbf"];
const CIVIDIS = ["#00224e", "#0a336f", "#35456c", "#4f576c", "#666970", "#7d7c78", "#948e77", "#aea371", "#c8b866", "#e5cf52", "#fee838"];

// From less to more with nothing in the middle: blue and orange are told apart by colour-blind eyes.
const BALANCE = ["#08306b", "#2f74b5", "#8ab8dc", "#d5e4ef", "#f6f4f0", "#f7dcb8", "#ecaa58", "#c46d10", "#6f3602"];

function ramp(colours) {
  const rgb = colours.map((c) => [1, 3, 5].map((i) => parseInt(c.slice(i, i + 2), 16)));
  const table = new Uint8Array(256 * 3);
  for (let i = 0; i < 256; i++) {
    const at = (i / 255) * (rgb.length - 1), low = Math.min(Math.floor(at), rgb.length - 2);
    for (let c = 0; c < 3; c++) table[3 * i + c] = Math.round(rgb[low][c] + (at - low) * (rgb[low + 1][c] - rgb[low][c]));
  }
  return table;
}

/** Colour tables of 256 entries, light for much: both can be told apart in grey and by colour-blind eyes. */
export const RAMPS = { magma: ramp(MAGMA), cividis: ramp(CIVIDIS), balance: ramp(BALANCE) };
export const RAMP_CSS = { magma: `linear-gradient(90deg, ${MAGMA.join(", ")})`, cividis: `linear-gradient(90deg, ${CIVIDIS.join(", ")})`, balance: `linear-gradient(90deg, ${BALANCE.join(", ")})` };
