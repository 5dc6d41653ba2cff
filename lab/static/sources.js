/* view
{
  "page": "*",
  "place": 5,
  "title": "Who looks at what",
  "shows": "The network through which the views below look, a second one beside it, and the images they are shown.",
  "look": "Choose a published or untrained network, or drop a photograph of your own here: every view that looks through a network follows."
}
*/
// The source bar of the pages that look through a network.

import { h, offer } from "./dom.js";
import { hasCamera, photographed, prepared } from "./handed.js";
import { keepSight } from "./sight.js";

const PAGES = ["objective", "attention", "patches", "gram", "prototypes", "embedding", "compare"];
const MANY = ["prototypes", "embedding"]; // pages that show many images of a folder
const FRAME = 125; // milliseconds that a frame of a video stays, as long as it stood in the film
const SIZES = [64, 96, 128, 192, 224, 336, 448, 672, 896];

export function mount(element, host) {
  keepSight(host);
  element.classList.add("sources");
  element.setAttribute("aria-label", host.about.title);
  const select = (label, key, changes = (value) => ({ [key]: value })) => {
    const list = h("select", { "aria-label": label, onchange: () => host.set(changes(list.value || null)) });
    return list;
  };
  const network = select("Network", "source"), against = select("Beside it", "against");
  const images = select("Images", "images", (value) => ({ images: value, image: 0, patch: null, pinned: false }));
  const size = select("Resolution", "size", (value) => ({ size: Number(value ?? 0), patch: null, pinned: false }));
  const file = h("input", { type: "file", accept: "image/png,image/jpeg,image/webp,image/gif,image/bmp,video/*", multiple: true, hidden: true, onchange: () => { hand([...file.files]); file.value = ""; } });
  const open = h("button", { type: "button", class: "follow", title: "Choose photographs, or a short video; dropping and pasting them works too. Nothing leaves this machine, nothing is kept.", onclick: () => file.click() }, "Your images …");
  const camera = h("button", { type: "button", class: "follow", hidden: true, onclick: photograph }, "Camera");
  const play = h("button", { type: "button", class: "follow", hidden: true, "aria-pressed": "false", title: "Frame after frame, in every view of this page", onclick: () => roll(timer === null) }, "play the video");
  const status = h("p", { class: "hint", role: "status" }), lens = h("div", { class: "lens" });
  const labelled = (text, list) => h("label", { class: "labelled" }, text, list);
  element.append(h("div", { class: "controls" }, labelled("network", network), labelled("beside it", against), labelled("images", images), labelled("pixels", size), open, play, file, camera), lens, status);
  let timer = null, handing = 0, cameraOn = new AbortController(), offered = { models: [], folders: [], takes: false };
  const area = host.about.alone ? element.closest(".dino-lab") ?? element : document; // in someone else's page, only what happens in our own place
  const handed = new Map(), films = new Map(); // sets of this visit, by name, and how many frames a video has

  const known = host.sure("sight").then((found) => { offered = found; fill(); });
  known.catch((error) => { status.textContent = error.message; });
  hasCamera().then((there) => { camera.hidden = !there || !offered.takes; camera.dataset.there = String(there); });
  host.on(["page", "runs", "data", "run", "overlay", "source", "against", "images", "size"], fill);
  area.addEventListener("dragover", (event) => { if (listens(event.dataTransfer)) { event.preventDefault(); element.dataset.over = "yes"; } });
  area.addEventListener("dragleave", (event) => { if (!area.contains(event.relatedTarget)) delete element.dataset.over; });
  area.addEventListener("drop", (event) => {
    delete element.dataset.over;
    if (!listens(event.dataTransfer)) return;
    event.preventDefault();
    event.stopPropagation();
    hand([...event.dataTransfer.files]);
  });
  area.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (files.length && here()) { event.preventDefault(); hand(files); }
  });
  host.on("images", () => { handing++; }); // what is chosen last is shown, not what is taken in last
  host.on(["images", "page"], () => { roll(false); cameraOn.abort(); }); // no camera stays on where nobody sees it
  fill();

  /** Frames one after the other; any other choice stops it. */
  function roll(on) {
    const count = films.get(host.get("images")) ?? 0;
    clearInterval(timer);
    timer = on && count > 1 ? setInterval(() => { if (host.get("images") && !document.hidden) host.set({ image: (host.get("image") + 1) % count }); }, FRAME) : null;
    play.textContent = timer === null ? "play the video" : "stop";
    play.setAttribute("aria-pressed", String(timer !== null));
  }

  function pages() { return host.about.pages ?? [host.get("page")]; } // of the views below
  function here() { return host.about.alone || PAGES.includes(host.get("page")); }
  const listens = (data) => here() && [...(data?.types ?? [])].includes("Files");

  function fill() {
    element.hidden = !here();
    const live = Boolean(host.run()), over = host.overlay()?.head.name;
    const run = live ? [["", "this run's teacher"], ...(offered.students === false ? [] : [["student", "this run's student"]]), ["first", "this run, first checkpoint"], ...(over ? [["overlay", `overlaid: ${over}`]] : [])] : [["", "a run's teacher"]];
    const models = offered.models.map((name) => [`model:${name}`, name.replace(/^random:/, "untrained ")]);
    options(network, [...run, ...models], host.get("source"));
    options(against, [["", "nothing"], ["teacher", "this run's teacher"], ...run.slice(1), ...models], host.get("against"));
    const set = host.get("images");
    if ((set?.startsWith("set:") || (set && host.recorded)) && !handed.has(set)) handed.set(set, host.recorded ? "recorded images" : "handed in");
    options(images, [["", "probe images"], ...(live && !host.recorded ? [["data", "its data set"]] : []), ...offered.folders.map(({ name, count, all }, i) => [`folder:${i}`, `${name} (${pages().some((page) => MANY.includes(page)) ? all ?? count : count})`]), ...handed], set);
    options(size, [["", "as trained"], ...SIZES.map((side) => [String(side), String(side)])], host.get("size") ? String(host.get("size")) : "");
    size.parentElement.hidden = host.recorded || (pages().length > 0 && pages().every((page) => page === "objective")); // a file holds one, crops have their own
    open.hidden = !offered.takes;
    play.hidden = !films.has(set);
    camera.hidden = !offered.takes || camera.dataset.there !== "true";
  }

  function options(list, choices, value) {
    const wanted = value ?? "";
    if (!choices.some(([key]) => key === wanted)) choices = [...choices, [wanted, String(wanted)]];
    offer(list, choices);
    list.value = wanted;
  }

  async function hand(files) {
    const now = ++handing;
    status.textContent = "Taking them in …";
    await known.catch(() => {}); // whether it takes any is not known before
    if (!offered.takes) { status.textContent = "This lab is read-only: it shows its own runs and images, and takes none."; return; }
    const usable = files.filter(({ type }) => /^(image|video)\//.test(type));
    if (!usable.length) { status.textContent = "Those are no images and no video."; return; }
    try {
      const { body, sizes, video } = await prepared(usable);
      const { set } = await host.ask(`sight/images?sizes=${sizes}&video=${video}`, body);
      const { said, tensors } = await host.kept(`sight/images?images=set:${set}`), count = tensors.images.shape[0];
      if (said.video) films.set(`set:${set}`, count);
      handed.set(`set:${set}`, said.video ? `video, ${count} frames` : count > 1 ? `${count} of your images` : usable[0].name?.slice(0, 28) || "your image");
      if (now !== handing) { status.textContent = "Taken in: choose them among the images."; fill(); return; }
      status.textContent = "";
      host.set({ images: `set:${set}`, image: 0, patch: null, pinned: false });
    } catch (error) {
      status.textContent = error.message;
    }
  }

  async function photograph() {
    cameraOn.abort(); // of an earlier click
    cameraOn = new AbortController();
    try {
      const frame = await photographed(lens, cameraOn.signal);
      if (frame) hand([new File([frame], "camera", { type: "image/jpeg" })]);
    } catch (error) {
      status.textContent = `The camera gave nothing: ${error.message}`;
    }
  }
}
