/* view
{
  "page": "gram",
  "place": 80,
  "title": "Decay, prevented and repaired",
  "shows": "A constructed system, not a trained network: 196 patches of five parts, each pulled to the image token, and held together by Gram anchoring where you switch it on.",
  "look": "Pulled to the image token alone, patches grow alike and the parts' contrast goes. Anchored from the start it stays; anchored late, to an early step, it comes back, while patches still turn towards the token."
}
*/
// Gram anchoring on a system small enough to run whole at every touch of a slider (gramtoy_model.js): 400 steps, then the clock goes through them.

import { card, h, icon, number, refill } from "./dom.js";
import { ACROSS, COUNT, PARTS, STEPS, WIDTH, course, parts, toPatch } from "./gramtoy_model.js";
import { lines } from "./lines.js";
import { RAMPS, RAMP_CSS } from "./maps.js";
import { drawOutline, drawPatches, patchAt, ramp, tile } from "./tiles.js";

const BEAT = 60; // milliseconds a stop is shown while playing
const STRIDE = 4; // steps from one to the next
const EXAMPLES = {
  decays: { title: "decays", weight: 0, start: 0, anchor: 0, refresh: 0, says: "No anchoring: every patch goes to the image token, and what told parts apart goes with it." },
  prevented: { title: "prevented", weight: 8, start: 0, anchor: 0, refresh: 0, says: "Anchored from the first step to the patches of that step: similarities stay, and patches turn towards the token together." },
  repaired: { title: "repaired", weight: 8, start: 200, anchor: 0, refresh: 0, says: "Anchored at step 200, when much is lost, to the patches of step 0: what was lost comes back." },
  late: { title: "anchored to what has decayed", weight: 8, start: 200, anchor: 200, refresh: 0, says: "The same, with the patches of step 200 as anchor: it holds what is left, and brings nothing back." },
  renewed: { title: "renewed too often", weight: 8, start: 0, anchor: 0, refresh: 25, says: "The anchor is replaced every 25 steps by what the patches have become: it slides along with the decay." },
};
const SLIDERS = [["weight", "weight λ", [0, 0.5, 1, 2, 4, 8, 12, 16]], ["start", "anchoring starts at step", range(0, STEPS, 25)], ["anchor", "anchor is the patches of step", range(0, STEPS, 25)], ["refresh", "anchor renewed every (0: never)", [0, 25, 50, 100, 200]]];
const PART_COLOURS = { sky: "sky", ground: "grey", body: "orange", head: "red", legs: "purple" };
const ORDER = Array.from({ length: COUNT }, (_, p) => p).sort((a, b) => parts[a] - parts[b] || a - b);

function range(from, to, by) { return Array.from({ length: (to - from) / by + 1 }, (_, i) => from + i * by); }

export function mount(element, host) {
  host.keep({ gt: "decays" });
  const state = { ...settingsOf(host.get("gt")), at: STEPS, patch: 6 * ACROSS + 6, playing: null };
  let run = course(state);
  const body = card(element, { ...host.about, data: () => ({ gram_toy: { step: run.step, contrast: run.contrast, to_cls: run.to_cls, gram_error: run.gram_error, anchor: run.anchors } }) });
  const examples = h("nav", { class: "pg-lessons", "aria-label": "Examples" }), says = h("p", { class: "pg-about" }), sliders = h("div", { class: "gt-sliders" });
  const play = h("button", { type: "button", class: "pg-button pg-main", onclick: toggle });
  const scrub = h("input", { type: "range", min: 0, max: STEPS, step: STRIDE, "aria-label": "Step of the constructed system", oninput: () => { stop(); state.at = Number(scrub.value); draw(); } });
  const where = h("output", { class: "pg-at" }), words = h("p", { class: "gt-words", role: "status" });
  const curves = { contrast: lines({ title: "Contrast of parts", unit: "cosine within less between", height: 96, range: [0, 0.72] }), cls: lines({ title: "Patch to image token", unit: "mean cosine", height: 76, range: [0.4, 1] }), error: lines({ title: "Gram matrix, from that of step 0", unit: "root mean squared", height: 76, range: [0, 0.56], lowest: true }) };
  const pictures = patchPictures(state, (patch) => { state.patch = patch; draw(); }), matrices = gramPictures(state);
  body.append(h("p", { class: "gt-badge" }, icon("warning"), h("span", {}, "A constructed system, not a trained network: whether a real run decays is another question; its own curves are above.")),
    examples, says, sliders, h("div", { class: "controls pg-bar gt-bar" }, play, scrub, where),
    h("div", { class: "gt-grid" }, h("div", { class: "pg-curves" }, Object.values(curves).map((one) => one.element), words), h("div", { class: "gt-pictures" }, pictures.element, matrices.element)),
    h("details", { class: "pg-more" }, h("summary", {}, "What is computed, and the same in Python"), h("pre", { class: "pg-code", tabindex: 0 }), h("p", { class: "hint" }, "L = mean of 1 − x·c over patches x, c the image token, plus λ times the mean squared difference of the patches' similarities from the anchor's (DINOv3, Sec. 4). Every gradient is taken on the sphere; patches are of length one, in 24 dimensions.")));
  host.on("theme", draw);
  settle();

  function change(changes) {
    Object.assign(state, changes);
    state.anchor = Math.min(state.anchor, state.start);
    run = course(state);
    host.set({ gt: addressOf(state) });
    settle();
  }

  function settle() {
    const known = Object.keys(EXAMPLES).find((name) => ["weight", "start", "anchor", "refresh"].every((key) => EXAMPLES[name][key] === state[key])) ?? null;
    refill(examples, String(known), () => Object.entries(EXAMPLES).map(([name, { title, weight, start, anchor, refresh }]) => h("button", { type: "button", class: "gt-example", "aria-pressed": name === known ? "true" : "false", onclick: () => { change({ weight, start, anchor, refresh, at: 0 }); begin(); } }, title)));
    says.textContent = known ? EXAMPLES[known].says : "Your own settings.";
    refill(sliders, SLIDERS.map(([key]) => state[key]).join(), () => SLIDERS.map(([key, name, stops]) => knob(name, state[key], stops.filter((stop) => key !== "anchor" || stop <= state.start), (value) => change({ [key]: value }))));
    body.querySelector(".pg-code").textContent = `from lab.analysis.simulate import gram_toy\n\ntoy = gram_toy(weight=${state.weight}, start=${state.start}, anchor=${state.anchor}, refresh=${state.refresh})\n# toy.contrast, toy.to_cls, toy.gram_error: a number a step; toy.patches: (steps, 196, ${WIDTH})`;
    draw();
  }

  function begin() {
    stop();
    if (state.at >= STEPS) state.at = 0;
    state.playing = setInterval(() => {
      if (!host.shown() || document.hidden) return;
      state.at = Math.min(state.at + STRIDE, STEPS);
      if (state.at >= STEPS) stop();
      draw();
    }, matchMedia("(prefers-reduced-motion: reduce)").matches ? 4 * BEAT : BEAT);
    draw();
  }

  function stop() {
    clearInterval(state.playing);
    state.playing = null;
  }

  function toggle() {
    if (state.playing) stop(); else begin();
    draw();
  }

  function draw() {
    refill(play, state.playing ? "pause" : "play", () => [icon(state.playing ? "pause" : "play"), h("span", {}, state.playing ? "pause" : "play")]);
    scrub.value = state.at;
    where.textContent = `step ${state.at}`;
    const until = (values) => values.slice(0, state.at + 1), x = until(run.step), marks = state.weight && state.at >= state.start ? [{ x: state.start, label: `anchored to step ${state.anchor}` }] : [], bare = marks.map((mark) => ({ ...mark, label: null }));
    const first = (values) => [{ y: values[0], label: "at step 0", colour: "grey", left: true }];
    curves.contrast.draw({ x, end: STEPS, marks, lines: first(run.contrast), curves: [{ name: "contrast", colour: "green", y: until(run.contrast), shown: two }] });
    curves.cls.draw({ x, end: STEPS, marks: bare, lines: first(run.to_cls), curves: [{ name: "cosine", colour: "blue", y: until(run.to_cls), shown: two }] });
    curves.error.draw({ x, end: STEPS, marks: bare, curves: [{ name: "difference", colour: "orange", y: until(run.gram_error), shown: two }] });
    pictures.draw(run);
    matrices.draw(run);
    const at = state.at, kept = run.contrast[at] / run.contrast[0];
    words.textContent = `At step ${at} parts have ${Math.round(100 * kept)} % of their contrast at step 0; a patch's mean cosine to the image token is ${two(run.to_cls[at])} (at first ${two(run.to_cls[0])}). ${run.anchors[at] < 0 ? "No anchor holds." : `The anchor is of step ${run.anchors[at]}.`}`;
  }
}

const two = (value) => (value ?? 0).toFixed(2);

/** "8-200-0-0": weight, start, anchor, refresh; or the name of an example. */
function settingsOf(text) {
  const { weight, start, anchor, refresh } = Object.hasOwn(EXAMPLES, text) ? EXAMPLES[text] : EXAMPLES.decays, plain = { weight, start, anchor, refresh };
  const found = /^(\d{1,2}(?:\.\d)?)-(\d{1,3})-(\d{1,3})-(\d{1,3})$/.exec(text);
  if (!found) return plain;
  const [w, s, a, r] = found.slice(1).map(Number);
  return w <= 16 && s <= STEPS && a <= s && r <= STEPS ? { weight: w, start: s, anchor: a, refresh: r } : plain;
}

function addressOf({ weight, start, anchor, refresh }) {
  const known = Object.entries(EXAMPLES).find(([, one]) => one.weight === weight && one.start === start && one.anchor === anchor && one.refresh === refresh);
  return known?.[0] ?? [weight, start, anchor, refresh].join("-");
}

function knob(name, value, stops, set) {
  const nearest = stops.reduce((best, stop, i) => (Math.abs(stop - value) < Math.abs(stops[best] - value) ? i : best), 0), told = h("output", {}, String(value));
  const slider = h("input", { type: "range", min: 0, max: stops.length - 1, step: 1, value: nearest, disabled: stops.length < 2, "aria-valuetext": String(value), oninput: () => { told.textContent = stops[slider.value]; }, onchange: () => set(stops[slider.value]) });
  return h("label", { class: "pg-knob" }, h("span", {}, name, " ", told), slider);
}

/** The scene, and similarity to the chosen patch now, at the anchor (before: at step 0), and their difference. */
function patchPictures(state, choose) {
  let run = null;
  const grid = [ACROSS, ACROSS], then = () => run.patches[Math.max(run.anchors[state.at], 0)];
  const kinds = {
    scene: ["the five parts", (context, size, css) => drawPatches(context, size, grid, (p) => rgb(css(PART_COLOURS[PARTS[parts[p]]])))],
    now: ["alike now", (context, size) => drawPatches(context, size, grid, ramp(toPatch(run.patches[state.at], state.patch), 0, 1, "cividis"))],
    then: ["alike in the anchor", (context, size) => drawPatches(context, size, grid, ramp(toPatch(then(), state.patch), 0, 1, "cividis"))],
    change: ["change", (context, size) => { const a = toPatch(run.patches[state.at], state.patch), b = toPatch(then(), state.patch); drawPatches(context, size, grid, (p) => diverging(a[p] - b[p])); }],
  };
  const canvases = Object.entries(kinds).map(([kind, [, paint]]) => {
    const canvas = tile((context, size) => { if (!run) return; const style = getComputedStyle(canvas); paint(context, size, (name) => style.getPropertyValue(`--${name}`).trim()); mark(context, size); }, { "data-kind": kind, tabindex: kind === "scene" ? 0 : null, "aria-label": kind });
    canvas.addEventListener("click", (event) => { const patch = patchAt(event, grid); if (patch !== null) choose(patch); });
    canvas.addEventListener("keydown", keys);
    return canvas;
  });
  const captions = canvases.map((canvas) => h("b", {}, kinds[canvas.dataset.kind][0]));
  const mark = (context, size) => { const mask = new Uint8Array(COUNT); mask[state.patch] = 1; drawOutline(context, size, mask, grid, { colour: "#fff", width: 1.6 }); };

  function keys(event) {
    const [down, right] = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key] ?? [0, 0];
    if (!down && !right) return;
    event.preventDefault();
    event.stopPropagation();
    const row = Math.min(Math.max(Math.floor(state.patch / ACROSS) + down, 0), ACROSS - 1), column = Math.min(Math.max((state.patch % ACROSS) + right, 0), ACROSS - 1);
    choose(row * ACROSS + column);
  }

  return { element: h("section", { class: "gt-part" }, h("div", { class: "panel-head" }, h("h3", {}, "Patches", h("small", {}, " 14 × 14; click one, or arrow keys")), scales()), h("div", { class: "gt-row" }, canvases.map((canvas, i) => h("figure", {}, canvas, h("figcaption", {}, captions[i]))))),
    draw(next) {
      run = next;
      const own = run.anchors[state.at];
      captions[2].textContent = own < 0 ? "alike at step 0" : `in the anchor, step ${own}`;
      const part = PARTS[parts[state.patch]], similar = toPatch(run.patches[state.at], state.patch), mean = (inside) => { const of = similar.filter((_, p) => p !== state.patch && (parts[p] === parts[state.patch]) === inside); return two(of.reduce((a, b) => a + b, 0) / of.length); };
      canvases.forEach((canvas) => { canvas.paint(); canvas.setAttribute("aria-label", `${kinds[canvas.dataset.kind][0]}; chosen patch of the ${part}: mean cosine ${mean(true)} to its part, ${mean(false)} to others`); });
    } };
}

const scales = () => h("span", { class: "scale" }, "cosine 0", h("i", { style: `background:${RAMP_CSS.cividis}` }), "1", h("span", {}, " change −0.5"), h("i", { style: "background:linear-gradient(90deg, rgb(0, 114, 178), rgb(245, 245, 245), rgb(217, 110, 0))" }), "0.5");

/** Gram matrices now, in the anchor, and their difference; rows and columns in the order of parts. */
function gramPictures(state) {
  let run = null;
  const canvas = (kind) => tile((context, size) => { if (run) paint(context, size, kind); }, { "data-kind": `gram-${kind}` });
  const all = { now: canvas("now"), then: canvas("then"), change: canvas("change") }, names = { now: "now", then: "anchor", change: "difference" };
  const captions = Object.fromEntries(Object.keys(all).map((kind) => [kind, h("b", {}, names[kind])]));

  function paint(context, size, kind) {
    const now = run.patches[state.at], then = run.patches[Math.max(run.anchors[state.at], 0)], rgba = new ImageData(COUNT, COUNT);
    for (let r = 0; r < COUNT; r++)
      for (let c = 0; c <= r; c++) {
        const value = kind === "now" ? cosine(now, r, c) : kind === "then" ? cosine(then, r, c) : cosine(now, r, c) - cosine(then, r, c), colour = kind === "change" ? diverging(value) : shade(value);
        for (const at of [r * COUNT + c, c * COUNT + r]) { rgba.data.set(colour, 4 * at); rgba.data[4 * at + 3] = 255; }
      }
    const small = document.createElement("canvas");
    small.width = small.height = COUNT;
    small.getContext("2d").putImageData(rgba, 0, 0);
    context.imageSmoothingEnabled = false;
    context.drawImage(small, 0, 0, size, size);
  }

  return { element: h("section", { class: "gt-part" }, h("div", { class: "panel-head" }, h("h3", {}, "Gram matrices", h("small", {}, ` ${COUNT} × ${COUNT}, by part: ${PARTS.join(", ")}`))), h("div", { class: "gt-row three" }, Object.entries(all).map(([kind, one]) => h("figure", {}, one, h("figcaption", {}, captions[kind]))))),
    draw(next) {
      run = next;
      const own = run.anchors[state.at];
      captions.then.textContent = own < 0 ? "step 0 (no anchor holds)" : `anchor, step ${own}`;
      Object.entries(all).forEach(([kind, one]) => { one.paint(); one.setAttribute("aria-label", `Gram matrix, ${names[kind]}, at step ${state.at}: root mean squared difference from that of step 0 ${number(run.gram_error[state.at])}`); });
    } };
}

function cosine(x, row, column) {
  const a = ORDER[row] * WIDTH, b = ORDER[column] * WIDTH;
  let sum = 0;
  for (let d = 0; d < WIDTH; d++) sum += x[a + d] * x[b + d];
  return sum;
}

const shade = (value) => { const i = 3 * Math.round(255 * Math.min(Math.max(value, 0), 1)); return [RAMPS.cividis[i], RAMPS.cividis[i + 1], RAMPS.cividis[i + 2]]; };

/** −0.5 blue, 0 light, 0.5 orange. */
function diverging(value) {
  const x = Math.min(Math.abs(value) / 0.5, 1), [r, g, b] = value < 0 ? [0, 114, 178] : [217, 110, 0];
  return [245 + x * (r - 245), 245 + x * (g - 245), 245 + x * (b - 245)];
}

const rgb = (text) => [1, 3, 5].map((i) => parseInt(text.slice(i, i + 2), 16));
