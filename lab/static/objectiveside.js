// One network's step: asked for, described, and drawn through the panels of trace.js.

import { h, number } from "./dom.js";
import { mostSpoken } from "./stages.js";
import { drawPicture, forget, picture, tile } from "./tiles.js";
import { imagesOf, nameOf, pictures } from "./sight.js";
import { stepper, switched } from "./trace.js";

const SHOWN = 8;

/** The side of the network that the state calls `key`.  `beside()` → { run, step } whose image and crops it is shown with, null for its own;
    `seen(probe)` is called with the images, `changed()` when something else is shown. */
export function side(host, key, { element: card, beside = () => null, seen = () => {}, changed }) {
  const title = h("h3", { hidden: true }), status = h("p", { class: "hint", role: "status" }), about = h("p", { class: "hint" });
  const made = stepper(host, { key: "stage", first: "Crops", onSwitch: draw });
  made.element.hidden = true;
  const element = h("section", { class: "objective-side" }, title, status, about, made.element);
  let shown = null, asked = 0, at = -1;

  async function load() {
    const asking = question(), now = ++asked;
    title.textContent = nameOf(host, host.get(key));
    if (typeof asking === "string") { gone(asking); return; }
    try {
      const probe = await asking.pictures();
      if (now !== asked) return;
      seen(probe);
      const image = Math.min(host.get("image"), probe.tensors.images.shape[0] - 1);
      const waiting = setTimeout(() => { if (now === asked) status.textContent = "Computing this step with the networks themselves …"; }, 250);
      const { tensors, said } = await host.kept(asking.path(image)).finally(() => clearTimeout(waiting));
      if (now !== asked) return;
      shown = { tensors, said, stop: host.stop(), note: asking.note };
      status.textContent = "";
      title.textContent = nameOf(host, host.get(key), said.step ?? undefined);
      describe();
      draw();
    } catch (error) {
      if (now === asked) gone(error.message);
    }
  }

  /** What is asked for the networks that are chosen: a run's step on its probe images (or on those of the run beside which it stands), a
      published file's on any; a sentence where neither is there. */
  function question() {
    const name = host.get(key), seed = host.get("seed"), like = beside();
    if (name?.startsWith("model:")) {
      const chosen = imagesOf(host);
      if (!chosen) return "There is no run to take images from: choose a folder, or hand some in.";
      return { pictures: () => pictures(host), path: (image) => `stages?source=${encodeURIComponent(name)}&images=${encodeURIComponent(chosen)}&image=${image}&seed=${seed}`, note: "" };
    }
    const found = stepOf(host, name);
    if (typeof found === "string") return found;
    const { run, step } = found, shared = like ? `&like=${like.run}:${like.step}` : "";
    return { pictures: () => host.kept(`run/${like?.run ?? run}/images`), path: (image) => `run/${run}/stages/${step}?image=${image}&seed=${seed}${shared}`,
      note: host.get("images") && !host.recorded ? "A run's step is shown on its own probe images; others can be taken apart through a published file with a head." : "" };
  }

  function gone(sentence) {
    shown = null;
    made.element.hidden = true;
    about.textContent = "";
    status.textContent = sentence;
    changed();
  }

  function describe() {
    const { said, note } = shown, published = said.step === null, [centre, heat] = said.says ?? [];
    const parts = [published ? `The networks and heads of ${nameOf(host, host.get(key))}, with crops as in the 2021 paper.` : `Checkpoint of step ${number(said.step)}${host.get(key) === "first" ? ", the run's first" : shown.stop !== null && said.step !== shown.stop ? ", the newest that is not after the clock" : ""}.`,
      note,
      said.has_student ? "" : `This ${published ? "file" : "checkpoint"} kept only the teacher, which stands in for the student: the two differ by what the moving average lags behind.`,
      published && !(centre && heat) ? `The file does not say ${[centre ? null : "its centre (0 here)", heat ? null : `its temperatures (${number(said.teacher_temperature)} and ${number(said.student_temperature)} here)`].filter(Boolean).join(" nor ")}.` : "",
      said.distilled ? "This run was distilled from another network; what is shown as teacher is its own moving average." : "",
      said.centering === "sinkhorn" ? `This run balances its targets by Sinkhorn-Knopp: over the ${said.images} probe images that is the same as subtracting the centre shown.` : said.centering === "none" && !published ? "This run was trained without centering: its centre is 0." : "",
      said.others.length || said.local_weight !== 1 ? `Its loss has more than what is shown: ${[...said.others, said.local_weight !== 1 ? `pairs with local crops weigh ${number(said.local_weight)}` : null].filter(Boolean).join(", ")}.` : "",
      `PyTorch, on the same tensors (dino_core.objective.terms.cross_view): ${number(said.loss, 6)} nats.`].filter(Boolean).join(" ");
    if (about.textContent !== parts) about.textContent = parts;
  }

  function input() {
    const { tensors, said } = shown, width = tensors.centre.shape[0];
    const rows = ({ data, shape }) => Array.from({ length: shape[0] }, (_, i) => data.subarray(i * width, (i + 1) * width));
    return { student: rows(tensors.student), teacher: rows(tensors.teacher), centre: tensors.centre.data, teacherTemperature: said.teacher_temperature, studentTemperature: said.student_temperature,
      studentLengths: tensors.student_length?.data, teacherLengths: tensors.teacher_length?.data,
      centreWords: said.centering === "sinkhorn" ? "−τ log of the factor by which Sinkhorn-Knopp multiplies this prototype" : "the running mean of what the teacher says, as the checkpoint holds it" };
  }

  function draw() {
    if (!shown) return;
    const numbers = input(), globals = shown.tensors.teacher.shape[0];
    const views = numbers.student.map((_, i) => (i < globals ? `global ${i + 1}` : `local ${i - globals + 1}`)), without = !switched(host).localCrops;
    made.element.hidden = false;
    shown.all = made.draw(numbers, { views, columns: mostSpoken(numbers, SHOWN), momentum: shown.said.momentum });
    crops(views, globals, without);
    changed();
  }

  /** The image with the crops where they came from, and each crop as the networks got it. */
  function crops(views, globals, without) {
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
      return h("figure", { "data-view-of": i, "data-off": without && local ? "yes" : null, style: `--c: var(--${local ? "orange" : "blue"})`, tabindex: 0, onpointerenter: () => mark(i), onpointerleave: () => mark(-1), onfocus: () => mark(i), onblur: () => mark(-1) },
        canvas, h("figcaption", {}, h("b", {}, name), h("small", {}, `${from.shape[1]} px${tensors.flipped.data[i] ? ", mirrored" : ""}${local ? "" : ", the teacher too"}`)));
    });
    const mark = (i) => { at = i; source.paint(); };
    place.replaceChildren(h("h3", {}, "1 Crops"),
      h("p", { class: "hint" }, `${globals} large crops for both networks, ${views.length - globals} small ones for the student alone${without ? " (switched off: they don't count)" : ""}, each with colours and blur of its own. Point at one to see where it came from.`),
      h("div", { class: "crops" }, h("figure", { class: "crop-source" }, source), h("div", { class: "tiles small" }, small)));
  }

  function box(context, size, i, globals) {
    if (at >= 0 && at !== i) return;
    const [left, top, right, bottom] = shown.tensors.boxes.data.subarray(4 * i, 4 * i + 4);
    const css = getComputedStyle(card), colour = css.getPropertyValue(i < globals ? "--blue" : "--orange").trim() || "#0072b2";
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

  return { element, title, made, load, gone, shown: () => shown };
}

/** A run's checkpoint at the clock → { run, step }; a sentence where there is none. */
export function stepOf(host, name) {
  const track = name === "overlay" ? host.overlay() : host.run(), known = track?.head.checkpoints ?? [];
  if (!track) return name === "overlay" ? "Lay a run over this one (the button beside its name) to look into it." : "";
  const step = name === "first" ? known[0] : known.findLast((one) => one <= (host.stop() ?? Infinity)) ?? known[0];
  return step === undefined ? "The first checkpoint has not been written yet; real numbers come with it. The miniature below needs none." : { run: track.id, step };
}
