/* view
{
  "page": "*",
  "place": 99,
  "title": "Training clock",
  "shows": "The checkpoint that every picture shows.",
  "look": "[ and ] step, space plays, Home and End jump."
}
*/
// The clock: one bar under everything that moves all pictures through training.  [ and ] step, space plays, Home and End jump.

import { h, icon, number, refill } from "./dom.js";

const BEAT = 650; // milliseconds a stop is shown while playing

const TYPED = "input:not([type=range], [type=radio], [type=checkbox]), textarea, [contenteditable]"; // where a key is a letter

export function mount(element, host) {
  element.classList.add("transport");
  element.setAttribute("aria-label", "Training clock");
  const button = (name, label, action) => h("button", { type: "button", class: "round", title: label, "aria-label": label, onclick: action }, icon(name));
  const play = button("play", "Play through training (space)", toggle);
  const slider = h("input", { type: "range", min: 0, max: 0, step: 1, value: 0, "aria-label": "Checkpoint", oninput: () => go(Number(slider.value)) });
  const ticks = h("div", { class: "ticks", "aria-hidden": "true" });
  const label = h("output", { class: "at" });
  const follow = h("button", { type: "button", class: "follow", title: "Always show the newest checkpoint", onclick: () => host.set({ follow: true, playing: false }) }, "follow newest");
  element.append(
    h("div", { class: "transport-buttons" }, button("first", "First checkpoint (Home)", () => go(0)), button("back", "Checkpoint before ( [ )", () => go(index() - 1)), play,
      button("forward", "Next checkpoint ( ] )", () => go(index() + 1)), button("last", "Newest checkpoint (End)", () => host.set({ follow: true }))),
    h("div", { class: "track" }, slider, ticks), label, follow);
  host.on(["stop", "data", "follow", "playing"], show);
  const elsewhere = () => host.get("page") === "playground"; // a page with a clock and a play button of its own
  const place = () => { element.hidden = elsewhere(); };
  host.on("page", place);
  place();
  host.keys(keys);
  let timer = null;

  const index = () => Math.max(0, host.stops().indexOf(host.stop()));

  function go(to) {
    const stops = host.stops();
    if (!stops.length) return;
    const at = Math.min(Math.max(to, 0), stops.length - 1);
    host.seek(stops[at]);
  }

  function toggle() {
    const stops = host.stops();
    if (!host.get("playing") && index() >= stops.length - 1) go(0);
    host.set({ playing: !host.get("playing") });
    clearInterval(timer);
    if (!host.get("playing")) return;
    timer = setInterval(() => {
      if (!host.get("playing")) return clearInterval(timer);
      if (index() >= host.stops().length - 1) host.set({ playing: false, follow: host.run()?.head.status === "running" });
      else go(index() + 1);
    }, matchMedia("(prefers-reduced-motion: reduce)").matches ? 2 * BEAT : BEAT);
  }

  function show() {
    const stops = host.stops(), at = index(), steps = host.run()?.head.steps;
    element.dataset.empty = String(stops.length === 0);
    slider.max = Math.max(stops.length - 1, 0);
    slider.disabled = stops.length < 2;
    if (Number(slider.value) !== at) slider.value = at;
    const words = stops.length ? `step ${number(stops[at])}${steps ? ` of ${number(steps)}` : ""}` : "no checkpoint yet";
    refill(label, words, () => (stops.length ? [`step ${number(stops[at])}`, steps ? h("span", { class: "of" }, ` of ${number(steps)}`) : null] : [words]));
    slider.setAttribute("aria-valuetext", `${words}, checkpoint ${at + 1} of ${stops.length}`);
    follow.setAttribute("aria-pressed", host.get("follow") ? "true" : "false");
    
    const playing = host.get("playing");
    refill(play, playing ? "pause" : "play", () => [icon(playing ? "pause" : "play")]);
    const every = Math.ceil(stops.length / 6), room = stops.length - 1 - Math.ceil(0.6 * every); // the last one's number needs its place
    const shown = stops.filter((stop, i) => i === 0 || i === stops.length - 1 || (i % every === 0 && i <= room));
    refill(ticks, stops.join(), () => shown.map((stop) => {
      const share = stops.length > 1 ? stops.indexOf(stop) / (stops.length - 1) : 0;
      return h("span", { style: `left:${100 * share}%` }, number(stop));
    }));
  }

  function keys(event) {
    const own = event.key === "[" || event.key === "]" ? "" : ", select, canvas, [role=grid], [type=range], [type=radio], [type=checkbox]"; // what has arrows of its own
    if (elsewhere() || event.ctrlKey || event.metaKey || event.altKey || event.target.closest?.(`${TYPED}${own}`)) return;
    const actions = { "[": () => go(index() - 1), "]": () => go(index() + 1), Home: () => go(0), End: () => host.set({ follow: true }), ArrowLeft: () => go(index() - 1), ArrowRight: () => go(index() + 1) };
    if (event.key === " " && !event.target.closest?.("button, summary, a")) actions[" "] = toggle;
    const action = actions[event.key];
    if (!action || (["Home", "End"].includes(event.key) && !event.shiftKey && document.activeElement === document.body && document.documentElement.scrollHeight > innerHeight)) return;
    event.preventDefault();
    action();
  }
}
