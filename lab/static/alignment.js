/* view
{
  "page": "compare",
  "place": 20,
  "title": "How alike are layers and checkpoints",
  "shows": "Linear centred kernel alignment (CKA), 0 to 1: how alike two descriptions of the same patches are, whatever their axes.",
  "look": "A block of bright checkpoints is a time in which little changed. Layers of an untrained network are all alike: they all still say what the pixels say.",
  "needs": "Checkpoints: at least one probe; layers: networks with attention whose weights are there, not only their answers.",
  "records": ["run/{run}/cka", "compare/layers?source={source}&against={source}&images={images}"]
}
*/
// Two matrices: the run's checkpoints with each other, and the layers of two networks (lab/analysis/cka.py).

import { card, h, number } from "./dom.js";
import { RAMP_CSS } from "./maps.js";
import { LOOKED_AT, imagesOf, keepSight, latest, nameOf, sourceOf, weighed } from "./sight.js";
import { drawOutline, drawPatches, patchAt, ramp, tile } from "./tiles.js";

export function mount(element, host) {
  keepSight(host);
  const body = card(element, { ...host.about, data: () => ({ checkpoints: time.table(), layers: depth.table() }) });
  const time = panel("checkpoint", "checkpoint"), depth = panel("layer", "layer");
  body.append(h("div", { class: "controls under" }, h("span", { class: "scale" }, "CKA 0", h("i", { style: `background:${RAMP_CSS.cividis}` }), "1")), h("div", { class: "sides" }, time.element, depth.element));
  const later = latest(host, overDepth);
  const load = () => { if (host.get("run")) { overTime(); later(); } }; // what is stored does not wait for what is computed
  host.on([...LOOKED_AT], load);
  host.on("data", () => { if (!time.shown() || !depth.shown()) load(); });
  load();

  async function overTime() {
    if (!host.stops().length) { time.say("The first pictures come with the first checkpoint."); return; }
    const run = host.get("run");
    try {
      const found = await host.ask(`run/${run}/cka`);
      if (run !== host.get("run")) return;
      time.draw(found, `Checkpoints of ${host.run()?.head.name ?? "the run"}`, "step", "step");
    } catch (error) { if (run === host.get("run")) time.say(error.message); }
  }

  async function overDepth(current) {
    const name = host.get("source"), against = host.get("against") || name, [one, two] = [name, against].map((each) => weighed(host, sourceOf(host, each)));
    if (!one || !two || !imagesOf(host)) { depth.say("The first pictures come with the first checkpoint."); return; }
    if (!depth.shown()) depth.say("A worker looks through the layers …");
    try {
      const size = host.get("size");
      const found = await host.ask(`compare/layers?source=${encodeURIComponent(one)}&against=${encodeURIComponent(two)}&images=${encodeURIComponent(imagesOf(host))}${size ? `&size=${size}` : ""}`);
      if (!current()) return;
      const [rows, columns] = [[name, one], [against, two]].map(([each, source]) => nameOf(host, each, source.split(":")[2]));
      const kept = [name, against].some((each, i) => [one, two][i] !== sourceOf(host, each)) ? "A step that kept its answers alone has no layers to compare: the nearest that kept its weights is shown." : "";
      depth.draw(found, "Layers", rows, columns, kept);
    } catch (error) { if (current()) depth.say(error.message); }
  }
}

function panel(rowWord, columnWord) {
  const title = h("h3"), words = h("p", { class: "hint", role: "status" }), note = h("p", { class: "hint" }), left = h("span", { class: "axis-left" }), below = h("span", { class: "axis-below" });
  let found = null, at = null;
  const canvas = tile((context, size) => {
    if (!found) return;
    const grid = [found.rows.length, found.columns.length];
    const values = found.matrix.flat(), colours = ramp(values, 0, 1, "cividis");
    drawPatches(context, size, grid, (n) => (values[n] === null ? [0, 0, 0, 0] : colours(n)));
    if (at !== null) drawOutline(context, size, Uint8Array.from(values, (_, n) => Number(n === at)), grid, { width: 1 });
  }, { class: "matrix", tabindex: 0, "data-matrix": rowWord });
  canvas.addEventListener("pointermove", (event) => tell(found && patchAt(event, [found.rows.length, found.columns.length])));
  canvas.addEventListener("keydown", (event) => {
    const by = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (!by || !found) return;
    event.preventDefault();
    event.stopPropagation();
    const wide = found.columns.length, row = Math.floor((at ?? 0) / wide) + by[0], column = ((at ?? 0) % wide) + by[1];
    if (row >= 0 && column >= 0 && row < found.rows.length && column < wide) tell(row * wide + column);
  });
  const element = h("section", { class: "side" }, title, h("div", { class: "matrix-frame" }, left, canvas, below), words, note);

  /** Say what a cell holds, and mark it. */
  function tell(index) {
    if (index === null || index === undefined || !found) return;
    at = index;
    canvas.paint();
    const row = Math.floor(index / found.columns.length), column = index % found.columns.length, value = found.matrix[row][column];
    words.textContent = `${rowWord} ${found.rows[row]} with ${columnWord} ${found.columns[column]}: CKA ${value === null ? "undefined, one of them says the same of everything" : number(value)}`;
  }

  /** A row an entry of the matrix. */
  function table() {
    const pairs = (found?.rows ?? []).flatMap((row, r) => found.columns.map((column, c) => [row, column, found.matrix[r][c]]));
    return { row: pairs.map(([row]) => row), column: pairs.map(([, column]) => column), cka: pairs.map(([, , value]) => value ?? "") };
  }

  return {
    element, table, shown: () => found !== null,
    say(text) { found = null; canvas.hidden = true; title.textContent = ""; left.textContent = below.textContent = ""; words.textContent = text; note.textContent = ""; },
    draw(next, heading, vertical, horizontal, kept = "") {
      found = next;
      note.textContent = kept;
      canvas.hidden = false;
      title.textContent = `${heading}, over ${number(next.count)} places`;
      left.textContent = `${vertical}: ${next.rows[0]} (top) to ${next.rows.at(-1)}`;
      below.textContent = `${horizontal}: ${next.columns[0]} (left) to ${next.columns.at(-1)}`;
      canvas.setAttribute("aria-label", `${heading}: matrix of ${next.rows.length} by ${next.columns.length}; first with last ${number(next.matrix[0].at(-1))}; arrow keys read it`);
      if (at === null || at >= next.rows.length * next.columns.length) at = next.columns.length - 1;
      tell(at);
    },
  };
}
