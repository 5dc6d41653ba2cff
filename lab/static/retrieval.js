// Search by an image of one's own: what of the images shown is most like it, to the checkpoint that is shown.

import { h } from "./dom.js";
import { prepared } from "./handed.js";
import { nearestTo } from "./points.js";
import { drawPicture, picture, tile } from "./tiles.js";

/** `changed()` is called when there is something new to show.  `look(source)` when a network is shown, `near(source, vectors, count)` →
    [{ index, cosine }] of the points nearest to the image as that network sees it, `shown()` what stands beside them. */
export function retrieval(host, changed) {
  const file = h("input", { type: "file", accept: "image/*", hidden: true, onchange: () => { if (file.files.length) hand([...file.files]); file.value = ""; } });
  const open = h("button", { type: "button", class: "follow", title: "Which of these images are most like one of yours?  It stays on this machine, and is not kept. Dropping it here works too.", onclick: () => file.click() }, "find like yours …");
  const element = h("span", { class: "labelled", hidden: true }, open, file), said = h("p", { class: "hint", role: "status" });
  const rows = new Map(); // network → the image as it sees it; null while it is being looked at
  let set = null, images = null, takes = false, handing = 0;
  if (!host.recorded) host.sure("sight").then((offered) => { takes = offered.takes; element.hidden = !takes; }, () => {});

  async function hand(files) {
    const usable = files.filter(({ type }) => type.startsWith("image/")).slice(0, 1);
    if (!usable.length || !takes) return;
    const now = ++handing;
    said.textContent = "A worker looks at your image …";
    try {
      const { body, sizes } = await prepared(usable);
      const taken = (await host.ask(`sight/images?sizes=${sizes}&video=false`, body)).set;
      if (now !== handing) return;
      set = taken;
      rows.clear();
      changed();
    } catch (error) { if (now === handing) said.textContent = error.message; }
  }

  async function look(source) {
    if (!set || rows.has(source)) return;
    if (rows.size > 3) rows.clear(); // two networks, and where they were before
    rows.set(source, null);
    const now = set, query = encodeURIComponent(`set:${set}`);
    try {
      const [features, pictures] = await Promise.all([host.kept(`sight/features?source=${encodeURIComponent(source)}&images=${query}`), host.kept(`sight/images?images=${query}`)]);
      if (now !== set || !rows.has(source)) return;
      const { cls, cls_scale: scale } = features.tensors;
      rows.set(source, Float32Array.from(cls.data.subarray(0, cls.shape[1]), (v) => v * scale.data[0]));
      images = pictures.tensors.images;
      said.textContent = "";
    } catch (error) {
      if (now !== set) return;
      said.textContent = error.message.includes("only at its probes") ? "Your image needs a checkpoint to look through; this step kept its answers alone. Move the clock to one that was kept." : error.message;
    }
    changed();
  }

  return {
    element, hand, look, said,
    near(source, vectors, count) {
      const row = set && rows.get(source);
      return row && vectors.rows.shape[1] === row.length ? nearestTo(vectors.rows.data, vectors.scale.data, row, count) : [];
    },
    key: (source) => `${set} ${Boolean(rows.get(source))}`,
    shown: () => h("div", { class: "shot" }, tile((context, size) => drawPicture(context, size, picture(images, 0)), { "aria-label": "your image" }), h("small", {}, "yours")),
    forget: () => h("button", { type: "button", class: "quiet", onclick: () => { handing++; set = null; said.textContent = ""; rows.clear(); changed(); } }, "let it go"),
  };
}
