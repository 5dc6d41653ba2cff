/* view
{
  "page": "objective",
  "place": 20,
  "title": "One step in miniature",
  "shows": "The same stages on two teacher views, three student views and four prototypes, with numbers that you can change.",
  "look": "Give one prototype high logits in every row: centering takes it away again. Then switch centering, or any other stage, off.",
  "needs": ""
}
*/
// The step by hand: every number of the first stage is a field.

import { card, h } from "./dom.js";
import { stepper } from "./trace.js";

const FRESH = { teacher: [[2, 1.2, 0.4, 0.1], [1.8, 1.4, 0.2, 0.3]], student: [[1.5, 0.8, 0.6, 0.2], [1.2, 1.0, 0.3, 0.5], [0.9, 0.9, 0.8, 0.1]], centre: [1.2, 0.6, 0.3, 0.2], nt: [3, 1.5], ns: [2.5, 2, 1], tt: 0.4, ts: 1 };
const VIEWS = ["global 1", "global 2", "local 1"];
const PRESETS = {
  "the beginning": FRESH,
  "one prototype liked by all": { ...FRESH, teacher: [[4, 1.2, 0.4, 0.1], [4, 1.4, 0.2, 0.3]], student: [[3, 0.8, 0.6, 0.2], [3, 1, 0.3, 0.5], [3, 0.9, 0.8, 0.1]], centre: [4, 0.6, 0.3, 0.2] },
  "views disagree": { ...FRESH, teacher: [[3, 0, 0, 0], [0, 3, 0, 0]], student: [[3, 0, 0, 0], [0, 3, 0, 0], [0, 0, 3, 0]], centre: [0, 0, 0, 0] },
  "all is alike": { ...FRESH, teacher: [[1, 1, 1, 1], [1, 1, 1, 1]], student: [[1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1]], centre: [1, 1, 1, 1] },
};

const OWN = "your numbers";

/** The same with the library; every stage is on. */
const code = ({ teacher, student, centre, tt, ts }) => `import torch
from dino_core.objective.terms import cross_view

teacher, centre = torch.tensor(${JSON.stringify(teacher)}), torch.tensor(${JSON.stringify(centre)})  # logits: views, prototypes
student = torch.tensor(${JSON.stringify(student)}).float()
targets = ((teacher - centre) / ${tt}).softmax(-1)  # centering, sharpening, softmax
loss = cross_view(student[:, None], targets[:, None], temperature=float(${ts}))  # nats, every stage on`;

export function mount(element, host) {
  host.keep({ mini: "" });
  const body = card(element, { ...host.about, python: () => code(read()) });
  const made = stepper(host, { key: "ministage", onSwitch: draw });
  const field = (key, name) => {
    const input = h("input", { type: "number", step: 0.05, min: 0.01, "aria-label": name, onchange: () => { const v = Number(input.value); if (v > 0) write({ ...read(), [key]: v }); else draw(); } });
    return { key, label: h("label", { class: "labelled" }, `${name} `, input), input };
  };
  const temperatures = [field("tt", "teacher's temperature"), field("ts", "student's temperature")];
  const presets = h("select", { "aria-label": "Numbers to begin with", onchange: () => { write(PRESETS[presets.value]); } }, [...Object.keys(PRESETS).map((name) => h("option", {}, name)), h("option", { value: OWN, disabled: true, hidden: true }, OWN)]);
  body.append(h("div", { class: "controls under" }, h("label", { class: "labelled" }, "begin with ", presets), temperatures.map(({ label }) => label)), made.element);
  host.on("mini", draw);
  draw();

  function read() {
    try {
      const found = JSON.parse(host.get("mini") || "null");
      const rows = (value, n, wide = 4) => Array.isArray(value) && value.length === n && value.every((row) => Array.isArray(row) && row.length === wide && row.every(Number.isFinite));
      if (found && !(rows([found.nt], 1, 2) && rows([found.ns], 1, 3))) Object.assign(found, { nt: FRESH.nt, ns: FRESH.ns }); // a link from before there were lengths
      if (found && rows(found.teacher, 2) && rows(found.student, 3) && rows([found.centre], 1) && found.tt > 0 && found.ts > 0) return found;
    } catch { return FRESH; }
    return FRESH;
  }

  function write(numbers) {
    const text = JSON.stringify(numbers);
    host.set({ mini: text === JSON.stringify(FRESH) ? "" : text });
    draw();
  }

  function draw() {
    const numbers = read(), at = document.activeElement?.dataset?.field;
    temperatures.forEach(({ key, input }) => { input.value = numbers[key]; });
    presets.value = Object.keys(PRESETS).find((name) => JSON.stringify(PRESETS[name]) === JSON.stringify(numbers)) ?? OWN;
    made.draw({ student: numbers.student, teacher: numbers.teacher, centre: numbers.centre, teacherTemperature: numbers.tt, studentTemperature: numbers.ts,
      teacherLengths: numbers.nt, studentLengths: numbers.ns, centreWords: "what the teacher said on average so far" },
    { views: VIEWS, columns: [0, 1, 2, 3], momentum: 0.9 }, edit(numbers));
    if (at) element.querySelector(`[data-field="${CSS.escape(at)}"]`)?.focus();
  }

  /** The numbers of the first stage are fields. */
  function edit(numbers) {
    return (key, name) => fieldOf(numbers, key, name);
  }

  function fieldOf(numbers, key, name) {
    const [stage, line, column] = key.split(".");
    if (stage !== "logits") return null;
    const rowOf = ({ teacher, student, centre, nt, ns }) => ({ c: centre, nt, ns })[line] ?? (line[0] === "t" ? teacher : student)[Number(line.slice(1))];
    const place = rowOf(numbers);
    const input = h("input", { type: "number", step: 0.1, value: place[column], "aria-label": name, "data-field": key, onchange: () => {
      const value = Number(input.value);
      if (!Number.isFinite(value) || input.value === "") { draw(); return; }
      const next = structuredClone(numbers);
      rowOf(next)[column] = value;
      write(next);
    } });
    return input;
  }
}
