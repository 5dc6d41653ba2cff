/* view
{
  "page": "gram",
  "place": 20,
  "half": true,
  "title": "Do dense features last?",
  "shows": "Global quality (k-NN), dense quality (objects in the first component and in attention), and what happens to patches, over training. Bands are the run's phases.",
  "look": "Dense decay: k-NN still rises while objects, contrast and distance from the anchor get worse. In a short run of a small network it may not happen at all; then these curves say so.",
  "needs": "evaluations during training; labels and masks",
  "records": ["run/{run}/gram?anchor={step}&network=teacher"]
}
*/
// Dense against global quality over training, beside what the Gram matrix says.

import { card, number, percent } from "./dom.js";
import { chart } from "./chart.js";
import { anchorOf } from "./gram.js";
import { laid } from "./laid.js";

export function mount(element, host) {
  host.keep({ anchor: null });
  const body = card(element, host.about), found = new Map();
  const drawn = chart(body, host, panels, { empty: "No evaluation and no probe yet." });
  host.on(["run", "overlay", "beside", "anchor", "stop", "data"], ask);
  ask();

  function ask() {
    for (const { id, track } of laid(host)) {
      if (!track?.head.probes.length) continue;
      const wanted = anchorOf(host, track)[0], stops = track.head.probes;
      const anchor = stops.findLast((stop) => stop <= wanted) ?? stops[0];
      const path = `run/${id}/gram?anchor=${anchor}&network=teacher`, key = `${path} ${stops.at(-1)}`;
      if (found.get(id)?.key === key) continue;
      const entry = { key, ...(found.get(id) ?? {}), key };
      found.set(id, entry);
      host.ask(path).then((said) => { entry.said = said; drawn.redraw(); }, (error) => { console.warn(error.message); if (error instanceof TypeError) entry.key = ""; });
    }
  }

  function panels(track) {
    const { curves } = track, said = found.get(track.id)?.said;
    const probed = (name) => (said && said[name].some((y) => y !== null) ? { x: said.steps, y: said[name] } : null);
    const share = { format: ".1~%", zero: true };
    return [
      { title: "Quality", unit: "share, higher is better", height: 150, ...share, curves: [
        { name: "global: k-NN", colour: "green", dots: true, ...curves["knn/teacher"], shown: percent, about: "Held-out images whose class their nearest neighbours name, by the class token." },
        { name: "dense: first component", colour: "orange", dots: true, ...(curves.pca_iou ?? curves["pca/iou"]), shown: percent, about: "Overlap of the foreground by the first principal component with the object (IoU)." },
        { name: "dense: attention", colour: "blue", dots: true, ...curves["jaccard/best_head"], shown: percent, about: "Overlap of the best head's attention with the object (Jaccard)." }] },
      { title: "Patches", unit: "cosine", height: 110, curves: [
        { name: "to the class token", colour: "purple", rough: true, ...curves["patches/cls_cosine"], about: "Patches that turn into the class token have lost their place: DINOv3 sees this as decay begins." },
        { name: "to each other", colour: "sky", dots: true, ...probed("cosine"), about: "Mean over all pairs of one image, over the probe images." }] },
      { title: "Gram matrix from the anchor's", unit: `root mean square of cosines${said ? `, ${said.images} images` : ""}`, height: 90, zero: true, curves: [
        { key: "distance", name: `distance${said ? ` to step ${number(said.anchor)}` : ""}`, colour: "red", dots: true, ...probed("distance"), about: "Of the probe images, at every stop." },
        { name: "as the run logs it", colour: "grey", rough: true, ...root(curves["gram/teacher"]), about: "gram/teacher: teacher against the run's own anchor on training crops; the root of what is logged." }] },
      { title: "Contrast of object and background", unit: "cosine within minus across, masks of the data", height: 90, curves: [
        { name: "contrast", colour: "ink", dots: true, ...probed("contrast"), about: "How much more alike patches of one side are than patches of different sides." }] },
    ];
  }
}

const root = (curve) => (curve ? { x: curve.x, y: curve.y.map((y) => (y === null ? null : Math.sqrt(Math.max(y, 0)))) } : null);
