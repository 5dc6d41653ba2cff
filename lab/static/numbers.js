// A card's numbers: what its charts draw, what its tables say, and the arrays it is drawn from, with names and units.

import { npz } from "./npz.js";

export const plots = (element) => [...element.querySelectorAll(".plot")].filter((plot) => plot.data?.length);
export const headOf = (plot) => (plot.closest(".panel")?.querySelector("h3") ?? plot.closest(".spark-card")?.querySelector("b"))?.textContent.trim() ?? "";
const plain = (text) => String(text ?? "").replace(/&#(\d+);/g, (_, code) => String.fromCharCode(code));

/** Tables of a card by their names, { name: { column: [values] } }: its own and its charts', else those that stand in it. */
export function tables(element, data) {
  return data || plots(element).length ? { ...data?.(), ...curves(element) } : written(element);
}

export const hasTables = (element, data) => Boolean(data) || plots(element).length > 0 || element.querySelector(".card-body table") !== null;

const NUMBERS = { f8: Float64Array, f4: Float32Array, i4: Int32Array, u4: Uint32Array, i2: Int16Array, u2: Uint16Array, i1: Int8Array, u1: Uint8Array };
/** The numbers of an axis: listed, or packed as plotly's Python packs them. */
const listed = (axis) => (axis?.bdata ? [...new NUMBERS[axis.dtype](Uint8Array.from(atob(axis.bdata), (c) => c.charCodeAt(0)).buffer)] : [...(axis ?? [])]);

/** The curves of all charts; `x_is` and `y_is` say what an axis shows, with its unit. */
function curves(element) {
  return Object.fromEntries(plots(element).map((plot, index) => {
    const rows = { curve: [], x: [], y: [], x_is: [], y_is: [] }, unit = plot.closest(".panel")?.querySelector("h3 small")?.textContent.trim();
    const title = (axis) => plain(plot.layout?.[axis]?.title?.text ?? "");
    const across = title("xaxis") || plain(plots(element).at(-1).layout?.xaxis?.title?.text ?? "");
    for (const trace of plot.data) {
      const y = listed(trace.y), x = trace.x ? listed(trace.x) : [...y.keys()];
      y.forEach((value, i) => {
        rows.curve.push(plain(trace.name));
        rows.x.push(x[i]);
        rows.y.push(value);
        rows.x_is.push(across);
        rows.y_is.push(title("yaxis") || unit || "");
      });
    }
    return [headOf(plot) || `plot ${index + 1}`, rows];
  }));
}

const RAISED = "⁰¹²³⁴⁵⁶⁷⁸⁹";
/** A number as it is written on the page (−0.12, 1 234, 1.7 × 10⁻⁴) as a program reads it; other words as they are. */
function readable(text) {
  const [, sign, digits, power] = /^(−?)(\d[\d\u202f]*(?:\.\d+)?)(?: × 10⁻([⁰¹²³⁴⁵⁶⁷⁸⁹]+))?$/.exec(text) ?? [];
  return digits ? `${sign && "-"}${digits.replaceAll("\u202f", "")}${power ? `e-${[...power].map((c) => RAISED.indexOf(c)).join("")}` : ""}` : text;
}

/** The HTML tables of a card: a column a heading, what stands in fields included; of a cell that knows its number all its digits. */
function written(element) {
  const said = (cell) => cell?.querySelector("input")?.value ?? cell?.dataset.value ?? readable(cell?.textContent.trim() ?? "");
  return Object.fromEntries([...element.querySelectorAll(".card-body table")].map((table, index) => {
    const heads = [...(table.tHead?.rows[0]?.cells ?? [])].map((cell, i) => said(cell) || (i ? `column ${i + 1}` : "row"));
    const rows = [...table.tBodies].flatMap((body) => [...body.rows]);
    return [`${index + 1} ${table.caption?.textContent ?? ""}`.trim(), Object.fromEntries(heads.map((head, i) => [head, rows.map((row) => said(row.cells[i]))]))];
  }));
}

/** Rows, each an object, as columns. */
export const columnsOf = (rows) => Object.fromEntries(Object.keys(rows[0] ?? {}).map((key) => [key, rows.map((row) => row[key])]));

/** { table: { column: [values] } } → CSV with the table's name in the first column. */
export function csv(found) {
  const names = [...new Set(Object.values(found).flatMap((table) => Object.keys(table)))];
  const cell = (value) => (/[",\n\r]/.test(String(value ?? "")) ? `"${String(value).replaceAll('"', '""')}"` : String(value ?? ""));
  const lines = [["table", ...names].map(cell).join(",")];
  for (const [title, table] of Object.entries(found)) {
    const count = Math.max(0, ...Object.values(table).map((column) => column.length));
    for (let i = 0; i < count; i++) lines.push([title, ...names.map((name) => table[name]?.[i])].map(cell).join(","));
  }
  return lines.join("\n") + "\n";
}

/** What arrays are, by the last part of their names: axes and unit. */
const MEANINGS = {
  images: "(image, row, column, colour) bytes", labels: "(image) class, −1: none", masks: "(image, row, column) 1 on the object",
  attention: "share of the attention; last axis patches, or class token, registers, patches", maps: "(head, patch) share of the class token's attention",
  patches: "(image, patch, feature) integers; times scale: rows of length one", scale: "length of a unit in rows of `patches` or `rows`", length: "(image, patch) length of the feature",
  cls: "(image, feature) integers; times cls_scale: rows of length one", cls_scale: "length of a unit in rows of `cls`", rows: "(point, feature) integers; times scale: rows of length one",
  entropy: "nats", distance: "patches", norms: "(stage, token) length, no unit", rollout: "share of the attention through all layers",
  queries: "(layer, head, token, feature) integers; times queries_scale", keys: "(layer, head, token, feature) integers; times keys_scale", queries_scale: "unit of `queries`", keys_scale: "unit of `keys`",
  scores: "(image, patch, component) in units of their spread", first: "(image, patch) first component, deviations from the threshold", above: "(image, patch) above 0: foreground",
  xy: "(point, 2) coordinates without unit", image: "index of the image, or its pixels", place: "(point) index of the patch in its grid", grid: "rows, columns of patches",
  top: "(image, rank) prototypes, the likeliest first", probability: "(image, rank) share of the answer", patch_top: "(image, patch) likeliest prototype", patch_probability: "(image, patch) its share of the answer",
  twins: "(pair, 2) prototypes", twin_cosine: "(pair) cosine of their directions", loss: "(image) nats",
  boxes: "(crop, 4) left, top, right, bottom as shares of the image", flipped: "(crop) 1: mirrored", student: "(crop, prototype) logits", teacher: "(crop, prototype) logits", centre: "(prototype) logits",
  globals: "(crop, row, column, colour) bytes", locals: "(crop, row, column, colour) bytes", propagated: "(image, patch) share of the mask",
};

/** The arrays of the answers that a view is drawn from, under the paths they were asked by; `about` says what each is. */
export async function arrays(host) {
  const found = {};
  for (const path of host.asked()) {
    const answer = await host.kept(path).catch(() => null);
    const short = decodeURIComponent(path).replace(`run/${host.get("run")}/`, "").replace(/[?&=/:]+/g, ".");
    for (const [name, tensor] of Object.entries(answer?.tensors ?? {})) found[`${short}.${name}`] = tensor;
  }
  if (!Object.keys(found).length) throw new Error("This view is drawn from curves or tables; save them as CSV.");
  const lines = Object.entries(found).map(([name, { shape }]) => `${name}: ${shape.join(" × ")}, ${MEANINGS[name.split(".").at(-1)] ?? "as its path says"}`);
  return npz({ ...found, about: [`${host.about.title}. ${host.about.shows} Run ${host.run()?.head.name ?? "none"}, step ${host.stop() ?? "none"}.`, ...lines].join("\n") });
}
