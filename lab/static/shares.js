// The scale of attention that all maps of it share, and in words what on it can hardly be seen.

import { h, number } from "./dom.js";
import { RAMP_CSS } from "./maps.js";

export const SCALE = 6; // the brightest colour is this many times an equal share, at every checkpoint: flat maps look flat
export const EVEN = 2; // below this many equal shares a map is about as dark all over

export const shareScale = () => h("span", { class: "scale" }, "0", h("i", { class: "marked", style: `background:${RAMP_CSS.magma};--mark:${100 / SCALE}%` }), `${SCALE}× an equal share (mark: 1×)`);

/** The most that one patch weighs, in equal shares of what all patches weigh together. */
export const strongest = (map) => (Math.max(...map) * map.length) / (map.reduce((a, b) => a + b, 0) || 1);

/** Why maps are dark; "" where none is.  `names` says what they are. */
export function whyDark(maps, names) {
  const most = maps.map(strongest), dark = most.map((value, i) => (value < EVEN ? i : -1)).filter((i) => i >= 0);
  if (!dark.length) return "";
  const who = dark.length === maps.length && maps.length > 1 ? "All maps are" : dark.length === 1 ? `The ${names[dark[0]]} is` : `${dark.length} of ${maps.length} maps are`;
  return `${who} dark: nearly even, no patch weighs more than ${number(Math.max(...dark.map((i) => most[i])), 2)} × an equal share.`;
}
