// The numbers of a card as a table on the page, for those who read instead of look: made when it is opened, and anew when what is shown changes.

import { h, number, refill } from "./dom.js";
import { hasTables, plots, tables } from "./numbers.js";

const ROWS = 120; // of one table; all of them are in the file of numbers
const POINTS = 24; // of one curve among them
const SETTLED = 500; // milliseconds after which something new is written
const CHANGES = ["stop", "data", "run", "overlay", "beside", "image", "patch", "pinned", "source", "against", "images", "size", "layer"];

/** A line that opens; in it a table for each of the card's. */
export function asTable(host, { element, data }) {
  const place = h("div", { class: "as-table-place" }), line = h("details", { class: "as-table" }, h("summary", {}, "Numbers as a table"), place);
  let timer = null;
  const write = () => {
    element.querySelectorAll(".card-body, .panels").forEach((part) => part.dispatchEvent(new Event("whole"))); // charts that were not looked at
    const found = Object.entries(hasTables(element, data) ? tables(element, data) : {}).map(chosen).filter(({ rows }) => rows.length);
    refill(place, JSON.stringify(found), () => (found.length ? found.map(tableOf) : [h("p", { class: "hint" }, "There are no numbers yet.")]));
    if (!found.length || element.querySelector(".panel .plot:not([data-ready])")) soon(2 * SETTLED); // charts that are being drawn
  };
  const soon = (wait) => { if (line.open) { clearTimeout(timer); timer = setTimeout(() => { if (line.open && !place.contains(document.activeElement)) write(); }, wait); } };
  line.addEventListener("toggle", () => { if (line.open) { write(); soon(2 * SETTLED); } });
  host.on(CHANGES, () => soon(SETTLED));
  queueMicrotask(() => { line.hidden = !data && !plots(element).length && !element.querySelector(".plot, .panels"); }); // words, and tables that stand there already
  return line;
}

/** What of a table is shown, under which headings. */
function chosen([name, columns]) {
  const { x_is: across, y_is: up, ...rest } = columns, count = Math.max(0, ...Object.values(rest).map((column) => column.length));
  const heads = Object.keys(rest).map((key) => (across && key === "x" ? across[0] || "x" : across && key === "y" ? up[0] || "value" : key.replaceAll("_", " ")));
  const alone = !across && rest.network?.every((name) => name === rest.network[0]) ? rest.network[0] : null; // said above, not in every row
  if (alone) { heads.splice(Object.keys(rest).indexOf("network"), 1); delete rest.network; }
  const some = across ? spread(rest.curve) : Array.from({ length: Math.min(count, ROWS) }, (_, i) => i);
  return { name: [name.replaceAll("_", " "), alone].filter(Boolean).join(", "), count, heads, rows: some.map((i) => Object.values(rest).map((column) => said(column[i]))) };
}

/** Of each curve some points: the first, the last, and as many between. */
function spread(names) {
  const curves = new Map();
  names.forEach((name, i) => { if (curves.has(name)) curves.get(name).push(i); else curves.set(name, [i]); });
  return [...curves.values()].flatMap((at) => (at.length <= POINTS ? at : Array.from({ length: POINTS }, (_, i) => at[Math.round((i * (at.length - 1)) / (POINTS - 1))])));
}

const said = (value) => (typeof value === "number" ? (Number.isInteger(value) ? String(value) : number(value, 4)) : String(value ?? ""));

function tableOf({ name, count, heads, rows }) {
  const left = count > rows.length ? ` (${rows.length} of ${count} rows; all are in “Numbers (CSV)”)` : "";
  return h("table", { class: "step-numbers", tabindex: 0 }, h("caption", {}, name + left),
    h("thead", {}, h("tr", {}, heads.map((head) => h("th", { scope: "col" }, head)))),
    h("tbody", {}, rows.map((row) => h("tr", {}, row.map((value, i) => h(i ? "td" : "th", i ? {} : { scope: "row" }, value))))));
}
