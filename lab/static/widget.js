// What a notebook keeps of a view: a few lines that ask the kernel for everything else.  `addresses` comes from loader.js, put before
// this by lab/widgets.py.

/** Questions to the kernel and its answers, one numbered message each; any other message of it goes to `heard`. */
function line(model) {
  const waiting = new Map(), heard = new Set();
  let count = 0;
  model.on("msg:custom", (message, buffers) => {
    if (!("id" in message)) { heard.forEach((listener) => listener(message)); return; }
    const [done, failed] = waiting.get(message.id) ?? [];
    waiting.delete(message.id);
    if (message.error) failed?.(new Error(message.error));
    else done?.({ answer: message.answer, bytes: buffers.map((part) => part.buffer.slice(part.byteOffset, part.byteOffset + part.byteLength)) });
  });
  return {
    heard,
    ask: (kind, content = {}, bytes = []) => new Promise((done, failed) => {
      waiting.set(++count, [done, failed]);
      model.send({ id: count, kind, ...content }, undefined, bytes);
    }),
  };
}

/** The kernel's messages reach a widget that took long to load.  anywidget (0.11) waits two seconds for these lines and afterwards lets
 *  no message through, so that on a page that is busy a view would stay empty for good. */
async function listening(model) {
  const whole = await model.widget_manager?.get_model?.(model.get("_place"));
  const plain = whole && Object.getPrototypeOf(Object.getPrototypeOf(whole))._handle_comm_msg;
  if (plain && whole.comm) whole.comm.on_msg((message) => plain.call(whole, message));
}

const lines = new WeakMap();
const lineOf = (model) => lines.get(model) ?? lines.set(model, line(model)).get(model);

/** The lab's modules in this page, by version: asked for once, whatever number of views is shown. */
async function notebook(model) {
  const places = (globalThis[Symbol.for("dino-lab")] ??= new Map());
  const version = model.get("_version"), modules = model.get("_modules"), urls = places.get(version) ?? {};
  places.set(version, urls);
  const missing = modules.filter((name) => !urls[name]);
  if (missing.length) addresses((await lineOf(model).ask("modules", { names: missing })).answer, urls);
  return { urls, ...(await import(urls.notebook)) };
}

export default {
  async initialize({ model }) { lineOf(model); await listening(model).catch(() => {}); },
  async render({ model, el }) {
    try {
      const { urls, render } = await notebook(model);
      return await render({ model, el, line: lineOf(model), urls });
    } catch (error) {
      el.textContent = `This view could not be drawn: ${error.message}`;
    }
  },
};
