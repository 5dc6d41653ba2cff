/* view
{
  "page": "playground",
  "place": 10,
  "title": "Why it does not collapse",
  "shows": "A small DINO that trains in this page with real gradients: 8 classes of points, two noisy views, a student, a teacher and 32 prototypes.",
  "look": "Cross-entropy is H, how unsure the teacher is, plus KL, what is left to learn. KL at 0 is every collapse; H says which: at 1 uniform, at 0 one prototype. Cut centering or sharpening, watch, switch it back on."
}
*/
// The playground: controls, time line and pictures around simulator.js.  What runs is in the address: a lesson (pg), settings that differ from
// it (pgset), and what was changed at which step (pgdo); so a link leads to the same curves.

import { card, choice, h, icon, number, percent, refill, toggle } from "./dom.js";
import { chart, scaled } from "./chart.js";
import { lines } from "./lines.js";
import { guessing } from "./playground_guess.js";
import { answers, batchMap, centreBars, scatter } from "./playground_panels.js";
import { Experiment } from "./playground_run.js";
import { stepper, walk } from "./playground_steps.js";
import { HORIZON, LESSONS, evidence } from "./playground_words.js";
import { DEFAULTS } from "./simulator.js";

const BUDGET = 12, REDRAW = 70; // milliseconds: of computing between two frames, and between two drawings
const SPEEDS = { slow: 25, watch: 150, fastest: Infinity }; // steps a second
const ICONS = ["healthy", "warning", "alarm"];
const SWITCHES = [
  ["centering", "centering", "Take the running mean of the teacher's logits away"],
  ["sharpening", "sharpening", "Off: the teacher's temperature is the student's"],
  ["sinkhorn", "Sinkhorn", "Balance targets over the batch instead of centering"],
  ["local_views", "multi-crop", "Four more, noisier views for the student"],
];
const KNOBS = [
  ["teacher_temperature", "teacher's temperature", [0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.07, 0.08, 0.1, 0.12, 0.15, 0.2]],
  ["student_temperature", "student's temperature", [0.05, 0.07, 0.1, 0.12, 0.15, 0.2, 0.3]],
  ["centre_momentum", "centre's momentum", [0, 0.5, 0.8, 0.9, 0.95, 0.99, 0.999, 1]],
  ["momentum", "EMA momentum", [0, 0.5, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 1]],
  ["batch", "batch", [2, 4, 8, 16, 32, 64, 128, 256]],
  ["noise", "noise between views", [0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7]],
  ["koleo", "KoLeo weight", [0, 0.02, 0.05, 0.1, 0.2, 0.5]],
  ["learning_rate", "learning rate", [0.0003, 0.001, 0.003, 0.01]],
];
const NAMES = Object.fromEntries([...SWITCHES, ...KNOBS].map(([key, name]) => [key, name]));

export function mount(element, host) {
  host.keep({ pg: "", pgset: "", pgdo: "" });
  const experiment = new Experiment({ pg: host.get("pg"), pgset: host.get("pgset"), pgdo: host.get("pgdo") });
  const state = { playing: false, asking: !host.get("pg"), phases: null, phase: 0 };
  const body = card(element, { ...host.about, data: () => ({ playground: experiment.curves.columns }), python: () => experiment.code() });
  const clock = ticking(element, host, { playing: () => state.playing, advance, draw });
  const guess = guessing({ start, changed: draw });
  const lessons = h("nav", { class: "pg-lessons", "aria-label": "Lessons" });
  const bar = transport({ play: () => (state.playing ? pause() : start()), step: () => { pause(); closeSteps(); advance(); draw(); }, slow: () => { pause(); slow(1); }, reset, speed: clock.speed, cut });
  const verdict = h("section", { class: "pg-verdict", role: "status" });
  const steps = stepper({ forward: () => slow(1), back: () => slow(-1), close: closeSteps });
  const knobs = h("div", { class: "pg-side" });
  const curves = timeline(), pictures = pictured();
  const code = h("pre", { class: "pg-code", tabindex: 0 });
  const about = h("p", { class: "pg-about" });
  body.append(lessons, about, guess.question, bar.element, verdict, guess.answer, steps.element,
    h("div", { class: "pg-grid" }, knobs, curves.element, pictures.element),
    h("details", { class: "pg-more" }, h("summary", {}, "The same in Python, and where the numbers come from"), code, h("p", { class: "hint" },
      "The same seed gives the same losses there, and the address of this page leads back to these curves. H, KL and the map are of the batch of each step; usage, information, purity, bars and scatter of the same 256 images, every 5 steps.")));
  beside(body, host);
  settle();
  host.on("theme", draw);
  host.keys((event) => {
    if (event.key !== " " || !host.shown() || event.target.closest?.("button, input, select, textarea, summary, a, canvas")) return;
    event.preventDefault();
    if (state.playing) pause(); else start();
  });
  if (host.get("pg")) start();

  // ---- what the viewer does

  function choose(lesson) {
    pause();
    closeSteps();
    experiment.choose(lesson);
    guess.forget();
    settle();
    if (state.asking && !experiment.eventful) guess.ask(LESSONS[lesson].title);
    else start();
  }

  function start() {
    state.playing = true;
    closeSteps();
    guess.close();
    clock.wake();
    tell();
  }

  function pause() {
    state.playing = false;
    tell();
  }

  function reset() {
    pause();
    closeSteps();
    experiment.restart();
    guess.forget();
    settle();
    if (state.asking) guess.ask("these settings");
  }

  function set(changes) {
    experiment.set(changes);
    guess.forget();
    settle();
  }

  function reseed(seed) {
    experiment.seed = seed;
    experiment.build();
    guess.forget();
    settle();
  }

  function cut(what) {
    experiment.cut(what);
    guess.forget();
    settle();
    if (!state.playing) start();
  }

  /** One sub-step on or back; the first of a step trains it. */
  function slow(by) {
    guess.close();
    if (state.phases && state.phase + by < state.phases.length) state.phase = Math.max(0, state.phase + by);
    else {
      advance(true);
      Object.assign(state, { phases: walk(experiment.simulator.last, experiment.simulator), phase: 0 });
    }
    steps.show(state.phases, state.phase, experiment.step);
    draw();
  }

  function closeSteps() {
    state.phases = null;
    steps.show(null);
  }

  function advance(watched = false) {
    const changed = experiment.advance(watched);
    if (changed) fillKnobs();
    if (experiment.step === HORIZON && (!experiment.eventful || experiment.plain)) guess.reveal(experiment);
  }

  // ---- what the page says

  /** After anything but a step: controls, address, pictures. */
  function settle() {
    if (experiment.step || experiment.lesson !== "both" || !experiment.plain || host.get("pg")) host.set(experiment.address());
    fillLessons();
    fillKnobs();
    code.textContent = experiment.code();
    if (experiment.step === 0) pictures.reset();
    draw();
  }

  function fillLessons() {
    const marked = experiment.lesson;
    refill(lessons, marked + location.search, () => [
      ...Object.entries(LESSONS).map(([name, { title, about: words }]) => h("a", { href: linkTo(name), title: words, "aria-current": name === marked ? "true" : null,
        onclick: (event) => { if (event.metaKey || event.ctrlKey || event.shiftKey) return; event.preventDefault(); choose(name); } }, title)),
      toggle("ask me first", state.asking, (on) => { state.asking = on; if (!on) guess.close(); }, "Before a lesson runs, say what H and KL will do; you are told afterwards")]);
    about.textContent = LESSONS[marked].about;
  }

  function fillKnobs() {
    const value = (key) => experiment.value(key);
    refill(knobs, JSON.stringify([...SWITCHES, ...KNOBS].map(([key]) => value(key))) + experiment.seed, () => [
      h("div", { class: "pg-switches" }, SWITCHES.map(([key, name, words]) => toggle(name, Boolean(value(key)), (on) => set({ [key]: key === "local_views" ? 4 * Number(on) : on }), words))),
      ...KNOBS.map(([key, name, stops]) => knob(name, value(key), stops, (next) => set({ [key]: next }))),
      h("label", { class: "pg-knob" }, h("span", {}, "seed"), h("input", { type: "number", min: 0, max: 99999, value: experiment.seed, onchange: (event) => reseed(Math.min(Math.max(0, Math.round(Number(event.target.value) || 0)), 99999)) }))]);
  }

  function tell() {
    bar.tell(experiment, state.playing, clock.rate());
    const found = experiment.diagnosis.verdict, waiting = found.name === "warming_up";
    verdict.dataset.level = waiting ? "waiting" : found.level;
    verdict.dataset.name = found.name;
    refill(verdict, `${found.name} ${found.level} ${found.since}`, () => [
      h("p", { class: "pg-found" }, icon(waiting ? "waiting" : ICONS[found.level]), h("span", {}, h("b", {}, found.level ? found.title : `${found.title}.`), [found.level ? ` since step ${found.since}` : "", found.sentence, found.advice].filter(Boolean).map((part) => (part.endsWith(".") ? ` ${part}` : `${part.startsWith(" ") ? "" : " "}${part}.`)))),
      found.rule ? h("p", { class: "hint", "aria-live": "off" }) : null]); // numbers that hold now are no news to a screen reader
    const rule = verdict.querySelector(".hint"), seen = found.rule ? `Rule: ${found.rule}. Seen: ${evidence(found)}.` : "";
    if (rule && rule.textContent !== seen) rule.textContent = seen;
  }

  function draw() {
    tell();
    curves.draw(experiment, guess.lines());
    pictures.draw(experiment.simulator);
  }
}

const linkTo = (lesson) => {
  const query = new URLSearchParams(location.search);
  for (const key of ["pgset", "pgdo"]) query.delete(key);
  query.set("pg", lesson);
  return `?${query}`;
};

/** Steps between frames, in slices so short that the page stays at hand; none while nobody looks. */
function ticking(element, host, { playing, advance, draw }) {
  let visible = false, awake = false, before = 0, drawn = 0, owed = 0, pace = SPEEDS.watch, rate = null;
  const goes = () => playing() && visible && !document.hidden && host.shown();

  function wake() {
    if (awake || !goes()) return;
    awake = true;
    before = performance.now();
    rate = null;
    requestAnimationFrame(frame);
  }

  function frame(now) {
    awake = goes();
    if (!awake) return;
    const since = Math.min(Math.max(now - before, 1), 250), began = performance.now();
    before = now;
    owed = pace === Infinity ? Infinity : Math.min(owed + (since * pace) / 1000, pace / 4);
    let done = 0;
    while (done + 1 <= owed && performance.now() - began < BUDGET) { advance(); done += 1; }
    owed = pace === Infinity ? 0 : owed - done;
    rate = (rate ?? (1000 * done) / since) * 0.95 + 0.05 * ((1000 * done) / since);
    if (now - drawn > REDRAW) { drawn = now; draw(); }
    requestAnimationFrame(frame);
  }

  new IntersectionObserver(([entry]) => { visible = entry.isIntersecting; if (visible) draw(); wake(); }, { rootMargin: "100px" }).observe(element);
  document.addEventListener("visibilitychange", wake);
  host.on("page", wake);
  return { wake, rate: () => rate, speed: (name) => { pace = SPEEDS[name]; owed = 0; } };
}

/** Play, step, reset, speed, and the two that break it. */
function transport({ play, step, slow, reset, speed, cut }) {
  const button = (name, title, action) => h("button", { type: "button", class: "pg-button", title, onclick: action }, name);
  const main = h("button", { type: "button", class: "pg-button pg-main", onclick: play });
  const where = h("output", { class: "pg-at" }), pace = h("span", { class: "hint" });
  const cuts = { centering: h("button", { type: "button", class: "pg-button pg-cut", "data-cut": "centering", onclick: () => cut("centering") }), sharpening: h("button", { type: "button", class: "pg-button pg-cut", "data-cut": "sharpening", onclick: () => cut("sharpening") }) };
  const element = h("div", { class: "controls pg-bar" }, main, button("step", "One step of training", step), button("slow motion", "One step in nine sub-steps, with its numbers", slow), button("reset", "Back to step 0 with the settings that hold now", reset),
    choice("Steps a second", { slow: "25/s", watch: "150/s", fastest: "fastest" }, "watch", speed), where, pace, h("span", { class: "pg-cuts" }, Object.values(cuts)));
  return { element, tell(experiment, playing, rate) {
    refill(main, playing ? "pause" : "play", () => [icon(playing ? "pause" : "play"), h("span", {}, playing ? "pause" : "play")]);
    where.textContent = `step ${number(experiment.step)}`;
    pace.textContent = playing && rate ? `${Math.round(rate)} a second` : "";
    for (const [what, place] of Object.entries(cuts)) {
      const { name, on } = experiment.part(what);
      refill(place, `${on} ${name}`, () => [on ? `✂ cut ${name}` : `+ ${name} back on`]);
      place.dataset.off = String(!on);
    }
  } };
}

const two = (value) => (value === null || value === undefined ? "–" : Math.abs(value).toFixed(2));

/** The three curves over steps. */
function timeline() {
  const main = lines({ title: "Cross-entropy = H + KL", unit: "in units of ln K", height: 290, range: [0, 1.2], about: "H is the teacher's entropy, KL its divergence from the student's answers." });
  const worth = lines({ title: "What the answers are worth", unit: "in units of ln K; purity as share", height: 190, about: "Usage is the entropy of the mean answer, information what an answer tells about its image." });
  const length = lines({ title: "Length of the centre", unit: "logits", height: 100, range: ({ curves: [curve] }) => [0, Math.max(0.2, ...(curve?.y ?? []).filter((y) => y !== null)) * 1.1], lowest: true });
  return { element: h("div", { class: "pg-curves" }, main.element, worth.element, length.element), draw(experiment, guesses) {
    const { columns: c } = experiment.curves, end = Math.max(300, 1.04 * experiment.step), marks = flags(experiment), bare = marks.map((mark) => ({ ...mark, label: null }));
    main.draw({ x: c.step, end, marks, lines: [{ y: 1, label: "1 = ln K: all prototypes alike", colour: "red" }, { y: 0, label: "0: one prototype takes all", colour: "red" }, ...guesses], curves: [
      { name: "H(t) of the teacher", colour: "orange", y: c.entropy, shown: two, fill: "zero", about: "How unsure the teacher is about each image." },
      { name: "+ KL(t‖s)", colour: "blue", y: c.cross_entropy, fill: "below", told: c.kl, shown: two, about: "What the student has still to learn, drawn on top of H." }] });
    worth.draw({ x: c.step, end, marks: bare, curves: [
      { name: "usage", colour: "sky", y: c.usage, shown: two, about: "Entropy of the mean target: 1 when all prototypes are used alike." },
      { name: "of raw answers", colour: "purple", dash: "dash", y: c.raw, shown: two, about: "The same before centering or Sinkhorn." },
      { name: "information", colour: "green", y: c.information, shown: two, about: "Usage minus mean entropy: what an answer tells about its image." },
      { name: "purity", colour: "ink", dash: "dot", y: c.purity, shown: (v) => percent(v, 0), about: "Share of images whose class is the most frequent of their prototype; an untrained network has 30 % and more, so it proves no health." }] });
    length.draw({ x: c.step, end, marks: bare, curves: [{ name: "‖centre‖", colour: "blue", y: c.centre }] });
  } };
}

/** What was changed, as marks of the time line, each a line lower than the one before; and where troubles began. */
function flags({ plan, step, diagnosis }) {
  const words = ([key, value]) => `${NAMES[key] ?? key} ${typeof DEFAULTS[key] === "boolean" || key === "local_views" ? (value ? "on" : "off") : value}`;
  const changes = Object.entries(plan).filter(([at]) => Number(at) <= step).map(([at, options], row) => ({ x: Number(at), row: row % 5, label: Object.entries(options).map(words).join(", ") }));
  const troubles = diagnosis.told.filter(({ over, level }) => !over && level === 2).map(({ since }) => ({ x: since, row: 11, colour: "red", label: "◆" }));
  return [...changes, ...troubles];
}

function pictured() {
  const bars = answers(), map = batchMap(), features = scatter(), centre = centreBars();
  return { element: h("div", { class: "pg-pictures" }, bars.element, map.element, features.element, centre.element),
    reset() { features.reset(); centre.reset(); },
    draw(simulator) {
      const { seen, options, last } = simulator, K = options.prototypes;
      bars.draw({ seen, K });
      map.draw(last);
      features.draw({ seen, K });
      centre.draw(simulator.centre, options.centering && !options.sinkhorn);
    } };
}

function knob(name, value, stops, set) {
  const nearest = stops.reduce((best, stop, i) => (Math.abs(stop - value) < Math.abs(stops[best] - value) ? i : best), 0), told = h("output", {}, String(value));
  const slider = h("input", { type: "range", min: 0, max: stops.length - 1, step: 1, value: nearest, "aria-valuetext": String(value),
    oninput: () => { told.textContent = stops[slider.value]; slider.setAttribute("aria-valuetext", stops[slider.value]); }, onchange: () => set(stops[slider.value]) });
  return h("label", { class: "pg-knob" }, h("span", {}, name, " ", told), slider);
}

/** Below it, the same quantities of the run that is open. */
function beside(body, host) {
  const place = h("div", { class: "pg-real" }, h("h2", {}, "The same of a real run"),
    h("p", { class: "shows" }, "The run that is open in the lab, in the same units, read from its own log."), h("p", { class: "look" }, icon("eye"), h("span", {}, "A real network lives between the same two lines, for the same reason.")));
  body.append(place);
  if (!host.recorded && host.get("page") === "playground") {
    place.append(h("p", { class: "hint" }, "The same lesson with a real network: ", h("button", { type: "button", class: "look-link", onclick: () => host.set({ page: "fork" }) }, "fork this run"), " with centering switched off, and watch parent and child on the monitor."));
  }
  chart(place, host, real, { empty: "Here stand the curves of the run that is open, where it logs its teacher's entropy." });
}

function real({ curves, head: { prototypes: K } }) {
  if (!K) return [];
  const share = (name) => scaled(curves[name], 1 / Math.log(K)), entropy = share("teacher/entropy"), kl = share("kl");
  const both = entropy && kl && entropy.x.length === kl.x.length ? { x: entropy.x, y: entropy.y.map((y, i) => (y === null || kl.y[i] === null ? null : y + kl.y[i])) } : null;
  return [
    { title: "Cross-entropy = H + KL", unit: `in units of ln K = ${number(Math.log(K))}`, height: 190, range: [0, 1.12], curves: [
      { name: "H(t) of the teacher", colour: "orange", rough: true, fill: "tozeroy", ...entropy },
      { name: "+ KL(t‖s)", colour: "blue", rough: true, fill: "tonexty", ...both, shown: () => number(kl?.y.at(-1)) }],
    lines: [{ y: 1, label: `1 = ln K: all ${number(K)} prototypes alike`, colour: "red" }, { y: 0, label: "0: one prototype takes all", colour: "red" }] },
    { title: "What the answers are worth", unit: "in units of ln K", height: 110, range: [0, 1.08], curves: [
      { name: "usage", colour: "sky", rough: true, ...share("target/mean_entropy") }, { name: "of raw answers", colour: "purple", dash: "dash", rough: true, ...share("teacher/mean_entropy") }, { name: "information", colour: "green", rough: true, ...share("teacher/information") }] },
    { title: "Length of the centre", unit: "logits", height: 70, zero: true, curves: [{ name: "‖centre‖", colour: "blue", rough: true, ...curves["centre/norm"] }] },
  ];
}
