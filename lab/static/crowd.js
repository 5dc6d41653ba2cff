// What pages of many images share: asking for what takes a worker a while, small pictures, colours of groups.

import { RAMPS } from "./maps.js";

const AGAIN = 500; // milliseconds between questions after something that is being computed
const KEPT = 48; // answers kept for scrubbing

/** Ask until it is there.  `ask(path, current, tell)` → { tensors, said } or JSON, null once `current()` is false;
    `tell(sentence, share)` hears how far it is. */
export function patient(host) {
  const answers = new Map();
  /** The checkpoint of a step comes a little after its pictures; what was answered before is another answer. */
  const whole = (path) => `${path} ${host.run()?.head.checkpoints.findLast((step) => step <= Number(/crowd\/(\d+)\//.exec(path)?.[1]))}`;
  return async function ask(path, current, tell) {
    const name = whole(path);
    if (answers.has(name)) {
      const known = answers.get(name);
      answers.delete(name);
      answers.set(name, known);
      return known;
    }
    for (;;) {
      const answer = await host.ask(path);
      if (!answer?.waiting) {
        answers.set(name, answer);
        if (answers.size > KEPT) answers.delete(answers.keys().next().value);
        tell?.("", 1);
        return answer;
      }
      if (!current()) return null;
      tell?.(answer.waiting, answer.share);
      await new Promise((done) => setTimeout(done, AGAIN));
      if (!current()) return null;
    }
  };
}

/** A bar that says what is being done. */
export const doing = (sentence, share) => (sentence ? `${sentence} (${Math.round(100 * share)} %) …` : "");

export const COUNTS = { 0: "probe images", 300: "300 of the data", 1000: "1000", 3000: "3000" };

/** Okabe and Ito's colours and two greys, as numbers. */
export const GROUPS = [[0, 114, 178], [230, 159, 0], [0, 158, 115], [204, 121, 167], [213, 94, 0], [86, 180, 233], [240, 228, 66], [120, 94, 240], [150, 75, 0], [120, 130, 140]];
export const OTHER = [134, 140, 150];

/** Colours (P 3) by group number; -1 is grey. */
export function byGroup(groups) {
  const rgb = new Uint8Array(3 * groups.length);
  groups.forEach((group, p) => rgb.set(group < 0 ? OTHER : GROUPS[group % GROUPS.length], 3 * p));
  return rgb;
}

/** Colours (P 3) by value, dark for little. */
export function byValue(values, low, high) {
  const rgb = new Uint8Array(3 * values.length), table = RAMPS.cividis;
  values.forEach((value, p) => {
    const at = 3 * Math.round(255 * Math.min(Math.max((value - low) / (high - low || 1), 0), 1));
    rgb.set(table.subarray(at, at + 3), 3 * p);
  });
  return rgb;
}

/** How often each number occurs, the most frequent first → [[number, count], …]. */
export function counted(numbers) {
  const found = new Map();
  for (const number of numbers) found.set(number, (found.get(number) ?? 0) + 1);
  return [...found].sort((a, b) => b[1] - a[1] || a[0] - b[0]);
}
