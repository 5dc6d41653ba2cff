// A small chart of bars as SVG: a histogram, or shares by rank.  Axes have titles; marks stand where something is decided.

const NS = "http://www.w3.org/2000/svg";

function s(tag, attributes, text = null) {
  const element = document.createElementNS(NS, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== null) element.textContent = text;
  return element;
}

/** { heights, low, high (ends of the x axis), ticks on it, x, y (titles), marks: [{ at, text, colour }], words, lit: (i) => bool } → svg */
export function bars({ heights, low, high, x, y, marks = [], words, lit = () => false, ticks = [low, (low + high) / 2, high] }) {
  const W = 320, H = 190, left = 44, right = 14, top = 20, bottom = 40;
  const tallest = Math.max(...heights, 1e-12), width = W - left - right, height = H - top - bottom;
  const at = (value) => left + (width * (value - low)) / (high - low || 1);
  const svg = s("svg", { viewBox: `0 0 ${W} ${H}`, class: "bars", role: "img", "aria-label": words });
  const step = width / heights.length;
  heights.forEach((value, i) => svg.append(s("rect", { x: left + i * step + 0.5, width: Math.max(step - 1, 0.5), y: top + height * (1 - value / tallest), height: (height * value) / tallest, class: lit(i) ? "lit" : "" })));
  svg.append(s("line", { x1: left, x2: W - right, y1: top + height, y2: top + height, class: "axis" }));
  for (const value of ticks) svg.append(s("text", { x: at(value), y: top + height + 14, "text-anchor": "middle" }, Number(value.toFixed(1)).toString()));
  svg.append(s("text", { x: left - 5, y: top + 8, "text-anchor": "end" }, Number(tallest.toPrecision(2)).toString()), s("text", { x: left - 5, y: top + height, "text-anchor": "end" }, "0"),
    s("text", { x: left + width / 2, y: H - 6, "text-anchor": "middle", class: "title" }, x),
    s("text", { x: 12, y: top + height / 2, transform: `rotate(-90 12 ${top + height / 2})`, "text-anchor": "middle", class: "title" }, y));
  const shown = marks.filter(({ at: where }) => where >= low && where <= high).sort((a, b) => a.at - b.at);
  for (const [i, { at: where, text, colour }] of shown.entries()) {
    const place = at(where), next = shown[i + 1], near = next !== undefined && at(next.at) - place < 8 * text.length;
    const far = place > W - 90 || (near && place > left + 8 * text.length);
    svg.append(s("line", { x1: place, x2: place, y1: top - 4, y2: top + height, class: "mark", style: `stroke: var(--${colour})` }),
      s("text", { x: place + (far ? -4 : 4), y: top - 6, "text-anchor": far ? "end" : "start", style: `fill: var(--${colour})` }, text));
  }
  return svg;
}

/** How many values fall into each of `count` equal stretches. */
export function histogram(values, low, high, count = 40) {
  const heights = new Array(count).fill(0);
  for (const value of values) if (value >= low && value <= high) heights[Math.min(count - 1, Math.floor((count * (value - low)) / (high - low || 1)))]++;
  return heights;
}
