// A self-distillation system small enough to train in the page: the mathematics alone, in double precision, no document.
// Its twin in numpy is lab/analysis/simulate.py: the same seed gives the same images, weights and losses there.
//
// Images are points in 16 dimensions around the centres of 8 classes; a view of one is the point with noise.  Student and teacher are
// 16 → 64 (ReLU) → 16, brought to length one and compared with K prototypes of length one: K logits between -1 and 1.
// One step (Caron et al. 2021, Algorithm 1): teacher's targets, student's cross-entropy with them, its gradient, Adam, the EMA, the centre.

export const DEFAULTS = {
  centering: true, // take the running mean of the teacher's logits away
  sharpening: true, // off: the teacher's temperature is the student's
  sinkhorn: false, // balance targets by Sinkhorn-Knopp instead of centering
  teacher_temperature: 0.04,
  student_temperature: 0.1,
  centre_momentum: 0.9,
  momentum: 0.99, // of the teacher, an exponential moving average of the student; 1 is a frozen one
  batch: 64,
  prototypes: 32, // K
  noise: 0.45, // of each coordinate, between an image and a view of it
  local_views: 0, // multi-crop: more views for the student alone, noisier
  local_noise: 0.7,
  koleo: 0, // weight of the term that spreads features
  learning_rate: 0.003,
};
export const CLASSES = 8, INPUT = 16, HIDDEN = 64, FEATURES = 16;
const WITHIN = 0.15; // noise between a class's centre and an image of it
const [BETA1, BETA2, ADAM_EPSILON] = [0.9, 0.999, 1e-8];
const SURVEYED = 256; // images that are looked at, always the same ones
export const SURVEY_EVERY = 5; // steps
const CHOICES = { CENTRES: 1, WEIGHTS: 2, LABELS: 3, IMAGES: 4, VIEWS: 5, SURVEY: 6 };

// ---- chance that can be asked again: a number depends on (seed, what for, step, index) and on nothing that was drawn before

/** A 32-bit hash in which every bit of the input reaches every bit of the output (the constants are Chris Wellons's "lowbias32"). */
function mix(x) {
  x = Math.imul(x ^ (x >>> 16), 0x7feb352d);
  x = Math.imul(x ^ (x >>> 15), 0x846ca68b);
  return (x ^ (x >>> 16)) >>> 0;
}

export const keyOf = (seed, purpose, step) => mix(mix(mix(seed + 0x9e3779b9) + Math.imul(purpose, 0x85ebca6b)) + Math.imul(step, 0xc2b2ae35));
const uniform = (key, i) => (mix(mix(i ^ key) + key) + 0.5) / 4294967296;

/** Standard normal numbers by Box and Muller. */
export function normals(key, count, into = new Float64Array(count)) {
  for (let i = 0; i < count; i += 2) {
    const length = Math.sqrt(-2 * Math.log(uniform(key, i))), angle = 2 * Math.PI * uniform(key, i + 1);
    into[i] = length * Math.cos(angle);
    if (i + 1 < count) into[i + 1] = length * Math.sin(angle);
  }
  return into;
}

// ---- small pieces

/** Softmax of each of `rows` rows of `width` numbers, divided by a temperature, less a centre where there is one. */
export function softmax(logits, rows, width, temperature, centre = null, into = new Float64Array(rows * width)) {
  for (let r = 0; r < rows; r++) {
    const at = r * width;
    let peak = -Infinity, sum = 0;
    for (let k = 0; k < width; k++) {
      const value = (centre ? logits[at + k] - centre[k] : logits[at + k]) / temperature;
      into[at + k] = value;
      if (value > peak) peak = value;
    }
    for (let k = 0; k < width; k++) sum += into[at + k] = Math.exp(into[at + k] - peak);
    for (let k = 0; k < width; k++) into[at + k] /= sum;
  }
  return into;
}

/** Sinkhorn-Knopp in logarithms: columns, then rows, to equal sums; rows sum to 1 (DINOv2, Sec. 4). */
export function sinkhorn(logits, rows, width, temperature, iterations = 3, into = new Float64Array(rows * width)) {
  const log = Float64Array.from(logits.subarray(0, rows * width), (z) => z / temperature);
  for (let i = 0; i < iterations; i++) {
    for (let k = 0; k < width; k++) takeLogSum(log, k, width, rows);
    for (let r = 0; r < rows; r++) takeLogSum(log, r * width, 1, width);
  }
  for (let i = 0; i < log.length; i++) into[i] = Math.exp(log[i]);
  return into;
}

function takeLogSum(x, from, stride, count) {
  let peak = -Infinity, sum = 0;
  for (let i = 0, at = from; i < count; i++, at += stride) if (x[at] > peak) peak = x[at];
  for (let i = 0, at = from; i < count; i++, at += stride) sum += Math.exp(x[at] - peak);
  const total = peak + Math.log(sum);
  for (let i = 0, at = from; i < count; i++, at += stride) x[at] -= total;
}

/** Entropy in nats of the numbers from `from` on. */
export function entropy(p, from = 0, count = p.length) {
  let sum = 0;
  for (let i = from; i < from + count; i++) if (p[i] > 0) sum -= p[i] * Math.log(p[i]);
  return sum;
}

function meanRow(x, rows, width) {
  const mean = new Float64Array(width);
  sumOverRows(x, rows, width, mean);
  for (let k = 0; k < width; k++) mean[k] /= rows;
  return mean;
}

const meanEntropy = (x, rows, width) => {
  let sum = 0;
  for (let r = 0; r < rows; r++) sum += entropy(x, r * width, width);
  return sum / rows;
};

const norm = (x) => Math.sqrt(x.reduce((sum, value) => sum + value * value, 0));

/** Eigenvalues, largest first, and eigenvectors (rows) of a symmetric matrix, by Jacobi's rotations. */
export function eigen(matrix, n) {
  const a = Float64Array.from(matrix), v = new Float64Array(n * n);
  for (let i = 0; i < n; i++) v[i * n + i] = 1;
  for (let sweep = 0; sweep < 30; sweep++) {
    let off = 0;
    for (let p = 0; p < n; p++) for (let q = p + 1; q < n; q++) off += a[p * n + q] ** 2;
    if (off < 1e-22) break;
    for (let p = 0; p < n; p++) for (let q = p + 1; q < n; q++) rotate(a, v, n, p, q);
  }
  const order = Array.from({ length: n }, (_, i) => i).sort((i, j) => a[j * n + j] - a[i * n + i]);
  return { values: order.map((i) => a[i * n + i]), vectors: order.map((i) => v.slice(i * n, i * n + n)) };
}

function rotate(a, v, n, p, q) {
  if (Math.abs(a[p * n + q]) < 1e-300) return;
  const theta = (a[q * n + q] - a[p * n + p]) / (2 * a[p * n + q]);
  const t = (theta < 0 ? -1 : 1) / (Math.abs(theta) + Math.sqrt(theta * theta + 1)), c = 1 / Math.sqrt(t * t + 1), s = t * c;
  for (let k = 0; k < n; k++) {
    const x = a[k * n + p], y = a[k * n + q];
    a[k * n + p] = c * x - s * y;
    a[k * n + q] = s * x + c * y;
  }
  for (let k = 0; k < n; k++) {
    const x = a[p * n + k], y = a[q * n + k];
    a[p * n + k] = c * x - s * y;
    a[q * n + k] = s * x + c * y;
    const [vx, vy] = [v[p * n + k], v[q * n + k]];
    v[p * n + k] = c * vx - s * vy;
    v[q * n + k] = s * vx + c * vy;
  }
}

// ---- the network

/** into (rows × columns) = a (rows × inner) times b (inner × columns), plus a row; four columns at a time, their sums in registers. */
export function product(a, b, rows, inner, columns, into, plus = null) {
  for (let r = 0; r < rows; r++)
    for (let c = 0; c < columns; c += 4) {
      let s0 = plus ? plus[c] : 0, s1 = plus ? plus[c + 1] : 0, s2 = plus ? plus[c + 2] : 0, s3 = plus ? plus[c + 3] : 0;
      for (let i = 0, at = r * inner, w = c; i < inner; i++, at++, w += columns) {
        const x = a[at];
        s0 += x * b[w]; s1 += x * b[w + 1]; s2 += x * b[w + 2]; s3 += x * b[w + 3];
      }
      const to = r * columns + c;
      into[to] = s0; into[to + 1] = s1; into[to + 2] = s2; into[to + 3] = s3;
    }
}

/** into (left × columns) = a (rows × left), transposed, times b (rows × columns). */
export function productOverRows(a, b, rows, left, columns, into) {
  for (let l = 0; l < left; l++)
    for (let c = 0; c < columns; c += 4) {
      let s0 = 0, s1 = 0, s2 = 0, s3 = 0;
      for (let r = 0, at = l, w = c; r < rows; r++, at += left, w += columns) {
        const x = a[at];
        s0 += x * b[w]; s1 += x * b[w + 1]; s2 += x * b[w + 2]; s3 += x * b[w + 3];
      }
      const to = l * columns + c;
      into[to] = s0; into[to + 1] = s1; into[to + 2] = s2; into[to + 3] = s3;
    }
}

function transposed(x, rows, columns) {
  const result = new Float64Array(x.length);
  for (let r = 0; r < rows; r++) for (let c = 0; c < columns; c++) result[c * rows + r] = x[r * columns + c];
  return result;
}

/** All weights in one array, and the parts of it by name. */
function weightsOf(prototypes) {
  const sizes = { w1: INPUT * HIDDEN, b1: HIDDEN, w2: HIDDEN * FEATURES, b2: FEATURES, v: prototypes * FEATURES };
  const all = new Float64Array(Object.values(sizes).reduce((a, b) => a + b, 0));
  const parts = { all };
  let from = 0;
  for (const [name, size] of Object.entries(sizes)) parts[name] = all.subarray(from, (from += size));
  return parts;
}

/** What one pass leaves behind for `rows` points: hidden units, features and their lengths, directions of prototypes, logits. */
function buffersFor(rows, prototypes) {
  const array = (size) => new Float64Array(size);
  return { rows, hidden: array(rows * HIDDEN), features: array(rows * FEATURES), lengths: array(rows), prototypes: array(prototypes * FEATURES), prototypeLengths: array(prototypes), logits: array(rows * prototypes) };
}

function forward({ w1, b1, w2, b2, v }, points, into) {
  const { rows, hidden, features, lengths, prototypes, prototypeLengths, logits } = into, K = prototypeLengths.length;
  for (let k = 0; k < K; k++) prototypeLengths[k] = unit(v, prototypes, k * FEATURES);
  product(points, w1, rows, INPUT, HIDDEN, hidden, b1);
  for (let i = 0; i < rows * HIDDEN; i++) if (hidden[i] < 0) hidden[i] = 0;
  product(hidden, w2, rows, HIDDEN, FEATURES, features, b2);
  for (let r = 0; r < rows; r++) lengths[r] = unit(features, features, r * FEATURES);
  product(features, transposed(prototypes, K, FEATURES), rows, FEATURES, K, logits);
  return into;
}

/** Bring the row at `at` to length one; returns the length it had. */
function unit(from, into, at) {
  let sum = 0;
  for (let d = at; d < at + FEATURES; d++) sum += from[d] * from[d];
  const length = Math.max(Math.sqrt(sum), 1e-12);
  for (let d = at; d < at + FEATURES; d++) into[d] = from[d] / length;
  return length;
}

/** Gradients of the weights into `gradient`, from those of the logits, and of the features beside (`spreading`). */
function backward({ w2 }, points, pass, ofLogits, spreading, gradient) {
  const { rows, hidden, features, lengths, prototypes, prototypeLengths } = pass, K = prototypeLengths.length;
  const ofFeatures = new Float64Array(rows * FEATURES), ofHidden = new Float64Array(rows * HIDDEN);
  product(ofLogits, prototypes, rows, K, FEATURES, ofFeatures);
  for (let i = 0; i < ofFeatures.length; i++) ofFeatures[i] += spreading[i];
  productOverRows(ofLogits, features, rows, K, FEATURES, gradient.v);
  for (let k = 0; k < K; k++) throughUnit(gradient.v, prototypes, k * FEATURES, prototypeLengths[k]);
  for (let r = 0; r < rows; r++) throughUnit(ofFeatures, features, r * FEATURES, lengths[r]);
  product(ofFeatures, transposed(w2, HIDDEN, FEATURES), rows, FEATURES, HIDDEN, ofHidden);
  for (let i = 0; i < ofHidden.length; i++) if (hidden[i] === 0) ofHidden[i] = 0;
  productOverRows(hidden, ofFeatures, rows, HIDDEN, FEATURES, gradient.w2);
  productOverRows(points, ofHidden, rows, INPUT, HIDDEN, gradient.w1);
  sumOverRows(ofFeatures, rows, FEATURES, gradient.b2);
  sumOverRows(ofHidden, rows, HIDDEN, gradient.b1);
  return gradient;
}

function sumOverRows(x, rows, width, into) {
  into.fill(0);
  for (let r = 0; r < rows; r++) for (let d = 0; d < width; d++) into[d] += x[r * width + d];
}

/** Back through y = x / ||x||:  (g - y (y · g)) / ||x||. */
function throughUnit(g, y, at, length) {
  let along = 0;
  for (let d = at; d < at + FEATURES; d++) along += g[d] * y[d];
  for (let d = at; d < at + FEATURES; d++) g[d] = (g[d] - y[d] * along) / length;
}

/** KoLeo of `rows` features of length one, from row `first` on, its gradient times `scale` added to `into` (dino_core.objective.terms.koleo). */
function koleo(features, first, rows, scale, into) {
  const ids = Array.from({ length: rows }, (_, i) => (first + i) * FEATURES);
  let total = 0;
  for (const i of ids) {
    let least = Infinity, nearest = i;
    for (const j of ids) {
      if (i === j) continue;
      let squared = 0;
      for (let d = 0; d < FEATURES; d++) squared += (features[i + d] - features[j + d]) ** 2;
      if (squared < least) { least = squared; nearest = j; }
    }
    const distance = Math.sqrt(least);
    total -= Math.log(distance + 1e-8);
    if (!(distance > 0)) continue;
    const factor = -scale / (rows * distance * (distance + 1e-8));
    for (let d = 0; d < FEATURES; d++) {
      const pull = factor * (features[i + d] - features[nearest + d]);
      into[i + d] += pull;
      into[nearest + d] -= pull;
    }
  }
  return total / rows;
}

// ---- the system

/** new Simulator({ centering: false }, 3): a system with some options changed, and a seed.  `changes`: { step: { option: value } }, to come. */
export class Simulator {
  constructor(options = {}, seed = 0, changes = {}) {
    this.options = checked({ ...DEFAULTS, ...options });
    this.seed = seed;
    this.changes = changes;
    this.step_ = 0;
    const K = this.options.prototypes;
    this.student = weightsOf(K);
    this.teacher = weightsOf(K);
    this.gradient = weightsOf(K);
    this.moments = [new Float64Array(this.student.all.length), new Float64Array(this.student.all.length)];
    this.centre = new Float64Array(K);
    this.classes = normals(keyOf(seed, CHOICES.CENTRES, 0), CLASSES * INPUT);
    for (let c = 0; c < CLASSES; c++) unit(this.classes, this.classes, c * INPUT);
    this.student.all.set(normals(keyOf(seed, CHOICES.WEIGHTS, 0), this.student.all.length));
    scale(this.student.w1, Math.sqrt(2 / INPUT));
    this.student.b1.fill(0);
    scale(this.student.w2, Math.sqrt(1 / HIDDEN));
    this.student.b2.fill(0);
    this.teacher.all.set(this.student.all);
    this.seen = this.survey();
  }

  /** Steps done. */
  get step() { return this.step_; }
  /** The temperature that holds for the teacher. */
  get temperature() { return this.options.sharpening ? this.options.teacher_temperature : this.options.student_temperature; }

  /** Set options from now on. */
  change(options) {
    this.options = checked({ ...this.options, ...options, prototypes: this.options.prototypes });
  }

  /** Points (rows × 16) and labels of a batch: `count` images, seen in as many views as there are noises. */
  draw(count, noises, purpose, step) {
    const key = (what) => keyOf(this.seed, what, step);
    const labels = Uint8Array.from({ length: count }, (_, i) => (purpose === CHOICES.SURVEY ? i % CLASSES : Math.floor(CLASSES * uniform(key(CHOICES.LABELS), i))));
    const own = normals(key(purpose === CHOICES.SURVEY ? CHOICES.SURVEY : CHOICES.IMAGES), count * INPUT);
    const shake = normals(key(purpose === CHOICES.SURVEY ? CHOICES.SURVEY + 1 : CHOICES.VIEWS), noises.length * count * INPUT);
    const points = new Float64Array(noises.length * count * INPUT);
    for (let n = 0; n < noises.length * count; n++)
      for (let d = 0; d < INPUT; d++) {
        const image = n % count;
        points[n * INPUT + d] = this.classes[labels[image] * INPUT + d] + WITHIN * own[image * INPUT + d] + noises[Math.floor(n / count)] * shake[n * INPUT + d];
      }
    return { points, labels };
  }

  /** What the teacher's logits become: balanced, centred and sharpened as the options say. */
  targets(logits, rows) {
    const { sinkhorn: balanced, centering, prototypes: K } = this.options;
    if (balanced) return sinkhorn(logits, rows, K, this.temperature);
    return softmax(logits, rows, K, this.temperature, centering ? this.centre : null);
  }

  /** One step of training; returns its row of metrics, in nats and by the trainer's names.  `last` holds what was computed on the way; with
      `watched`, centre and weights from before it too. */
  next(watched = false) {
    if (this.changes[this.step_]) this.change(this.changes[this.step_]);
    const o = this.options, { batch: B, prototypes: K } = o, views = 2 + o.local_views;
    const noises = Array.from({ length: views }, (_, view) => (view < 2 ? o.noise : o.local_noise));
    const { points, labels } = this.draw(B, noises, null, this.step_);
    const teacher = forward(this.teacher, points, this.buffers("teacher", 2 * B));
    const targets = this.targets(teacher.logits, 2 * B);
    const student = forward(this.student, points, this.buffers("student", views * B));
    const answers = softmax(student.logits, views * B, K, o.student_temperature);
    const { loss, ofLogits } = crossView(student.logits, answers, targets, B, views, K, o.student_temperature);
    const spreading = new Float64Array(views * B * FEATURES);
    let spread = 0;
    if (o.koleo > 0 && B > 1) for (const view of [0, 1]) spread += koleo(student.features, view * B, B, o.koleo / 2, spreading) / 2;
    backward(this.student, points, student, ofLogits, spreading, this.gradient);
    const before = watched ? { centre: this.centre.slice(), student: this.student.all.slice(), teacher: this.teacher.all.slice() } : null;
    this.adam();
    for (let i = 0; i < this.teacher.all.length; i++) this.teacher.all[i] += (1 - o.momentum) * (this.student.all[i] - this.teacher.all[i]);
    const mean = meanRow(teacher.logits, 2 * B, K);
    if (o.centering) for (let k = 0; k < K; k++) this.centre[k] += (1 - o.centre_momentum) * (mean[k] - this.centre[k]);
    this.last = { step: this.step_, options: o, temperature: this.temperature, points, labels, batch: B, views, teacher: teacher.logits, targets, student: student.logits, answers, ofLogits, loss, mean, before };
    if (this.step_ % SURVEY_EVERY === 0) this.seen = this.survey();
    this.step_ += 1;
    const H = meanEntropy(targets, 2 * B, K);
    return { step: this.step_, loss: loss + o.koleo * spread, cross_entropy: loss, "teacher/entropy": H, kl: loss - H, koleo: spread, momentum: o.momentum, lr: o.learning_rate,
      teacher_temperature: this.temperature, ...(o.centering && !o.sinkhorn ? { "centre/norm": norm(this.centre) } : {}), ...this.seen.row };
  }

  /** Adam (Kingma and Ba 2015), without weight decay. */
  adam() {
    const [m, v] = this.moments, g = this.gradient.all, w = this.student.all, t = this.step_ + 1;
    const a = this.options.learning_rate / (1 - BETA1 ** t), b = 1 / (1 - BETA2 ** t);
    for (let i = 0; i < w.length; i++) {
      m[i] = BETA1 * m[i] + (1 - BETA1) * g[i];
      v[i] = BETA2 * v[i] + (1 - BETA2) * g[i] * g[i];
      w[i] -= (a * m[i]) / (Math.sqrt(v[i] * b) + ADAM_EPSILON);
    }
  }

  /** What the teacher says of the same 256 images every time: use of prototypes, information, purity, directions. */
  survey() {
    const K = this.options.prototypes, n = SURVEYED;
    if (this.surveyedAt !== this.options.noise) {
      this.surveyedAt = this.options.noise;
      this.surveyed = this.draw(n, [this.options.noise], CHOICES.SURVEY, 0);
    }
    const { points, labels } = this.surveyed;
    const { logits, features, prototypes } = forward(this.teacher, points, this.buffers("survey", n));
    const targets = this.targets(logits, n), mean = meanRow(targets, n, K), raw = meanRow(softmax(logits, n, K, this.temperature), n, K);
    const usage = entropy(mean);
    return { labels, targets, mean, features, prototypes, row: {
      "target/mean_entropy": usage, "teacher/mean_entropy": entropy(raw), "teacher/information": usage - meanEntropy(targets, n, K),
      purity: purity(logits, labels, n, K), directions: rankme(features, n), spread: deviation(features, n), student_teacher_distance: this.distance() } };
  }

  /** Distance of student and teacher over the student's length. */
  distance() {
    let apart = 0, long = 0;
    for (let i = 0; i < this.student.all.length; i++) {
      apart += (this.student.all[i] - this.teacher.all[i]) ** 2;
      long += this.student.all[i] ** 2;
    }
    return Math.sqrt(apart / long);
  }

  buffers(name, rows) {
    this.kept ??= {};
    if (this.kept[name]?.rows !== rows) this.kept[name] = buffersFor(rows, this.options.prototypes);
    return this.kept[name];
  }
}

/** Mean cross-entropy over pairs of a student's and a teacher's view that are not the same, and its gradient in the student's logits. */
function crossView(logits, answers, targets, B, views, K, temperature) {
  const pairs = 2 * views - 2, ofLogits = new Float64Array(views * B * K);
  let loss = 0;
  for (let s = 0; s < views; s++)
    for (let b = 0; b < B; b++) {
      const at = (s * B + b) * K, total = logSum(logits, at, K, temperature);
      for (let t = 0; t < 2; t++) {
        if (s === t) continue;
        const from = (t * B + b) * K;
        for (let k = 0; k < K; k++) {
          loss -= targets[from + k] * (logits[at + k] / temperature - total);
          ofLogits[at + k] += (answers[at + k] - targets[from + k]) / (pairs * B * temperature);
        }
      }
    }
  return { loss: loss / (pairs * B), ofLogits };
}

function logSum(x, at, count, temperature) {
  let peak = -Infinity, sum = 0;
  for (let k = at; k < at + count; k++) if (x[k] > peak) peak = x[k];
  for (let k = at; k < at + count; k++) sum += Math.exp((x[k] - peak) / temperature);
  return peak / temperature + Math.log(sum);
}

/** Share of images whose class is the most frequent one of those that share their first prototype; 1/8 by chance is the least. */
function purity(logits, labels, rows, K) {
  const counts = new Uint16Array(K * CLASSES);
  for (let r = 0; r < rows; r++) {
    let best = 0;
    for (let k = 1; k < K; k++) if (logits[r * K + k] > logits[r * K + best]) best = k;
    counts[best * CLASSES + labels[r]] += 1;
  }
  let sum = 0;
  for (let k = 0; k < K; k++) sum += Math.max(...counts.subarray(k * CLASSES, (k + 1) * CLASSES));
  return sum / rows;
}

function secondMoments(x, rows, mean = null) {
  const matrix = new Float64Array(FEATURES * FEATURES);
  for (let r = 0; r < rows; r++)
    for (let i = 0; i < FEATURES; i++)
      for (let j = 0; j <= i; j++) matrix[i * FEATURES + j] += (x[r * FEATURES + i] - (mean?.[i] ?? 0)) * (x[r * FEATURES + j] - (mean?.[j] ?? 0));
  for (let i = 0; i < FEATURES; i++) for (let j = 0; j < i; j++) matrix[j * FEATURES + i] = matrix[i * FEATURES + j];
  return matrix;
}

/** Effective number of directions, from singular values as they are (dino_core.measure.spectrum.rankme; arXiv 2210.02885). */
function rankme(x, rows) {
  const singular = eigen(secondMoments(x, rows), FEATURES).values.map((value) => Math.sqrt(Math.max(value, 0)));
  const total = singular.reduce((a, b) => a + b, 0);
  return Math.exp(-singular.reduce((sum, s) => { const p = s / total + 1e-7; return sum + p * Math.log(p); }, 0));
}

function deviation(x, rows) {
  const mean = meanRow(x, rows, FEATURES);
  let sum = 0;
  for (let d = 0; d < FEATURES; d++) {
    let squared = 0;
    for (let r = 0; r < rows; r++) squared += (x[r * FEATURES + d] - mean[d]) ** 2;
    sum += Math.sqrt(squared / (rows - 1));
  }
  return sum / FEATURES;
}

/** Two principal components of features (rows × 16) as coordinates, turned to lie as the axes before did, so that points move and do not jump. */
export function plane(features, rows, before = null) {
  const mean = meanRow(features, rows, FEATURES), { values, vectors } = eigen(secondMoments(features, rows, mean), FEATURES);
  let [first, second] = vectors;
  if (before) {
    const dot = (a, b) => a.reduce((sum, value, i) => sum + value * b[i], 0);
    const angle = Math.atan2(dot(second, before[0]) - dot(first, before[1]), dot(first, before[0]) + dot(second, before[1]));
    const mirrored = Math.atan2(-dot(second, before[0]) - dot(first, before[1]), dot(first, before[0]) - dot(second, before[1]));
    const fit = (a, sign) => Math.cos(a) * (dot(first, before[0]) + sign * dot(second, before[1])) + Math.sin(a) * (sign * dot(second, before[0]) - dot(first, before[1]));
    const flip = fit(mirrored, -1) > fit(angle, 1), a = flip ? mirrored : angle, other = flip ? second.map((x) => -x) : second;
    [first, second] = [first.map((x, i) => Math.cos(a) * x + Math.sin(a) * other[i]), other.map((x, i) => Math.cos(a) * x - Math.sin(a) * first[i])];
  }
  const total = values.reduce((a, b) => a + Math.max(b, 0), 0) || 1;
  const at = (x, from, axis) => axis.reduce((sum, value, d) => sum + value * (x[from + d] - mean[d]), 0);
  return { axes: [first, second], explained: (values[0] + values[1]) / total, project: (x, from) => [at(x, from, first), at(x, from, second)] };
}

function scale(x, by) { for (let i = 0; i < x.length; i++) x[i] *= by; }

/** Options within what makes sense; anything else is said in a sentence. */
function checked(options) {
  for (const name of Object.keys(options)) if (!(name in DEFAULTS)) throw new Error(`there is no option ${name}. Options: ${Object.keys(DEFAULTS).join(", ")}.`);
  const whole = (name, from) => { if (!Number.isInteger(options[name]) || options[name] < from) throw new Error(`${name} is ${options[name]}; expected a whole number from ${from} on.`); };
  const inside = (name, from, to) => { if (!(options[name] >= from && options[name] <= to)) throw new Error(`${name} is ${options[name]}; expected ${from} to ${to}.`); };
  whole("batch", 1); whole("prototypes", 4); whole("local_views", 0);
  if (options.prototypes % 4) throw new Error(`prototypes is ${options.prototypes}; expected a multiple of 4.`);
  inside("teacher_temperature", 0.001, 10); inside("student_temperature", 0.001, 10); inside("centre_momentum", 0, 1); inside("momentum", 0, 1);
  inside("noise", 0, 10); inside("local_noise", 0, 10); inside("koleo", 0, 10); inside("learning_rate", 0, 1);
  return options;
}
