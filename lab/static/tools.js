// What every view can be taken away as: a picture, its numbers, the code that makes it, a link, a film, one file.  `card` puts it in place.

import { code } from "./code.js";
import { h, number } from "./dom.js";
import { canRecord, frames, handedOn, webm } from "./filming.js";
import { arrays, csv, hasTables, headOf, plots, tables } from "./numbers.js";
import { pictureOf } from "./snapshot.js";

const REMEMBERED = 48; // paths of answers, of which those of the shown step are saved
const OF_A_STEP = /[:/]\d+(?=[:/?]|$)/;
const FORMATS = { GIF: "image/gif", MP4: "video/mp4" };

/** A host that notes which answers its view is drawn from, and how many are under way. */
export function remembering(host) {
  const paths = new Map(); // path → whether its answer has arrays
  let pending = 0, at = null;
  const note = (path, promise) => {
    paths.delete(path);
    paths.set(path, false);
    if (paths.size > REMEMBERED) paths.delete(paths.keys().next().value);
    pending++;
    const done = (answer) => { pending--; if (answer?.tensors && paths.has(path)) paths.set(path, true); };
    promise.then(done, done);
    return promise;
  };
  const stale = (is) => [...paths.keys()].forEach((path) => { if (is(path)) paths.delete(path); }); // asked for anew, if it is still what is shown
  const ends = [
    host.on("stop", () => { if (host.stop() !== at) { at = host.stop(); stale((path) => OF_A_STEP.test(decodeURIComponent(path))); } }),
    host.on(["source", "against", "images", "size"], () => stale((path) => /^(sight|compare|gathered)\//.test(path))),
    host.on("image", () => stale((path) => /[?&]image=/.test(path))),
    host.on("run", () => stale(() => true)),
  ];
  const asked = () => [...paths.keys()].filter((path) => !/\/probe\/\d/.test(path) || path.includes(`/probe/${host.stop()}/`));
  return {
    ends, asked,
    holds: () => asked().some((path) => paths.get(path)),
    pending: () => pending,
    tensors: (path) => note(`run/${host.get("run")}/${path}`, host.tensors(path)),
    kept: (path, version) => note(path, host.kept(path, version)),
    uses: (path, answer) => { note(path, Promise.resolve(answer)); }, // what the view had already, and draws again
    unnoted: (path) => host.ask(path), // what it may draw later
    ask: (path, body) => (body === undefined ? note(path, host.ask(path)) : host.ask(path, body)),
  };
}

/** The button of a card and its menu, made when it is first opened. */
export function tools(host, { element, data, python }) {
  const said = h("p", { class: "hint", role: "status" }), list = h("div", { class: "save-list" }, said);
  const menu = h("details", { class: "save" }, h("summary", { title: "Save or share", "aria-label": `Save or share: ${host.about.title}` }, "↧"), list);
  let busy = false;
  const { name } = host.about, run = () => host.run()?.head.name ?? "";
  const file = (ending) => [name, run(), host.stop()].filter((part) => part !== null && part !== "").join("-").replace(/[^\w.-]+/g, "_") + "." + ending;

  const entries = [
    ["Picture (PNG)", "with title and sentences", async () => save(file("png"), await pictureOf(element, subtitle(host)))],
    ["Drawing (SVG)", "charts as lines", async () => save(file("svg"), await drawing(element, host)), () => drawings(element).length],
    ["Numbers (CSV)", "a row a point, with names and units", async () => save(file("csv"), csv(tables(element, data))), () => hasTables(element, data)],
    ["Arrays (npz)", "what this is drawn from, for NumPy", async () => save(file("npz"), await arrays(host)), () => host.holds()],
    ["Code (Python)", "that makes it", async () => show(await code(host, { curves: host.about.page === "monitor" || element.querySelector(".panels") !== null, more: python?.() }))],
    ["Link", "back to exactly this", async () => show(host.link(host.about))],
    ["Film (GIF)", "through training", () => film("GIF"), () => moves() && !host.recorded],
    ["Film (MP4)", "through training", () => film("MP4"), () => moves() && !host.recorded],
    ["Film (WebM)", "through training, made by this browser", async () => save(file("webm"), await webm(await filmed())), () => moves() && canRecord()],
    ["One file (HTML)", "works without lab and network", async () => save(file("html"), bytes(await host.ask(`export/${name}/${host.get("run")}?${settings(host)}`), "text/html")), () => !host.recorded && host.run()],
  ];

  const moves = () => host.stops().length > 1 && (host.about.films || host.about.records.some((path) => /\{(step|source)\}|stages/.test(path)));
  const filmed = () => frames(host, element, () => subtitle(host), (i, n) => { said.textContent = `picture ${i} of ${n} …`; });

  /** Drawn by Python where it knows how, else made of pictures of this card. */
  async function film(format) {
    const kind = format.toLowerCase(), known = host.about.films;
    const handed = known ? null : handedOn(await filmed());
    const made = known ? await host.ask(`film/${name}/${host.get("run")}?${settings(host)}&kind=${kind}`) : await host.ask(`film?sizes=${handed.sizes}&kind=${kind}`, handed.body);
    return save(file(kind), bytes(made, FORMATS[format]));
  }

  menu.addEventListener("toggle", () => {
    if (!menu.open || busy) return;
    element.querySelectorAll(".card-body, .panels").forEach((part) => part.dispatchEvent(new Event("whole")));
    const offered = entries.filter(([, , , when]) => !when || when());
    list.replaceChildren(...offered.map(([title, about, act]) => h("button", { type: "button", onclick: (event) => attempt(act, event.currentTarget) }, h("b", {}, title), h("small", {}, about))), said);
    said.textContent = "";
  });
  menu.addEventListener("keydown", (event) => { if (event.key === "Escape") { menu.open = false; menu.firstChild.focus(); event.stopPropagation(); } });
  menu.addEventListener("focusout", (event) => { if (event.relatedTarget && !menu.contains(event.relatedTarget)) menu.open = false; });

  /** One after the other: clicked twice it would be saved twice. */
  async function attempt(act, clicked) {
    busy = true;
    said.textContent = "one moment …";
    list.querySelectorAll("button").forEach((button) => { button.disabled = true; });
    try {
      await charts(element);
      const done = await act();
      said.replaceChildren(done ?? "");
    } catch (error) {
      said.textContent = error.message;
    }
    busy = false;
    list.querySelectorAll("button").forEach((button) => { button.disabled = false; });
    if (menu.open && document.activeElement === document.body) clicked.focus(); // a button that is disabled loses it
  }
  return menu;
}

/** Until the charts that were not yet looked at are drawn, and no longer than they may take. */
async function charts(element) {
  for (let i = 0; i < 60 && element.querySelector(".panel .plot:not([data-ready])"); i++) await new Promise((done) => setTimeout(done, 50));
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
  return [track?.head.name, stop === null ? null : `step ${number(stop)}`, ...[...host.address()].filter(([key]) => !["run", "page", "step", "overlay", "beside"].includes(key)).map(([key, value]) => `${key} ${value}`), "DINO lab"].filter(Boolean).join(" · ");
}

const settings = (host) => new URLSearchParams({ state: JSON.stringify(Object.fromEntries(host.address())) });

// ---- charts as SVG

const drawings = (element) => [...element.querySelectorAll(".plot, svg.bars, svg.spark")].filter((one) => one.matches("svg") || one.data?.length);

async function drawing(element, host) {
  const parts = [], width = Math.ceil(Math.max(320, ...drawings(element).map((one) => one.getBoundingClientRect().width)));
  let top = 0;
  const add = (legends) => {
    for (const line of lined([...legends].flatMap(entries), width)) parts.push(entriesOf(line, top += 16, element));
    top += 6;
  };
  add(element.querySelectorAll(".card-body > .legend"));
  for (const one of drawings(element)) {
    const { width: wide, height: tall } = one.getBoundingClientRect(), title = headOf(one);
    if (title) parts.push(words(8, top += 18, title, styleOf(element, "--ink"), 600)) && (top += 6);
    add(one.closest(".panel")?.querySelectorAll(".legend") ?? []);
    parts.push((one.matches("svg") ? standalone(one, wide, tall) : await charted(one, host)).replace("<svg ", `<svg y="${top}" `));
    top += Math.ceil(tall);
  }
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${top}" viewBox="0 0 ${width} ${top}"><title>${xml(host.about.title)}</title><rect width="100%" height="100%" fill="${styleOf(element, "--card")}"/>${parts.join("")}</svg>`;
}

const words = (x, y, text, fill, weight = 400) => `<text x="${x}" y="${y}" font-family="sans-serif" font-size="13" font-weight="${weight}" fill="${fill}">${xml(text)}</text>`;

/** What a legend says: colour, dash and name of each curve. */
const entries = (legend) => [...legend.querySelectorAll("dt")].map((dt) => {
  const mark = dt.querySelector(".swatch, .run-mark");
  return { name: dt.textContent.trim() || dt.parentElement.title, dash: mark?.dataset.dash, colour: mark?.matches(".swatch") ? getComputedStyle(mark).borderTopColor : mark && getComputedStyle(mark).color };
}).filter(({ name, colour }) => name && colour);

const long = (name) => 40 + 7 * name.length; // pixels of an entry: its stroke, its name, what is between

/** Entries in as many lines as they need. */
function lined(found, width) {
  const lines = [];
  let room = 0;
  for (const entry of found) {
    if (long(entry.name) > room) { lines.push([]); room = width; }
    lines.at(-1).push(entry);
    room -= long(entry.name);
  }
  return lines;
}

/** A line of a drawing that says them, each after its stroke. */
function entriesOf(found, y, element) {
  let x = 8;
  return found.map(({ name, dash, colour }) => {
    const stroke = `<path d="M${x} ${y - 4}h18" stroke="${colour}" stroke-width="3" stroke-dasharray="${{ dash: "6 3", dot: "2 3", dashdot: "6 3 2 3" }[dash] ?? "none"}"/>`;
    const said = words(x + 23, y, name, styleOf(element, "--muted"));
    x += long(name);
    return stroke + said;
  }).join("");
}

async function charted(plot, host) {
  const Plotly = await host.plotly(), { clientWidth: width, clientHeight: height } = plot;
  return decodeURIComponent((await Plotly.toImage(plot, { format: "svg", width, height })).replace(/^data:image\/svg\+xml,/, ""));
}

/** A drawing of ours with its looks written into it, since no style sheet goes with it. */
function standalone(svg, width, height) {
  const copy = svg.cloneNode(true), originals = [svg, ...svg.querySelectorAll("*")];
  [copy, ...copy.querySelectorAll("*")].forEach((part, i) => {
    const style = getComputedStyle(originals[i]);
    part.removeAttribute("class");
    part.style.cssText = ["fill", "stroke", "stroke-width", "stroke-dasharray", "opacity", "font-size", "font-family"].map((name) => `${name}:${style.getPropertyValue(name)}`).join(";");
  });
  copy.setAttribute("width", width);
  copy.setAttribute("height", height);
  return new XMLSerializer().serializeToString(copy);
}

const styleOf = (element, name) => getComputedStyle(element).getPropertyValue(name).trim();
const xml = (text) => text.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);
