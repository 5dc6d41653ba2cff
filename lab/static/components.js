/* view
{
  "page": "patches",
  "place": 10,
  "title": "Components of patches as colours",
  "shows": "Principal components of the patch features, a colour channel each: patches of one colour mean the same to the network.",
  "look": "Move the threshold: the first component alone often cuts out the object. Then scrub: colours stay, since each checkpoint is matched to one.",
  "needs": "Patch features: a probe of the run, or a model.",
  "records": ["sight/images?images={images}", "sight/features?source={source}&images={images}", "sight/components?images={images}&channels=0,1,2&fit={fit:all|each}&source={source}&basis=own", "sight/components?images={images}&channels=0,1,2&fit={fit:all|each}&source=run:{run}:{step}:{network:teacher|student}&basis=matched&anchor=run:{run}:{last}:{network}"]
}
*/
// PCA of patches: what it is fitted to, how checkpoints are matched, which component is which channel, and what is foreground.

import { bound } from "./bound.js";
import { card, choice, h, refill, toggle } from "./dom.js";
import { componentsPanel } from "./componentspanel.js";
import { columnsOf } from "./numbers.js";
import { LOOKED_AT, ahead, keepSight, latest, pictures, seen, sourceOf, sidesFor } from "./sight.js";
import { inTurn, strip } from "./tiles.js";

const KINDS = { off: "everything", shown: "shown only", fitted: "fitted to it", clicked: "by pointing" };

export function mount(element, host) {
  keepSight(host).keep({ fit: "all", basis: "matched", reference: -1, foreground: "off", cut: 0, flip: 0, channels: "0,1,2", examples: "" });
  const single = toggle("one component", !host.get("channels").includes(","), (on) => host.set({ channels: on ? host.get("channels").split(",")[0] : "0,1,2" }), "One component from dark to light, for eyes that colours do not serve");
  const fit = choice("Fitted to", { all: "all images", each: "each image", chosen: "this image" }, ["all", "each"].includes(host.get("fit")) ? host.get("fit") : "chosen", (value) => host.set({ fit: value === "chosen" ? String(host.get("image")) : value }));
  const basis = bound(host, "Through training", { own: "own basis", fixed: "fixed basis", matched: "matched" }, "basis");
  const body = card(element, { ...host.about, controls: [fit, basis], data: () => ({ patches: columnsOf(sides.flatMap((side) => side.rows())), variance: columnsOf(sides.flatMap((side) => side.explained())) }) });
  const images = strip(host, "Images");
  images.addEventListener("click", (event) => { // shift adds images to those that the components are fitted to
    if (!event.shiftKey || ["all", "each"].includes(host.get("fit"))) return;
    const chosen = new Set([...host.get("fit").split(",").map(Number), host.get("image")]);
    host.set({ fit: [...chosen].sort((a, b) => a - b).join() });
  });
  const channels = ["red", "green", "blue"].map((name, i) => h("select", { "aria-label": `Component shown in ${name}`, onchange: setChannels }, Array.from({ length: 8 }, (_, c) => h("option", { value: c }, c + 1))));
  const ground = h("select", { "aria-label": "Foreground", onchange: () => host.set({ foreground: ground.value }) }, Object.entries(KINDS).map(([key, text]) => h("option", { value: key }, text)));
  const cut = h("input", { type: "range", min: -3, max: 3, step: 0.05, "aria-label": "Threshold", oninput: () => host.set({ cut: Number(cut.value) }) });
  const flip = toggle("flip", host.get("flip") === 1, (on) => host.set({ flip: Number(on) }), "The first component has no sign of its own; it is turned so that the border is background. Turn it over here.");
  const pin = h("button", { type: "button", class: "quiet", title: "Other checkpoints are matched to the one that is shown now", onclick: () => host.set({ reference: host.stop() ?? -1 }) }, "match to this checkpoint");
  const pointing = h("p", { class: "hint" }), again = h("button", { type: "button", class: "quiet", onclick: () => host.set({ examples: "" }) }, "forget them");
  const panels = h("div", { class: "sides" }), status = h("p", { class: "hint", role: "status" });
  body.append(images, h("div", { class: "controls under" }, h("span", { class: "labelled" }, "components ", ...channels), single, h("label", { class: "labelled" }, "foreground", ground),
    h("label", { class: "labelled range" }, "threshold", cut), flip, pin), h("div", { class: "controls" }, pointing, again), panels, status);
  let sides = [];
  const load = latest(host, fetchAll), paint = inTurn(body, () => { controls(); sides.forEach((side) => side.paint()); });
  host.on([...LOOKED_AT, "fit", "basis", "reference", "channels", "flip"], load);
  host.on(["foreground", "cut"], () => { if (host.get("foreground") === "fitted" || sides.fitted) load(); paint(); });
  host.on("data", () => { if (!sides.some((side) => side.shown())) load(); });
  host.on(["image", "examples"], paint);
  host.on("patch", inTurn(body, () => sides.forEach((side) => side.point())));
  host.on("image", () => { if (fit.querySelector("[value=chosen]").checked && !host.get("fit").includes(",")) host.set({ fit: String(host.get("image")) }); });
  load();

  function setChannels() {
    const wanted = channels.map((list) => list.value);
    host.set({ channels: host.get("channels").includes(",") ? wanted.join() : wanted[0] });
  }

  async function fetchAll(current) {
    controls();
    sides = sidesFor(host, panels, sides, (name) => componentsPanel(host, name));
    let probe;
    try { probe = await pictures(host); } catch (error) { if (current()) status.textContent = error.message; return; }
    if (!current()) return;
    status.textContent = "";
    images.fill(probe.tensors.images, probe.tensors.labels, host.get("images") ? null : host.run()?.head.classes);
    sides.fitted = host.get("foreground") === "fitted";
    await Promise.all(sides.map(async (side) => {
      const slow = setTimeout(() => { if (current()) side.say("A worker looks through this network …"); }, 500);
      try {
        const [found, features] = await Promise.all([seen(host, "components", side.name, asked(side.name)), seen(host, "features", side.name)]);
        if (!current()) return;
        side.show(found, features, probe);
        paint();
        ahead(host, "components", side.name, asked(side.name));
      } catch (error) { if (current()) side.fail(error.message); } finally { clearTimeout(slow); }
    }));
  }

  /** What is asked of the components: fit, basis, channels, and the patches they are fitted to. */
  function asked(name) {
    const values = { fit: host.get("fit"), basis: host.get("basis"), channels: host.get("channels"), flip: host.get("flip") ? "true" : null };
    if (host.get("foreground") === "fitted") values.above = host.get("cut");
    const source = sourceOf(host, name);
    if (!source?.startsWith("run:") || values.basis === "own") return { ...values, basis: "own" };
    const [, run, , network] = source.split(":"), stops = name === "overlay" ? host.overlay().head.probes : host.stops();
    const reference = stops.includes(host.get("reference")) ? host.get("reference") : stops.at(-1);
    return { ...values, anchor: `run:${run}:${reference}:${network}` };
  }

  function controls() {
    const chosen = host.get("channels").split(",");
    channels.forEach((list, i) => { list.value = chosen[i] ?? chosen[0]; list.hidden = i > 0 && chosen.length === 1; });
    ground.value = host.get("foreground");
    cut.value = host.get("cut");
    const pointed = host.get("foreground") === "clicked", off = host.get("foreground") === "off";
    pointing.textContent = pointed ? "Click patches of the object, shift-click (or long-press) patches of the background: a linear probe of them scores every patch." : "";
    again.hidden = !pointed || !host.get("examples");
    flip.hidden = off || pointed;
    cut.parentElement.hidden = off;
    pin.hidden = host.get("basis") === "own";
    refill(pin, String(host.get("reference")), () => [host.get("reference") < 0 ? "match to this checkpoint" : `matched to step ${host.get("reference")}; match to this one`]);
  }
}
