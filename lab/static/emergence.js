/* view
{
  "page": "monitor",
  "place": 10,
  "half": true,
  "title": "What emerges",
  "shows": "No label and no mask is used in training. These score what was learnt anyway, beside what costs no learning at all (dashed).",
  "look": "A curve means something once it has passed its dashed lines: raw pixels and the untrained network for k-NN, the best centred box for masks. Heads divide an object among them, so one alone finds less of it than all together."
}
*/
// What nobody asked for and appears: classes that a nearest neighbour can tell, heads that find objects, components that cut them out.

import { card, percent } from "./dom.js";
import { chart } from "./chart.js";

export function mount(element, host) {
  const body = card(element, host.about);
  chart(body, host, panels, { empty: "No evaluation yet: the first comes early in the run, if its images have labels or masks." });
}

const WORDS = { raw_pixels: "raw pixels", centred_box: "centred box" };

/** The baselines of one family (knn, jaccard, pca), those that agree under one line. */
function lines(baselines, family) {
  const found = [];
  for (const [name, y] of Object.entries(baselines).sort((a, b) => a[1] - b[1])) {
    if (name.split("_")[0] !== family || !Number.isFinite(y)) continue;
    const key = name.split("_").slice(1).join("_").replace(/^(iou|teacher|student|best_head)_/, "").replace(/^heads_together_(.*)/, "$1, together");
    const word = WORDS[key] ?? key.replaceAll("_", " ");
    const same = found.find((line) => line.word === word && Math.abs(line.y - y) < 0.01);
    if (!same) found.push({ y, word });
  }
  return found.map(({ y, word }, index) => ({ y, label: `${word} ${percent(y, 0)}`, left: index % 2 === 1 }));
}

function panels({ curves, head }) {
  const heads = Object.keys(curves).filter((name) => name.startsWith("jaccard/head_")).sort();
  const share = { format: ".1~%", zero: true };
  return [
    {
      title: "k-NN accuracy", unit: "held-out images", ...share, height: 150, lines: lines(head.baselines, "knn"),
      curves: [
        { name: "k-NN teacher", colour: "green", dots: true, ...curves["knn/teacher"], shown: percent, about: "Images whose class their nearest neighbours name, by the teacher's features." },
        { name: "k-NN student", colour: "purple", dash: "dash", dots: true, ...curves["knn/student"], shown: percent },
      ],
    },
    {
      title: "Attention on the object", unit: "Jaccard, 60 % of the mass", ...share, height: 130, lines: lines(head.baselines, "jaccard"),
      curves: [
        ...heads.map((name) => ({ name: name.split("/")[1], colour: "blue", faint: true, ...curves[name] })),
        { name: "all heads together", colour: "green", dots: true, ...curves["jaccard/heads_together"], shown: percent, about: "Overlap of the object with the patches that hold 60 % of the heads' mean attention: heads divide the object among them." },
        { name: "best head", colour: "blue", dots: true, ...curves["jaccard/best_head"], shown: percent, about: "Overlap of the one head that does best over all images, as in Caron et al. 2021; thin lines are the single heads." },
      ],
    },
    {
      title: "First component on the object", unit: "IoU", ...share, lines: lines(head.baselines, "pca"),
      curves: [{ name: "PCA foreground", colour: "orange", dots: true, ...(curves.pca_iou ?? curves["pca/iou"]), shown: percent, about: "Overlap of the foreground by the first principal component with the object." }],
    },
  ];
}
