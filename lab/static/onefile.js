// The host of one file: answers were recorded into it, the state lives behind the # of its address.  It asks nobody for anything.

import { h } from "./dom.js";
import { plotlyFrom, unpacked } from "./loader.js";
import { parse } from "./safetensors.js";
import { createHost, scoped } from "./store.js";

const NEVER = 2 ** 31 - 1;

/** What two spellings of a question have in common (lab.onefile.spelt). */
function spelt(path) {
  const [where, query = ""] = path.replace(/^api\//, "").split("?");
  const values = [...new URLSearchParams(query)].map(([key, value]) => `${key}=${value}`).sort();
  return values.length ? `${where}?${values.join("&")}` : where;
}

/** An answer is kept packed in an element of the page until it is asked for. */
async function content(id) {
  const text = document.getElementById(id).textContent;
  const packed = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  return unpacked(packed);
}

export async function open({ kinds, views, pages, about, icon, state, urls }) {
  let plotly = null;
  async function ask(path, body) {
    const key = spelt(path);
    if (body !== undefined) throw new Error("This file holds what was recorded; for something new, open the lab itself: dino-lab watch.");
    if (key.includes("/since?") && !key.endsWith("cursor=")) return null;
    if (!(key in kinds)) throw new Error(`This was not recorded into the file (${about.limits})`);
    const { id, json, why } = kinds[key];
    if (why) throw new Error(why);
    const bytes = await content(id);
    return json ? JSON.parse(new TextDecoder().decode(bytes)) : parse(bytes);
  }
  const read = () => {
    const said = new URLSearchParams(location.hash.slice(1));
    return { get: (key) => said.get(key) ?? (state[key] === undefined ? null : String(state[key])) };
  };
  function write(changes) {
    const said = new URLSearchParams(location.hash.slice(1));
    for (const [key, value] of changes) if (value === null) said.delete(key); else said.set(key, value);
    if (location.hash.slice(1) !== said.toString()) history.replaceState(null, "", `#${said}`);
  }
  const host = createHost({
    ask, read, write, recorded: true, pace: NEVER,
    url: (path) => (path.endsWith("icon.svg") ? icon : path),
    plotly: () => (plotly ??= content("plotly").then((bytes) => plotlyFrom(new TextDecoder().decode(bytes)))),
  });
  if (!pages.some((page) => page.name === host.get("page"))) host.set({ page: pages[0].name });
  theme(host);
  framed(views);
  const show = () => { document.body.dataset.page = host.get("page"); };
  host.on("page", show);
  show();
  for (const view of views) await place(host, view, urls);
}

async function place(host, about, urls) {
  const view = scoped(host, about), section = document.querySelector(`[data-view="${CSS.escape(about.name)}"]`);
  const { mount } = await import(urls[about.module]);
  const make = () => {
    if (!view.shown() || section.dataset.mounted) return;
    section.dataset.mounted = "yes";
    try { mount(section, view); } catch (error) { section.append(`${about.title} could not be drawn: ${error.message}`); console.error(error); }
  };
  host.on("page", make);
  make();
}

/** Light or dark as the machine is, and a button for the other. */
function theme(host) {
  const turn = (dark) => { document.body.classList.toggle("dark", dark); host.set({ theme: dark }); };
  turn(matchMedia("(prefers-color-scheme: dark)").matches);
  document.querySelector("header .quiet").append(h("button", { type: "button", class: "quiet", title: "Light or dark", "aria-label": "Switch between light and dark", onclick: () => turn(!document.body.classList.contains("dark")) }, "◐"));
}

/** In a frame of another page: nothing around the view, and the page is told how high it is. */
function framed(views) {
  if (parent === window) return;
  const main = document.querySelector("main"), clocked = views.some((view) => view.records.some((path) => path.includes("{step}")));
  document.body.classList.add("framed", ...(clocked ? [] : ["timeless"]));
  new ResizeObserver(() => parent.postMessage({ dinoLabHeight: Math.ceil(main.getBoundingClientRect().height) }, "*")).observe(main);
}
