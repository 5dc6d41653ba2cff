// The distribution over prototypes of one probe image through all stops of one run, as a map.

import { h, number, percent } from "./dom.js";
import { RAMPS } from "./maps.js";
import { tile } from "./tiles.js";

const LEFT = 46, BELOW = 34, ABOVE = 44, RIGHT = 8; // CSS pixels around the cells

/** A map of answers.  `show({ steps, prototypes, shares, entropy, count, centred, exact }, image)`, `clear()`, `paint()`; `most()` is the share with the
    brightest colour.  In the `main` one prototypes are marked and chosen, for their numbers are those of the other views. */
export function answerMap(host, card, { main, most }) {
  const canvas = tile(draw, { tabindex: 0, class: "drift", "aria-label": "Shares of prototypes through training; arrow keys go from checkpoint to checkpoint" });
  const title = h("h3", { hidden: true }), words = h("p", { class: "hint", role: "status" }), about = h("p", { class: "hint" });
  const element = h("section", { class: "answer-map" }, title, canvas, words, about);
  let shown = null, over = null;

  function show(found, image) {
    shown = { ...found, image };
    canvas.hidden = false;
    about.textContent = `${shown.prototypes.length} of ${shown.count} prototypes; the others together have the rest. ${!found.centred ? "" : found.exact.every(Boolean) ? "Centred as in training. " : "Centred as in training where a dot stands below; the checkpoints between were not kept, and their centre is interpolated: a change from such a column to a dotted one may be that guess's. "}Line: entropy over ln K = ${number(Math.log(shown.count))} nats.`;
    paint();
  }

  /** Nothing to show, and why. */
  function clear(sentence = "") {
    shown = null;
    canvas.hidden = !main;
    about.textContent = "";
    canvas.paint();
    words.textContent = sentence;
  }

  function paint() { canvas.paint(); summary(); }

  function summary() {
    if (!shown) return;
    const at = column(), row = shown.shares[at], best = row.indexOf(Math.max(...row));
    words.textContent = over ?? `Step ${number(shown.steps[at])}: prototype ${shown.prototypes[best]} has ${percent(row[best], 0)} of image ${shown.image + 1}'s answer; entropy ${number(shown.entropy[at])} nats.`;
  }

  /** The last checkpoint that is not after the clock. */
  const column = () => Math.max(0, shown.steps.findLastIndex((step) => step <= (host.stop() ?? Infinity)));

  const geometry = (size) => {
    const ratio = size / canvas.clientWidth, [left, top] = [LEFT * ratio, ABOVE * ratio];
    return { ratio, left, top, wide: (size - left - RIGHT * ratio) / shown.steps.length, tall: (size - top - BELOW * ratio) / shown.prototypes.length };
  };

  function draw(context, size) {
    if (!shown) return;
    const { ratio, left, top, wide, tall } = geometry(size), css = (name) => getComputedStyle(card).getPropertyValue(`--${name}`).trim();
    const table = RAMPS.cividis, bottom = top + tall * shown.prototypes.length;
    const brightest = most();
    shown.shares.forEach((row, s) => row.forEach((share, p) => {
      const at = 3 * Math.round(255 * Math.min(Math.max(share / brightest, 0), 1));
      context.fillStyle = `rgb(${table[at]}, ${table[at + 1]}, ${table[at + 2]})`;
      context.fillRect(left + s * wide, top + p * tall, Math.ceil(wide) - (wide > 6 ? 1 : 0), Math.ceil(tall) - (tall > 6 ? 1 : 0));
    }));
    context.font = `${11 * ratio}px system-ui, sans-serif`;
    context.textBaseline = "middle";
    shown.prototypes.forEach((prototype, p) => {
      context.fillStyle = css(main && prototype === host.get("prototype") ? "red" : "muted");
      context.textAlign = "right";
      context.fillText(String(prototype), left - 6 * ratio, top + (p + 0.5) * tall);
    });
    context.fillStyle = css("muted");
    context.textAlign = "center";
    const every = Math.ceil(shown.steps.length / Math.max(2, Math.floor(canvas.clientWidth / 70)));
    shown.steps.forEach((step, s) => { if (s % every === 0) context.fillText(number(step), left + (s + 0.5) * wide, bottom + 10 * ratio); });
    context.fillText("training step (each checkpoint one column)", left + (wide * shown.steps.length) / 2, bottom + 25 * ratio);
    shown.exact.forEach((exact, s) => { if (exact && shown.centred && !shown.exact.every(Boolean)) context.fillRect(left + (s + 0.5) * wide - 1.5 * ratio, bottom + 1.5 * ratio, 3 * ratio, 3 * ratio); });
    context.textAlign = "left";
    context.fillText("entropy / ln K", left, 7 * ratio);
    context.fillText("prototype", 2 * ratio, top - 8 * ratio);
    context.strokeStyle = css("orange");
    context.lineWidth = 2 * ratio;
    context.beginPath();
    shown.entropy.forEach((entropy, s) => context.lineTo(left + (s + 0.5) * wide, top - 6 * ratio - (entropy / Math.log(shown.count)) * 24 * ratio));
    context.stroke();
    const now = left + column() * wide;
    context.strokeStyle = css("ink");
    context.strokeRect(now, top - 34 * ratio, wide, bottom - top + 34 * ratio);
  }

  function cell(event) {
    const box = canvas.getBoundingClientRect(), { left, top, wide, tall } = geometry(box.width);
    const s = Math.floor((event.clientX - box.left - left) / wide), p = Math.floor((event.clientY - box.top - top) / tall);
    return s >= 0 && s < shown.steps.length ? [s, p >= 0 && p < shown.prototypes.length ? p : null] : null;
  }
  canvas.addEventListener("pointermove", (event) => {
    const found = shown && cell(event);
    over = found && found[1] !== null ? `Step ${number(shown.steps[found[0]])}, prototype ${shown.prototypes[found[1]]}: ${percent(shown.shares[found[0]][found[1]])} of the answer.` : null;
    summary();
  });
  canvas.addEventListener("pointerleave", () => { over = null; summary(); });
  canvas.addEventListener("click", (event) => {
    const found = shown && cell(event);
    if (!found) return;
    host.seek(shown.steps[found[0]]);
    if (main && found[1] !== null) host.set({ prototype: shown.prototypes[found[1]] });
  });
  canvas.addEventListener("keydown", (event) => {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!by || !shown) return;
    event.preventDefault();
    event.stopPropagation();
    host.seek(shown.steps[Math.min(Math.max(column() + by, 0), shown.steps.length - 1)]);
  });

  return { element, title, show, clear, paint, summary, shown: () => shown };
}
