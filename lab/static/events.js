/* view
{
  "page": "monitor",
  "place": 50,
  "title": "Events",
  "shows": "What the run said about itself, newest first: starts, stops, alarms, skipped images and steps.",
  "look": "An alarm here has a mark on the curves at the same step."
}
*/
// What happened, newest first.

import { card, h, icon, number, refill } from "./dom.js";
import { severity } from "./chart.js";

const MOST = 60;

export function mount(element, host) {
  const columns = (rows) => ({ step: rows.map(({ step }) => step), event: rows.map(({ event }) => event), said: rows.map(sentence) });
  const body = card(element, { ...host.about, data: () => ({ events: columns(host.run()?.events ?? []) }) });
  const list = h("ol", { class: "events", tabindex: 0, "aria-label": "Events" });
  body.append(list);
  host.on(["data", "run"], () => {
    const track = host.run();
    const events = (track?.events ?? []).slice(-MOST).reverse();
    const key = `${host.get("run")} ${track?.events.length} ${JSON.stringify(events[0] ?? null)} ${track?.head.skipped_images}`;
    refill(list, key, () => [
      track?.head.skipped_images ? h("li", {}, h("span", {}), h("b", {}, "skipped images"), h("span", {}, `${track.head.skipped_images} so far; named in events.jsonl`)) : null,
      ...events.map((event) => h("li", { "data-severity": severity(event.level) },
        h("button", { type: "button", class: "quiet", title: "Show this moment", onclick: () => host.seek(event.step) }, `step ${number(event.step)}`),
        h("b", {}, severity(event.level) ? icon(severity(event.level) > 1 ? "alarm" : "warning") : null, String(event.event ?? "").replaceAll("_", " ")),
        h("span", {}, sentence(event)))),
      events.length ? null : h("li", {}, "Nothing yet."),
    ]);
  });
}

function sentence(event) {
  if (event.event === "phase") return `${String(event.name).replaceAll("_", " ")} begins, ${number(event.steps)} steps long`;
  if (event.text ?? event.sentence ?? event.why ?? event.cause) return String(event.text ?? event.sentence ?? event.why ?? event.cause);
  const rest = Object.entries(event).filter(([key, value]) => !["event", "step", "time", "segment"].includes(key) && typeof value !== "object");
  return rest.map(([key, value]) => `${key} ${typeof value === "number" ? number(value) : value}`).join(", ") || String(event.time ?? "").replace("T", " ").replace("Z", " UTC");
}
