// Modules where there is no server: each becomes a blob with an address, after those that it imports (lab/modules.py orders them).

/** [{ name, source }] in order → their addresses by name; those already in `urls` stay what they are. */
export function addresses(modules, urls = {}) {
  for (const { name, source } of modules) {
    const placed = source.replace(/(["'])\.\/([\w-]+)\.js\1/g, (as, quote, other) => (urls[other] ? quote + urls[other] + quote : as));
    urls[name] ??= URL.createObjectURL(new Blob([placed], { type: "text/javascript" }));
  }
  return urls;
}

/** plotly.js from its source.  It looks for a loader of modules that the page may have; here it is to find none. */
export function plotlyFrom(source) {
  return new Promise((done, failed) => {
    const parts = ["(function (define, module, exports, require) {", source, "\n}).call(window);"];
    const script = document.createElement("script");
    script.src = URL.createObjectURL(new Blob(parts, { type: "text/javascript" }));
    script.onload = () => (window.Plotly ? done(window.Plotly) : failed(new Error("plotly.js was loaded and is not there.")));
    script.onerror = () => failed(new Error("plotly.js could not be loaded."));
    document.head.append(script);
  });
}

/** Bytes packed with gzip → an ArrayBuffer. */
export const unpacked = (bytes) => new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
