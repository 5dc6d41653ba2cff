// Elements and words.  Text from a run (names, sentences) only ever becomes a text node: nothing here parses HTML.

/** h("p", { class: "x", onclick: f }, "text", child): an element.  Attributes that are null or false are left out. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** An icon of our own drawing, 20 × 20, in the colour of the text. */
export function icon(name) {
  const NS = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(NS, "svg");
  for (const [key, value] of Object.entries({ viewBox: "0 0 20 20", class: "icon", "aria-hidden": "true" })) svg.setAttribute(key, value);
  const path = document.createElementNS(NS, "path");
  path.setAttribute("d", ICONS[name] ?? ICONS.dot);
  path.setAttribute("fill-rule", "evenodd");
  svg.append(path);
  return svg;
}

const ICONS = {
  dot: "M10 6a4 4 0 1 0 0 8a4 4 0 0 0 0-8z",
  healthy: "M10 1.5a8.5 8.5 0 1 0 0 17a8.5 8.5 0 0 0 0-17zM8.8 13.9L4.9 10l1.5-1.5l2.4 2.4l5-5l1.5 1.5z",
  warning: "M10 1.8L19.2 18H.8zM9 7.5l.3 5.2h1.4l.3-5.2zM9 14h2v2H9z",
  alarm: "M6.2 1.5h7.6l4.7 4.7v7.6l-4.7 4.7H6.2l-4.7-4.7V6.2zM8.9 5l.3 6.6h1.6L11.1 5zM8.9 13.1h2.2v2.1H8.9z",
  waiting: "M10 1.5a8.5 8.5 0 1 0 0 17a8.5 8.5 0 0 0 0-17zM9.2 5h1.7v4.7l3.4 2.1l-.9 1.4l-4.2-2.6z",
  play: "M5.5 3.2v13.6L16.8 10z", pause: "M5 3.5h3.6v13H5zM11.4 3.5H15v13h-3.6z",
  first: "M4 4h2v12H4zM16 4v12L7 10z", last: "M14 4h2v12h-2zM4 4v12l9-6z",
  back: "M13.5 4v12L5 10z", forward: "M6.5 4v12L15 10z",
  eye: "M10 4c4.6 0 7.8 3.7 9 6c-1.200 2.300-4.400 6-9 6s-7.800-3.700-9-6c1.200-2.300 4.400-6 9-6zM10 6.500a3.500 3.500 0 1 0 0 7a3.500 3.500 0 0 0 0-7z",
};

const THOUSANDS = new Intl.NumberFormat("en-GB");

/** A whole number, its thousands apart. */
export const grouped = (value) => THOUSANDS.format(value).replaceAll(",", "\u202f");

/** A number in as few characters as say it: 3 significant digits, thousands grouped, no 1e-7 noise. */
export function number(value, digits = 3) {
  return plain(value, digits).replace(/^-/, "−");
}

function plain(value, digits) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  const size = Math.abs(value);
  if (size >= 1e6) return (value / 1e6).toPrecision(3).replace(/\.?0+$/, "") + " M";
  if (size >= 1000) return grouped(Math.round(value));
  if (size !== 0 && size < 1e-3) return value.toExponential(1).replace("e-", " × 10⁻").replace(/⁻(\d+)$/, (_, d) => "⁻" + [...d].map((c) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[c]).join(""));
  if (Number.isInteger(value)) return String(value);
  return String(Number(value.toPrecision(digits)));
}

export const percent = (value, digits = 1) =>
  value === null || value === undefined || Number.isNaN(value) ? "–" : `${(100 * value).toFixed(digits)} %`;

/** Seconds as a person says them: 42 s, 3 min, 2 h 05. */
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 48 * 3600) return `${Math.floor(seconds / 3600)} h ${String(Math.floor((seconds % 3600) / 60)).padStart(2, "0")}`;
  return `${Math.round(seconds / 86400)} days`;
}

/** A colour or size of the theme that holds where the views are: on the page, or in a notebook that has its own. */
export function css(name) {
  const key = `${document.body.className} ${name}`;
  if (!looked.size) setTimeout(() => looked.clear());
  if (!looked.has(key)) looked.set(key, getComputedStyle(document.querySelector(".lab-view") ?? document.body).getPropertyValue(`--${name}`).trim());
  return looked.get(key);
}

const looked = new Map(); // for one task: each look at a style has the page's worked out anew where anything was changed

/** A view's frame: its title, what it shows, what to look at; controls to the right, content below.
    `data()` → { name: { column: [values] } } are numbers to save that no chart of the view shows, `python()` code that makes what no run holds. */
export function card(element, { title, shows, look, controls = [], tools = null, table = null, data = null, python = null }) {
  const id = `title-${Math.random().toString(36).slice(2, 8)}`;
  const body = h("div", { class: "card-body" }), save = tools?.({ element, data, python });
  element.setAttribute("aria-labelledby", id);
  element.classList.add("card");
  element.append(
    h("header", { class: "card-head" },
      h("div", { class: "card-title" }, h("h2", { id }, title), h("div", { class: "controls" }, Array.isArray(controls) ? controls : [], save)),
      h("p", { class: "shows" }, shows),
      look ? h("p", { class: "look" }, icon("eye"), h("span", {}, look)) : null),
    body, table?.({ element, data }) ?? "");
  return body;
}

/** Choices of which one holds, as a group of radio buttons drawn as a switch.  `set` is called with the value. */
export function choice(label, options, value, set) {
  const name = `choice-${Math.random().toString(36).slice(2, 8)}`;
  return h("fieldset", { class: "choice" }, h("legend", { class: "sr-only" }, label),
    Object.entries(options).map(([key, text]) =>
      h("label", {}, h("input", { type: "radio", name, value: key, checked: key === String(value), onchange: () => set(key) }), h("span", {}, text))));
}

/** Something that is on or off. */
export function toggle(label, value, set, title = null) {
  const box = h("input", { type: "checkbox", onchange: () => set(box.checked) });
  box.checked = value;
  return h("label", { class: "toggle", title }, box, h("span", {}, label));
}

/** Give an element these children in this order.  Those that stay are not touched: focus, an open list and a click begun on them stay too. */
export function arrange(element, children) {
  for (const child of [...element.children]) if (!children.includes(child)) child.remove();
  children.forEach((child, i) => { if (element.children[i] !== child) element.insertBefore(child, element.children[i] ?? null); });
}

/** The choices of a list, [value, text] each. */
export function offer(list, choices) {
  const standing = new Map([...list.options].map((option) => [option.value, option]));
  arrange(list, choices.map(([value, text]) => {
    const option = standing.get(String(value)) ?? h("option", { value });
    if (option.textContent !== text) option.textContent = text;
    return option;
  }));
}

/** Replace an element's children only if what they say has changed, so that nothing flickers and focus stays. */
export function refill(element, key, children) {
  if (element.dataset.key === key) return;
  element.dataset.key = key;
  element.replaceChildren(...children().flat().filter(Boolean));
}
