/* view
{
  "page": "*",
  "place": 0,
  "title": "Runs",
  "shows": "The runs below the folders given to the lab; one is looked at, another may be laid over it.",
  "look": "A lamp beside a name says whether its run trains, and whether it is in trouble."
}
*/
// The runs below the folders given: pick one, lay another over it.

import { h, icon, refill } from "./dom.js";
import { severity } from "./chart.js";

const STATES = {
  running: ["live", "trains now"], finished: ["finished", "ran to its end"], stopped: ["stopped", "can be resumed"],
  failed: ["failed", "see the events below"], died: ["died", "its process is gone; can be resumed"],
};

export function mount(element, host) {
  const list = h("div", { class: "run-list", role: "group", "aria-label": "Runs" });
  const theme = h("button", { type: "button", class: "quiet", onclick: () => turn(), title: "Light or dark" }, "◐");
  theme.setAttribute("aria-label", "Switch between light and dark");
  const offline = h("p", { class: "offline", role: "status", hidden: true }, "The lab's server does not answer. Is dino-lab watch still running? Trying again …");
  let seen = null;
  element.classList.add("top");
  element.append(
    h("div", { class: "brand" }, h("img", { src: host.url("static/lab/icon.svg"), alt: "", width: 34, height: 34 }),
      h("div", {}, h("h1", {}, "DINO lab"), h("p", {}, "self-distillation, watched while it learns")), theme),
    offline, list);
  host.on("runs", fill);
  host.on(["run", "overlay"], fill);
  host.on("offline", () => { offline.hidden = !host.get("offline"); });
  new MutationObserver(() => host.set({ theme: isDark() })).observe(document.body, { attributes: true, attributeFilter: ["class"] });

  function fill() {
    const runs = host.runs() ?? [];
    const key = JSON.stringify([runs, host.get("run"), host.get("overlay")]);
    const scroll = list.scrollLeft, focused = document.activeElement?.dataset?.focus;
    refill(list, key, () => (runs.length ? runs.map(entry) : [nothing()]));
    list.scrollLeft = scroll;
    if (seen !== host.get("run")) {
      seen = host.get("run");
      const chosen = list.querySelector("[data-chosen=true]");
      if (chosen) list.scrollLeft = chosen.offsetLeft - list.offsetLeft - 24;
    }
    if (focused) list.querySelector(`[data-focus="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
  }

  function entry(run) {
    const [state, meaning] = STATES[run.status] ?? [run.status, ""];
    const chosen = run.id === host.get("run"), over = run.id === host.get("overlay") && !chosen;
    const done = run.steps ? Math.min(run.step / run.steps, 1) : 0;
    return h("div", { class: "run", "data-chosen": String(chosen), "data-over": String(over), "data-status": run.status },
      h("button", { type: "button", class: "run-pick", "data-focus": `pick-${run.id}`, "aria-pressed": chosen ? "true" : "false",
        onclick: () => host.set({ run: run.id, overlay: host.get("overlay") === run.id ? null : host.get("overlay"), step: null, follow: true, patch: null, pinned: false }) },
        h("span", { class: "run-state", title: meaning }, icon(severity(run.level) > 1 ? "alarm" : severity(run.level) ? "warning" : "dot"), run.gallery ? `gallery · ${state}` : state),
        h("strong", {}, run.name),
        h("span", { class: "run-about" }, [run.recipe, `${run.step}${run.steps ? ` / ${run.steps}` : ""} steps`, run.parent ? `forked from ${run.parent}` : null].filter(Boolean).join(" · "))),
      h("progress", { max: 1, value: done, "aria-label": `${Math.round(100 * done)} % of its steps` }),
      chosen ? null : h("button", { type: "button", class: "run-over", "data-focus": `over-${run.id}`, "aria-pressed": over ? "true" : "false", title: "Lay this run's curves over the chosen run's, dotted",
        onclick: () => host.set({ overlay: over ? null : run.id }) }, over ? "overlaid ×" : "overlay"));
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
