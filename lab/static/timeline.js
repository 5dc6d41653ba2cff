/* view
{
  "page": "monitor",
  "place": 5,
  "title": "Time line",
  "shows": "What the curves below run along, notes that stand on them, and what two runs were told differently.",
  "look": "Lay a run over this one: what their configs differ in stands here. A note is marked ✎ on every curve at its step.",
  "records": ["run/{run}/notes"]
}
*/
// The axis of all curves, notes beside the lab (lab/notes.py), two configs compared, and a word on the desktop when a run is in trouble.

import { card, choice, h, number, refill, toggle } from "./dom.js";
import { severity } from "./chart.js";
import { table } from "./fork.js";

export function mount(element, host) {
  host.keep({ xaxis: "step" });
  const told = toggle("tell me here of trouble", false, listen, "A desktop notification when a run that trains is in trouble, while this page is open");
  const axis = choice("Curves run along", { step: "steps", images: "images", hours: "hours" }, host.get("xaxis"), (xaxis) => host.set({ xaxis, xrange: null }));
  const body = card(element, { ...host.about, controls: [h("span", { class: "labelled" }, "curves run along ", axis), told],
    data: () => ({ notes: Object.fromEntries(["step", "time", "text"].map((key) => [key, (host.get("notes") ?? []).map((note) => note[key])])) }) });
  const list = h("ol", { class: "notes" }), text = h("input", { type: "text", maxlength: 400, placeholder: "note at the step shown", "aria-label": "Note at the step shown" });
  const status = h("p", { class: "hint", role: "status" }), differs = h("details", { class: "differs", hidden: true }), summary = h("summary"), place = h("div", { class: "diff" });
  differs.append(summary, place);
  const form = h("form", { class: "controls under", onsubmit: (event) => { event.preventDefault(); write(); } }, text, h("button", { type: "submit", class: "step-button" }, "add note"));
  body.append(form, status, list, differs);
  told.hidden = host.recorded; // a file hears of nothing new
  let compared = "", known = null;
  host.on("run", () => { host.set({ notes: [] }); load(); });
  host.on(["run", "overlay", "data"], compare);
  host.on("xaxis", () => axis.querySelectorAll("input").forEach((input) => { input.checked = input.value === host.get("xaxis"); }));
  host.on("runs", look);
  load();
  compare();

  // ---- notes

  async function load() {
    if (!host.get("run")) return;
    const asked = host.get("run");
    try { show(asked, await host.ask(`run/${asked}/notes`)); } catch (error) { status.textContent = error.message; }
  }

  async function write() {
    const asked = host.get("run");
    try {
      show(asked, await host.ask(`run/${asked}/notes`, { step: host.stop() ?? host.run()?.head.step ?? 0, text: text.value }));
      text.value = "";
      status.textContent = "";
    } catch (error) { status.textContent = error.message; }
  }

  function show(asked, { notes, read_only: readOnly }) {
    if (asked !== host.get("run")) return;
    const fixed = readOnly || host.recorded;
    form.hidden = fixed;
    host.set({ notes });
    refill(list, JSON.stringify([asked, notes, fixed]), () => notes.map((note) => h("li", {},
      h("button", { type: "button", class: "quiet", title: "Show this moment", onclick: () => host.seek(note.step) }, `✎ step ${number(note.step)}`), h("span", {}, note.text), h("small", {}, note.time.replace("T", " ").replace("Z", " UTC")),
      fixed ? null : h("button", { type: "button", class: "quiet", "aria-label": `Forget the note at step ${note.step}`, onclick: async () => show(asked, await host.ask(`run/${asked}/notes`, { remove: note.id })) }, "×"))));
  }

  // ---- what two configs differ in

  async function compare() {
    const over = host.overlay(), key = over ? `${host.get("run")} ${host.get("overlay")}` : "";
    if (key === compared) return;
    compared = key;
    differs.hidden = !over;
    if (!over) return;
    try {
      const rows = Object.entries((await host.ask(`run/${host.get("run")}/compare/${host.get("overlay")}`)).differs);
      if (key !== compared) return;
      summary.textContent = rows.length ? `${rows.length} options differ between ${host.run()?.head.name ?? "this run"} and ${over.head.name}` : `${over.head.name} was told the same`;
      place.replaceChildren(rows.length ? table(rows, host.run()?.head.name ?? "this run", over.head.name) : "");
    } catch (error) { summary.textContent = error.message; }
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
