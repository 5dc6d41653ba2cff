// Python that shows a view, and reads what it is drawn from: it runs as it stands where DINO lab is installed and the run is.

import { laid } from "./laid.js";

const APART = ["run", "page", "overlay", "beside"];
const SILENT = /^(views|runs|sight|started)$|^(film|export)\//; // what is asked for the page, not for the view

export function code(host) {
  const run = named(host, host.get("run")), state = new Map(host.address());
  for (const key of APART) state.delete(key);
  if (host.stop() !== null) state.set("step", host.stop());
  const handedIn = String(state.get("images") ?? "").startsWith("set:");
  if (handedIn) state.delete("images");
  const over = laid(host).slice(1).map(({ id }) => named(host, id));
  const words = [...state].filter(([key]) => /^[a-z_]\w*$/i.test(key)).map(([key, value]) => `, ${key}=${python(value)}`).join("") + (over.length ? `, overlay=${over.length > 1 ? `[${over.join(", ")}]` : over[0]}` : "");
  const lines = ["import lab", ""], paths = host.asked().filter((path) => !SILENT.test(path)).map(decodeURIComponent);
  const models = [...new Set([...paths.join("\n").matchAll(/model:([^&\n]+)/g)].map(([, name]) => name))].filter((name) => !name.startsWith("random:"));
  if (models.length) lines.push(`lab.offer(models=[${models.map(python).join(", ")}])  # names, or the files they are in`);
  lines.push(`lab.show(${python(host.about.name)}, ${run}${words})  # this view, in a notebook`);
  const read = paths.filter((path) => !path.includes("=set:")).map((path) => answer(host, path, run)).filter(Boolean);
  if (handedIn) lines.push("# images that were handed in are held by the page alone; hand them in again in the notebook");
  lines.push(...read);
  if (!read.length && host.run()) lines.push(`lab.find(${run}).metrics()  # its curves, a pandas table`);
  return lines.join("\n");
}

/** A line that gives the answer to a path, under names that hold on any machine; null where two runs are in it. */
function answer(host, path, run) {
  const mentioned = (host.runs() ?? []).filter(({ id }) => path.split(/[/:=?&]/).includes(id));
  if (mentioned.length > 1) return null;
  const [one] = mentioned;
  if (!one) return null; // of models and folders alone: the view itself asks for it
  const own = `run/${one.id}/`, short = path.startsWith(own) ? path.slice(own.length) : path.replaceAll(one.id, "{run}");
  return `lab.answer(${one.id === host.get("run") ? run : named(host, one.id)}, ${python(short)})  # what it is drawn from`;
}

const named = (host, id) => python(host.runs()?.find((run) => run.id === id)?.name ?? null);

const python = (value) => (value === null ? "None" : typeof value === "number" ? String(value) : typeof value === "boolean" ? (value ? "True" : "False") : JSON.stringify(String(value)));
