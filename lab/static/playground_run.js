// What the playground is running: a lesson, what differs from it, and what is changed at which step.  No document; the page draws it.

import { History } from "./lines.js";
import { Diagnosis, LESSONS } from "./playground_words.js";
import { DEFAULTS, Simulator } from "./simulator.js";

const COLUMNS = ["step", "entropy", "cross_entropy", "kl", "usage", "raw", "information", "purity", "centre", "directions"];

export class Experiment {
  /** From what an address says; without it, the first lesson. */
  constructor({ pg = "", pgset = "", pgdo = "" } = {}) {
    this.curves = new History(COLUMNS);
    this.choose(pg);
    const { seed = 0, ...settings } = readSettings(pgset);
    this.seed = seed;
    this.settings = { ...this.settings, ...settings };
    if (pgdo) this.plan = readPlan(pgdo);
    this.build();
  }

  choose(lesson) {
    this.lesson = Object.hasOwn(LESSONS, lesson) ? lesson : "both";
    this.settings = { ...LESSONS[this.lesson].options };
    this.seed = 0;
    this.plan = { ...LESSONS[this.lesson].changes };
    this.build();
  }

  /** Back to step 0. */
  build() {
    this.simulator = new Simulator(this.settings, this.seed, this.plan);
    this.diagnosis = new Diagnosis(this.simulator.options.prototypes);
    this.curves.clear();
    this.balanced = false;
  }

  /** Back to step 0 with the settings that hold now, and nothing planned. */
  restart() {
    const { options } = this.simulator;
    this.settings = Object.fromEntries(Object.entries(options).filter(([key, value]) => key in this.settings || value !== DEFAULTS[key]));
    this.plan = {};
    this.build();
  }

  get step() { return this.simulator.step; }
  get lnK() { return Math.log(this.simulator.options.prototypes); }
  /** Whether anything is or will be changed on the way. */
  get eventful() { return Object.keys(this.plan).length > 0; }
  /** Whether this is the lesson as it stands. */
  get plain() { return same(this.settings, LESSONS[this.lesson].options) && same(this.plan, LESSONS[this.lesson].changes ?? {}); }

  /** One step; true if settings changed in it. */
  advance(watched = false) {
    const { lnK } = this, row = this.simulator.next(watched);
    this.diagnosis.update(row);
    this.curves.add({ step: row.step, entropy: row["teacher/entropy"] / lnK, cross_entropy: row.cross_entropy / lnK, kl: row.kl / lnK, usage: row["target/mean_entropy"] / lnK, raw: row["teacher/mean_entropy"] / lnK,
      information: row["teacher/information"] / lnK, purity: row.purity, centre: row["centre/norm"] ?? null, directions: row.directions });
    return row.step - 1 in this.plan;
  }

  /** Settings from now on: before the first step how it starts, later a mark on the time line.  What was still to come is given up. */
  set(changes) {
    if (this.step === 0) {
      this.settings = { ...this.settings, ...changes };
      this.build();
      return;
    }
    const past = Object.entries(this.plan).filter(([step]) => Number(step) <= this.step);
    this.plan = { ...Object.fromEntries(past), [this.step]: { ...this.plan[this.step], ...changes } };
    this.simulator.changes = this.plan;
  }

  /** What a setting will be in the next step. */
  value(key) { return this.plan[this.step]?.[key] ?? this.simulator.options[key]; }

  /** Cut "centering" or "sharpening" out of the running system, or switch it back on; where Sinkhorn does the centre's work, that. */
  cut(what) {
    if (what === "centering" && (this.balanced || this.value("sinkhorn"))) {
      this.balanced = true;
      const on = !this.value("sinkhorn");
      this.set({ sinkhorn: on, centering: on });
    } else this.set({ [what]: !this.value(what) });
  }

  /** What can be cut: its name, and whether it is at work. */
  part(what) {
    if (what === "centering" && (this.balanced || this.value("sinkhorn"))) return { name: "Sinkhorn", on: this.value("sinkhorn") };
    return { name: what, on: this.value(what) };
  }

  /** What the address is to say, so that a link leads here. */
  address() {
    const base = { ...DEFAULTS, ...LESSONS[this.lesson].options }, given = { ...DEFAULTS, ...this.settings };
    const differs = Object.entries(given).filter(([key, value]) => value !== base[key]);
    if (this.seed) differs.push(["seed", this.seed]);
    const changes = Object.entries(this.plan).flatMap(([step, options]) => Object.entries(options).map(([key, value]) => `${step}-${key}-${Number(value)}`));
    const asPlanned = same(this.plan, LESSONS[this.lesson].changes ?? {});
    return { pg: this.lesson, pgset: differs.map(([key, value]) => `${key}-${Number(value)}`).join("*"), pgdo: asPlanned ? "" : changes.join("*") || "none" };
  }

  /** The same in Python. */
  code() {
    const changes = Object.entries(this.plan).map(([step, options]) => `${step}: ${dictionary(options)}`);
    return `from lab.analysis.simulate import Simulator\n\ncurves = Simulator(${dictionary(this.settings)}, seed=${this.seed}, changes={${changes.join(", ")}}).run(${Math.max(this.step, 800)})\n# curves["teacher/entropy"], curves["kl"], …: arrays in nats, one number a step`;
  }
}

const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);
const dictionary = (options) => `{${Object.entries(options).map(([key, value]) => `"${key}": ${value === true ? "True" : value === false ? "False" : value}`).join(", ")}}`;

const typed = (key, text) => (typeof DEFAULTS[key] === "boolean" ? text === "1" : Number(text));
const LIMITS = { teacher_temperature: [0.005, 1], student_temperature: [0.02, 1], centre_momentum: [0, 1], momentum: [0, 1], batch: [1, 512], noise: [0, 3], local_views: [0, 8], local_noise: [0, 3], koleo: [0, 1], learning_rate: [0, 0.1] };

/** Whether an address may say this: a number of a setting that the page can run. */
function sound(key, text) {
  if (!Object.hasOwn(DEFAULTS, key) || !/^\d{1,6}(\.\d{1,6})?$/.test(text ?? "")) return false;
  if (typeof DEFAULTS[key] === "boolean") return text === "0" || text === "1";
  const [from, to] = LIMITS[key] ?? [1, 0], value = Number(text);
  return value >= from && value <= to && (!["batch", "local_views"].includes(key) || Number.isInteger(value));
}

/** "batch-2*seed-3" → { batch: 2, seed: 3 }; what makes no sense is left out. */
export function readSettings(text) {
  const parts = text.split("*").map((part) => part.split("-"));
  const seed = parts.filter(([key, value]) => key === "seed" && /^\d{1,5}$/.test(value ?? "")).map(([, value]) => ["seed", Number(value)]);
  return Object.fromEntries([...parts.filter(([key, value]) => sound(key, value)).map(([key, value]) => [key, typed(key, value)]), ...seed]);
}

/** "400-centering-0*900-centering-1" → { 400: { centering: false }, 900: { centering: true } }. */
export function readPlan(text) {
  const plan = {};
  for (const [step, key, value] of text.split("*").map((part) => part.split("-")))
    if (/^\d{1,7}$/.test(step) && sound(key, value)) plan[Number(step)] = { ...plan[Number(step)], [key]: typed(key, value) };
  return plan;
}
