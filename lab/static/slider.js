// A slider bound to a number of the shared state.

import { h } from "./dom.js";

/** `words` says its value. */
export function slider(host, label, key, [low, high, step], words = String) {
  const output = h("output"), input = h("input", { type: "range", min: low, max: high, step, "aria-label": label, oninput: () => host.set({ [key]: Number(input.value) }) });
  const show = () => { input.value = host.get(key); output.textContent = words(host.get(key)); };
  host.on([key, "page"], show);
  show();
  return h("label", { class: "labelled range" }, label, input, output);
}
