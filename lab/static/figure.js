// A figure that a Python function draws (lab/views/figures.py): its arguments as controls, plotly for the rest.

import { bound, switched } from "./bound.js";
import { card, css, h } from "./dom.js";
import { laid } from "./laid.js";
import { painted } from "./tiles.js";

const CONFIG = { displaylogo: false, showSendToCloud: false, responsive: true, displayModeBar: "hover" };

/** What choices are called where the code has a short name for them. */
const NAMES = { cls: "class token", pca_iou: "first component", "jaccard/best_head": "best head's attention" };

export function mount(element, host) {
  const { name, controls } = host.about;
  const kept = (key) => `${name}_${key}`; // what the address calls an argument
  host.keep(Object.fromEntries(Object.entries(controls).map(([key, { default: value }]) => [kept(key), typeof value === "boolean" ? Number(value) : value])));
  const chosen = () => Object.fromEntries(Object.entries(controls).map(([key, { kind }]) => [key, kind === "switch" ? Boolean(host.get(kept(key))) : host.get(kept(key))]));
  const body = card(element, { ...host.about, controls: Object.entries(controls).map(([key, about]) => control(key, about)) });
  const plot = h("div", { class: "plot figure" }), status = h("p", { class: "hint", role: "status" });
  body.append(plot, status);
  let asked = 0, last = "", visible = false;
  host.on(["stop", "run", "overlay", "beside", "data", "theme", ...Object.keys(controls).map(kept)], load);
  new IntersectionObserver(([entry]) => { visible = entry.isIntersecting; load(); }, { rootMargin: "250px" }).observe(body);
  body.addEventListener("whole", () => { visible = true; load(); }); // about to be saved

  function control(key, { kind, choices }) {
    const words = key.replaceAll("_", " ");
    if (kind === "choice") return bound(host, words, Object.fromEntries(choices.map((c) => [c, NAMES[c] ?? String(c).replaceAll("_", " ")])), kept(key));
    if (kind === "switch") return switched(host, words, kept(key));
    const field = h("input", { type: "number", value: host.get(kept(key)), step: kind === "whole" ? 1 : "any", onchange: () => host.set({ [kept(key)]: Number(field.value) }) });
    host.on(kept(key), () => { field.value = host.get(kept(key)); });
    return h("label", { class: "labelled" }, `${words} `, field);
  }

  async function load() {
    if (!visible) return; // plotly takes as long as all pictures that are looked at
    const stop = host.stop();
    if (!host.run() || stop === null) { status.textContent = "The first pictures come with the first checkpoint."; return; }
    const over = host.about.beside ? laid(host).slice(1).filter(({ track }) => track) : [];
    const path = `figure/${name}/${host.get("run")}/${stop}?controls=${encodeURIComponent(JSON.stringify(chosen()))}${over.length ? `&beside=${over.map(({ id }) => id).join(",")}` : ""}`;
    const version = host.about.grows ? [host.run(), ...over.map(({ track }) => track)].map(({ head }) => head.step).join() : "";
    const wanted = path + version + css("ink");
    if (wanted === last) return;
    last = wanted;
    const now = ++asked;
    try {
      const [Plotly, drawn] = await Promise.all([host.plotly(), host.kept(path, version)]);
      await painted();
      await painted(); // pictures go first, the large ones and then the small
      if (now !== asked) return;
      status.textContent = "";
      const projected = "card" in document.body.dataset; // on a projector letters are larger
      const layout = { ...drawn.layout, template: undefined, paper_bgcolor: "transparent", plot_bgcolor: "transparent", font: { family: "system-ui, sans-serif", size: projected ? 14 : 11.5, color: css("muted") || undefined },
        uirevision: name, margin: { l: projected ? 76 : 56, r: 12, t: drawn.layout.title ? 34 : 10, b: projected ? 54 : 44 }, autosize: true };
      for (const axis of ["xaxis", "yaxis"]) layout[axis] = { ...layout[axis], gridcolor: css("grid"), zerolinecolor: css("grid"), linecolor: css("grid") };
      await Plotly.react(plot, drawn.data, layout, CONFIG);
    } catch (error) {
      if (now !== asked) return;
      last = ""; // it may be asked for again
      status.textContent = error.message;
    }
  }
}
