// A choice bound to a value of the shared state: it shows what another view, a link or Python has chosen too.

import { choice } from "./dom.js";

/** `also` is set with it. */
export function bound(host, label, options, key, also = {}) {
  const element = choice(label, options, host.get(key), (value) => host.set({ [key]: value, ...also }));
  host.on([key], () => { for (const box of element.querySelectorAll("input")) box.checked = box.value === String(host.get(key)); });
  return element;
}
