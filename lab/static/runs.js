/* view
{
  "page": "*",
  "place": 0,
  "title": "Runs",
  "shows": "The runs below the folders given to the lab; one is looked at, up to five more may be laid over it.",
  "look": "A lamp beside a name says whether its run trains, and whether it is in trouble."
}
*/
// The runs below the folders given: pick one, lay others over it.

import { arrange, h, icon, refill } from "./dom.js";
import { reached, severity } from "./chart.js";
import { joined, laid, mark, MOST, without } from "./laid.js";

const STATES = {
  running: ["live", "trains now; its mark changes with every line that is new"], finished: ["finished", "ran to its end"], stopped: ["stopped", "can be resumed"],
  failed: ["failed", "see the events below"], died: ["died", "its process is gone; can be resumed"],
};

export function mount(element, host) {
  const list = h("div", { class: "run-list", role: "group", "aria-label": "Runs" });
  const theme = h("button", { type: "button", class: "quiet", onclick: () => turn(), title: "Light or dark" }, "◐");
  theme.setAttribute("aria-label", "Switch between light and dark");
  const offline = h("p", { class: "offline", role: "status", hidden: true }, "The lab's server does not answer. Is dino-lab watch still running? Trying again …");
  const made = new Map(), empty = nothing(); // run → its place; what stands there while there is none
  let seen = null, filling = false;
  empty.hidden = true;
  list.append(empty);
  element.classList.add("top");
  element.append(
    h("div", { class: "brand" }, h("img", { src: host.url("static/lab/icon.svg"), alt: "", width: 34, height: 34 }),
      h("div", {}, h("h1", {}, "DINO lab"), h("p", {}, "self-distillation, watched while it learns")), theme),
    offline, list);
  host.on(["runs", "run", "overlay", "beside"], soon);
  host.on("offline", () => { offline.hidden = !host.get("offline"); });
  new MutationObserver(() => host.set({ theme: isDark() })).observe(document.body, { attributes: true, attributeFilter: ["class"] });

  /** Once, however much has changed. */
  function soon() {
    if (!filling) queueMicrotask(() => { filling = false; fill(); });
    filling = true;
  }

  /** Each run keeps its place's elements for as long as it is there: what somebody is about to click stays under the pointer. */
  function fill() {
    const runs = host.runs() ?? [], there = new Set(runs.map(({ id }) => id));
    empty.hidden = host.runs() === null || runs.length > 0;
    for (const id of made.keys()) if (!there.has(id)) made.delete(id);
    for (const run of runs) {
      if (!made.has(run.id)) made.set(run.id, entry(run.id));
      made.get(run.id).tell(run);
    }
    arrange(list, [empty, ...runs.map(({ id }) => made.get(id).place)]);
    if (seen === host.get("run")) return;
    seen = host.get("run");
    requestAnimationFrame(toChosen); // where it stands is known when all is laid out, which is not to be waited for here
  }

  function toChosen() {
    const chosen = made.get(seen)?.place;
    if (chosen) list.scrollLeft = chosen.offsetLeft - list.offsetLeft - 24;
  }

  function entry(id) {
    const state = h("span", { class: "run-state" }), name = h("strong"), about = h("span", { class: "run-about" }), bar = h("progress", { max: 1 });
    const pick = h("button", { type: "button", class: "run-pick",
      onclick: () => host.set({ ...without(host, id), run: id, step: null, follow: true, patch: null, pinned: false }) }, state, name, about);
    const over = h("button", { type: "button", class: "run-over",
      onclick: () => host.set(over.getAttribute("aria-pressed") === "true" ? without(host, id) : joined(host, id) ?? {}) });
    const place = h("div", { class: "run" }, pick, bar, over);
    return { place, tell: (run) => tell(run, { place, state, name, about, bar, pick, over }) };
  }

  function tell(run, { place, state, name, about, bar, pick, over }) {
    const [word, meaning] = STATES[run.status] ?? [run.status, ""], text = run.gallery ? `gallery · ${word}` : word;
    const chosen = run.id === host.get("run"), shown = laid(host), overlaid = chosen ? null : shown.find(({ id }) => id === run.id)?.look, full = !overlaid && shown.length >= MOST;
    const done = run.steps ? Math.min(reached(run) / run.steps, 1) : 0;
    const said = [run.recipe, `${reached(run)}${run.steps ? ` / ${run.steps}` : ""} steps`, run.parent ? `forked from ${run.parent}` : null].filter(Boolean).join(" · ");
    if (about.dataset.key !== said) place.dataset.beat = place.dataset.beat === "up" ? "down" : "up"; // with what is new; an endless animation would paint without end
    Object.assign(place.dataset, { chosen: String(chosen), over: String(Boolean(overlaid)), status: run.status });
    refill(state, `${run.level} ${text}`, () => [icon(severity(run.level) > 1 ? "alarm" : severity(run.level) ? "warning" : "dot"), text]);
    refill(name, run.name, () => [run.name]);
    refill(about, said, () => [said]);
    refill(over, overlaid?.symbol ?? "overlay", () => (overlaid ? [mark(overlaid), h("span", { class: "sr-only" }, "overlaid"), "×"] : ["overlay"]));
    over.title = full ? `${MOST} runs are the most on one axis; take one away first` : overlaid ? "Take this run's curves away" : "Lay this run's curves over those shown";
    over.disabled = full;
    state.title = meaning;
    over.hidden = chosen;
    bar.value = done;
    bar.setAttribute("aria-label", `${Math.round(100 * done)} % of its steps`);
    pick.setAttribute("aria-pressed", String(chosen));
    over.setAttribute("aria-pressed", String(Boolean(overlaid)));
  }

  function nothing() {
    return h("div", { class: "nothing" },
      h("p", {}, h("strong", {}, "No run here yet."), " Start one in a terminal; it appears on this page by itself:"),
      h("pre", {}, "dino-lab train tiny"),
      h("p", {}, "or give this lab the folder your runs are in: ", h("code", {}, "dino-lab watch FOLDER")));
  }
}

const isDark = () => document.body.classList.contains("dark");

function turn() {
  document.body.classList.toggle("dark");
  const query = new URLSearchParams(location.search);
  query.set("__theme", isDark() ? "dark" : "light");
  history.replaceState(history.state, "", `${location.pathname}?${query}${location.hash}`);
}
