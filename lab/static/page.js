// The host of a page of the lab: asks its own server, keeps the state in the address, loads plotly from beside it.

import { parse } from "./safetensors.js";
import { createHost, scoped } from "./store.js";

const BASE = new URL("../../", import.meta.url);
const url = (path) => new URL(path, BASE).href;

/** Answers that the page came with, by the path of the question: each is taken once. */
const came = new Map([...document.querySelectorAll("script[data-answers]")].map((script) => [script.dataset.answers, script.textContent]));

const SILENT = "The lab does not answer.", GONE = [502, 503, 504]; // what stands before a lab answers these for one that is not there

async function ask(path, body) {
  const answered = came.get(path);
  if (answered !== undefined && came.delete(path)) return JSON.parse(answered);
  const bytes = body instanceof Blob || body instanceof ArrayBuffer || ArrayBuffer.isView(body);
  const sent = body === undefined ? {} : { method: "POST", body: bytes ? body : JSON.stringify(body),
    headers: { "Content-Type": bytes ? "application/octet-stream" : "application/json" } };
  const response = await fetch(url(path), sent).catch(() => { throw new TypeError(SILENT); });
  if (GONE.includes(response.status)) throw new TypeError(SILENT);
  if (response.status === 204) return null;
  if (!response.ok) throw new Error((await response.json().catch(() => ({}))).error ?? `the lab answered ${response.status}.`);
  return response.headers.get("content-type")?.includes("json") ? response.json() : parse(await response.arrayBuffer());
}

let loading = null;
function plotly() {
  loading ??= new Promise((done, failed) => {
    const script = document.createElement("script");
    script.src = url("static/plotly.min.js");
    script.onload = () => done(window.Plotly);
    script.onerror = () => {
      loading = null; // whoever asks again may have it
      script.remove();
      failed(new Error("plotly.js could not be loaded from the lab's server."));
    };
    document.head.append(script);
  });
  return loading;
}

const NAMES = { page: "view" }; // Gradio keeps ?page= for itself and answers 500 to a page it does not know
const named = (key) => NAMES[key] ?? key;
const query = () => new URLSearchParams(location.search);
const read = () => ({ get: (key) => query().get(named(key)) });

const RESTED = 250; // milliseconds after the last step of scrubbing

let owed = null, resting = null;

/** Each address that is written has the browser ask for the page's icon anew: while somebody scrubs that is left until the clock rests. */
function write(changes, passing) {
  owed = changes;
  clearTimeout(resting);
  if (passing) resting = setTimeout(settleAddress, RESTED); else settleAddress();
}

function settleAddress() {
  const changes = owed, next = query();
  owed = null;
  if (!changes) return;
  for (const [key, value] of changes) if (value === null) next.delete(named(key)); else next.set(named(key), value);
  const text = next.toString();
  const address = `${location.pathname}${text ? "?" + text : ""}${location.hash}`;
  if (address !== location.pathname + location.search + location.hash) history.replaceState(history.state, "", address);
}

const link = () => { settleAddress(); return location.href; };

export const host = createHost({ ask, url, plotly, read, write, link });

/** `?card=NAME`: that view of a page alone, for a projector; the others are not even fetched. */
const alone = query().get("card");

function aside(element, about) {
  document.body.dataset.card = alone;
  if (about.name === alone) return false;
  if (about.name !== "transport") element.closest(".lab-host")?.classList.add("aside");
  return about.page !== "*"; // what is on every page works on behind the scenes: it knows the runs
}

/** Views that stand already, by name: above the place where Gradio is about to lay out the page. */
const standing = new Map();

/** Put a view in its place, when its page is first shown; only then is its module fetched. */
export function place(element, about, fetchModule) {
  const there = standing.get(about.name);
  if (there) return settle(element, about, there);
  element.dataset.view = about.name;
  if (alone && aside(element, about)) return;
  fill(element, about, fetchModule);
}

/** The top of the page is there, and answers, while Gradio's own scripts are still on their way. */
function begin() {
  const all = document.getElementById("lab-first");
  if (!all || alone) return;
  if (dark()) document.body.classList.add("dark"); // as Gradio will
  const ahead = document.createElement("div");
  ahead.className = "lab-ahead";
  for (const about of JSON.parse(all.textContent)[host.get("page")] ?? []) {
    const section = document.createElement("section");
    section.className = "lab-view";
    section.dataset.view = about.name;
    standing.set(about.name, section);
    ahead.append(section);
    fill(section, about, () => import(`./${about.module}.js`));
  }
  document.body.prepend(ahead);
}

function settle(element, about, section) {
  standing.delete(about.name);
  const held = section.contains(document.activeElement) ? document.activeElement : null; // what is moved loses the focus,
  const scrolled = [...section.querySelectorAll("*")].map((part) => [part, part.scrollLeft]).filter(([, left]) => left); // and this
  section.dataset.placed = "yes";
  element.replaceWith(section);
  for (const [part, left] of scrolled) part.scrollLeft = left;
  held?.focus({ preventScroll: true });
  if (!standing.size) document.querySelector(".lab-ahead")?.remove();
}

const dark = () => (query().get("__theme") ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";

function fill(element, about, fetchModule) {
  const view = scoped(host, about);
  let begun = false;
  const show = async () => {
    document.body.dataset.page = host.get("page");
    if (!view.shown() || begun) return;
    begun = true;
    try {
      const { mount } = await fetchModule();
      element.replaceChildren();
      mount(element, view);
      element.dataset.mounted = "yes";
    } catch (error) {
      if (element.childElementCount) throw error; // it began, and failed by itself
      begun = false;
      element.textContent = `${about.title} could not be fetched: is the lab still running? Come back to this page to try again.`;
    }
  };
  host.on("page", show);
  show();
}

(function soon() { if (document.body) begin(); else requestAnimationFrame(soon); })(); // it does not wait for Gradio's scripts
