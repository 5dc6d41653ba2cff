// The host of a notebook: asks the kernel by messages.  Views of one run share one host in the page, and with it clock, selection and data,
// however many cells show them; what they look at is kept in the widgets' `state`, where Python reads and sets it.

import { h } from "./dom.js";
import { plotlyFrom } from "./loader.js";
import { parse } from "./safetensors.js";
import { createHost, scoped } from "./store.js";

const RARELY = 30_000; // milliseconds between questions; the kernel says when there is something new
const SETTLED = 120; // milliseconds after which what is looked at is written to the widgets
const shared = new Map(); // kernel and run → what its views share
let theme = null, plotly = null;

export async function render({ model, el, line, urls }) {
  const together = shareOf(model, line), { host } = together, views = model.get("_views"), ends = [];
  await styled(line);
  const place = h("div", { class: "dino-lab", onfocusin: (event) => event.target.setAttribute("data-lm-suppress-shortcuts", "true") }); // or arrows fold cells
  if (model.get("height")) place.style.cssText = `max-height:${model.get("height")}px;overflow:auto`;
  place.classList.toggle("dark", isDark());
  el.append(place);
  const pages = views.map(({ page }) => page).filter((page) => page !== "*");
  for (const about of views) {
    const section = h("section", { class: "lab-view", "data-view": about.name, tabindex: -1 });
    const view = scoped(host, { ...about, page: "*", alone: true, pages }, place);
    place.append(section);
    ends.push(view.close);
    try {
      const { mount } = await import(urls[about.module]);
      mount(section, view);
    } catch (error) {
      section.append(`${about.title} could not be drawn: ${error.message}`);
      console.error(error);
    }
  }
  ends.push(together.join(model, line));
  return () => ends.forEach((end) => end());
}

function shareOf(model, line) {
  const key = `${model.get("_kernel")} ${model.get("_run")}`;
  if (!shared.has(key)) shared.set(key, share(model.get("_run"), line, model));
  return shared.get(key);
}

/** One host, and the widgets that show it; any that is there carries its questions, and while none is, questions wait. */
function share(run, first, model) {
  const founder = { model, line: first }, members = new Set([founder]), waiting = [];
  let address = new Map(Object.entries(model.get("state"))), timer = null, wake = null;

  const anyLine = () => (members.size ? Promise.resolve(members.values().next().value.line) : new Promise((done) => waiting.push(done)));
  async function ask(path, body) {
    const raw = body instanceof Blob ? [await body.arrayBuffer()] : body instanceof ArrayBuffer || ArrayBuffer.isView(body) ? [body] : [];
    const { answer, bytes } = await (await anyLine()).ask("ask", { path, told: body !== undefined, body: raw.length ? null : body ?? null }, raw);
    return bytes.length ? parse(bytes[0]) : answer;
  }

  const host = createHost({
    ask,
    url: (path) => (path.endsWith("icon.svg") ? model.get("_icon") : path),
    plotly: () => (plotly ??= anyLine().then((line) => line.ask("plotly")).then(({ bytes }) => plotlyFrom(bytes[0]))),
    read: () => address,
    write: (changes) => { for (const [key, value] of changes) if (value === null) address.delete(key); else address.set(key, value); settle(); },
    link: (view) => `lab.show(${[view.name, host.run()?.head.name ?? null].map((text) => JSON.stringify(text)).join(", ").replace("null", "None")}${[...host.address()].filter(([name]) => name !== "run").map(([name, value]) => `, ${name}=${JSON.stringify(value)}`).join("")})`,
    wake: (tick) => { wake = tick; },
    pace: RARELY,
  }, { run: run || null });

  /** What is looked at, without what every widget of this run has in common anyway. */
  const looked = () => Object.fromEntries([...host.address()].filter(([key]) => !["run", "page"].includes(key)));

  function settle() {
    clearTimeout(timer);
    timer = setTimeout(() => {
      const text = JSON.stringify(looked());
      for (const { model: member } of members) {
        if (JSON.stringify(member.get("state")) === text) continue;
        member.set("state", JSON.parse(text));
        member.save_changes();
      }
    }, SETTLED);
  }
  /** Look at what Python says. */
  function follow(state) {
    const changes = {};
    for (const key of new Set([...Object.keys(state), ...Object.keys(looked())])) {
      if (key === "step") Object.assign(changes, { step: state.step ?? null, follow: (state.step ?? null) === null });
      else if (key === "patch") Object.assign(changes, { patch: state.patch ?? null, pinned: (state.patch ?? null) !== null });
      else if (key in state) changes[key] = state[key];
    }
    host.set(changes);
  }

  function join(member, line) {
    const changed = () => follow(member.get("state"));
    const heard = (message) => { if (message.kind === "news") wake?.(); };
    const me = { model: member, line };
    members.add(me);
    members.delete(founder);
    member.on("change:state", changed);
    line.heard.add(heard);
    waiting.splice(0).forEach((done) => done(line));
    if (Object.keys(member.get("state")).length) changed(); else settle();
    return () => {
      member.off("change:state", changed);
      line.heard.delete(heard);
      members.delete(me);
    };
  }
  watchTheme(host);
  return { host, join };
}

/** The style sheet, for this lab's own elements and no others; once in a page. */
function styled(line) {
  theme ??= line.ask("theme").then(({ answer }) => document.head.append(h("style", { "data-lab-theme": "" }, answer)));
  return theme;
}

/** JupyterLab, VS Code and Colab each say it in their own way. */
const isDark = () => document.body.dataset.jpThemeLight === "false" || document.body.classList.contains("vscode-dark") || document.documentElement.getAttribute("theme") === "dark";

function watchTheme(host) {
  new MutationObserver(() => {
    document.querySelectorAll(".dino-lab").forEach((place) => place.classList.toggle("dark", isDark()));
    host.set({ theme: isDark() });
  }).observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light", "class"] });
}
