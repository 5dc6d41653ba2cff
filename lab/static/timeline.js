/* view
{
  "page": "monitor",
  "place": 5,
  "title": "Time line",
  "shows": "What the curves below run along, whose they are, notes that stand on them, and what the runs were told differently.",
  "look": "Lay up to five runs over this one: what their configs differ in stands here. A note is marked ✎ on every curve at its step.",
  "records": ["run/{run}/notes"]
}
*/
// The axis of all curves, the runs on it, notes beside the lab (lab/notes.py), their configs compared, and a word on the desktop when a run is in trouble.

import { arrange, card, choice, h, number, offer, refill, toggle } from "./dom.js";
import { severity } from "./chart.js";
import { table } from "./fork.js";
import { joined, laid, mark, MOST, second, without } from "./laid.js";

export function mount(element, host) {
  host.keep({ xaxis: "step" });
  const told = toggle("tell me here of trouble", false, listen, "A desktop notification when a run that trains is in trouble, while this page is open");
  const axis = choice("Curves run along", { step: "steps", images: "images", hours: "hours" }, host.get("xaxis"), (xaxis) => host.set({ xaxis, xrange: null, yrange: null }));
  const body = card(element, { ...host.about, controls: [h("span", { class: "labelled" }, "curves run along ", axis), told],
    data: () => ({ notes: Object.fromEntries(["step", "time", "text"].map((key) => [key, (host.get("notes") ?? []).map((note) => note[key])])) }) });
  const list = h("ol", { class: "notes" }), text = h("input", { type: "text", maxlength: 400, placeholder: "note at the step shown", "aria-label": "Note at the step shown" });
  const status = h("p", { class: "hint", role: "status" }), differs = h("details", { class: "differs", hidden: true }), summary = h("summary"), place = h("div", { class: "diff" });
  differs.append(summary, place);
  const form = h("form", { class: "controls under", onsubmit: (event) => { event.preventDefault(); write(); } }, text, h("button", { type: "submit", class: "step-button" }, "add note"));
  const together = h("ol", { class: "together", "aria-label": "Runs on these curves" }), one = h("p", { class: "hint" });
  const more = h("select", { "aria-label": "Add a run to these curves", onchange: () => { host.set(joined(host, more.value) ?? {}); more.value = ""; } });
  body.append(h("div", { class: "together-line" }, together, more), one, form, status, list, differs);
  told.hidden = host.recorded; // a file hears of nothing new
  let compared = "", known = null, asked = 0, answered = 0;
  host.on("run", () => { host.set({ notes: [] }); load(); });
  host.on("heard", () => load());
  const places = new Map(); // run → its line: a button that is about to be clicked stays
  host.on(["run", "overlay", "beside", "runs", "data"], runs);
  host.on(["run", "overlay", "beside", "data"], compare);
  host.on("xaxis", () => axis.querySelectorAll("input").forEach((input) => { input.checked = input.value === host.get("xaxis"); }));
  host.on("runs", look);
  load();
  runs();
  compare();

  // ---- notes

  /** Ask for the notes, or tell of a change to them; true once they are shown.  An older answer that comes late is left out. */
  async function load(change) {
    const run = host.get("run"), now = ++asked;
    if (!run) return false;
    try {
      const answer = await host.ask(`run/${run}/notes`, change);
      if (run === host.get("run") && now > answered) { answered = now; show(run, answer); }
      status.textContent = "";
      return true;
    } catch (error) {
      if (change || run === host.get("run")) status.textContent = error.message;
      return false;
    }
  }

  async function write() {
    const said = text.value;
    if (!said.trim()) return;
    text.value = ""; // sent twice it would stand there twice
    if (!(await load({ step: host.stop() ?? host.run()?.head.step ?? 0, text: said }))) text.value ||= said;
  }

  async function remove(event, note) {
    const button = event.currentTarget;
    button.disabled = true;
    if (!(await load({ remove: note.id }))) button.disabled = false;
  }

  function show(run, { notes, read_only: readOnly }) {
    const fixed = readOnly || host.recorded;
    form.hidden = fixed;
    host.set({ notes });
    refill(list, JSON.stringify([run, notes, fixed]), () => notes.map((note) => h("li", {},
      h("button", { type: "button", class: "quiet", title: "Show this moment", onclick: () => host.seek(note.step) }, `✎ step ${number(note.step)}`), h("span", {}, note.text), h("small", {}, note.time.replace("T", " ").replace("Z", " UTC")),
      fixed ? null : h("button", { type: "button", class: "quiet", "aria-label": `Forget the note at step ${note.step}`, onclick: (event) => remove(event, note) }, "×"))));
  }

  // ---- which runs stand on these curves

  function runs() {
    const shown = laid(host), names = new Map((host.runs() ?? []).map((run) => [run.id, run]));
    const free = [...names.values()].filter(({ id }) => !shown.some((other) => other.id === id));
    offer(more, [["", shown.length < MOST ? "lay a run over these curves …" : `${MOST} runs are the most`], ...(shown.length < MOST ? free : []).map(({ id, name }) => [id, name])]);
    more.hidden = !free.length;
    for (const id of places.keys()) if (!shown.some((other) => other.id === id)) places.delete(id);
    arrange(together, shown.length > 1 ? shown.map((run, place) => line(run, place, names.get(run.id))) : []);
    one.textContent = shown.length > 2 ? "Each panel draws one of its curves for all runs: press another's name to see it. Long curves are drawn as running means. Dashed lines, bands and alarms are the first run's."
      : shown.length > 1 ? "The second run's curves are dotted. With a third, each panel draws one of its curves for all runs." : "";
  }

  /** A run with the way it is drawn, and what can be done about it. */
  function line({ id, look }, place, run) {
    if (!places.has(id)) places.set(id, h("li", { "data-run": id }));
    const key = [place && Math.min(place, 2), host.get("overlay") === id, look.symbol, run?.name, run?.step, run?.status].join(" ");
    const said = !place ? "looked at" : host.get("overlay") === id ? "second, on other pages too" : null;
    refill(places.get(id), key, () => [mark(look), h("b", {}, run?.name ?? "…"), run ? h("small", {}, `step ${number(run.step)}, ${run.status}`) : null, said ? h("small", {}, said) : h("button", { type: "button", class: "quiet",
      title: "Make it the second run, which other pages compare with", onclick: () => host.set(second(host, id)) }, "make second"),
      place ? h("button", { type: "button", class: "quiet", "aria-label": `Take ${run?.name ?? "this run"} away`, onclick: () => host.set(without(host, id)) }, "×") : null]);
    return places.get(id);
  }

  // ---- what configs differ in

  async function compare() {
    const others = laid(host).slice(1).map(({ id }) => id), run = host.get("run"), key = [run, ...others].join(" ");
    if (key === compared || !host.runs()) return;
    compared = key;
    differs.hidden = !others.length;
    if (!others.length) return;
    const nameOf = (id) => host.runs().find((other) => other.id === id)?.name ?? "this run";
    try {
      const found = await Promise.all(others.map(async (id) => (await host.ask(`run/${run}/compare/${id}`)).differs));
      if (key !== compared) return;
      const rows = merged(found), names = others.map(nameOf);
      summary.textContent = !rows.length ? `${names.join(", ")} ${names.length > 1 ? "were" : "was"} told the same`
        : `${rows.length === 1 ? "1 option differs" : `${rows.length} options differ`} between ${nameOf(run)} and ${names.length > 1 ? `${names.slice(0, -1).join(", ")} or ${names.at(-1)}` : names[0]}`;
      place.replaceChildren(rows.length ? table(rows, [run, ...others].map(nameOf)) : "");
    } catch (error) {
      if (key !== compared) return;
      compared = ""; // it may be asked for again
      place.replaceChildren();
      summary.textContent = error.message;
    }
  }

  // ---- a word on the desktop

  const troubles = () => new Map((host.runs() ?? []).filter((one) => !one.gallery && severity(one.level) > 1).map((one) => [`${one.id} ${one.finding}`, one]));

  async function listen(on) {
    const box = told.querySelector("input");
    known = null;
    if (!on) return;
    if (!("Notification" in globalThis) || (await Notification.requestPermission()) !== "granted") {
      box.checked = false;
      status.textContent = "This browser does not allow notifications from here; dino-lab watch --tell URL tells an address of yours.";
      return;
    }
    known = troubles();
    status.textContent = "";
  }

  function look() {
    if (!known) return;
    const now = troubles();
    for (const [key, one] of now) if (!known.has(key)) new Notification(`${one.name} is in trouble`, { body: `${String(one.finding).replaceAll("_", " ")}, at step ${number(one.step)}`, tag: key });
    known = now;
  }
}

/** What several pairs with the same first run differ in, [option, [the first run's, the second's, …]]; where a pair says nothing it is alike. */
function merged(pairs) {
  const first = new Map(pairs.flatMap((pair) => Object.entries(pair).map(([path, [mine]]) => [path, mine])));
  return [...first].map(([path, mine]) => [path, [mine, ...pairs.map((pair) => (path in pair ? pair[path][1] : mine))]]);
}
