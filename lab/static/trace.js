// The stages of one step as panels of numbers, each of which says where it came from.  Used with real tensors (objective.js) and with
// numbers of one's own (miniature.js).

import { h, number, percent, refill, toggle } from "./dom.js";
import { movedCentre, restOf, stages, SWITCHES } from "./stages.js";

export const NAMES = ["Logits", "Centering", "Sharpening", "Softmax", "Pairs", "Loss", "Gradient", "Centre"];
const FORMULAS = ["z", "z − c", "÷ τ", "q, p", "−Σ q log p", "mean", "(p − q) / τ", "c ← m c + (1 − m) z̄"];

/** A number with its sign, short; what rounding left of 0 is 0. */
const signed = (value) => (Math.abs(value) < 1e-12 ? "0" : (value < 0 ? "−" : "") + number(Math.abs(value)));

/** The panels of a step.  `about`: { views: [name of each student view], columns: [prototypes shown], momentum }. */
export function panels(input, { views, columns, momentum }) {
  const all = stages(input), rest = input.centre.length - columns.length;
  const heads = [...columns.map((k) => `prototype ${k + 1}`), ...(rest ? [`${rest} others`] : [])];
  const row = (key, label, cells, kind) => ({ key, label, kind, cells: cells.map((cell, i) => (cell ? { key: `${key}.${i}`, ...cell } : null)) });
  const rows = (stage, kind, vectors, cell, others) => vectors.map((vector, v) =>
    row(`${stage}.${kind[0]}${v}`, views[v], [...columns.map((k, i) => cell(vector, v, k, i)), ...(rest ? [others(vector, v, columns.length)] : [])], kind));
  const at = (stage, kind, v, i) => `${stage}.${kind}${v}.${i}`;
  const plain = (vector, v, k) => ({ value: vector[k], words: "what the network says: its class token's likeness to this prototype", from: [] });
  const meanOf = (vector) => ({ value: restOf(vector, columns).mean, words: `the mean of the ${rest} logits that are not shown`, from: [] });
  const centre = row("logits.c", "centre c", [...columns.map((k) => plain(input.centre, 0, k)), ...(rest ? [meanOf(input.centre)] : [])].map((cell) => ({ ...cell, words: input.centreWords })), "centre");
  const { temperature: tau, studentTemperature: tauS } = all, unit = input.unitLength !== false, base = unit ? "logits" : "long", students = input.student.slice(0, all.student.length);

  const logits = { name: "Logits", says: `Each network compares its class token with every prototype. The teacher sees only the global crops, the student all of them.${unit ? "" : " Unit length is switched off: each row is multiplied by the length its vector had before the head divided by it."}`,
    tables: [{ title: "teacher z", heads, rows: [...rows("logits", "teacher", input.teacher, plain, meanOf), centre], ramp: "diverging" }, { title: "student z", heads, rows: rows("logits", "student", students, plain, meanOf), ramp: "diverging" },
      ...(unit ? [] : longer())] };

  /** Without unit length: what the head divides by, and the logits times it. */
  function longer() {
    const lengths = (letter, name, values) => row(`logits.n${letter}`, name, values.map((value) => ({ value, words: "the length of the vector that the head compares with prototypes, before it is made 1", from: [] })), "length");
    const times = (kind, letter, vectors, given, by) => rows("long", kind, vectors,
      (vector, v, k, i) => ({ value: vector[k], words: `${signed(given[v][k])} × ${number(by[v])}`, from: [at("logits", letter, v, i), `logits.n${letter}.${v}`] }),
      (vector, v, i) => ({ value: restOf(vector, columns).mean, words: `the mean over the ${rest} others`, from: [at("logits", letter, v, i), `logits.n${letter}.${v}`] }));
    const mean = all.teacher.map((_, v) => `logits.nt.${v}`), of = (k, i) => ({ value: all.centre[k], words: `${signed(input.centre[k])} × the mean length of the teacher's`, from: [`logits.c.${i}`, ...mean] });
    const middle = row("long.c", "centre c", [...columns.map(of), ...(rest ? [{ value: restOf(all.centre, columns).mean, words: `the mean over the ${rest} others`, from: [`logits.c.${columns.length}`, ...mean] }] : [])], "centre");
    return [{ title: "length before it is made 1", heads: views.slice(0, students.length), ramp: "share", rows: [lengths("t", "teacher", [...input.teacherLengths]), lengths("s", "student", [...input.studentLengths].slice(0, students.length))] },
      { title: "teacher z × length", heads, ramp: "diverging", rows: [...times("teacher", "t", all.teacher, input.teacher, input.teacherLengths), middle] }, { title: "student z × length", heads, ramp: "diverging", rows: times("student", "s", all.student, students, input.studentLengths) }];
  }

  const centred = { name: "Centering", says: input.centering ? "What the teacher says of every image is taken away: no prototype can win by being liked in general." : "Switched off: the logits stay as they are, and a prototype that is liked in general wins.",
    tables: [{ title: "teacher z − c", heads, ramp: "diverging", rows: rows("centred", "teacher", all.centred,
      (vector, v, k, i) => ({ value: vector[k], words: input.centering ? `${signed(all.teacher[v][k])} − (${signed(all.centre[k])})` : `${signed(all.teacher[v][k])}, no centre taken away`, from: [at(base, "t", v, i), ...(input.centering ? [`${base}.c.${i}`] : [])] }),
      (vector, v, i) => ({ value: restOf(vector, columns).mean, words: `the mean over the ${rest} others`, from: [at(base, "t", v, i), ...(input.centering ? [`${base}.c.${i}`] : [])] })) }] };

  const divided = (stage, before, kind, letter, vectors, divisor) => rows(stage, kind, vectors,
    (vector, v, k, i) => ({ value: vector[k], words: `${signed(vector[k] * divisor)} / ${number(divisor)}`, from: [at(before, letter, v, i)] }),
    (vector, v, i) => ({ value: restOf(vector, columns).logSumExp, words: `log Σ exp over the ${rest} others: the one number that stands for them in the softmax`, from: [at(before, letter, v, i)] }));
  const sharpened = { name: "Sharpening", says: (input.sharpening ? `The teacher divides by τ = ${number(tau)}, less than the student's ${number(tauS)}: differences grow, so that it is surer than the student.` : `Switched off: the teacher divides by the student's τ = ${number(tauS)}, and is no surer than the student.`) + (input.studentSharpening === false ? " The student's own temperature is switched off: it divides by 1." : ""),
    tables: [{ title: `teacher (z − c) / ${number(tau)}`, heads, ramp: "diverging", rows: divided("sharp", "centred", "teacher", "t", all.sharpened, tau) },
      { title: `student z / ${number(tauS)}`, heads, ramp: "diverging", rows: divided("sharp", base, "student", "s", all.scaled, tauS) }] };

  const normal = (kind, letter, vectors, before) => rows("soft", kind, vectors,
    (vector, v, k, i) => ({ value: vector[k], share: true, words: `exp(${signed(before[v][k])}) over the sum of exp in this row`, from: [...heads.keys()].map((j) => at("sharp", letter, v, j)).sort((a) => (a === at("sharp", letter, v, i) ? -1 : 0)) }),
    (vector, v, i) => ({ value: restOf(vector, columns).sum, share: true, words: `what the ${rest} others have together`, from: [at("sharp", letter, v, i)] }));
  const largest = (v) => Math.max(...all.sharpened[v]);
  const first = () => rows("soft", "teacher", all.targets,
    (vector, v, k, i) => ({ value: vector[k], share: true, words: vector[k] ? `${signed(all.sharpened[v][k])} is the largest of its row` : `${signed(all.sharpened[v][k])} is not the largest of its row, ${signed(largest(v))}`, from: [at("sharp", "t", v, i)] }),
    (vector, v, i) => ({ value: restOf(vector, columns).sum, share: true, words: `whether the largest is among the ${rest} others`, from: [at("sharp", "t", v, i)] }));
  const softmax = { name: "Softmax", says: `${input.softTargets === false ? "Soft targets are switched off: the teacher's first choice takes all, and how it weighs the others is lost. The" : "Rows become probabilities. The teacher's are the targets q; the"} student's are its predictions p.${input.stopGradient === false ? "" : " No gradient flows through the targets."}`,
    tables: [{ title: "teacher q", heads, ramp: "share", rows: input.softTargets === false ? first() : normal("teacher", "t", all.targets, all.sharpened) }, { title: "student p", heads, ramp: "share", rows: normal("student", "s", all.predictions, all.scaled) }] };

  const pairs = { name: "Pairs", says: `${input.localCrops === false ? "Local crops are switched off: each global view is" : "Each student view is"} to say what the teacher says about another view of the same image. A crop with itself would be too easy and ${input.skipSameView === false ? "is left out in training; switched off, it counts." : "is left out."}`,
    tables: [{ title: "cross-entropy, nats", heads: input.teacher.map((_, t) => `teacher on ${views[t]}`), ramp: "loss",
      rows: all.pairs.map((line, s) => row(`pairs.p${s}`, `student on ${views[s]}`, line.map((value, t) => (all.counted[s][t]
        ? { value, words: `−Σ q log p = ${termsOf(all, s, t, columns)}`, from: heads.flatMap((_, i) => [at("soft", "t", t, i), at("soft", "s", s, i)]) } : { value: null, text: "same crop", words: "left out: the student would only have to copy", from: [] })), "pair")) }] };

  const counted = all.pairs.flatMap((line, s) => line.map((_, t) => [s, t])).filter(([s, t]) => all.counted[s][t]);
  const counts = counted.map(([s, t]) => `pairs.p${s}.${t}`);
  const loss = { name: "Loss", says: "The mean over pairs. It is the teacher's own entropy, which the student can't change, plus how far the student is from the teacher.",
    tables: [{ title: "nats", heads: ["loss", "= H(t)", "+ KL(t‖s)"], ramp: "loss", rows: [row("loss.l", "this image", [
      { value: all.loss, words: `the mean of ${all.count} pairs`, from: counts },
      { value: all.entropy, words: "−Σ q log q of each target, as often as it is used", from: input.teacher.flatMap((_, t) => heads.map((_, i) => at("soft", "t", t, i))) },
      { value: all.divergence, words: `${number(all.loss, 5)} − ${number(all.entropy, 5)}`, from: ["loss.l.0", "loss.l.1"] }], "loss")] }] };

  const gradient = { name: "Gradient", says: "How the student's logits are pushed: up where the teacher gave more than the student did, down where it gave less. A step goes against the gradient.",
    tables: [{ title: "−∂loss/∂z of the student, up ▲ or down ▼", heads, ramp: "diverging", rows: rows("grad", "student", all.gradient,
      (vector, v, k, i) => ({ value: -vector[k], arrow: true, words: pushed(all, v, k, tauS), from: [at("soft", "s", v, i), ...targetsOf(all, v).map((t) => at("soft", "t", t, i))] }),
      (vector, v, i) => ({ value: -restOf(vector, columns).sum, arrow: true, words: `all ${rest} others together`, from: [at("soft", "s", v, i), ...targetsOf(all, v).map((t) => at("soft", "t", t, i))] })) },
    ...(input.stopGradient === false ? [{ title: "−∂loss/∂z of the teacher, which training never follows", heads, ramp: "diverging", rows: rows("grad", "teacher", all.teacherGradient,
      (vector, v, k, i) => ({ value: -vector[k], arrow: true, words: `q × (log p + the pair's cross-entropy), summed over its pairs, over ${all.count} pairs × τ ${number(tau)}`, from: [at("soft", "t", v, i), ...pairsOf(all, v).flatMap((s) => [at("soft", "s", s, i), `pairs.p${s}.${v}`])] }),
      (vector, v, i) => ({ value: -restOf(vector, columns).sum, arrow: true, words: `all ${rest} others together`, from: [at("soft", "t", v, i)] })) }] : [])] };

  const follows = input.movingCentre !== false, after = follows ? movedCentre(all.centre, all.teacher, momentum) : all.centre;
  const moved = { name: "Centre", says: !follows ? "Switched off: the next step takes the same centre away, wherever the teacher goes." : input.centering ? `After the step the centre moves a little (m = ${number(momentum)}) towards what the teacher said: by the views of this image here, by the whole batch in training.` : "After the step the centre would move; switched off, nobody reads it.",
    tables: [{ title: "centre c", heads, ramp: "diverging", rows: [row("moved.c", "after", [...columns.map((k, i) => ({ value: after[k], words: follows ? `${number(momentum)} × ${signed(all.centre[k])} + ${number(1 - momentum)} × mean z` : "the centre as it was", from: [`${base}.c.${i}`, ...(follows ? all.teacher.map((_, t) => at(base, "t", t, i)) : [])] })),
      ...(rest ? [{ value: restOf(after, columns).mean, words: `the mean over the ${rest} others`, from: [`${base}.c.${columns.length}`] }] : [])], "centre")] }] };

  return { all, list: [logits, centred, sharpened, softmax, pairs, loss, gradient, moved] };
}

const pairsOf = ({ counted }, t) => counted.map((row, s) => (row[t] ? s : -1)).filter((s) => s >= 0);
const targetsOf = ({ counted }, s) => counted[s].map((yes, t) => (yes ? t : -1)).filter((t) => t >= 0);

function pushed(all, s, k, temperature) {
  const parts = targetsOf(all, s).map((t) => `(${number(all.targets[t][k])} − ${number(all.predictions[s][k])})`);
  return `${parts.join(" + ") || "0"}, over ${all.count} pairs × τ ${number(temperature)}`;
}

function termsOf(all, s, t, columns) {
  const term = (k) => -all.targets[t][k] * all.logPredictions[s][k];
  const shown = columns.map((k) => [k, term(k)]), rest = all.pairs[s][t] - shown.reduce((sum, [, value]) => sum + value, 0);
  const large = shown.sort((a, b) => b[1] - a[1]).slice(0, 3);
  const others = all.pairs[s][t] - large.reduce((sum, [, value]) => sum + value, 0);
  return `${large.map(([k, value]) => `${number(value)} (prototype ${k + 1})`).join(" + ")}${others > 1e-9 || rest > 1e-9 ? ` + ${number(others)} (all others)` : ""}`;
}

/** The panels on the page, with a stepper above.  `key` names the stage in the address; `draw(input, about, edit)` shows new numbers. */
export function stepper(host, { key, first = null, onSwitch }) {
  host.keep({ [key]: 1, uncentred: 0, unsharpened: 0, off: null });
  const names = first ? [first, ...NAMES] : NAMES, formulas = first ? ["", ...FORMULAS] : FORMULAS;
  const tabs = h("ol", { class: "stages" }), places = h("div", { class: "stage-list" });
  const words = h("p", { class: "trace-words", role: "status" }), summary = h("div", { class: "stage-summary" });
  const go = (to) => { host.set({ [key]: Math.min(Math.max(to, 1), names.length) }); reveal(true); };
  const back = h("button", { type: "button", class: "step-button", onclick: () => go(host.get(key) - 1) }, "← Back");
  const next = h("button", { type: "button", class: "step-button", onclick: () => go(host.get(key) + 1) }, "Next →");
  const toggles = Object.entries(SWITCHES).map(([name, [word, title]]) => [name, toggle(word, true, (on) => host.set(switchedTo(host, name, on)), title)]);
  const controls = [h("div", { class: "stage-bar" }, back, tabs, next), h("div", { class: "switches", role: "group", "aria-label": "Stages that are on" }, h("span", {}, "on:"), toggles.map(([, box]) => box))];
  const element = h("div", { class: "stepper", "data-stepper": key }, controls, summary, places, words);
  names.forEach((name, i) => tabs.append(h("li", {}, h("button", { type: "button", onclick: () => go(i + 1) }, h("b", {}, `${i + 1} ${name}`), h("small", {}, formulas[i])))));
  const firstPlace = first ? h("section", { class: "stage" }) : null;
  if (firstPlace) places.append(firstPlace);
  host.on(["uncentred", "unsharpened", "off"], () => { check(); onSwitch(); });
  check();
  host.on(key, () => reveal(false));
  const focused = () => (element.contains(document.activeElement) ? document.activeElement.closest("[data-cell]") : null); // scrolling there moves things under a pointer that rests
  element.addEventListener("pointerover", ({ target }) => point(target.closest("[data-cell]") ?? focused()));
  element.addEventListener("focusin", ({ target }) => point(target.closest("[data-cell]")));
  element.addEventListener("pointerleave", () => point(focused()));
  element.addEventListener("keydown", keys);
  let cells = new Map();

  function check() {
    const on = switched(host);
    for (const [name, box] of toggles) box.querySelector("input").checked = on[name];
  }

  /** Unit length can only be switched off where lengths are known; local crops and pairs where some are left. */
  function allow(input) {
    const cannot = { unitLength: !input.studentLengths || !input.teacherLengths, localCrops: input.student.length === input.teacher.length || input.teacher.length < 2 };
    for (const [name, box] of toggles) {
      box.querySelector("input").disabled = Boolean(cannot[name]);
      box.dataset.cannot = String(Boolean(cannot[name]));
    }
    return Object.fromEntries(Object.entries(cannot).filter(([, no]) => no).map(([name]) => [name, true]));
  }

  function reveal(scroll) {
    const stage = host.get(key);
    [...tabs.children].forEach((item, i) => { item.firstChild.setAttribute("aria-current", i + 1 === stage ? "step" : "false"); item.dataset.done = i + 1 < stage ? "yes" : "no"; });
    [...places.children].forEach((place, i) => { place.hidden = i + 1 > stage; place.dataset.now = i + 1 === stage ? "yes" : "no"; });
    back.disabled = stage === 1;
    next.disabled = stage === names.length;
    if (scroll) places.children[stage - 1]?.scrollIntoView({ block: "nearest", behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
  }

  /** A number and those it was made of. */
  function point(cell) {
    const about = cell ? cells.get(cell.dataset.cell) : null;
    element.querySelectorAll("[data-source], [data-pointed]").forEach((other) => { other.removeAttribute("data-source"); other.removeAttribute("data-pointed"); });
    if (!about) { words.textContent = "Point at a number, or reach it with Tab and the arrow keys: it says where it came from, and what it was made of lights up."; return; }
    cell.dataset.pointed = "yes";
    const from = new Set(about.from);
    element.querySelectorAll("[data-cell]").forEach((other) => { if (from.has(other.dataset.cell)) other.dataset.source = "yes"; });
    words.textContent = `${about.where}: ${about.text} = ${about.words}.`;
  }

  function keys(event) {
    const cell = event.target.closest?.("td[data-cell]");
    const by = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    if (!cell || !by || event.target.tagName === "INPUT") return;
    event.preventDefault();
    event.stopPropagation();
    const line = cell.parentElement, body = [...line.parentElement.children];
    const to = body[body.indexOf(line) + by[0]]?.children[[...line.children].indexOf(cell) + by[1]];
    to?.matches("td[data-cell]") && (to.tabIndex = 0, cell.tabIndex = -1, to.focus());
  }

  return {
    element, controls, firstPlace, point: () => point(null),
    draw(given, about, edit = null) {
      const input = { ...given, ...switched(host), ...allow(given) }, { all, list } = panels(input, about);
      cells = new Map();
      const made = list.map((panel, i) => section(panel, i + (first ? 2 : 1), cells, edit));
      places.replaceChildren(...(firstPlace ? [firstPlace] : []), ...made);
      summarise(summary, input, all);
      point(null);
      reveal(false);
      return all;
    },
  };
}

/** Which stages are on: the first two have names of their own in the address, where links already are. */
export function switched(host) {
  const off = new Set((host.get("off") ?? "").split(","));
  return { ...Object.fromEntries(Object.keys(SWITCHES).map((name) => [name, !off.has(name)])), centering: !host.get("uncentred"), sharpening: !host.get("unsharpened") };
}

function switchedTo(host, name, on) {
  const own = { centering: "uncentred", sharpening: "unsharpened" }[name];
  if (own) return { [own]: on ? 0 : 1 };
  const others = (host.get("off") ?? "").split(",").filter((other) => other && other !== name);
  return { off: [...others, ...(on ? [] : [name])].join(",") || null };
}

const ALL = Object.fromEntries(Object.keys(SWITCHES).map((name) => [name, true]));
const largest = ({ targets }) => Math.max(...targets.map((q) => q.reduce((a, b) => Math.max(a, b))));
const long = (rows) => Math.hypot(...rows.flatMap((row) => [...row]));

/** What becomes of the loss without a stage, in a sentence; `alone` is this step without it and with everything else. */
const WITHOUT = {
  unitLength: ({ trained, alone }) => `Without unit length logits are no cosines: a network can make them larger by growing its features, here to ${number(Math.max(...alone.teacher.map((row) => row.reduce((a, b) => Math.max(a, Math.abs(b)), 0))))} from ${number(Math.max(...trained.teacher.map((row) => row.reduce((a, b) => Math.max(a, Math.abs(b)), 0))))} at most, and temperatures lose their meaning.`,
  centering: () => "Without centering one prototype can win for every image: H(t) falls, training ends in one answer.",
  sharpening: () => "Without sharpening the teacher is no surer than the student: H(t) rises towards ln K, training ends in answers that are all alike.",
  studentSharpening: ({ trained, alone }) => (trained.studentTemperature === 1 ? "The student's temperature is 1 already, so nothing changes."
    : `Without its temperature the student can't be sure: logits that are cosines lie within 2 of one another, its largest probability is ${percent(largest({ targets: alone.predictions }))} here, and KL stays however well it learns.`),
  softTargets: () => "With the teacher's first choice as the only target H(t) is 0 and all of the loss is KL: what the teacher knows of likenesses between prototypes is lost.",
  skipSameView: () => "With pairs of a crop with itself the student is asked about what both networks see alike: such pairs teach it to copy its average, not that views belong together.",
  localCrops: ({ trained, alone }) => `Without local crops ${alone.count} of ${trained.count} pairs are left: no part is asked to name its whole.`,
  stopGradient: ({ alone }) => `With a gradient through the teacher the loss is the same number, but both sides are pushed (length ${number(long(alone.teacherGradient))} on the teacher's logits, ${number(long(alone.gradient))} on the student's), and the shortest way to agree is one answer for all.`,
  movingCentre: () => "With a centre that stands still the loss of this step is the same; later ones take away what the teacher no longer says, and a prototype can win after all.",
};

/** What the switches change: as trained against as shown. */
function summarise(place, input, all) {
  const trained = stages({ ...input, ...ALL }), off = Object.keys(SWITCHES).filter((name) => !input[name]);
  const uniform = Math.log(input.centre.length);
  const line = (name, of, show) => h("tr", {}, h("th", { scope: "row" }, name), h("td", {}, show(of(trained))), h("td", {}, show(of(all))));
  const sentence = (name) => {
    const alone = stages({ ...input, ...ALL, [name]: false });
    return h("li", {}, WITHOUT[name]({ trained, alone }), Math.abs(alone.loss - trained.loss) > 1e-9 ? ` The loss goes from ${number(trained.loss)} to ${number(alone.loss)} nats${off.length > 1 ? " by this alone" : ""}.` : "");
  };
  refill(place, JSON.stringify([off, all.loss, trained.loss, uniform, long(all.gradient)]), () => (off.length ? [
    h("ul", { class: "without" }, off.map(sentence)), h("p", { class: "hint" }, "One step does not collapse: what is shown here is which way it is pulled."),
    h("table", { class: "step-numbers" }, h("thead", {}, h("tr", {}, h("th", {}), h("th", {}, "as trained"), h("th", {}, "as shown"))), h("tbody", {},
      line("loss", (s) => s.loss, (v) => `${number(v)} nats`), line(`H(t), at most ln K = ${number(uniform)}`, (s) => s.entropy, (v) => `${number(v)} nats`),
      line("KL(t‖s)", (s) => s.divergence, (v) => `${number(v)} nats`), line("largest probability", largest, (v) => percent(v)),
      line("length of the gradient", (s) => long(s.gradient), (v) => number(v))))] : [h("span", { class: "sr-only" }, `Loss ${number(all.loss)} nats: entropy ${number(all.entropy)} plus divergence ${number(all.divergence)}.`)]));
}

function section(panel, place, cells, edit) {
  return h("section", { class: "stage", "aria-label": `${place} ${panel.name}` }, h("h3", {}, `${place} ${panel.name}`), h("p", { class: "hint" }, panel.says),
    h("div", { class: "stage-tables" }, panel.tables.map((table) => tableOf(panel, table, cells, edit))));
}

function tableOf(panel, { title, heads, rows, ramp }, cells, edit) {
  const values = rows.flatMap((row) => row.cells.map((cell) => cell?.value)).filter(Number.isFinite);
  const size = Math.max(...values.map(Math.abs), 1e-12);
  let reached = false;
  return h("div", { class: "stage-table" }, h("table", { class: "step-numbers" },
    h("caption", {}, title),
    h("thead", {}, h("tr", {}, h("th", {}), heads.map((head) => h("th", { scope: "col" }, short(head))))),
    h("tbody", {}, rows.map((row) => h("tr", { "data-kind": row.kind }, h("th", { scope: "row" }, row.label), row.cells.map((cell, i) => {
      const text = cell.text ?? (cell.share ? share(cell.value) : cell.arrow ? `${cell.value > 0 ? "▲" : cell.value < 0 ? "▼" : ""} ${number(Math.abs(cell.value))}` : signed(cell.value));
      cells.set(cell.key, { ...cell, text, where: `${panel.name}, ${row.label}, ${heads[i]}` });
      const field = edit?.(cell.key, `${row.label}, ${heads[i]}`);
      const tab = field ? null : reached ? -1 : 0;
      reached = true;
      return h("td", { "data-cell": cell.key, "data-value": cell.value, tabindex: tab, style: cell.value === null ? null : tint(cell.value, size, ramp) }, field ?? text);
    }))))));
}

const short = (head) => head.replace("prototype ", "№ ").replace("teacher on", "t on");
const share = (value) => (value > 0 && value < 5e-4 ? "< 0.1 %" : percent(value));

/** How strongly a number is, behind it: blue above 0, orange below; alone, sky. */
function tint(value, size, ramp) {
  const part = ramp === "share" ? Math.min(Math.sqrt(Math.max(value, 0)), 1) : Math.abs(value) / size;
  const colour = ramp === "diverging" ? (value < 0 ? "orange" : "blue") : ramp === "loss" ? "purple" : "sky";
  return `background: color-mix(in srgb, var(--${colour}) ${Math.round(46 * part)}%, transparent)`;
}
