/* view
{
  "page": "monitor",
  "place": 0,
  "title": "Diagnosis",
  "shows": "What is happening in the run, named from its metrics, with the evidence.",
  "look": "A lamp that is not green names the failure, when it began, and what helps."
}
*/
// What is happening, in words: the trainer's own diagnosis with its evidence, and how far the run is.

import { duration, h, icon, number, percent, refill } from "./dom.js";
import { last, reached, severity } from "./chart.js";

const NAMES = {
  healthy: "Healthy", warming_up: "Warming up", exploding: "Exploding", uniform_collapse: "Collapsing to uniform", prototype_collapse: "Collapsing to few prototypes",
  constant_output: "One answer for every image", teacher_equals_student: "Teacher and student identical", teacher_frozen: "The teacher does not move",
  dimensional_collapse: "Losing dimensions", dense_degradation: "Dense features degrading", starved_by_data: "Starved by data",
};
const ICONS = ["healthy", "warning", "alarm"];

/** What shows the evidence: a view of the monitor, and a page of its own. */
const SHOWN = {
  exploding: ["schedules", null], uniform_collapse: ["collapse", "objective"], prototype_collapse: ["collapse", "prototypes"], constant_output: ["collapse", "objective"],
  teacher_equals_student: ["schedules", "objective"], teacher_frozen: ["schedules", "objective"], dimensional_collapse: ["emergence", "embedding"], dense_degradation: ["emergence", "gram"],
  starved_by_data: ["emergence", null],
};

export function mount(element, host) {
  element.classList.add("verdict-card", "card");
  const heading = h("div", { role: "status" }), reasons = h("div"), verdict = h("div", { class: "verdict" }, heading, reasons);
  const facts = h("dl", { class: "facts" });
  const learnt = h("p", { class: "verdict-learnt" });
  const bar = h("progress", { max: 1, value: 0, "aria-label": "Share of the run that is done" });
  const about = h("p", { class: "about" });
  element.append(h("div", { class: "verdict-side" }, verdict, learnt), h("div", { class: "facts-side" }, bar, facts, about, h("div", { class: "controls verdict-save" }, host.about.tools?.({ element, data: numbers }))));
  let pages = [], titles = {};
  host.sure("views").then((found) => { pages = found.pages; titles = found.views; show(); }, () => {});
  host.on(["data", "run"], show);
  setInterval(seen, 1000);

  /** What is said here, as a table: the finding, then every fact with its unit in its name. */
  function numbers() {
    const finding = Object.entries(host.run()?.head.diagnosis ?? {}).filter(([, value]) => value !== null && typeof value !== "object");
    const rows = [...finding, ...[...facts.querySelectorAll("dt")].map((dt) => [dt.textContent, dt.nextElementSibling?.textContent ?? ""])];
    return { diagnosis: { what: rows.map(([what]) => what), value: rows.map(([, value]) => value) } };
  }

  function show() {
    const track = host.run();
    element.hidden = !track;
    if (!track) return;
    const { head } = track;
    const { level, title, sentence, evidence, children } = said(track, links(track.head.diagnosis));
    verdict.parentElement.dataset.level = level;
    say(learnt, learntSoFar(track));
    const { sentence: _, ...finding } = head.diagnosis ?? {}, key = JSON.stringify([finding, head.status, title.textContent, level, pages.length]);
    refill(heading, key, () => [title]);
    refill(reasons, key, () => children);
    say(reasons.querySelector(".verdict-sentence"), sentence); // numbers that hold now: no news to a screen reader, and no link loses its focus
    if (evidence) say(reasons.querySelector(".verdict-evidence span"), evidence);
    bar.value = head.steps ? Math.min(reached(head) / head.steps, 1) : 0;
    fact("step", "step", `${number(reached(head))}${head.steps ? ` of ${number(head.steps)}` : ""}`);
    fact("speed", "images/s", number(head.images_per_second));
    fact("left", head.status === "running" ? "time left" : "trained for", duration(head.status === "running" ? head.seconds_left : head.seconds));
    fact("loss", head.prototypes ? `loss (ln K ${number(Math.log(head.prototypes))})` : "loss", number(last(track.curves.loss)));
    fact("knn", "k-NN", percent(last(track.curves["knn/teacher"])));
    seen();
    const facets = [
      head.recipe, head.backbone === "vit" && head.dim ? `ViT ${head.dim}×${head.depth}, ${head.heads} heads, patch ${head.patch}${head.registers ? `, ${head.registers} registers` : ""}` : head.backbone,
      head.images ? `${number(head.images)} images of ${String(head.source ?? "?").split(/[\\/]/).at(-1)}` : null, head.prototypes ? `${number(head.prototypes)} prototypes` : null, head.device,
      head.parent?.run ? `forked from ${head.parent.run} at step ${head.parent.step}` : null, head.skipped_images ? `${head.skipped_images} images skipped` : null,
      head.reading === null || head.reading === undefined ? null : `a long run: curves are a sample until all of its lines are read (${percent(head.reading, 0)})`,
    ].filter(Boolean).join(" · ");
    say(about, facets);
  }

  function say(place, text) {
    if (place.textContent !== text) place.textContent = text;
  }

  /** Where to look, where there is something to look at. */
  function links(finding) {
    const [view, page] = (finding && SHOWN[finding.name]) ?? [];
    const go = (text, to) => h("button", { type: "button", class: "look-link", onclick: () => host.set(to) }, text);
    const place = titles[view] && (() => element.getRootNode().querySelector(`[data-view="${view}"]`)?.scrollIntoView({ behavior: "smooth", block: "start" }));
    const about = pages.find(({ name }) => name === page);
    return [place ? h("button", { type: "button", class: "look-link", onclick: place }, titles[view].title) : null, about ? go(about.title, { page }) : null].filter(Boolean);
  }

  function fact(key, name, value) {
    let place = facts.querySelector(`[data-fact="${key}"]`);
    if (!place) facts.append((place = h("div", { "data-fact": key }, h("dt"), h("dd"))));
    say(place.firstChild, name);
    say(place.lastChild, value);
  }

  function seen() {
    const track = host.run();
    if (!track || document.hidden) return;
    const live = ["running", "died"].includes(track.head.status), began = new Date(track.head.created ?? NaN);
    if (live || Number.isNaN(began.getTime())) fact("seen", "last seen", `${duration(Math.max(0, Date.now() / 1000 - track.skew - track.head.updated))} ago`);
    else fact("seen", "began", began.toLocaleDateString("en-GB", { day: "numeric", month: "short", year: "numeric" }));
  }
}

function said({ head, catalogue, curves }, links) {
  const finding = head.diagnosis;
  const ended = { failed: ["alarm", "Failed"], died: ["warning", "Died"] }[head.status];
  const since = finding?.since_step ?? finding?.step;
  const level = finding ? severity(finding.level) : 0;
  const begins = last(curves.loss) === null, waiting = (!finding || finding.name === "warming_up") && head.status === "running" && (begins || Boolean(head.early));
  const title = !finding && waiting ? (begins ? "Waiting for the first steps" : "Too early to tell") : finding?.cleared ? "Healthy again" : finding ? NAMES[finding.name] ?? words(finding.name) : "Nothing unusual so far";
  const evidence = told(finding?.evidence, catalogue, curves);
  return {
    level: waiting ? "waiting" : level,
    title: h("p", { class: "verdict-title" }, icon(waiting ? "waiting" : ICONS[level]), h("span", {}, title), since && level && !waiting ? h("small", {}, `since step ${number(since)}`) : null),
    sentence: sentence(finding) ?? (waiting ? awaited(head, begins) : "No alarm has been raised."),
    evidence,
    children: [
      h("p", { class: "verdict-sentence" }),
      evidence ? h("p", { class: "verdict-evidence" }, h("b", {}, "Evidence: "), h("span")) : null,
      level && links.length ? h("p", { class: "verdict-evidence" }, h("b", {}, "See it in: "), links.flatMap((link, i) => (i ? [" · ", link] : [link]))) : null,
      finding?.advice ? h("p", { class: "verdict-advice" }, h("b", {}, "What to do: "), finding.advice) : null,
      ended ? h("p", { class: "verdict-ended" }, icon(ended[0]), `${ended[1]}: ${head.status === "died" ? "the process is gone without saying goodbye; dino-lab resume goes on from its last checkpoint." : "see the events below."}`) : null,
    ],
  };
}

/** What a run that has nothing to say yet is about to do. */
function awaited({ begun, checkpoints, early, first_logged }, begins) {
  if (!begins) return `No alarm so far; no run is called healthy before step ${early}.`;
  const measuring = begun === 0 && !checkpoints.length ? "It measures the network as it is, before any step; then it trains." : "It trains.";
  return `The run has started${begun ? ` at step ${number(begun)}` : ""}. ${measuring} Its first numbers are those of step ${number(first_logged)}.`;
}

const sentence = (finding) => finding?.sentence?.replace(/^Healthy so far: (.)/, (_, first) => first.toUpperCase());

/** What the evaluations found, beside what costs no learning. */
function learntSoFar({ curves, head: { baselines } }) {
  const beside = (name, words) => (Number.isFinite(baselines[name]) ? ` (${words} ${percent(baselines[name], 0)})` : "");
  const found = [
    ["k-NN names", curves["knn/teacher"], "of the classes" + beside("knn_raw_pixels", "raw pixels")],
    ["the heads' attention together overlaps objects by", curves["jaccard/heads_together"], beside("jaccard_centred_box", "a centred box")],
    ["the best head's alone by", curves["jaccard/best_head"], beside("jaccard_centred_box", "a centred box")],
    ["the first component by", curves.pca_iou, beside("pca_iou_untrained", "untrained")],
  ].filter(([, curve]) => last(curve) !== null).map(([before, curve, after]) => `${before} ${percent(last(curve), 0)} ${after}`.trim());
  return found.length ? `Learnt so far: ${found.join("; ")}.` : "";
}

/** Evidence is a sentence, or by the metric's name its value when it was found, the limit it crossed, and what it is now. */
function told(evidence, catalogue, curves) {
  if (!evidence || typeof evidence === "string") return evidence || "";
  return Object.entries(evidence).map(([name, about]) => {
    const { title, unit } = catalogue?.[name] ?? {}, found = number(about?.value), now = number(last(curves[name]));
    const limits = [`limit ${number(about?.threshold)}`, now !== found && now !== "–" ? `now ${now}` : null].filter(Boolean).join("; ");
    return `${title ?? name} ${found}${unit && !["ratio", "share"].includes(unit) ? ` ${unit}` : ""} (${limits})`;
  }).join(", ");
}

const words = (name) => String(name ?? "").replaceAll("_", " ").replace(/^./, (c) => c.toUpperCase());
