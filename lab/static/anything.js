/* view
{
  "page": "monitor",
  "place": 41,
  "half": true,
  "title": "Any metric",
  "shows": "Whatever else the run logs, with the unit and meaning it was logged with.",
  "look": "Compare a metric's own history; two metrics of different units are not comparable."
}
*/
// Any metric the run logs, by its own catalogue: for what has no view of its own.

import { card, h, refill } from "./dom.js";
import { chart } from "./chart.js";

const START = ["images_per_second", "gradient/backbone", "update/backbone"];
const COLOURS = ["blue", "orange", "green", "purple"];

export function mount(element, host) {
  const list = h("select", { "aria-label": "Metric to add", onchange: add });
  const chosen = h("div", { class: "chips" });
  host.keep({ metrics: START.join() });
  const names = () => host.get("metrics").split(",").filter(Boolean).slice(-4);
  const take = (wanted) => host.set({ metrics: wanted.join() });
  const body = card(element, {
    ...host.about,
    controls: [list],
  });
  body.append(chosen);
  const drawn = chart(body, host, panels);
  host.on("data", options);
  host.on("metrics", () => { chips(); drawn.redraw(); });

  const titleOf = (name) => host.run()?.catalogue?.[name]?.title ?? name;

  function panels({ curves, catalogue }) {
    return names().map((name, index) => {
      const about = catalogue?.[name] ?? {};
      return { title: about.title ?? name, unit: [about.unit, { higher: "higher is better", lower: "lower is better" }[about.better]].filter(Boolean).join(", "),
        curves: [{ name: "now", colour: COLOURS[index % 4], rough: true, ...curves[name], about: about.about }] };
    });
  }

  function options() {
    const known = Object.keys(host.run()?.curves ?? {}).sort();
    refill(list, known.join("|"), () => [h("option", { value: "" }, "add a metric …"), ...known.map((name) => h("option", { value: name }, titleOf(name) === name ? name : `${titleOf(name)} (${name})`))]);
    chips();
  }

  function chips() {
    refill(chosen, names().map(titleOf).join("|"), () => names().map((name) =>
      h("button", { type: "button", class: "chip", title: `remove ${name}`, "aria-label": `remove ${titleOf(name)}`, onclick: () => take(names().filter((other) => other !== name)) }, titleOf(name), " ×")));
  }

  function add() {
    if (list.value && !names().includes(list.value)) take([...names(), list.value].slice(-4));
    list.value = "";
  }
}
