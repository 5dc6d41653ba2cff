// One step of DINO on one image, taken apart: pure functions of small arrays.  The twin of lab/analysis/objective.py; a test holds
// the two together.  Rows are views, columns prototypes; the first teacher.length student views are the crops the teacher saw.

/** x − log Σ exp(x), without overflow → Float64Array. */
export function logSoftmax(x) {
  let top = -Infinity, sum = 0;
  for (const value of x) top = Math.max(top, value);
  for (const value of x) sum += Math.exp(value - top);
  const shift = top + Math.log(sum);
  return Float64Array.from(x, (value) => value - shift);
}

/** What can be switched off, by the option's name here and the word for it. */
export const SWITCHES = {
  unitLength: ["unit length", "The head divides its vectors by their length before it compares them with prototypes"],
  centering: ["centering", "Take the centre away from the teacher's logits"],
  sharpening: ["sharpening", "Give the teacher a lower temperature than the student"],
  studentSharpening: ["student's τ", "Divide the student's logits by its temperature"],
  softTargets: ["soft targets", "The teacher's probabilities, not its first choice alone, are the targets"],
  skipSameView: ["same crop left out", "A crop is not compared with itself"],
  localCrops: ["local crops", "The student sees small crops too"],
  stopGradient: ["stop-gradient", "No gradient flows through the teacher"],
  movingCentre: ["moving centre", "The centre follows what the teacher says"],
};

/** Everything between the logits and the gradient.  `input`: { student: [row], teacher: [row], centre, teacherTemperature,
    studentTemperature, studentLengths, teacherLengths, and any of SWITCHES }, all of them on. */
export function stages(input) {
  const { teacherTemperature, sharpening = true, centering = true, softTargets = true, skipSameView = true, stopGradient = true, studentSharpening = true } = input;
  if (!(Math.min(teacherTemperature, input.studentTemperature) > 0)) throw new Error(`temperatures are ${teacherTemperature} and ${input.studentTemperature}; expected numbers above 0.`);
  const { student, teacher, centre } = heard(input), studentTemperature = studentSharpening ? input.studentTemperature : 1;
  const temperature = sharpening ? teacherTemperature : studentTemperature;
  const centred = teacher.map((row) => Float64Array.from(row, (z, k) => z - (centering ? centre[k] : 0)));
  const sharpened = centred.map((row) => row.map((z) => z / temperature));
  const scaled = student.map((row) => Float64Array.from(row, (z) => z / studentTemperature));
  const softened = sharpened.map(logSoftmax), logPredictions = scaled.map(logSoftmax);
  const targets = softTargets ? softened.map((row) => row.map(Math.exp)) : softened.map(firstAlone), predictions = logPredictions.map((row) => row.map(Math.exp));
  const logTargets = softTargets ? softened : targets.map((row) => row.map(Math.log));
  const pairs = logPredictions.map((logP) => targets.map((q) => -q.reduce((sum, value, k) => sum + (value ? value * logP[k] : 0), 0)));
  const counted = student.map((_, s) => teacher.map((_, t) => !(skipSameView && s === t)));
  const count = counted.flat().filter(Boolean).length;
  if (!count) throw new Error(`${student.length} student and ${teacher.length} teacher views leave no pair of different views.`);
  const entropies = targets.map((q, t) => q.reduce((sum, value, k) => sum - (value ? value * logTargets[t][k] : 0), 0));
  const mean = (of) => pairs.reduce((sum, row, s) => sum + row.reduce((inner, pair, t) => inner + (counted[s][t] ? of(pair, t) : 0), 0), 0) / count;
  const loss = mean((pair) => pair), entropy = mean((_, t) => entropies[t]);
  const gradient = predictions.map((p, s) => p.map((value, k) => {
    let pull = 0;
    targets.forEach((q, t) => { if (counted[s][t]) pull += value - q[k]; });
    return pull / (count * studentTemperature);
  }));
  const teacherGradient = targets.map((q, t) => q.map((value, k) => {
    let push = 0;
    logPredictions.forEach((logP, s) => { if (counted[s][t]) push += value * (-logP[k] - pairs[s][t]); });
    return softTargets && !stopGradient ? push / (count * temperature) : 0;
  }));
  return { student, teacher, centre, centred, sharpened, targets, scaled, predictions, logPredictions, pairs, counted, count, entropies, temperature, studentTemperature, loss, entropy, divergence: loss - entropy, gradient, teacherGradient };
}

/** The logits that count: without unit length times what the head divides by, without local crops those of global ones alone. */
function heard({ student, teacher, centre, studentLengths, teacherLengths, unitLength = true, localCrops = true }) {
  const counted = student.slice(0, localCrops ? student.length : teacher.length);
  if (unitLength) return { student: counted, teacher, centre };
  if (!studentLengths || !teacherLengths) throw new Error("logits without unit length need the lengths of both networks' vectors; none were given.");
  const times = (rows, lengths) => rows.map((row, v) => Float64Array.from(row, (z) => z * lengths[v]));
  const mean = teacherLengths.reduce((sum, length) => sum + length, 0) / teacherLengths.length;
  return { student: times(counted, studentLengths), teacher: times(teacher, teacherLengths), centre: Float64Array.from(centre, (c) => c * mean) };
}

/** 1 at the largest entry, 0 elsewhere. */
function firstAlone(row) {
  const first = row.indexOf(row.reduce((a, b) => Math.max(a, b)));
  return row.map((_, k) => (k === first ? 1 : 0));
}

/** The centre after this step, by the views of one image (lab.analysis.objective.moved_centre). */
export const movedCentre = (centre, teacher, momentum) =>
  Float64Array.from(centre, (c, k) => momentum * c + ((1 - momentum) * teacher.reduce((sum, row) => sum + row[k], 0)) / teacher.length);

/** The prototypes to show: those that teacher and student speak of most, as trained and with what can be switched off off. */
export function mostSpoken({ student, teacher, centre, teacherTemperature, studentTemperature }, many) {
  const input = { student, teacher, centre, teacherTemperature, studentTemperature }; // the same columns whatever is switched off
  const width = input.centre.length;
  if (width <= many + 1) return Array.from({ length: width }, (_, k) => k);
  const score = new Float64Array(width);
  for (const [centering, sharpening, weight] of [[true, true, 1], [false, true, 0.5]]) {
    const { targets, predictions } = stages({ ...input, centering, sharpening });
    for (const [rows, share] of [[targets, weight], [predictions, weight / 2]]) for (const row of rows) row.forEach((value, k) => { score[k] += (share * value) / rows.length; });
  }
  return Array.from(score.keys()).sort((a, b) => score[b] - score[a]).slice(0, many).sort((a, b) => a - b);
}

/** log Σ exp over the columns that are not shown: the one number that stands for all of them in a softmax. */
export function restOf(row, shown) {
  const hidden = new Set(shown);
  const others = Array.from(row).filter((_, k) => !hidden.has(k));
  if (!others.length) return null;
  const top = others.reduce((a, b) => Math.max(a, b), -Infinity);
  return { sum: others.reduce((a, b) => a + b, 0), mean: others.reduce((a, b) => a + b, 0) / others.length, logSumExp: top + Math.log(others.reduce((sum, v) => sum + Math.exp(v - top), 0)) };
}
