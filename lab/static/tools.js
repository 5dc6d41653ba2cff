// What every view can be taken away as: a picture, its numbers, the code that makes it, a link, a film, one file.  `card` puts it in place.

import { h, number } from "./dom.js";
import { pictureOf } from "./snapshot.js";
import { npz } from "./npz.js";

const REMEMBERED = 48; // paths of answers, of which those of the shown step are saved

/** A host that notes which answers its view is drawn from. */
export function remembering(host) {
  const paths = new Set();
  const note = (path) => {
    paths.delete(path);
    paths.add(path);
    if (paths.size > REMEMBERED) paths.delete(paths.values().next().value);
  };
  return {
    asked: () => [...paths].filter((path) => !/\/probe\/\d/.test(path) || path.includes(`/probe/${host.stop()}/`)),
    tensors(path) { note(`run/${host.get("run")}/${path}`); return host.tensors(path); },
    kept(path) { note(path); return host.kept(path); },
    ask(path, body) { if (body === undefined) note(path); return host.ask(path, body); },
  };
}

/** The button of a card and its menu, made when it is first opened. */
export function tools(host, { element, data }) {
  const said = h("p", { class: "hint", role: "status" }), list = h("div", { class: "save-list" }, said);
  const menu = h("details", { class: "save" }, h("summary", { title: "Save or share", "aria-label": `Save or share: ${host.about.title}` }, "↧"), list);
  const { name } = host.about, run = () => host.run()?.head.name ?? "";
  const file = (ending) => [name, run(), host.stop()].filter((part) => part !== null && part !== "").join("-").replace(/[^\w.-]+/g, "_") + "." + ending;

  const entries = [
    ["Picture (PNG)", "with title and sentences", async () => save(file("png"), await pictureOf(element, subtitle(host)))],
    ["Drawing (SVG)", "charts as lines", async () => save(file("svg"), await drawing(element, host)), () => plots(element).length],
    ["Numbers (CSV)", "a row a point", async () => save(file("csv"), csv(data ? data() : curves(element))), () => data || plots(element).length],
    ["Arrays (npz)", "what this is drawn from, for NumPy", async () => save(file("npz"), await arrays(host)), () => host.asked().some((path) => path !== "views" && path !== "runs")],
    ["Code (Python)", "that makes it", async () => show(code(host))],
    ["Link", "back to exactly this", async () => show(host.link(host.about))],
    ["Film (GIF)", "through training", async () => save(file("gif"), bytes(await host.ask(`film/${name}/${host.get("run")}?${settings(host)}`), "image/gif")), () => host.about.films && !host.recorded],
    ["One file (HTML)", "works without lab and network", async () => save(file("html"), bytes(await host.ask(`export/${name}/${host.get("run")}?${settings(host)}`), "text/html")), () => !host.recorded && host.run()],
  ];

  menu.addEventListener("toggle", () => {
    if (!menu.open) return;
    const offered = entries.filter(([, , , when]) => !when || when());
    list.replaceChildren(...offered.map(([title, about, act]) => h("button", { type: "button", onclick: () => attempt(act) }, h("b", {}, title), h("small", {}, about))), said);
    said.textContent = "";
  });
  menu.addEventListener("keydown", (event) => { if (event.key === "Escape") { menu.open = false; menu.firstChild.focus(); event.stopPropagation(); } });
  menu.addEventListener("focusout", (event) => { if (event.relatedTarget && !menu.contains(event.relatedTarget)) menu.open = false; });

  async function attempt(act) {
    said.textContent = "one moment …";
    try {
      const done = await act();
      said.replaceChildren(done ?? "");
    } catch (error) {
      said.textContent = error.message;
    }
  }
  return menu;
}

/** Hand a file to the browser. */
function save(name, content) {
  const blob = content instanceof Blob ? content : new Blob([content]);
  const link = h("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  return `${name}, ${number(blob.size / 1024)} KiB`;
}

/** Words to take along: on the clipboard where the browser allows it, and to be seen either way. */
async function show(text) {
  const copied = await (navigator.clipboard?.writeText(text) ?? Promise.reject()).then(() => "copied", () => "select it to copy");
  return h("span", {}, `${copied}:`, h("textarea", { readonly: true, rows: Math.min(text.split("\n").length + 1, 8), "aria-label": "text to copy", onfocus: (event) => event.target.select() }, text));
}

const bytes = ({ tensors }, type) => new Blob([tensors.file.data], { type });

/** What is shown, in a line under the picture. */
function subtitle(host) {
  const track = host.run(), stop = host.stop();
  return [track?.head.name, stop === null ? null : `step ${number(stop)}`, ...[...host.address()].filter(([key]) => !["run", "page", "step", "overlay"].includes(key)).map(([key, value]) => `${key} ${value}`), "DINO lab"].filter(Boolean).join(" · ");
}

const settings = (host) => new URLSearchParams({ state: JSON.stringify(Object.fromEntries(host.address())) });

/** Python that shows this view, and reads the numbers it is drawn from. */
function code(host) {
  const run = JSON.stringify(host.run()?.head.name ?? null).replace("null", "None");
  const given = new Map(host.address());
  for (const key of ["run", "page", "overlay"]) given.delete(key);
  if (host.stop() !== null) given.set("step", host.stop());
  const python = (value) => (typeof value === "number" ? String(value) : typeof value === "boolean" ? (value ? "True" : "False") : JSON.stringify(String(value)));
  const words = [...given].filter(([key]) => /^[a-z_]\w*$/i.test(key)).map(([key, value]) => `, ${key}=${python(value)}`).join("");
  const lines = ["import lab", "", `lab.show(${JSON.stringify(host.about.name)}, ${run}${words})  # this view, in a notebook`];
  const prefix = `run/${host.get("run")}/`;
  for (const path of host.asked()) {
    if (path.startsWith(prefix)) lines.push(`lab.answer(${run}, ${JSON.stringify(path.slice(prefix.length))})  # what it is drawn from`);
  }
  if (plottedFrom(host)) lines.push(`lab.find(${run}).metrics()  # its curves, a pandas table`);
  return lines.join("\n");
}

const plottedFrom = (host) => host.asked().length === 0;

// ---- numbers

const plots = (element) => [...element.querySelectorAll(".plot")].filter((plot) => plot.data?.length);
const headOf = (plot) => plot.closest(".panel")?.querySelector("h3")?.textContent.trim() ?? "";
const plain = (text) => String(text ?? "").replace(/&#(\d+);/g, (_, code) => String.fromCharCode(code));

/** The curves of all charts, as { panel: { curve, x, y } }. */
function curves(element) {
  return Object.fromEntries(plots(element).map((plot, index) => {
    const rows = { curve: [], x: [], y: [] };
    for (const trace of plot.data) {
      const y = [...(trace.y ?? [])], x = [...(trace.x ?? y.keys())];
      y.forEach((value, i) => { rows.curve.push(plain(trace.name)); rows.x.push(x[i]); rows.y.push(value); });
    }
    return [headOf(plot) || `plot ${index + 1}`, rows];
  }));
}

/** { table: { column: [values] } } → CSV with the table's name in the first column. */
export function csv(tables) {
  const names = [...new Set(Object.values(tables).flatMap((table) => Object.keys(table)))];
  const cell = (value) => (/[",\n\r]/.test(String(value ?? "")) ? `"${String(value).replaceAll('"', '""')}"` : String(value ?? ""));
  const lines = [["table", ...names].map(cell).join(",")];
  for (const [title, table] of Object.entries(tables)) {
    const count = Math.max(0, ...Object.values(table).map((column) => column.length));
    for (let i = 0; i < count; i++) lines.push([title, ...names.map((name) => table[name]?.[i])].map(cell).join(","));
  }
  return lines.join("\n") + "\n";
}

/** The arrays of the answers this view is drawn from, under the paths they were asked by. */
async function arrays(host) {
  const found = {};
  for (const path of host.asked()) {
    const answer = await host.kept(path).catch(() => null);
    const short = path.replace(`run/${host.get("run")}/`, "").replace(/[?&=/]+/g, ".");
    for (const [name, tensor] of Object.entries(answer?.tensors ?? {})) found[`${short}.${name}`] = tensor;
  }
  if (!Object.keys(found).length) throw new Error("This view is drawn from curves; save them as CSV.");
  return npz(found);
}

// ---- charts as SVG

async function drawing(element, host) {
  const Plotly = await host.plotly(), parts = [];
  let top = 0, width = 0;
  for (const plot of plots(element)) {
    const text = decodeURIComponent((await Plotly.toImage(plot, { format: "svg", width: plot.clientWidth, height: plot.clientHeight })).replace(/^data:image\/svg\+xml,/, ""));
    const title = headOf(plot);
    if (title) { parts.push(`<text x="8" y="${top + 16}" font-family="sans-serif" font-size="13" font-weight="600" fill="${styleOf(element, "--ink")}">${xml(title)}</text>`); top += 24; }
    parts.push(text.replace("<svg ", `<svg y="${top}" `));
    top += plot.clientHeight;
    width = Math.max(width, plot.clientWidth);
  }
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${top}" viewBox="0 0 ${width} ${top}"><title>${xml(host.about.title)}</title><rect width="100%" height="100%" fill="${styleOf(element, "--card")}"/>${parts.join("")}</svg>`;
}

const styleOf = (element, name) => getComputedStyle(element).getPropertyValue(name).trim();
const xml = (text) => text.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);
