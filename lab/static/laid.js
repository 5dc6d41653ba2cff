// Runs on one axis: the chosen one, a second laid over it, which other views compare with too, and up to four more beside them.
// Each place has a colour, a dash and a marker, so that runs are told apart without colour; a run keeps its place until it leaves.

/** Runs on one axis at most. */
export const MOST = 6;

const LOOKS = [
  { colour: "ink", dash: "solid", symbol: "circle" }, { colour: "orange", dash: "dot", symbol: "square" }, { colour: "blue", dash: "dash", symbol: "diamond" },
  { colour: "green", dash: "dashdot", symbol: "triangle-up" }, { colour: "purple", dash: "longdash", symbol: "x" }, { colour: "red", dash: "longdashdot", symbol: "star" },
];
const DASHES = { solid: "", dot: "2 3", dash: "6 3", dashdot: "6 3 2 3", longdash: "9 3", longdashdot: "9 3 2 3" };
const SYMBOLS = {
  circle: "M15 2.200a3.800 3.800 0 1 0 0 7.600a3.800 3.800 0 0 0 0-7.600z", square: "M11.800 2.800h6.400v6.400h-6.400z", diamond: "M15 1.200L19.800 6L15 10.800L10.200 6z", "triangle-up": "M15 1.500L19.500 9.500H10.500z",
  x: "M11.200 3.600l1.600-1.600L15 4.200l2.200-2.200l1.600 1.600L16.600 6l2.200 2.400l-1.600 1.600L15 7.800l-2.200 2.200l-1.600-1.600L13.400 6z", star: "M15 .8l1.500 3.500l3.700.3l-2.800 2.500l.9 3.700L15 8.800l-3.300 2l.9-3.700l-2.800-2.500l3.700-.3z",
};

/** The places beside the second run, "" where one is free. */
const places = (host) => [...(host.get("beside") ?? "").split(","), "", "", "", ""].slice(0, MOST - 2);
const packed = (ids) => ids.join(",").replace(/,+$/, "") || null;

/** The runs on the axis, the chosen one first: [{ id, look, track }]; `track` is null until it is known. */
export function laid(host) {
  const ids = [host.get("run"), host.get("overlay"), ...places(host)];
  return ids.map((id, place) => ({ id, look: LOOKS[place], track: id ? host.track(id) : null })).filter(({ id }, place) => id && ids.indexOf(id) === place);
}

/** What changes when a run is laid over the chosen one; null where there is no room. */
export function joined(host, id) {
  if (!host.get("overlay")) return { overlay: id };
  const beside = places(host), free = beside.indexOf("");
  if (free < 0) return null;
  beside[free] = id;
  return { beside: packed(beside) };
}

/** What changes when a run leaves: the next one takes a second run's place. */
export function without(host, id) {
  const beside = places(host).map((other) => (other === id ? "" : other));
  if (host.get("overlay") !== id) return { beside: packed(beside) };
  const next = beside.findIndex(Boolean), overlay = beside[next] ?? null;
  if (overlay) beside[next] = "";
  return { overlay, beside: packed(beside) };
}

/** What changes when a run becomes the second one, in exchange with the one that was. */
export function second(host, id) {
  return { overlay: id, beside: packed(places(host).map((other) => (other === id ? host.get("overlay") : other))) };
}

/** How a run is drawn, as a picture of 30 × 12. */
export function mark({ colour, dash, symbol }) {
  const make = (tag, attributes) => {
    const part = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [key, value] of Object.entries(attributes)) part.setAttribute(key, value);
    return part;
  };
  const svg = make("svg", { viewBox: "0 0 30 12", class: "run-mark", "aria-hidden": "true", style: `color:var(--${colour})`, "data-dash": dash, "data-symbol": symbol });
  svg.append(make("path", { d: "M0 6H30", stroke: "currentColor", "stroke-width": 2, "stroke-dasharray": DASHES[dash] }), make("path", { d: SYMBOLS[symbol], fill: "currentColor" }));
  return svg;
}
