/* view
{
  "page": "monitor",
  "place": 31,
  "half": true,
  "title": "Centre and prototypes",
  "shows": "The centre is the running mean of the teacher's answers; taking it away keeps one prototype from winning every image.",
  "look": "It should settle: a centre that outgrows the spread of the answers (a share above 1, and rising) drives them itself."
}
*/
// The centre: what keeps one prototype from taking all; and how many prototypes are left.

import { card, h, number } from "./dom.js";
import { chart } from "./chart.js";

export function mount(element, host) {
  const body = card(element, host.about);
  const about = h("p", { class: "hint" });
  body.append(about);
  chart(body, host, panels);

  function panels(track) {
    if (track === host.run()) about.textContent = track.curves["centre/norm"] ? "" : "This run logs no centre: its targets are evened out by Sinkhorn, or not at all.";
    return drawn(track);
  }
}

function drawn({ curves, head }) {
  return [
    { title: "Length of the centre", unit: "logits", zero: true, curves: [{ name: "‖centre‖", colour: "blue", rough: true, ...curves["centre/norm"] }] },
    { title: "Beside the spread of the logits", unit: "‖centre‖ / spread", zero: true, curves: [{ name: "share", colour: "orange", rough: true, ...curves["centre/share"] }] },
    { title: "Movement", unit: "logits since the last logged step", zero: true, curves: [{ name: "movement", colour: "purple", rough: true, ...curves["centre/movement"] }] },
    {
      title: "Prototypes in use", unit: "perplexity", zero: true, curves: [{ name: "in use", colour: "green", rough: true, ...curves["prototypes/perplexity"] }],
      lines: head.prototypes ? [{ y: head.prototypes, label: `all ${number(head.prototypes)}`, below: true }] : [],
    },
  ];
}
