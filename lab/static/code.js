// Python that shows a view, and reads what it is drawn from: it runs as it stands where DINO lab is installed and the run is.

import { laid } from "./laid.js";

const APART = ["run", "page", "overlay", "beside"];
const OWN = ["monitor", "playground", "fork"], LOOKED_AT = ["source", "against", "images", "size"]; // pages that look through no network
const SILENT = /^(views|runs|sight|started)$|^(film|export)\//; // what is asked for the page, not for the view

/** `curves`: whether the view draws what a run logged; `more`: code of the view's own. */
export async function code(host, { curves = true, more = "" } = {}) {
  const paths = host.asked().filter((path) => !SILENT.test(path)).map(decodeURIComponent), places = await placesOf(host, paths);
  const named = (id) => python(places.get(id) ?? null), run = named(host.get("run")), state = new Map(host.address());
  for (const key of [...APART, ...(OWN.includes(host.about.page) ? LOOKED_AT : [])]) state.delete(key);
  if (host.stop() !== null) state.set("step", host.stop());
  const handedIn = String(state.get("images") ?? "").startsWith("set:");
  if (handedIn) state.delete("images");
  const over = laid(host).slice(1).map(({ id }) => named(id));
  const words = [...state].filter(([key]) => /^[a-z_]\w*$/i.test(key)).map(([key, value]) => `, ${key}=${python(value)}`).join("") + (over.length ? `, overlay=${over.length > 1 ? `[${over.join(", ")}]` : over[0]}` : "");
  const lines = ["import lab", ""];
  const given = await offered(host, paths);
  if (given) lines.push(`lab.offer(${given})  # networks and folders of images, where they are`);
  lines.push(`lab.show(${python(host.about.name)}, ${run}${words})  # this view, in a notebook`);
  const read = paths.filter((path) => !path.includes("=set:")).map((path) => answer(host, path, named)).filter(Boolean);
  if (handedIn) lines.push("# images that were handed in are held by the page alone; hand them in again in the notebook");
  lines.push(...read);
  if (curves && !read.length && host.run()) lines.push(`lab.find(${run}).metrics()  # its curves, a pandas table`);
  return [...lines, ...(more ? ["", more] : [])].join("\n");
}

/** A line that gives the answer to a path, under names that hold on any machine; null where two runs are in it. */
function answer(host, path, named) {
  const mentioned = mentionedIn(host, path);
  if (mentioned.length > 1) return null;
  const [one] = mentioned;
  if (!one) return null; // of models and folders alone: the view itself asks for it
  const own = `run/${one.id}/`, short = path.startsWith(own) ? path.slice(own.length) : path.replaceAll(one.id, "{run}");
  return `lab.answer(${named(one.id)}, ${python(short)})  # what it is drawn from`;
}

/** The networks that are not untrained ones, and all folders where one is shown (they are known by their order), as `lab.offer` takes them. */
async function offered(host, paths) {
  const all = paths.join("\n"), names = [...new Set([...all.matchAll(/model:([^&\n]+)/g)].map(([, name]) => name))].filter((name) => !name.startsWith("random:"));
  const folders = all.includes("folder:");
  if (!names.length && !folders) return "";
  const found = await host.unnoted("sight/places").catch(() => ({ models: {}, folders: [] }));
  const list = (word, values) => (values.length ? [`${word}=[${values.map(python).join(", ")}]`] : []);
  return [...list("models", names.map((name) => found.models[name] ?? name)), ...list("folders", folders ? found.folders : [])].join(", ");
}

const mentionedIn = (host, path) => (host.runs() ?? []).filter(({ id }) => path.split(/[/:=?&]/).includes(id));

/** What `lab.find` is to be given for each of the runs that the code is about: a name, or the folder where that is not enough. */
async function placesOf(host, paths) {
  const wanted = [host.get("run"), ...laid(host).map(({ id }) => id), ...paths.flatMap((path) => mentionedIn(host, path).map(({ id }) => id))];
  const found = (host.runs() ?? []).filter(({ id }) => wanted.includes(id)).map(async ({ id, name }) => [id, (await host.unnoted(`run/${id}/place`).catch(() => null))?.place ?? name]);
  return new Map(await Promise.all(found));
}

const python = (value) => (value === null ? "None" : typeof value === "number" ? String(value) : typeof value === "boolean" ? (value ? "True" : "False") : JSON.stringify(String(value)));
