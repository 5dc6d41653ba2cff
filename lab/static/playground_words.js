// The playground in words: its lessons, what is expected of them, and a diagnosis by the rules of dino_core/telemetry/rules.py (a test
// holds the two together on the same rows).

export const LESSONS = {
  both: { title: "both (healthy)", options: {}, about: "Centering and sharpening, as in the paper.",
    why: "Sharpening keeps single answers sure, centering keeps all prototypes in use. Each alone would collapse, in opposite ways; together they leave a teacher that is sure of different things for different images, and so something to learn." },
  "no-centering": { title: "no centering", options: { centering: false }, about: "Sharpened targets, but nothing stops one prototype from winning every image.",
    why: "A prototype that is a little ahead becomes the target of more images, and gets further ahead: one-hot collapse. H and KL both end at 0, the loss too: a perfect score for saying nothing. Usage falls first." },
  "no-sharpening": { title: "no sharpening", options: { sharpening: false }, about: "Centred targets at the student's own temperature.",
    why: "Centering pushes all answers towards the uniform one and nothing pushes back: H ends at ln K, KL at 0, the loss stays at ln K." },
  neither: { title: "neither", options: { centering: false, sharpening: false }, about: "The plain teacher as it is.",
    why: "Student and teacher agree on one answer for every image, neither uniform nor one-hot. H stays wherever it was when they agreed, so H alone would not tell; KL at 0 does." },
  "frozen-teacher": { title: "frozen teacher", options: { momentum: 1 }, about: "EMA momentum 1: the teacher stays what it was by chance.",
    why: "No collapse, and no progress: the student learns to repeat a random network as well as noisy views allow, then KL stays where it is. What it repeats is worth no more than at the start." },
  "batch-of-2": { title: "batch of 2", options: { batch: 2 }, about: "Two images a step, with the centre's usual momentum.",
    why: "It is noisy and slow, but it lives: with momentum 0.9 the centre remembers about ten batches. Raise the centre's momentum to 0.99 and it comes too late: half of the usage goes. Take Sinkhorn instead and two images, spread over 32 prototypes, are told to be uniform." },
  sinkhorn: { title: "Sinkhorn", options: { sinkhorn: true }, about: "Targets balanced over the batch instead of centred (SwAV, DINOv2).",
    why: "The mean target is uniform by construction, so usage of the targets is 1 whatever happens: alarms have to read the raw answers. It does not collapse." },
  "heal-centering": { title: "break and heal: centering", options: {}, changes: { 400: { centering: false }, 1100: { centering: true } }, about: "Healthy; centering cut at step 400, switched back on at 1100.",
    why: "The dead system comes back, because noise remains: views of different images still differ a little, and the centre takes the common part away." },
  "heal-sharpening": { title: "break and heal: sharpening", options: {}, changes: { 400: { sharpening: false }, 900: { sharpening: true } }, about: "Healthy; sharpening cut at step 400, switched back on at 900.",
    why: "It dies at once and comes back slowly: what differs between images has shrunk meanwhile, and the low temperature makes it larger by a little in each step." },
};

export const HORIZON = 800; // steps after which a guess is compared with what came

/** What is asked before a lesson, and the possible answers. */
export const QUESTIONS = {
  entropy: { title: "What will H, the teacher's entropy, do?", answers: { up: "rise to ln K", down: "fall to 0", between: "stay between" } },
  kl: { title: "And KL, what is left to learn?", answers: { zero: "fall to 0", above: "stay above 0" } },
};

/** What the last rows, in units of ln K, have come to. */
export const outcome = (entropy, kl) => ({ entropy: entropy > 0.95 ? "up" : entropy < 0.05 ? "down" : "between", kl: kl < 0.02 ? "zero" : "above" });

// ---- the diagnosis; thresholds are those of rules.py, in shares of ln K

const UNIFORM = 0.98, NO_KL = 0.02, NO_INFORMATION = 0.01, SOME_INFORMATION = 0.02, GRACE = 40, FEW = 0.3, TWO = 0.2, SAME_WEIGHTS = 1e-5, FROZEN = 0.99999, HYSTERESIS = 1.3;
const CALM_ROWS = 3, ROWS = 3, WARM_UP = 50;
const share = (value) => value.toFixed(2);

const RULES = [
  { name: "prototype_collapse", title: "Collapsing to few prototypes", watch: 20, trouble: 40,
    rule: `entropy of the mean target below ${FEW} ln K for 20 steps; trouble below ${TWO} for 40. Without centering the raw answers count if they are lower, for Sinkhorn evens out the targets' mean`,
    judge(now, active) {
      const usage = "centre/norm" in now.row ? now.target_usage : Math.min(now.target_usage, now.usage);
      if (usage > FEW * (active ? HYSTERESIS : 1)) return null;
      const several = Math.max(1, Math.round(Math.exp(usage * now.lnK)));
      return { level: usage < TWO ? 2 : 1, sentence: `${several === 1 ? "One prototype takes" : `${several} prototypes take`} nearly every image`, evidence: [["usage", usage, FEW]],
        advice: "Switch centering on; if it is, make the centre faster (a lower momentum)." };
    } },
  { name: "uniform_collapse", title: "Collapsing to uniform", watch: 20, trouble: 60,
    rule: `H above ${UNIFORM} ln K, KL below ${NO_KL} and information below ${NO_INFORMATION}, all for 20 steps; trouble after 60`,
    judge(now, active) {
      const slack = active ? HYSTERESIS : 1;
      if (1 - now.entropy > (1 - UNIFORM) * slack || now.kl > NO_KL * slack || now.information > NO_INFORMATION * slack || !now.isNews) return null;
      return { level: 2, sentence: "The teacher says nearly the same for every image: all prototypes alike", evidence: [["H", now.entropy, UNIFORM], ["KL", now.kl, NO_KL], ["information", now.information, NO_INFORMATION]],
        advice: "Sharpen: lower the teacher's temperature." };
    } },
  { name: "constant_output", title: "One answer for every image", watch: 20, trouble: 60, unless: ["prototype_collapse", "uniform_collapse"],
    rule: `information below ${NO_INFORMATION} ln K for 20 steps, and neither of the two above; trouble after 60`,
    judge(now, active) {
      if (now.information > NO_INFORMATION * (active ? HYSTERESIS : 1) || !now.isNews) return null;
      return { level: 2, sentence: "Every image gets the same answer, neither uniform nor one-hot", evidence: [["information", now.information, NO_INFORMATION]], advice: "Centre and sharpen, both." };
    } },
  { name: "teacher_equals_student", title: "Teacher and student identical", watch: 20, trouble: 60, rule: `their weights differ by less than ${SAME_WEIGHTS} of their length for 20 steps`,
    judge: (now) => (now.row.student_teacher_distance > SAME_WEIGHTS ? null
      : { level: 2, sentence: "Teacher and student have the same weights, so nobody leads", evidence: [["distance", now.row.student_teacher_distance, SAME_WEIGHTS]], advice: "Raise the teacher's momentum." }) },
  { name: "teacher_frozen", title: "The teacher does not move", watch: 20, trouble: 60, rule: `EMA momentum of ${FROZEN} or more for 20 steps`,
    judge: (now) => (now.row.momentum < FROZEN ? null
      : { level: 2, sentence: "The student learns from what chance made", evidence: [["momentum", now.row.momentum, FROZEN]], advice: "Lower the teacher's momentum." }) },
];

/** Feed it every row; `verdict` is what to say now.  A finding holds after rows that span enough steps and ends after three calm ones. */
export class Diagnosis {
  constructor(prototypes) {
    this.lnK = Math.log(prototypes);
    this.watches = RULES.map((rule) => ({ rule, finding: null, since: 0, rows: 0, calm: 0 }));
    this.informed = false;
    this.first = null;
    this.verdict = { name: "warming_up", title: "Too early to tell", level: 0, since: 0, sentence: "" };
    this.told = []; // [{ step, since, name, level, over }]
  }

  update(row) {
    const lnK = this.lnK, now = { row, lnK, entropy: row["teacher/entropy"] / lnK, kl: row.kl / lnK, information: row["teacher/information"] / lnK,
      target_usage: row["target/mean_entropy"] / lnK, usage: row["teacher/mean_entropy"] / lnK };
    this.first ??= row.step;
    this.informed ||= now.information > SOME_INFORMATION;
    now.isNews = this.informed || row.step >= this.first + GRACE;
    const changes = this.watches.map((watch) => [watch, this.look(watch, now)]).filter(([, change]) => change);
    const active = () => this.watches.map((watch) => watch.finding).filter(Boolean);
    for (const watch of this.watches)
      for (const other of active())
        if (watch.finding && watch.rule.unless?.includes(other.name) && (other.level === watch.finding.level || other.level === 2)) watch.finding = null;
    this.told.push(...changes.filter(([watch, change]) => change.over || watch.finding).map(([, change]) => change));
    const worst = active().sort((a, b) => b.level - a.level)[0];
    this.verdict = worst ?? this.calm(now);
    return this.verdict;
  }

  calm(now) {
    const early = this.verdict.name === "warming_up";
    const evidence = [["information", now.information, NO_INFORMATION], ["KL", now.kl, NO_KL]];
    if (this.verdict.name === "healthy") return { ...this.verdict, evidence }; // in the numbers that hold now
    if (early && now.row.step < WARM_UP) return this.verdict;
    const silent = now.information < NO_INFORMATION;
    if (early && silent) return this.verdict;
    return { name: "healthy", title: silent ? "Nothing wrong is seen any more" : "Healthy so far", level: 0, since: now.row.step,
      sentence: "Answers differ between images, and the student has something left to learn", rule: `information above ${NO_INFORMATION} ln K, and none of the findings`, evidence };
  }

  /** What this row changes about one rule: a finding raised, grown worse, or over. */
  look(watch, now) {
    const { rule } = watch, judged = rule.judge(now, watch.finding !== null), { step } = now.row;
    if (!judged) {
      watch.rows = 0;
      if (++watch.calm < CALM_ROWS || !watch.finding) return null;
      const { since } = watch.finding;
      watch.finding = null;
      return { step, since, name: rule.name, level: 0, over: true };
    }
    if (watch.rows === 0) watch.since = step;
    watch.rows += 1;
    watch.calm = 0;
    const span = step - watch.since;
    const level = watch.rows < ROWS || span < rule.watch ? 0 : judged.level === 2 && span >= rule.trouble ? 2 : 1;
    if (level === 0 || (watch.finding && level <= watch.finding.level)) return null;
    watch.finding = { name: rule.name, title: rule.title, rule: rule.rule, since: watch.finding?.since ?? watch.since, ...judged, level };
    return { step, since: watch.finding.since, name: rule.name, level, over: false };
  }
}

/** Evidence as words: "usage 0.12 (limit 0.30)". */
export const evidence = (finding) => (finding.evidence ?? []).map(([name, value, limit]) => `${name} ${Math.abs(value) < 0.005 && value ? value.toExponential(0) : share(value)} (limit ${limit})`).join(", ");
