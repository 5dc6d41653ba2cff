/* view
{
  "page": "objective",
  "place": 10,
  "title": "One step, stage by stage",
  "shows": "What a checkpoint computes for one image: its crops, what teacher and student say about them, and how the loss and its gradient come of it.",
  "look": "Step forward, and point at any number: what it was made of lights up. Then switch centering or sharpening off.",
  "needs": "A run with a checkpoint; the student only where its training state was kept, else the teacher stands in for it.",
  "records": ["run/{run}/images", "run/{run}/stages/{checkpoint}?image={image}&seed=0"]
}
*/
// The objective with the real tensors of a checkpoint (lab/stages.py), through the panels of trace.js.

import { card, h, number } from "./dom.js";
import { mostSpoken } from "./stages.js";
import { drawPicture, forget, picture, strip, tile } from "./tiles.js";
import { stepper } from "./trace.js";

const SHOWN = 8;

export function mount(element, host) {
  host.keep({ seed: 0 });
  const again = h("button", { type: "button", class: "step-button", onclick: () => host.set({ seed: (host.get("seed") + 1) % 1000 }) }, "other crops");
  const body = card(element, { ...host.about, controls: host.recorded ? [] : [again] }); // a file holds one set of crops
  const images = strip(host), status = h("p", { class: "hint", role: "status" }), about = h("p", { class: "hint" });
  const made = stepper(host, { key: "stage", first: "Crops", onSwitch: draw });
  made.element.hidden = true;
  body.append(images, status, about, made.element);
  let shown = null, asked = 0, at = -1;
  host.on(["stop", "run", "image", "seed"], load);
  host.on("data", () => { if (!shown) load(); });
  load();

  async function load() {
    const track = host.run(), stop = host.stop();
    if (!track) return;
    const step = track.head.checkpoints.findLast((known) => known <= (stop ?? Infinity)) ?? track.head.checkpoints[0];
    if (step === undefined) { shown = null; made.element.hidden = true; status.textContent = "The first checkpoint has not been written yet; real numbers come with it. The miniature below needs none."; return; }
    const now = ++asked;
    try {
      const probe = await host.tensors("images");
      if (now !== asked) return;
      images.fill(probe.tensors.images, probe.tensors.labels, track.head.classes);
      const image = Math.min(host.get("image"), probe.tensors.images.shape[0] - 1);
      const waiting = setTimeout(() => { if (now === asked) status.textContent = "Computing this step with the checkpoint's own networks …"; }, 250);
      const { tensors, said } = await host.tensors(`stages/${step}?image=${image}&seed=${host.get("seed")}`).finally(() => clearTimeout(waiting));
      if (now !== asked) return;
      shown = { tensors, said, stop };
      status.textContent = "";
      describe();
      draw();
    } catch (error) {
      if (now !== asked) return;
      shown = null;
      made.element.hidden = true;
      about.textContent = "";
      status.textContent = error.message;
    }
  }

  function describe() {
    const { said } = shown;
    const parts = [`Checkpoint of step ${number(said.step)}${shown.stop !== null && said.step !== shown.stop ? ", the newest that is not after the clock" : ""}.`,
      said.has_student ? "" : "This checkpoint kept only the teacher, which stands in for the student: the two differ by what the moving average lags behind.",
      said.distilled ? "This run was distilled from another network; what is shown as teacher is its own moving average." : "",
      said.centering === "sinkhorn" ? `This run balances its targets by Sinkhorn-Knopp: over the ${said.images} probe images that is the same as subtracting the centre shown.` : said.centering === "none" ? "This run was trained without centering: its centre is 0." : "",
      said.others.length || said.local_weight !== 1 ? `Its loss has more than what is shown: ${[...said.others, said.local_weight !== 1 ? `pairs with local crops weigh ${number(said.local_weight)}` : null].filter(Boolean).join(", ")}.` : "",
      `PyTorch, on the same tensors (dino_core.objective.terms.cross_view): ${number(said.loss, 6)} nats.`].filter(Boolean).join(" ");
    if (about.textContent !== parts) about.textContent = parts;
  }

  function input() {
    const { tensors, said } = shown, width = tensors.centre.shape[0];
    const rows = ({ data, shape }) => Array.from({ length: shape[0] }, (_, i) => data.subarray(i * width, (i + 1) * width));
    return { student: rows(tensors.student), teacher: rows(tensors.teacher), centre: tensors.centre.data, teacherTemperature: said.teacher_temperature, studentTemperature: said.student_temperature,
      centering: !host.get("uncentred"), sharpening: !host.get("unsharpened"), skipSameView: true,
      centreWords: said.centering === "sinkhorn" ? "−τ log of the factor by which Sinkhorn-Knopp multiplies this prototype" : "the running mean of what the teacher says, as the checkpoint holds it" };
  }

  function draw() {
    if (!shown) return;
    const numbers = input(), globals = shown.tensors.teacher.shape[0];
    const views = numbers.student.map((_, i) => (i < globals ? `global ${i + 1}` : `local ${i - globals + 1}`));
    made.element.hidden = false;
    made.draw(numbers, { views, columns: mostSpoken(numbers, SHOWN), momentum: shown.said.momentum });
    crops(views, globals);
  }

  /** The image with the crops where they came from, and each crop as the networks got it. */
  function crops(views, globals) {
    const place = made.firstPlace, { tensors } = shown;
    forget(place);
    const whole = { shape: [1, ...tensors.image.shape], data: tensors.image.data };
    const [tall, wide] = tensors.image.shape;
    const source = tile((context, size) => {
      drawPicture(context, size, picture(whole, 0));
      views.forEach((_, i) => box(context, size, i, globals));
    }, { "aria-label": `the image, ${wide} × ${tall} px, with ${views.length} crops: ${globals} global, solid, and ${views.length - globals} local, dashed` });
    const small = views.map((name, i) => {
      const local = i >= globals, from = local ? tensors.locals : tensors.globals;
      const canvas = tile((context, size) => drawPicture(context, size, picture(from, local ? i - globals : i)), { "aria-label": name });
      return h("figure", { "data-view-of": i, style: `--c: var(--${local ? "orange" : "blue"})`, tabindex: 0, onpointerenter: () => mark(i), onpointerleave: () => mark(-1), onfocus: () => mark(i), onblur: () => mark(-1) },
        canvas, h("figcaption", {}, h("b", {}, name), h("small", {}, `${from.shape[1]} px${tensors.flipped.data[i] ? ", mirrored" : ""}${local ? "" : ", the teacher too"}`)));
    });
    const mark = (i) => { at = i; source.paint(); };
    place.replaceChildren(h("h3", {}, "1 Crops"),
      h("p", { class: "hint" }, `${globals} large crops for both networks, ${views.length - globals} small ones for the student alone, each with colours and blur of its own. Point at one to see where it came from.`),
      h("div", { class: "crops" }, h("figure", { class: "crop-source" }, source), h("div", { class: "tiles small" }, small)));
  }

  function box(context, size, i, globals) {
    if (at >= 0 && at !== i) return;
    const [left, top, right, bottom] = shown.tensors.boxes.data.subarray(4 * i, 4 * i + 4);
    const css = getComputedStyle(element), colour = css.getPropertyValue(i < globals ? "--blue" : "--orange").trim() || "#0072b2";
    const unit = Math.max(1, size / 220), pad = unit;
    context.save();
    for (const [stroke, width] of [["rgba(255, 255, 255, .85)", 4], [colour, 2]]) {
      context.strokeStyle = stroke;
      context.lineWidth = width * unit;
      context.setLineDash(i < globals || width === 4 ? [] : [5 * unit, 3 * unit]);
      context.strokeRect(left * size + pad, top * size + pad, (right - left) * size - 2 * pad, (bottom - top) * size - 2 * pad);
    }
    context.fillStyle = colour;
    context.font = `600 ${11 * unit}px system-ui, sans-serif`;
    context.fillText(i < globals ? `g${i + 1}` : `l${i - globals + 1}`, left * size + 5 * unit, top * size + 14 * unit);
    context.restore();
  }
}
