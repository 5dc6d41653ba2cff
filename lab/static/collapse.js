/* view
{
  "page": "monitor",
  "place": 30,
  "half": true,
  "title": "Signs of collapse",
  "shows": "Four questions: are answers sure but different, are all prototypes used, do features spread, in how many directions?",
  "look": "Healthy: the mean target stays high while each target falls below it; the gap is what prototypes know about images. No single curve is proof. ▲◆ mark the alarms."
}
*/
// Is it collapsing?  Each way of collapsing shows in another number, so they stand together.

import { card, number, percent } from "./dom.js";
import { chart, scaled } from "./chart.js";

export function mount(element, host) {
  const body = card(element, host.about);
  chart(body, host, panels);
}

function panels({ curves, head }) {
  const k = head.prototypes ?? NaN, lnK = Math.log(k);
  const share = (name) => scaled(curves[name], 1 / lnK);
  return [
    {
      title: "Answers of the teacher", unit: `in units of ln K${Number.isFinite(lnK) ? ` = ${number(lnK)}` : ""}`, height: 190, range: [0, 1.08],
      curves: [
        { name: "mean target", colour: "sky", rough: true, ...share("target/mean_entropy"), about: "Entropy of the mean over images of what the student is to answer: 1 when all prototypes are used alike." },
        { name: "each target, H(t)", colour: "orange", rough: true, ...share("teacher/entropy"), about: "Mean entropy of single targets." },
        { name: "information", colour: "green", rough: true, ...share("teacher/information"), about: "What a prototype tells about its image: entropy of the mean target minus mean entropy." },
        { name: "mean answer, uncentred", colour: "sky", dash: "dot", rough: true, ...share("teacher/mean_entropy"), about: "Entropy of the mean answer before centring or Sinkhorn, which pin the mean target: collapse shows here first." },
        { name: "KL(t‖s)", colour: "blue", rough: true, ...share("kl"), about: "What the student has still to learn from the teacher." },
      ],
    },
    {
      title: "Prototypes", unit: "share of all", height: 110, range: [0, 1.08],
      curves: [
        { name: "in use (perplexity / K)", colour: "purple", rough: true, ...scaled(curves["prototypes/perplexity"], 1 / k), shown: percent, about: "How many prototypes are used, counted by perplexity." },
        { name: "largest takes", colour: "red", rough: true, ...curves["prototypes/largest_share"], shown: percent, about: "Share of images that the most frequent prototype takes." },
        { name: "dead", colour: "grey", rough: true, ...deadShare(curves["prototypes/dead"], k), shown: percent, about: "Prototypes that are first for no image." },
      ],
    },
    {
      title: "Directions of the class token", unit: head.dim ? `of ${head.dim}` : "dimensions", height: 110, zero: true,
      curves: [
        { name: "RankMe", colour: "blue", rough: true, ...curves["features/rankme"], about: "Effective number of directions (arXiv 2210.02885)." },
        { name: "LiDAR", colour: "orange", rough: true, ...curves["features/lidar"], about: "Directions that tell images apart rather than views of one (arXiv 2312.04000)." },
        { name: "RankMe of patches", colour: "green", rough: true, dash: "dash", ...curves["patches/rankme"] },
      ],
    },
    {
      title: "Spread of features", unit: "standard deviation", height: 84, zero: true,
      curves: [{ name: "std", colour: "ink", rough: true, ...curves["features/std"], about: "Standard deviation of the class tokens over images, mean over features." }],
    },
    {
      title: "Slope of the spectrum", unit: "α-ReQ", height: 84,
      curves: [
        { name: "α-ReQ", colour: "purple", rough: true, ...curves["features/alpha_req"], about: "How fast the eigenvalues fall: near 1 is good, large means few directions." },
        { name: "α-ReQ of patches", colour: "green", rough: true, dash: "dash", ...curves["patches/alpha_req"] },
      ],
    },
  ];
}

/** `prototypes/dead` is a count or a share; shown as a share. */
function deadShare(curve, k) {
  return curve && curve.y.some((y) => y > 1) ? scaled(curve, 1 / k) : curve;
}
