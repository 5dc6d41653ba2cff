// A choice, or a switch, bound to a value of the shared state: it shows what another view, a link or Python has chosen too.

import { choice, toggle } from "./dom.js";

/** `also` is set with it. */
export function bound(host, label, options, key, also = {}) {
  const element = choice(label, options, host.get(key), (value) => host.set({ [key]: value, ...also }));
  host.on([key], () => { for (const box of element.querySelectorAll("input")) box.checked = box.value === String(host.get(key)); });
  return element;
}

/** On and off are 1 and 0. */
export function switched(host, label, key, title = null) {
  const element = toggle(label, Boolean(host.get(key)), (on) => host.set({ [key]: Number(on) }), title), box = element.querySelector("input");
  host.on([key], () => { box.checked = Boolean(host.get(key)); });
  return element;
}
