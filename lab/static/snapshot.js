// A card as a picture: its own elements drawn by the browser inside an SVG, canvases as the pixels they hold.  Nothing is fetched.

const SCALE = 2; // pixels of the picture per pixel of the page
const STILL = " .trace-words { position: static !important; }"; // it stays in sight of a window, and would cover what is above it here
const INHERITED = "body, .dino-lab"; // ancestors that the style sheet speaks of

/** A picture of an element as it is now, with one line more below: a PNG at twice its size, unless told otherwise. */
export async function pictureOf(element, line, { scale = SCALE, type = "image/png" } = {}) {
  const { width } = element.getBoundingClientRect();
  const copy = copied(element, line);
  const height = measured(element, copy, width);
  const source = new XMLSerializer().serializeToString(framed(element, copy, width, height));
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(source)}`;
  await image.decode();
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [Math.round(width * scale), Math.round(height * scale)];
  const context = canvas.getContext("2d");
  context.scale(scale, scale);
  if (type === "image/jpeg") { context.fillStyle = getComputedStyle(element).getPropertyValue("--card").trim() || "#fff"; context.fillRect(0, 0, width, height); }
  context.drawImage(image, 0, 0, width, height);
  return new Promise((done, failed) => canvas.toBlob((blob) => (blob ? done(blob) : failed(new Error("This browser gives no picture of it."))), type, 0.92));
}

function copied(element, line) {
  const copy = element.cloneNode(true);
  replaced(element, copy, "canvas", (canvas) => canvas.width && asImage(canvas, canvas.toDataURL()));
  replaced(element, copy, "img", (img) => img.naturalWidth && asImage(img, pixels(img)));
  replaced(element, copy, "select", (select) => Object.assign(document.createElement("span"), { textContent: select.selectedOptions[0]?.textContent ?? "" }));
  const inputs = copy.querySelectorAll("input");
  element.querySelectorAll("input").forEach((input, i) => {
    inputs[i].toggleAttribute("checked", input.checked);
    inputs[i].setAttribute("value", input.value);
  });
  copy.querySelectorAll(".save, .sr-only, .as-table:not([open]), script").forEach((part) => part.remove());
  copy.append(Object.assign(document.createElement("p"), { className: "hint", textContent: line }));
  return copy;
}

function replaced(element, copy, selector, make) {
  const copies = copy.querySelectorAll(selector);
  element.querySelectorAll(selector).forEach((original, i) => {
    const other = make(original);
    if (other) copies[i].replaceWith(other); 
  });
}

function asImage(original, source) {
  const image = document.createElement("img"), style = getComputedStyle(original), { width, height } = original.getBoundingClientRect();
  image.src = source;
  image.className = original.getAttribute("class") ?? "";
  image.style.cssText = `display:${style.display};width:${width}px;height:${height}px;border-radius:${style.borderRadius};box-shadow:${style.boxShadow};position:${style.position};inset:${style.inset};image-rendering:${style.imageRendering};aspect-ratio:auto`;
  return image;
}

function pixels(img) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [img.naturalWidth, img.naturalHeight];
  canvas.getContext("2d").drawImage(img, 0, 0);
  return canvas.toDataURL();
}

/** How tall the copy is, beside the original and out of sight. */
function measured(element, copy, width) {
  copy.style.cssText += `;width:${width}px;height:auto;min-height:${element.getBoundingClientRect().height}px;position:absolute;left:-99999px;top:0;visibility:hidden`;
  element.parentNode.append(copy);
  const { height } = copy.getBoundingClientRect();
  copy.remove();
  copy.style.cssText = `width:${width}px;height:${height}px;margin:0`;
  return Math.ceil(height);
}

/** The copy below copies of the ancestors that its style depends on, in an SVG with the style sheets. */
function framed(element, copy, width, height) {
  const NS = "http://www.w3.org/2000/svg", svg = document.createElementNS(NS, "svg"), holder = document.createElementNS(NS, "foreignObject");
  for (const [key, value] of Object.entries({ width, height, viewBox: `0 0 ${width} ${height}` })) svg.setAttribute(key, value);
  holder.setAttribute("width", width);
  holder.setAttribute("height", height);
  const style = document.createElement("style");
  style.textContent = [...document.styleSheets].filter(ours).flatMap((sheet) => [...sheet.cssRules].map(holding)).join("\n") + STILL;
  let inner = copy;
  for (let above = element.parentElement?.closest(INHERITED); above; above = above.parentElement?.closest(INHERITED)) {
    const shell = above.cloneNode(false);
    shell.removeAttribute("id");
    shell.style.cssText = `margin:0;padding:0;width:${width}px;background:none`;
    shell.append(inner);
    inner = shell;
  }
  holder.append(style, inner);
  svg.append(holder);
  return svg;
}

/** A rule as it holds in this page: inside the picture the window would be as narrow as the card. */
const holding = (rule) => (!(rule instanceof CSSMediaRule) ? rule.cssText : matchMedia(rule.media.mediaText).matches ? [...rule.cssRules].map(holding).join("\n") : "");

const ours = ({ href, ownerNode }) => /theme\.css/.test(href ?? "") || ownerNode?.hasAttribute?.("data-lab-theme") || /^plotly\.js-style/.test(ownerNode?.id ?? "");
