// The stages of one step as panels of numbers, each of which says where it came from.  Used with real tensors (objective.js) and with
// numbers of one's own (miniature.js).

import { h, number, percent, refill, toggle } from "./dom.js";
import { movedCentre, restOf, stages } from "./stages.js";

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
  const { temperature: tau } = all, tauS = input.studentTemperature;

  const logits = { name: "Logits", says: "Each network compares its class token with every prototype. The teacher sees only the global crops, the student all of them.",
    tables: [{ title: "teacher z", heads, rows: [...rows("logits", "teacher", input.teacher, plain, meanOf), centre], ramp: "diverging" }, { title: "student z", heads, rows: rows("logits", "student", input.student, plain, meanOf), ramp: "diverging" }] };

  const centred = { name: "Centering", says: input.centering ? "What the teacher says of every image is taken away: no prototype can win by being liked in general." : "Switched off: the logits stay as they are, and a prototype that is liked in general wins.",
    tables: [{ title: "teacher z − c", heads, ramp: "diverging", rows: rows("centred", "teacher", all.centred,
      (vector, v, k, i) => ({ value: vector[k], words: input.centering ? `${signed(input.teacher[v][k])} − (${signed(input.centre[k])})` : `${signed(input.teacher[v][k])}, no centre taken away`, from: [at("logits", "t", v, i), ...(input.centering ? [`logits.c.${i}`] : [])] }),
      (vector, v, i) => ({ value: restOf(vector, columns).mean, words: `the mean over the ${rest} others`, from: [at("logits", "t", v, i), ...(input.centering ? [`logits.c.${i}`] : [])] })) }] };

  const divided = (stage, before, kind, letter, vectors, divisor) => rows(stage, kind, vectors,
    (vector, v, k, i) => ({ value: vector[k], words: `${signed(vector[k] * divisor)} / ${number(divisor)}`, from: [at(before, letter, v, i)] }),
    (vector, v, i) => ({ value: restOf(vector, columns).logSumExp, words: `log Σ exp over the ${rest} others: the one number that stands for them in the softmax`, from: [at(before, letter, v, i)] }));
  const sharpened = { name: "Sharpening", says: input.sharpening ? `The teacher divides by τ = ${number(tau)}, less than the student's ${number(tauS)}: differences grow, so that it is surer than the student.` : `Switched off: the teacher divides by the student's τ = ${number(tauS)}, and is no surer than the student.`,
    tables: [{ title: `teacher (z − c) / ${number(tau)}`, heads, ramp: "diverging", rows: divided("sharp", "centred", "teacher", "t", all.sharpened, tau) },
      { title: `student z / ${number(tauS)}`, heads, ramp: "diverging", rows: divided("sharp", "logits", "student", "s", all.scaled, tauS) }] };

  const normal = (kind, letter, vectors, before) => rows("soft", kind, vectors,
    (vector, v, k, i) => ({ value: vector[k], share: true, words: `exp(${signed(before[v][k])}) over the sum of exp in this row`, from: [...heads.keys()].map((j) => at("sharp", letter, v, j)).sort((a) => (a === at("sharp", letter, v, i) ? -1 : 0)) }),
    (vector, v, i) => ({ value: restOf(vector, columns).sum, share: true, words: `what the ${rest} others have together`, from: [at("sharp", letter, v, i)] }));
  const softmax = { name: "Softmax", says: "Rows become probabilities. The teacher's are the targets q, and no gradient flows through them; the student's are its predictions p.",
    tables: [{ title: "teacher q", heads, ramp: "share", rows: normal("teacher", "t", all.targets, all.sharpened) }, { title: "student p", heads, ramp: "share", rows: normal("student", "s", all.predictions, all.scaled) }] };

  const pairs = { name: "Pairs", says: "Each student view is to say what the teacher says about another view of the same image. A crop with itself would be too easy and is left out.",
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
      (vector, v, i) => ({ value: -restOf(vector, columns).sum, arrow: true, words: `all ${rest} others together`, from: [at("soft", "s", v, i), ...targetsOf(all, v).map((t) => at("soft", "t", t, i))] })) }] };

  const after = movedCentre(input.centre, input.teacher, momentum);
  const moved = { name: "Centre", says: input.centering ? `After the step the centre moves a little (m = ${number(momentum)}) towards what the teacher said: by the views of this image here, by the whole batch in training.` : "After the step the centre would move; switched off, nobody reads it.",
    tables: [{ title: "centre c", heads, ramp: "diverging", rows: [row("moved.c", "after", [...columns.map((k, i) => ({ value: after[k], words: `${number(momentum)} × ${signed(input.centre[k])} + ${number(1 - momentum)} × mean z`, from: [`logits.c.${i}`, ...input.teacher.map((_, t) => at("logits", "t", t, i))] })),
      ...(rest ? [{ value: restOf(after, columns).mean, words: `the mean over the ${rest} others`, from: [`logits.c.${columns.length}`] }] : [])], "centre")] }] };

  return { all, list: [logits, centred, sharpened, softmax, pairs, loss, gradient, moved] };
}

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
  host.keep({ [key]: 1, uncentred: 0, unsharpened: 0 });
  const names = first ? [first, ...NAMES] : NAMES, formulas = first ? ["", ...FORMULAS] : FORMULAS;
  const tabs = h("ol", { class: "stages" }), places = h("div", { class: "stage-list" });
  const words = h("p", { class: "trace-words", role: "status" }), summary = h("div", { class: "stage-summary" });
  const go = (to) => { host.set({ [key]: Math.min(Math.max(to, 1), names.length) }); reveal(true); };
  const back = h("button", { type: "button", class: "step-button", onclick: () => go(host.get(key) - 1) }, "← Back");
  const next = h("button", { type: "button", class: "step-button", onclick: () => go(host.get(key) + 1) }, "Next →");
  const centering = toggle("centering", !host.get("uncentred"), (on) => { host.set({ uncentred: on ? 0 : 1 }); }, "Take the centre away from the teacher's logits");
  const sharpening = toggle("sharpening", !host.get("unsharpened"), (on) => { host.set({ unsharpened: on ? 0 : 1 }); }, "Give the teacher a lower temperature than the student");
  const element = h("div", { class: "stepper", "data-stepper": key },
    h("div", { class: "stage-bar" }, back, tabs, next, h("span", { class: "switches" }, centering, sharpening)), summary, places, words);
  names.forEach((name, i) => tabs.append(h("li", {}, h("button", { type: "button", onclick: () => go(i + 1) }, h("b", {}, `${i + 1} ${name}`), h("small", {}, formulas[i])))));
  const firstPlace = first ? h("section", { class: "stage" }) : null;
  if (firstPlace) places.append(firstPlace);
  host.on(["uncentred", "unsharpened"], () => {
    centering.querySelector("input").checked = !host.get("uncentred");
    sharpening.querySelector("input").checked = !host.get("unsharpened");
    onSwitch();
  });
  host.on(key, () => reveal(false));
  element.addEventListener("pointerover", ({ target }) => point(target.closest("[data-cell]")));
  element.addEventListener("focusin", ({ target }) => point(target.closest("[data-cell]")));
  element.addEventListener("pointerleave", () => point(null));
  element.addEventListener("keydown", keys);
  let cells = new Map();

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
    element, firstPlace, point: () => point(null),
    draw(input, about, edit = null) {
      const { all, list } = panels(input, about);
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

/** What the switches change: as trained against as shown. */
function summarise(place, input, all) {
  const trained = stages({ ...input, centering: true, sharpening: true });
  const changed = !input.centering || !input.sharpening;
  const uniform = Math.log(input.centre.length), largest = ({ targets }) => Math.max(...targets.map((q) => q.reduce((a, b) => Math.max(a, b))));
  const line = (name, of, show) => h("tr", {}, h("th", { scope: "row" }, name), h("td", {}, show(of(trained))), h("td", {}, show(of(all))));
  const what = !input.centering && !input.sharpening ? "Neither: whatever is liked in general stays, softly." : !input.centering ? "Without centering one prototype can win for every image: H(t) falls, training ends in one answer."
    : !input.sharpening ? "Without sharpening the teacher is no surer than the student: H(t) rises towards ln K, training ends in answers that are all alike." : "";
  refill(place, JSON.stringify([changed, all.loss, trained.loss, uniform]), () => (changed ? [
    h("p", { class: "hint" }, what, " One step does not collapse: what is shown here is which way it is pulled."),
    h("table", { class: "step-numbers" }, h("thead", {}, h("tr", {}, h("th", {}), h("th", {}, "with both"), h("th", {}, "as shown"))), h("tbody", {},
      line("loss", (s) => s.loss, (v) => `${number(v)} nats`), line(`H(t), at most ln K = ${number(uniform)}`, (s) => s.entropy, (v) => `${number(v)} nats`),
      line("KL(t‖s)", (s) => s.divergence, (v) => `${number(v)} nats`), line("largest probability", largest, (v) => percent(v)),
      line("length of the gradient", (s) => Math.hypot(...s.gradient.flatMap((row) => [...row])), (v) => number(v))))] : [h("span", { class: "sr-only" }, `Loss ${number(all.loss)} nats: entropy ${number(all.entropy)} plus divergence ${number(all.divergence)}.`)]));
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
      return h("td", { "data-cell": cell.key, tabindex: tab, style: cell.value === null ? null : tint(cell.value, size, ramp) }, field ?? text);
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
