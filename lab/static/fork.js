/* view
{
  "page": "fork",
  "place": 10,
  "title": "Fork",
  "shows": "A new run from a checkpoint of this one, with something changed: the options of its config as a form, what differs from the parent, and the command.",
  "look": "Choose a recipe of failure, start it, and watch on the monitor where parent and child part.",
  "needs": "A run with a checkpoint; starting from the page needs a lab that is not read-only.",
  "records": ["run/{run}/form/{checkpoint}"]
}
*/
// What if: a form made from the config (lab/forms.py), checked as it is filled in; trainings started from it (lab/started.py).

import { card, h, number, offer, refill } from "./dom.js";

export function mount(element, host) {
  const body = card(element, { ...host.about, python: () => (command.textContent && !command.hidden ? `# the fork itself, in a shell:\n# ${command.textContent}` : "") });
  const at = h("select", { "aria-label": "Checkpoint to start from", onchange: () => { chosen = Number(at.value); load(); } });
  const phase = h("select", { "aria-label": "Phase to begin with", onchange: () => { load(); } });
  const search = h("input", { type: "search", placeholder: "search options", "aria-label": "Search options", oninput: filter });
  const name = h("input", { type: "text", maxlength: 60, spellcheck: false, "aria-label": "Name of the new run", oninput: () => check() });
  const only = h("input", { type: "checkbox", onchange: filter });
  const presets = h("div", { class: "chips", role: "group", "aria-label": "Recipes of failure" }), groups = h("div", { class: "form-groups" });
  const problem = h("p", { class: "problem", role: "alert" }), diff = h("div", { class: "diff" }), command = h("pre", { class: "command", tabindex: 0 });
  const copy = h("button", { type: "button", class: "step-button", onclick: copied }, "copy command");
  const start = h("button", { type: "button", class: "step-button strong", onclick: begin }, "Start here");
  const clear = h("button", { type: "button", class: "step-button", onclick: () => { changes = { ...form.needed }; fill(); check(); } }, "as the parent");
  const status = h("p", { class: "hint", role: "status" }), trust = h("p", { class: "hint" }), list = h("div", { class: "started" });
  const none = h("p", { class: "hint", role: "status", hidden: true }, "No option fits. Their names, sections and explanations are searched.");
  const left = h("div", { class: "fork-form" }, h("h3", {}, "Recipes of failure"), presets,
    h("div", { class: "controls under" }, search, h("label", { class: "labelled" }, only, " changed only")), none, groups);
  const right = h("div", { class: "fork-side" }, h("h3", {}, "What differs from the parent"), diff, h("label", { class: "labelled" }, "name ", name), problem,
    h("div", { class: "controls" }, start, copy, clear), status, command, trust);
  const whole = h("div", { class: "fork" }, left, right);
  body.append(h("div", { class: "controls under" }, h("label", { class: "labelled" }, "from the checkpoint of step ", at), h("label", { class: "labelled", hidden: true }, "with ", phase)), whole, h("h3", { class: "started-head", hidden: true }, "Started from this lab"), list);

  const noCheckpoint = h("p", { class: "hint", hidden: true });
  body.insertBefore(noCheckpoint, whole);
  let form = null, changes = {}, chosen = null, asked = 0, checked = null, timer = null, last = "", due = true, failed = false, starting = false;
  host.on(["run", "stop", "data"], load);
  load();
  start.hidden = host.recorded;
  if (!host.recorded) setInterval(() => { if (host.shown() && !document.hidden) running(); }, 2500);
  if (!host.recorded) running();

  async function load() {
    const track = host.run(), other = () => { asked++; due = whole.inert = true; }; // what stands there is of another checkpoint
    if (!track) { other(); return; }
    const steps = track.head.checkpoints, run = host.get("run");
    at.parentElement.hidden = !steps.length;
    if (!steps.length) phase.parentElement.hidden = true;
    whole.hidden = !steps.length || !form || failed;
    noCheckpoint.hidden = steps.length > 0 && !failed;
    if (!steps.length) { noCheckpoint.textContent = "A fork starts from a checkpoint; this run has not written one yet."; last = ""; other(); return; }
    if (last && !last.startsWith(`${run} `)) { chosen = null; phase.value = ""; }
    else if (last && busy()) chosen ??= Number(at.value);
    const step = steps.includes(chosen) ? chosen : steps.findLast((known) => known <= (host.stop() ?? Infinity)) ?? steps[0];
    offer(at, steps.map((known) => [known, number(known)]));
    at.value = step;
    const wanted = `${run} ${step} ${phase.value}`;
    if (wanted === last && !due) return;
    const kept = last.startsWith(`${run} `) ? changes : {};
    last = wanted;
    other();
    due = false;
    const now = asked;
    try {
      const found = await host.ask(`run/${run}/form/${step}${phase.value ? `?phase=${encodeURIComponent(phase.value)}` : ""}`);
      if (now !== asked) return;
      form = found;
      failed = false;
      phases();
      changes = { ...form.needed, ...kept };
      whole.hidden = whole.inert = false;
      noCheckpoint.hidden = true;
      trust.textContent = form.state ? "Starting opens the checkpoint's training state with PyTorch's own loader: fork only runs that you trust." : "This checkpoint kept the teacher alone: student and teacher both begin as the teacher, the optimizer begins anew.";
      fill();
      check();
    } catch (error) {
      if (now !== asked) return;
      due = failed = whole.hidden = true; // asked for again as soon as there is something new
      noCheckpoint.hidden = false;
      noCheckpoint.textContent = error.message;
    }
  }

  /** A run of several phases goes on with its own, or begins another from here. */
  function phases() {
    const value = phase.value;
    phase.parentElement.hidden = form.phases.length < 2 || host.recorded; // a file holds the form of one phase
    refill(phase, `${last.split(" ")[0]} ${form.phases.join()}`, () => [h("option", { value: "" }, "the phase that trains there"), ...form.phases.map((name) => h("option", { value: name }, `${name}, from its beginning`))]);
    phase.value = value;
  }

  /** Somebody is at work here: the form stays at its checkpoint, whatever comes. */
  const busy = () => Boolean(name.value || search.value || whole.contains(document.activeElement) || Object.keys(changes).some((path) => !(path in (form?.needed ?? {}))));

  // ---- the form

  function fill() {
    presets.replaceChildren(...form.presets.map((preset) => h("button", { type: "button", class: "chip", title: preset.about,
      "aria-pressed": same(preset.changes) ? "true" : "false", onclick: () => { changes = { ...form.needed, ...preset.changes }; name.value = ""; fill(); check(); } }, preset.name)));
    const open = new Set([...groups.querySelectorAll("details[open]")].map((one) => one.dataset.group));
    groups.replaceChildren(...form.groups.map((group) => h("details", { "data-group": group.name, open: open.has(group.name) || group.fields.some(({ path }) => path in changes) },
      h("summary", {}, h("b", {}, group.name), " ", h("span", {}, group.about)), group.fields.filter((one) => !one.fixed).map(field), stays(group, open))));
    filter();
  }

  /** What a fork can't change, in grey: by the reason why. */
  function stays(group, open) {
    const fixed = group.fields.filter((one) => one.fixed), reasons = [...new Set(fixed.map((one) => one.fixed))], key = `${group.name} fixed`;
    if (!fixed.length) return [];
    return [h("details", { class: "stays", "data-group": key, open: open.has(key) }, h("summary", {}, h("span", {}, `${fixed.length === group.fields.length ? "stays" : `${fixed.length} more ${fixed.length === 1 ? "stays" : "stay"}`} as in the parent`)),
      reasons.map((reason) => [h("p", { class: "hint" }, reason), ...fixed.filter((one) => one.fixed === reason).map((one) => h("div", { class: "option fixed", "data-path": one.path, "data-changed": "no", title: one.about || null },
        h("span", {}, one.path.split(".").slice(1).join(".") || one.path), h("span", { class: "value" }, text(one.value)), h("small", {}, one.about)))]).flat())];
  }

  const same = (wanted) => Object.entries(wanted).every(([path, value]) => JSON.stringify(changes[path]) === JSON.stringify(value));

  function field(about) {
    const value = about.path in changes ? changes[about.path] : about.value, id = `option-${about.path}`;
    const line = h("div", { class: "option", "data-path": about.path, "data-changed": about.path in changes ? "yes" : "no" },
      h("label", { for: id }, about.path.split(".").slice(1).join(".") || about.path), entry(about, value, id), h("small", {}, about.about, about.path in changes ? h("em", {}, ` parent: ${text(about.value)}`) : null));
    return line;
  }

  function entry(about, value, id) {
    if (about.kind === "choice") return h("select", { id, onchange: (event) => put(about, about.choices.find((c) => String(c) === event.target.value)) }, about.choices.map((c) => h("option", { selected: c === value }, String(c))));
    if (about.kind === "switch") return h("input", { id, type: "checkbox", checked: value === true, onchange: (event) => put(about, event.target.checked) });
    if (about.kind === "numbers") {
      const fields = Array.from({ length: about.count }, (_, i) => h("input", { id: i ? null : id, type: "number", step: "any", value: value?.[i] ?? "", "aria-label": `${about.path}, ${i + 1} of ${about.count}`, oninput: () => put(about, fields.every((f) => f.value === "") && about.optional ? null : fields.map((f) => (f.value === "" ? null : Number(f.value)))) }));
      return h("span", { class: "numbers-entry" }, fields);
    }
    const number = about.kind !== "text";
    return h("input", { id, type: number ? "number" : "text", step: about.kind === "whole" ? 1 : "any", value: value ?? "", placeholder: about.optional ? "none" : null,
      oninput: ({ target }) => put(about, target.value === "" && about.optional ? null : number ? (target.value === "" ? null : Number(target.value)) : target.value) });
  }

  function put(about, value) {
    if (JSON.stringify(value) === JSON.stringify(about.value)) delete changes[about.path]; else changes[about.path] = value;
    const line = groups.querySelector(`[data-path="${CSS.escape(about.path)}"]`);
    line.dataset.changed = about.path in changes ? "yes" : "no";
    presets.querySelectorAll("button").forEach((button, i) => button.setAttribute("aria-pressed", same(form.presets[i].changes) ? "true" : "false"));
    check();
  }

  function filter() {
    const words = search.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
    groups.querySelectorAll(".option").forEach((line) => {
      const said = `${line.dataset.path} ${line.textContent}`.toLowerCase().replaceAll("_", " ");
      line.hidden = !words.every((word) => said.includes(word.replaceAll("_", " "))) || (only.checked && line.dataset.changed !== "yes");
    });
    groups.querySelectorAll("details").forEach((group) => {
      group.hidden = ![...group.querySelectorAll(".option")].some((line) => !line.hidden);
      if ((words.length || only.checked) && !group.hidden) group.open = true;
    });
    none.hidden = [...groups.querySelectorAll(".option")].some((line) => !line.hidden);
  }

  // ---- what would run

  function check() {
    clearTimeout(timer);
    const now = (checked = {});
    copy.disabled = true; // the command is the one before
    timer = setTimeout(async () => {
      const run = host.get("run"), step = Number(at.value);
      try {
        const found = host.recorded ? unchecked(host.run().head.name, step, changes, form, name.value) : await host.ask(`run/${run}/fork/${step}/check`, { changes, name: name.value, phase: phase.value });
        if (now !== checked) return;
        problem.textContent = found.problem;
        name.placeholder = found.name;
        command.replaceChildren(...found.command.split(/(--[\w.-]+)/).map((part) => (part.startsWith("--") ? h("span", { class: "flag" }, part) : part)));
        [command, copy].forEach((one) => { one.hidden = Boolean(found.problem); });
        copy.disabled = false;
        start.disabled = starting || Boolean(found.problem) || form.read_only;
        start.title = form.read_only ? "This lab is read-only; the command can be pasted into a terminal." : "";
        const rows = Object.entries(found.differs);
        if (!found.problem) refill(diff, JSON.stringify(rows), () => [rows.length ? table(rows) : h("p", { class: "hint" }, "Nothing: the child would go on as the parent did.")]);
      } catch (error) {
        if (now !== checked) return;
        problem.textContent = error.message;
        if (error instanceof TypeError) due = true; // the form comes again with the lab, and with it a check
      }
    }, 120);
  }

  async function copied() {
    try {
      await navigator.clipboard.writeText(command.textContent);
      status.textContent = "Copied. Paste it where the run is, here or on a cluster.";
    } catch {
      getSelection().selectAllChildren(command);
      status.textContent = "Selected; copy it with the keyboard.";
    }
  }

  async function begin() {
    start.disabled = starting = true;
    try {
      const found = await host.ask(`run/${host.get("run")}/fork/${at.value}/start`, { changes, name: name.value, phase: phase.value });
      status.textContent = `${found.name} starts; it appears among the runs in a few seconds.`;
      name.value = "";
      await running();
    } catch (error) {
      status.textContent = error.message; // what the check says stands above
    }
    starting = false;
    check();
  }

  // ---- what was started

  async function running() {
    const { started, read_only: readOnly } = await host.ask("started").catch(() => ({ started: [] }));
    element.querySelector(".started-head").hidden = !started.length;
    const known = new Set((host.runs() ?? []).map((run) => run.id));
    refill(list, JSON.stringify([started, readOnly, [...known]]), () => started.map((one) => h("div", { class: "started-run", "data-alive": String(one.alive) },
      h("b", {}, one.name), h("span", {}, one.alive && one.status !== "running" ? "starting" : one.status), one.said ? h("span", { class: "problem" }, one.said) : null,
      known.has(one.id) ? h("button", { type: "button", class: "step-button", onclick: () => watch(one) }, "watch beside its parent") : null,
      !readOnly && one.alive && known.has(one.id) ? h("button", { type: "button", class: "step-button", onclick: () => tell(one, "stop") }, "stop and save") : null,
      !readOnly && !one.alive && ["stopped", "died", "failed"].includes(one.status) && known.has(one.id) ? h("button", { type: "button", class: "step-button", onclick: () => tell(one, "resume") }, "resume") : null)));
  }

  function watch(one) {
    const child = host.runs().find((run) => run.id === one.id);
    const parent = host.runs().find((run) => run.name === child?.parent && run.id !== one.id);
    host.set({ run: one.id, overlay: parent?.id ?? (host.get("run") === one.id ? null : host.get("run")), page: "monitor", step: null, follow: true });
  }

  async function tell(one, what) {
    try { await host.ask(`run/${one.id}/${what}`, {}); } catch (error) { status.textContent = error.message; }
    running();
  }
}

/** What `check` of lab/views/fork.py says, as far as a file can: nobody here tells whether the child could run. */
function unchecked(run, step, changes, { groups }, name) {
  const before = new Map(groups.flatMap(({ fields }) => fields.map(({ path, value }) => [path, value])));
  const plain = (words) => words.replace(/[^A-Za-z0-9._-]+/g, "-").replace(/^[-.]+|[-.]+$/g, "").slice(0, 40) || "run";
  const called = name ? plain(name) : `${plain(run)}-from-${step}`;
  return { problem: "", name: called, differs: Object.fromEntries(Object.entries(changes).map(([path, value]) => [path, [before.get(path), value]])),
    command: ["dino-lab fork", quoted(run), "--at", step, ...Object.entries(changes).flatMap(([path, value]) => option(path, value)), "--out", `runs/${called}`].join(" ") };
}

/** An option of the command line (lab.forms.options). */
function option(path, value) {
  const [last, ...above] = path.replaceAll("_", "-").split(".").reverse(), dotted = (word) => `--${[...above.reverse(), word].join(".")}`;
  if (typeof value === "boolean") return [dotted(value ? last : `no-${last}`)];
  return [dotted(last), ...[value].flat().map((one) => quoted(one === null ? "None" : String(one)))];
}

const quoted = (word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\"'\"'")}'`);

/** What differs, as a table. */
export function table(rows, heads = ["parent", "child"]) {
  return h("table", { class: "step-numbers diff-table" }, h("thead", {}, h("tr", {}, h("th", {}, "option"), heads.map((head) => h("th", {}, head)))),
    h("tbody", {}, rows.map(([path, values]) => h("tr", {}, h("th", { scope: "row" }, path),
      values.map((value, i) => h("td", { "data-same": i > 0 && text(value) === text(values[0]) }, text(value)))))));
}

function text(value) {
  if (value === null || value === undefined || value === "" || (typeof value === "object" && !Object.keys(value).length)) return "none";
  if (typeof value === "number") return String(Number(value.toPrecision(6)));
  if (Array.isArray(value)) return value.map(text).join(value.some((part) => typeof part === "object") ? "; " : ", ");
  return typeof value === "object" ? Object.entries(value).map(([key, part]) => `${key} ${text(part)}`).join(", ") : String(value);
}
