// The pictures of the playground: the teacher's answers as bars, as a map over images, its features as a scatter, the centre.

import { h, number, percent } from "./dom.js";
import { RAMPS, RAMP_CSS } from "./maps.js";
import { sheet } from "./lines.js";
import { CLASSES, FEATURES, plane } from "./simulator.js";

const COLOURS = ["blue", "orange", "green", "purple", "red", "sky", "grey", "ink"]; // one a class; the last four are squares
const SHOWN = 128; // columns of the map

function figure(title, unit, canvas, words) {
  return h("section", { class: "panel pg-figure" }, h("div", { class: "panel-head" }, h("h3", {}, title, unit ? h("small", {}, ` ${unit}`) : null)), canvas, h("p", { class: "hint" }, words));
}

/** What the teacher answers: to all images on average, and to one. */
export function answers() {
  let shown = null;
  const scale = (p) => Math.sqrt(p); // so that 1/K can be seen beside 1
  const canvas = sheet(132, (context, width, tall, css) => {
    if (!shown) return;
    const { mean, one } = shown, K = mean.length, left = 40, right = width - 8, top = 6, bottom = tall - 18, step = (right - left) / K;
    const y = (p) => bottom - scale(p) * (bottom - top);
    context.textAlign = "right";
    context.textBaseline = "middle";
    for (const [value, label] of [[1, "1"], [0.25, "0.25"], [1 / K, "1/K"]]) {
      context.strokeStyle = value === 1 / K ? css("red") : css("grid");
      context.setLineDash(value === 1 / K ? [5, 4] : []);
      context.beginPath();
      context.moveTo(left, Math.round(y(value)) + 0.5);
      context.lineTo(right, Math.round(y(value)) + 0.5);
      context.stroke();
      context.fillStyle = css("muted");
      context.fillText(label, left - 6, y(value));
    }
    context.setLineDash([]);
    context.fillStyle = css("sky");
    mean.forEach((p, k) => context.fillRect(left + k * step + 0.5, y(p), Math.max(step - 1.5, 1), bottom - y(p)));
    context.strokeStyle = css("orange");
    context.lineWidth = 1.6;
    context.beginPath();
    one.forEach((p, k) => { context.lineTo(left + k * step, y(p)); context.lineTo(left + (k + 1) * step, y(p)); });
    context.stroke();
    context.fillStyle = css("muted");
    context.textAlign = "center";
    context.textBaseline = "top";
    context.fillText(`${K} prototypes`, (left + right) / 2, bottom + 4);
  });
  const element = figure("The teacher's answers", "probability, square-root axis", canvas, "Bars: the mean over 256 images. Line: the answer for one of them. Healthy: low bars everywhere, a line with few peaks.");
  return { element, draw({ seen, K }) {
    shown = { mean: Array.from(seen.mean), one: Array.from(seen.targets.subarray(0, K)) };
    const best = Math.max(...shown.mean);
    canvas.setAttribute("aria-label", `The teacher's mean answer over ${K} prototypes: the largest has probability ${number(best)}, an even share is ${number(1 / K)}.`);
    canvas.paint();
  } };
}

/** Targets of the batch: a row a prototype, a column an image, images of one class together. */
export function batchMap() {
  let shown = null;
  const canvas = sheet(184, (context, width, tall, css) => {
    if (!shown) return;
    const { targets, order, labels, K } = shown, left = 40, top = 12, wide = width - left - 8, high = tall - top - 18;
    const rgba = new ImageData(order.length, K);
    order.forEach((image, x) => {
      for (let k = 0; k < K; k++) {
        const i = 3 * Math.round(255 * Math.sqrt(targets[image * K + k]));
        rgba.data.set([RAMPS.magma[i], RAMPS.magma[i + 1], RAMPS.magma[i + 2], 255], 4 * (k * order.length + x));
      }
    });
    const small = document.createElement("canvas");
    [small.width, small.height] = [order.length, K];
    small.getContext("2d").putImageData(rgba, 0, 0);
    context.imageSmoothingEnabled = false;
    context.drawImage(small, left, top, wide, high);
    order.forEach((image, x) => {
      context.fillStyle = css(COLOURS[labels[image]]);
      context.fillRect(left + (x * wide) / order.length, 2, Math.ceil(wide / order.length), 7);
    });
    context.fillStyle = css("muted");
    context.textAlign = "center";
    context.textBaseline = "top";
    context.fillText(`${order.length} images of the batch, by class`, left + wide / 2, top + high + 4);
    context.save();
    context.translate(12, top + high / 2);
    context.rotate(-Math.PI / 2);
    context.textBaseline = "middle";
    context.fillText("prototypes", 0, 0);
    context.restore();
    context.textAlign = "right";
    context.textBaseline = "middle";
    context.fillText("1", left - 5, top + 6);
    context.fillText(String(K), left - 5, top + high - 6);
  });
  const scale = h("span", { class: "scale" }, "0", h("i", { style: `background:${RAMP_CSS.magma}` }), "1 (square root)");
  const element = figure("Targets of this batch", "prototypes × images", canvas, "Healthy: each class lights its own rows. One bright row: one-hot collapse. Grey everywhere: uniform.");
  element.querySelector(".panel-head").append(scale);
  return { element, draw(last) {
    if (!last) { shown = null; canvas.paint(); return; }
    const K = last.targets.length / (2 * last.batch), order = Array.from({ length: Math.min(last.batch, SHOWN) }, (_, i) => i).sort((a, b) => last.labels[a] - last.labels[b]);
    shown = { targets: last.targets, labels: last.labels, order, K };
    canvas.setAttribute("aria-label", `Targets of ${order.length} images over ${K} prototypes as colours, images sorted by class.`);
    canvas.paint();
  } };
}

/** The teacher's features of 256 images in the plane of their two first principal components. */
export function scatter() {
  let shown = null, axes = null;
  const canvas = sheet(236, (context, width, tall, css) => {
    if (!shown) return;
    const size = Math.min(width, tall) - 10, x0 = width / 2, y0 = tall / 2, at = (value) => (value / 2.3) * size;
    context.strokeStyle = css("grid");
    context.beginPath();
    context.arc(x0, y0, at(1), 0, 7);
    context.moveTo(x0 - at(1.1), y0);
    context.lineTo(x0 + at(1.1), y0);
    context.moveTo(x0, y0 - at(1.1));
    context.lineTo(x0, y0 + at(1.1));
    context.stroke();
    context.strokeStyle = css("muted");
    for (const [x, y] of shown.prototypes) {
      context.beginPath();
      context.moveTo(x0 + at(x) - 3, y0 - at(y) - 3);
      context.lineTo(x0 + at(x) + 3, y0 - at(y) + 3);
      context.moveTo(x0 + at(x) + 3, y0 - at(y) - 3);
      context.lineTo(x0 + at(x) - 3, y0 - at(y) + 3);
      context.stroke();
    }
    context.globalAlpha = 0.8;
    shown.points.forEach(([x, y], i) => {
      context.fillStyle = css(COLOURS[shown.labels[i]]);
      if (shown.labels[i] > 3) { context.fillRect(x0 + at(x) - 2.2, y0 - at(y) - 2.2, 4.4, 4.4); return; }
      context.beginPath();
      context.arc(x0 + at(x), y0 - at(y), 2.5, 0, 7);
      context.fill();
    });
    context.globalAlpha = 1;
    context.fillStyle = css("muted");
    context.textAlign = "left";
    context.textBaseline = "top";
    context.fillText("radius 1", x0 + at(0.72), y0 - at(0.98));
    context.textAlign = "right";
    context.textBaseline = "bottom";
    context.fillText("first component →", width - 4, y0 - 3);
  });
  const words = h("p", { class: "hint" });
  const element = h("section", { class: "panel pg-figure" }, h("div", { class: "panel-head" }, h("h3", {}, "Features", h("small", {}, " two principal components"))), canvas, words);
  return { element, reset() { axes = null; }, draw({ seen, K }) {
    const rows = seen.features.length / FEATURES, { axes: found, explained, project } = plane(seen.features, rows, axes);
    axes = found;
    shown = { labels: seen.labels, points: Array.from({ length: rows }, (_, i) => project(seen.features, i * FEATURES)), prototypes: Array.from({ length: K }, (_, k) => project(seen.prototypes, k * FEATURES)) };
    const text = `256 images by class (${CLASSES} colours), × prototypes; ${percent(explained, 0)} of the variance. Fixed scale: a cloud that shrinks to a point says nothing.`;
    if (words.textContent !== text) words.textContent = text;
    canvas.setAttribute("aria-label", `Features of 256 images in two principal components, spread ${number(seen.row.spread)}, ${number(seen.row.directions)} directions in use of ${FEATURES}.`);
    canvas.paint();
  } };
}

/** The centre, a bar a prototype. */
export function centreBars() {
  let shown = null, limit = 0.05;
  const canvas = sheet(110, (context, width, tall, css) => {
    if (!shown) return;
    const left = 40, right = width - 8, middle = (tall - 18) / 2 + 2, high = middle - 6, step = (right - left) / shown.length;
    context.textAlign = "right";
    context.textBaseline = "middle";
    for (const value of [limit, 0, -limit]) {
      context.strokeStyle = css("grid");
      const y = Math.round(middle - (value / limit) * high) + 0.5;
      context.beginPath();
      context.moveTo(left, y);
      context.lineTo(right, y);
      context.stroke();
      context.fillStyle = css("muted");
      context.fillText(value === 0 ? "0" : (value > 0 ? "+" : "−") + number(limit), left - 5, y);
    }
    shown.forEach((value, k) => {
      context.fillStyle = css(value > 0 ? "orange" : "blue");
      const y = (value / limit) * high;
      context.fillRect(left + k * step + 0.5, y > 0 ? middle - y : middle, Math.max(step - 1.5, 1), Math.abs(y));
    });
    context.fillStyle = css("muted");
    context.textAlign = "center";
    context.textBaseline = "top";
    context.fillText(`${shown.length} prototypes`, (left + right) / 2, tall - 14);
  });
  const words = h("p", { class: "hint" });
  const element = h("section", { class: "panel pg-figure" }, h("div", { class: "panel-head" }, h("h3", {}, "The centre", h("small", {}, " logits (−1 to 1)"))), canvas, words);
  return { element, reset() { limit = 0.05; }, draw(centre, used) {
    shown = Array.from(centre);
    const largest = Math.max(...shown.map(Math.abs));
    while (largest > limit) limit *= 2;
    while (limit > 0.05 && largest < limit / 8) limit /= 2;
    const length = Math.sqrt(shown.reduce((sum, value) => sum + value * value, 0));
    const text = used ? `What is taken away from each logit; length ${number(length)}. The scale follows in steps of two.` : `Not in use now; it stays at length ${number(length)}.`;
    if (words.textContent !== text) words.textContent = text;
    canvas.setAttribute("aria-label", `The centre: ${shown.length} logits, length ${number(length)}, largest ${number(largest)}.`);
    canvas.paint();
  } };
}
