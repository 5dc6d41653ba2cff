// Curves over training steps.  A panel is one plotly element that lives as long as the page: new points never touch zoom, hover or
// scroll.  A view says what its panels hold; the chart adds the clock, the alarms, overlaid runs, and a legend that tells values.
// One overlaid run has the colours of the curves, dotted.  With several, colour, dash and marker say which run it is (laid.js), and a panel
// draws one of its curves for all of them: the one whose name was pressed.

import { css, h, number, refill } from "./dom.js";
import { laid, mark as picture } from "./laid.js";

const CONFIG = {
  displaylogo: false, showSendToCloud: false, responsive: false, doubleClick: false, displayModeBar: false,
};
const AGAIN = 3000; // milliseconds until a plotly that could not be loaded is asked for again
const MANY = 120; // points above which a curve has no dots, or is drawn twice: thin as logged, thick as its running mean
const LABEL = 18; // pixels that a line's label needs
const LEFT = 46, RIGHT = 10; // pixels beside every plot, so that the steps of all panels stand above one another
const UNMEASURED = { ticklabeloverflow: "allow" }; // whether labels of an axis have room: plotly would have the page laid out for each, and they have it
const PROJECTED = 1.25; // how much larger letters are on a projector

/** The last value of a curve that is a number. */
export const last = (curve) => curve?.y.findLast((y) => y !== null) ?? null;

/** How far a run came: one that ran to its end did all its steps, whichever it logged last. */
export const reached = ({ status, step, steps }) => (status === "finished" ? Math.max(step, steps ?? 0) : step);

/** 0 fine, 1 a warning, 2 an alarm. */
export const severity = (level) => ({ trouble: 2, watch: 1 })[level] ?? 0;

/** `panels(track)` → [{ title, unit, height, range, zero, format, curves: [{ name, key, main, colour, x, y, dash, fill, faint, dots, shown, about }],
    lines: [{ y, label, colour, left, below }] }].  Curves without points are left out, and panels without curves.
    A run's phases are bands on all of them.  `key` is what a curve is called where its name depends on the run, `main` the curve that
    several runs begin with. */
export function chart(element, host, panels, { empty = "No values yet." } = {}) {
  const note = h("p", { class: "empty", hidden: true }, empty); // said once it has been looked for
  const frame = h("div", { class: "panels" }, note);
  element.append(frame);
  const made = new Map();
  let dirty = true, visible = false, queued = false;

  function mark() {
    dirty = true;
    if (queued || !visible) return;
    queued = true;
    requestAnimationFrame(() => { queued = false; draw(); });
  }

  function draw() {
    if (!dirty || !visible) return;
    dirty = false;
    const runs = host.run() ? laid(host).filter(({ track }) => track).map((one) => ({ ...one, panels: filled(panels(seen(host, one.track))) })) : [];
    const shown = runs[0]?.panels ?? [];
    note.hidden = shown.length > 0;
    for (const [title, one] of made) if (!shown.some((panel) => panel.title === title)) { one.remove(); made.delete(title); }
    shown.forEach((panel, index) => {
      if (!made.has(panel.title)) {
        const one = onePanel(host, panel);
        made.set(panel.title, one);
        frame.append(one.element);
      }
      const twins = runs.map(({ panels: other }) => other.find(({ title }) => title === panel.title) ?? null);
      made.get(panel.title).draw(panel, { runs, twins, first: index === 0, lowest: index === shown.length - 1 });
    });
  }

  host.keep({ xaxis: "step", picked: null, xrange: null, yrange: null });
  let of = host.get("run");
  host.on("run", () => { // heights are of one run's values; the address names it only once the list of runs is here
    const run = host.get("run");
    if (of && run && of !== run) host.set({ yrange: null });
    of = run ?? of;
  });
  host.on(["data", "theme", "overlay", "beside", "picked", "run", "xrange", "yrange", "xaxis", "notes"], mark);
  host.on("stop", () => made.forEach((one) => one.placeClock()));
  new IntersectionObserver(([entry]) => { visible = entry.isIntersecting; if (visible) mark(); dirty ||= visible; draw(); }, { rootMargin: "250px" }).observe(frame);
  frame.addEventListener("whole", () => { visible = true; draw(); }); // about to be saved, also what was not scrolled to
  return { redraw: mark };
}

/** What of the axis is seen, as numbers: the address has "from~to"; null for all of it. */
function zoomed(host) {
  const [from, to] = (host.get("xrange") ?? "").split("~").map(Number);
  return from < to ? [from, to] : null;
}

/** How high panels were zoomed to, by their titles: the address has "title~from~to" of each; those of numbers alone. */
function heights(host) {
  const said = (host.get("yrange") ?? "").split(";").map((one) => one.split("~")).map(([title, ...ends]) => [title, ends.map(Number)]);
  return new Map(said.filter(([, [from, to]]) => from < to));
}

/** From now on a panel is as high as this; null: as its values are. */
function stretch(host, { title }, range) {
  const known = heights(host);
  if (range) known.set(title, range); else known.delete(title);
  host.set({ yrange: [...known].map(([name, [from, to]]) => `${name}~${from}~${to}`).join(";") || null });
}

/** A run with the curves that a zoom shows, and a tenth more on both sides: means at the edges are of points as dense as those between. */
function seen(host, track) {
  const range = zoomed(host);
  if (!range) return track;
  const [from, to] = range, more = (to - from) / 10, at = clockOf(host.get("xaxis"), track);
  return { ...track, curves: host.closer(track, ...stepsOf(at, [from - more, to + more], track.head.step)) };
}

const filled = (panels) => panels.map((panel) => ({ ...panel, curves: panel.curves.filter((curve) => curve?.x?.length) })).filter((panel) => panel.curves.length);

function onePanel(host, { height = 110 }) {
  const plot = h("div", { class: "plot" }), clock = h("div", { class: "clock", hidden: true });
  const title = h("h3"), legend = h("dl", { class: "legend" });
  const holder = h("div", { class: "plot-frame" }, plot, clock);
  const element = h("section", { class: "panel", style: `--height:${height}px` }, h("div", { class: "panel-head" }, title, legend), holder);
  let size = null; // [width, height], kept so that drawing need not ask for it, and have the page laid out for the answer
  let now = null, busy = false, later = false, zoom = 0, alone = null; // the curve that is drawn for all
  const drawn = () => `${host.get("run")} ${host.get("xaxis")} ${zoom}`;

  async function draw(panel, around) {
    now = { panel, around };
    const before = alone;
    alone = around.runs.length > 2 ? keyOf(pickedOf(host, panel)) : null;
    if (before && alone && before !== alone) { zoom += 1; stretch(host, panel, null); } // another curve, another height
    if (around.runs.length > 2) legendOfRuns(panel, around); else legendOf(panel, around.first ? around.runs[1]?.track : null);
    title.replaceChildren(panel.title, panel.unit ? h("small", {}, ` ${panel.unit}`) : "");
    holder.dataset.lowest = around.lowest;
    if (busy) { later = true; return; }
    busy = true;
    try {
      const Plotly = await host.plotly().catch((error) => { plot.textContent = error.message; });
      if (!Plotly) { setTimeout(() => draw(now.panel, now.around), AGAIN); return; }
      if (!plot.dataset.ready) plot.replaceChildren(); // what was said in its place
      size ??= [holder.clientWidth, holder.clientHeight];
      const { traces, layout } = figure(host, now.panel, now.around, size, drawn(), heights(host).get(now.panel.title));
      await Plotly.react(plot, traces, layout, CONFIG);
      if (!plot.dataset.ready) listen(Plotly);
      placeClock();
    } finally {
      busy = false;
    }
    if (later) { later = false; draw(now.panel, now.around); }
  }

  function listen(Plotly) {
    plot.dataset.ready = "yes";
    plot.on("plotly_relayout", (changes) => {
      const ends = (axis) => [0, 1].map((end) => Number(Number(changes[`${axis}.range[${end}]`]).toPrecision(7)));
      if ("yaxis.range[0]" in changes) stretch(host, now.panel, ends("yaxis"));
      if ("xaxis.range[0]" in changes) host.set({ xrange: ends("xaxis").join("~") });
    });
    plot.on("plotly_doubleclick", () => { zoom += 1; stretch(host, now.panel, null); host.set({ xrange: null }); draw(now.panel, now.around); });
    plot.on("plotly_afterplot", placeClock);
    plot.on("plotly_click", (event) => host.seek(stepAt(host, event.points[0].x)));
    new ResizeObserver(([{ contentRect }]) => {
      const [width, height] = [contentRect.width, contentRect.height].map(Math.round);
      if (!width || (width === size[0] && Math.abs(height - size[1]) < 4)) return;
      size = [width, height];
      draw(now.panel, now.around);
    }).observe(holder);
  }

  /** The stop that the pictures show, as a line: moved without asking plotly to draw again. */
  function placeClock() {
    const axis = plot._fullLayout?.xaxis, stop = host.stop();
    if (!axis || stop === null) { clock.hidden = true; return; }
    const at = axis.l2p(clockOf(host.get("xaxis"), host.run())(stop)), { t, h: length } = plot._fullLayout._size;
    clock.hidden = !(at >= -1 && at <= axis._length + 1);
    clock.style.transform = `translateX(${axis._offset + at}px)`;
    clock.style.top = `${t}px`;
    clock.style.height = `${length}px`;
  }

  function legendOf(panel, over) {
    const entries = named(panel.curves);
    refill(legend, entries.map((entry) => entry.name + entry.colour).join("|") + (over?.head.name ?? ""), () => [
      ...entries.map((entry) => h("div", { title: entry.about ?? null },
        h("dt", {}, h("i", { class: "swatch", style: `--c:var(--${entry.colour})`, "data-dash": entry.dash ?? "solid" }), entry.name), h("dd"))),
      over ? h("div", { title: `dotted: ${over.head.name}` }, h("dt", {}, h("i", { class: "swatch", style: "--c:var(--ink)", "data-dash": "dot" })), h("dd", { class: "name" }, over.head.name)) : null,
    ]);
    legend.querySelectorAll("dd:not(.name)").forEach((place, index) => {
      const value = (entries[index].shown ?? ((v) => number(v)))(last(entries[index]));
      if (place.textContent !== value) place.textContent = value;
    });
  }

  /** Which curve is drawn, to choose from; then each run with its last value, by name in the first panel. */
  function legendOfRuns(panel, { runs, twins, first }) {
    const entries = named(panel.curves), chosen = keyOf(pickedOf(host, panel));
    refill(legend, JSON.stringify([entries.map(keyOf), entries.map(({ name }) => name), chosen, first, runs.map(({ look, track }) => [look.symbol, track.head.name])]), () => [
      entries.length > 1 ? h("div", { class: "picks", role: "group", "aria-label": `Curve of ${panel.title} that is drawn for every run` }, entries.map((entry) =>
        h("button", { type: "button", title: entry.about ?? null, "aria-pressed": String(keyOf(entry) === chosen), onclick: () => pick(panel, entry) }, entry.name))) : null,
      ...runs.map(({ look, track }) => h("div", { title: track.head.name, "data-run": track.id }, h("dt", {}, picture(look), h("span", { class: first ? "name" : "sr-only" }, track.head.name)), h("dd"))),
    ]);
    legend.querySelectorAll("dd").forEach((place, index) => {
      const curve = twins[index]?.curves.find((one) => keyOf(one) === chosen), value = (curve?.shown ?? ((v) => number(v)))(last(curve));
      if (place.textContent !== value) place.textContent = value;
    });
  }

  function pick(panel, curve) {
    const found = picks(host).set(panel.title, keyOf(curve)), pressed = legend.contains(document.activeElement);
    host.set({ picked: [...found].map((pair) => pair.join("~")).join(";") });
    legendOfRuns(now.panel, now.around);
    if (pressed) legend.querySelector("[aria-pressed=true]")?.focus();
  }

  return { element, draw, placeClock, remove: () => { window.Plotly?.purge(plot); element.remove(); } };
}

function figure(host, panel, { runs, twins, first, lowest }, [width, tall], revision, stretched) {
  const [ink, muted, grid, paper] = ["ink", "muted", "grid", "card"].map(css), behind = tint(paper, 0.72);
  const range = zoomed(host), kind = AXES[host.get("xaxis")] ? host.get("xaxis") : "step";
  const { track } = runs[0], clocks = runs.map((one) => clockOf(kind, one.track)), at = clocks[0], many = runs.length > 2;
  const height = Math.max(tall, 60), larger = "card" in document.body.dataset && width > 700 ? PROJECTED : 1;
  const layout = {
    height, width, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", showlegend: false, hovermode: "x unified",
    margin: { l: larger * LEFT, r: larger * RIGHT, t: first && phases(track).length ? larger * 17 : 8, b: lowest ? larger * 36 : 7 }, uirevision: revision, dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
    font: { family: "system-ui, sans-serif", size: larger * 11.5, color: muted }, hoverlabel: { bgcolor: paper, bordercolor: grid, font: { color: ink, size: 12 }, namelength: many ? 26 : 15 },
    shapes: [], annotations: [],
    xaxis: { title: lowest ? { text: AXES[kind].title, standoff: 5, font: { size: larger * 12 } } : undefined, showgrid: false, zeroline: false, linecolor: grid, tickcolor: grid, ticks: "outside", ticklen: 3,
      nticks: width < 460 ? 5 : 8, hoverformat: AXES[kind].hover, tickformat: AXES[kind].ticks, unifiedhovertitle: { text: AXES[kind].said },
      showticklabels: lowest, ...UNMEASURED, range: range ? [...range] : [earliest(runs, at), furthest(runs, clocks)] },
    yaxis: { gridcolor: grid, zeroline: false, nticks: height < 130 ? 3 : 6, range: stretched ?? widest(twins), rangemode: panel.zero ? "tozero" : "normal", tickformat: panel.format ?? "~g", exponentformat: "power", ...UNMEASURED },
  };
  for (const line of panel.lines ?? []) {
    if (!Number.isFinite(line.y)) continue;
    const colour = css(line.colour ?? "muted");
    layout.shapes.push({ type: "line", xref: "paper", x0: 0, x1: 1, y0: line.y, y1: line.y, layer: "below", line: { color: colour, width: 1.2, dash: "dash" } });
    layout.annotations.push({ text: escaped(line.label), xref: "paper", x: line.left ? 0.004 : 0.996, y: line.y, xanchor: line.left ? "left" : "right", yanchor: hangs(line, layout) ? "top" : "bottom",
      showarrow: false, font: { size: larger * 11, color: colour }, bgcolor: behind });
  }
  for (const [index, { from, to, label }] of phases(track).entries()) {
    if (index % 2) layout.shapes.push({ type: "rect", yref: "paper", x0: at(from), x1: at(to), y0: 0, y1: 1, layer: "below", line: { width: 0 }, fillcolor: tint(css("sky"), 0.14) });
    if (first) layout.annotations.push({ text: escaped(label), x: at(from), yref: "paper", y: 1, xanchor: "left", yanchor: "bottom", showarrow: false, font: { size: larger * 10.5, color: muted }, borderpad: 0 });
  }
  for (const event of alarms(track)) {
    const colour = css(severity(event.level) > 1 ? "red" : "orange");
    layout.shapes.push({ type: "line", yref: "paper", x0: at(event.since_step), x1: at(event.since_step), y0: 0, y1: 1, layer: "below", line: { color: colour, width: 1.5, dash: "dot" } });
    layout.annotations.push({ text: severity(event.level) > 1 ? "◆" : "▲", hovertext: escaped(`since step ${event.since_step}: ${event.sentence ?? event.name}`), x: at(event.since_step), yref: "paper", y: 0, yanchor: "bottom",
      showarrow: false, font: { size: 12, color: colour } });
  }
  for (const note of host.get("notes") ?? []) {
    layout.shapes.push({ type: "line", yref: "paper", x0: at(note.step), x1: at(note.step), y0: 0, y1: 1, layer: "below", line: { color: muted, width: 1, dash: "dot" } });
    layout.annotations.push({ text: "✎", hovertext: escaped(`step ${note.step}: ${note.text}`), x: at(note.step), yref: "paper", y: 1, yanchor: "top", showarrow: false, font: { size: 12, color: ink } });
  }
  const traces = many ? ofAll(host, panel, runs, twins, kind, clocks) : ofTwo(panel, twins[1], kind, clocks);
  layout.datarevision = [kind, ...runs.map(({ track: { id, told, near } }) => `${id} ${told} ${near?.key}`), ...traces.map(({ x, name }) => `${name} ${x.length}`)].join(); // curves grow in place, and plotly looks whether it is given another list
  return { traces, layout };
}

/** Whether a line's label is below it: where the panel wants it, or where the edge of a zoom leaves no room on the other side. */
function hangs(line, { height, margin, yaxis }) {
  if (!yaxis.range) return Boolean(line.below);
  const [low, high] = yaxis.range, pixels = (height - margin.t - margin.b) / (high - low);
  const above = (high - line.y) * pixels + margin.t, below = (line.y - low) * pixels;
  return line.below ? below >= LABEL || below >= above : above < LABEL && below > above;
}

/** Curves that were picked, by the titles of their panels: what `picked` in the address says. */
const picks = (host) => new Map((host.get("picked") ?? "").split(";").filter(Boolean).map((pair) => pair.split("~")));
const keyOf = (curve) => curve.key ?? curve.name;
const named = (curves) => curves.filter((curve) => !curve.faint);

/** The curve of a panel that is drawn for several runs. */
function pickedOf(host, panel) {
  const curves = named(panel.curves), key = picks(host).get(panel.title);
  return curves.find((curve) => keyOf(curve) === key) ?? curves.find(({ main }) => main) ?? curves[0];
}

/** The curves of a run, and dotted those of one laid over it. */
function ofTwo(panel, twin, kind, clocks) {
  const traces = panel.curves.map((curve) => along(curve, kind, clocks[0])).flatMap((curve) => (curve.rough && curve.x.length > MANY
    ? [trace({ ...smooth(curve), name: `${curve.name}, mean` }, 1, "skip"), trace({ ...curve, fill: null, thin: true }, 0.35)] : [trace(curve, 1)]));
  for (const curve of (twin?.curves ?? []).map((one) => along(one, kind, clocks[1]))) {
    if (!curve.faint) traces.push(trace({ ...(curve.rough && curve.x.length > MANY ? smooth(curve) : curve), fill: null, dash: "dot", name: `${curve.name}, overlaid` }, 0.95));
  }
  return traces;
}

/** One curve of several runs, each as its run is drawn; the chosen run above the others. */
function ofAll(host, panel, runs, twins, kind, clocks) {
  const key = keyOf(pickedOf(host, panel));
  return runs.flatMap(({ look, track }, place) => {
    const found = twins[place]?.curves.find((one) => keyOf(one) === key);
    if (!found) return [];
    const curve = along(found.rough && found.x.length > MANY ? smooth(found) : found, kind, clocks[place]);
    const drawn = trace({ ...curve, name: track.head.name, colour: look.colour, dash: look.dash, fill: null, faint: false }, 1);
    return [{ ...drawn, mode: "lines+markers", marker: { ...drawn.marker, symbol: look.symbol, size: 7, maxdisplayed: 9 } }];
  }).reverse();
}

/** A vertical axis that holds every run's; none where the numbers decide. */
function widest(twins) {
  const ranges = twins.map((twin) => twin?.range).filter(Boolean);
  return ranges.length ? [Math.min(...ranges.map(([low]) => low)), Math.max(...ranges.map(([, high]) => high))] : undefined;
}

/** The last step that any run shown has logged, with a little room for the markers. */
const furthest = (runs, clocks) => 1.012 * Math.max(clocks[0](10), ...runs.map(({ track }, place) => clocks[place](track.head.step)), clocks[0](runs[0].track.head.probes.at(-1) ?? 0));

/** Where the axis begins: at 0, but a fork shown by itself begins where it left its parent. */
const earliest = (runs, at) => (runs.length > 1 ? 0 : at(runs[0].track.head.parent?.step ?? 0));

const AXES = {
  step: { title: "training step", said: "step %{x:,d}", hover: ",d", ticks: "~s" },
  images: { title: "images seen", said: "%{x:,d} images", hover: ",d", ticks: "~s" },
  hours: { title: "hours of training", said: "%{x:.3~g} hours", hover: ".3~g", ticks: "~g" },
};

/** step → place on the axis: the step itself, the images seen by then, or the hours trained, straight between logged steps. */
export function clockOf(kind, track) {
  const curve = { images: track?.curves.images, hours: track?.curves.seconds }[kind];
  const unit = kind === "hours" ? 3600 : 1;
  if (kind === "images" && !curve?.x.length) return (step) => step * (track?.head.batch_size ?? 1);
  if (!curve?.x.length) return kind === "hours" ? () => 0 : (step) => step;
  const { x, y } = curve;
  return (step) => {
    let low = 0, high = x.length - 1;
    if (step <= x[0]) return (x[0] ? (step / x[0]) * y[0] : y[0]) / unit;
    if (step >= x[high]) return (y[high] + (high ? ((step - x[high]) * (y[high] - y[0])) / (x[high] - x[0]) : 0)) / unit;
    while (high - low > 1) { const middle = (low + high) >> 1; if (x[middle] <= step) low = middle; else high = middle; }
    return (y[low] + ((step - x[low]) / (x[high] - x[low])) * (y[high] - y[low])) / unit;
  };
}

const along = (curve, kind, at) => (kind === "step" ? curve : { ...curve, x: curve.x.map(at) });

/** The steps that a stretch of the axis holds, with one on either side; without an end where it reaches to the run's. */
export function stepsOf(at, [from, to], end) {
  const count = (before) => {
    let low = 0, high = end + 1;
    while (low < high) { const middle = (low + high) >> 1; if (before(at(middle))) low = middle + 1; else high = middle; }
    return low;
  };
  return [Math.max(count((place) => place <= from) - 1, 0), at(end) < to ? Number.MAX_SAFE_INTEGER : count((place) => place < to)];
}

/** The stop nearest to a place on the axis. */
function stepAt(host, place) {
  const at = clockOf(host.get("xaxis"), host.run());
  return host.stops().reduce((best, stop) => (Math.abs(at(stop) - place) < Math.abs(at(best) - place) ? stop : best), host.stops()[0] ?? 0);
}

/** A run's phases as stretches of steps; none where it has one. */
function phases(track) {
  const starts = track.events.filter((event) => event.event === "phase").sort((a, b) => a.step - b.step);
  if (starts.length < 2) return [];
  return starts.map((event, i) => ({ from: event.step, to: starts[i + 1]?.step ?? track.head.steps ?? event.step, label: String(event.name).replaceAll("_", " ") }));
}

/** The terms of a loss as the papers write them. */
const TERMS = { dino: "DINO", ibot: "iBOT", koleo: "KoLeo", gram: "Gram" };
export const termName = (key) => TERMS[key] ?? key.replaceAll("_", " ");

/** What was raised, each once, where it began. */
export function alarms(track) {
  const told = [...track.events, ...(track.head.findings ?? [])].filter((event) => event.event === "diagnosis" && severity(event.level) && !event.cleared);
  const found = new Map(told.map((event) => [`${event.name} ${event.since_step ?? event.step} ${event.level}`, { ...event, since_step: event.since_step ?? event.step }]));
  return [...found.values()].slice(-12);
}

/** A running mean over a fiftieth of the curve, around each point. */
export function smooth(curve) {
  const reach = Math.max(2, Math.round(curve.x.length / 100));
  const sums = [0], counts = [0];
  curve.y.forEach((y, i) => { sums.push(sums[i] + (y ?? 0)); counts.push(counts[i] + (y === null ? 0 : 1)); });
  const y = curve.y.map((value, i) => {
    const from = Math.max(0, i - reach), to = Math.min(curve.y.length, i + reach + 1);
    return value === null || counts[to] === counts[from] ? null : (sums[to] - sums[from]) / (counts[to] - counts[from]);
  });
  return { ...curve, y };
}

function trace(curve, opacity, hoverinfo = undefined) {
  const colour = css(curve.colour);
  return {
    type: "scatter", mode: curve.x.length < 2 || (curve.dots && curve.x.length <= MANY) ? "lines+markers" : "lines", x: curve.x, y: curve.y, name: escaped(curve.name), connectgaps: false,
    line: { color: colour, width: curve.faint || curve.thin ? 1 : 2, dash: curve.dash ?? "solid" }, opacity: curve.faint ? 0.4 : opacity, marker: { size: curve.faint ? 3 : 5, color: colour },
    fill: curve.fill ?? "none", fillcolor: curve.fill ? tint(colour, 0.28) : undefined, hoverinfo: curve.faint ? "skip" : hoverinfo, hovertemplate: curve.faint || hoverinfo ? undefined : "%{y:.4~g}",
  };
}

/** plotly reads a little HTML in its labels; what a run says is to be read as text. */
const escaped = (text) => String(text).replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);

function tint(colour, alpha) {
  const [r, g, b] = [1, 3, 5].map((i) => parseInt(colour.slice(i, i + 2), 16));
  return `rgba(${r}, ${g}, ${b}, ${alpha})`;
}

/** Curve `b` read at the steps of curve `a`, straight between its own points. */
export function resampled(a, b) {
  if (!a?.x.length || !b?.x.length) return null;
  let i = 0;
  return a.x.map((x) => {
    while (i < b.x.length - 2 && b.x[i + 1] < x) i++;
    if (b.x.length === 1 || x <= b.x[0]) return b.y[0];
    const [x0, x1, y0, y1] = [b.x[i], b.x[i + 1], b.y[i], b.y[i + 1]];
    return y0 === null || y1 === null ? null : y0 + ((y1 - y0) * Math.min(Math.max((x - x0) / (x1 - x0), 0), 1));
  });
}

/** A curve with its values multiplied. */
export const scaled = (curve, factor) => (curve ? { x: curve.x, y: curve.y.map((y) => (y === null ? null : y * factor)) } : null);
