/* view
{
  "page": "monitor",
  "place": 40,
  "half": true,
  "title": "Schedules",
  "shows": "The constants that move during a run.",
  "look": "The teacher's temperature stays below the student's: that difference is the sharpening."
}
*/
// What the schedules ask for at each step.

import { card } from "./dom.js";
import { chart } from "./chart.js";

export function mount(element, host) {
  const body = card(element, host.about);
  chart(body, host, panels);
}

function panels({ curves, head }) {
  return [
    { title: "Learning rate", zero: true, curves: [{ name: "learning rate", colour: "blue", ...curves.lr }] },
    { title: "Weight decay", zero: true, curves: [{ name: "weight decay", colour: "purple", ...curves.weight_decay }] },
    { title: "Momentum of the teacher", unit: "share kept each step", curves: [{ name: "momentum", colour: "green", ...curves.momentum }] },
    { title: "Temperatures", zero: true, lines: curves.student_temperature ? [] : [{ y: head.student_temperature ?? NaN, label: `student ${head.student_temperature}`, colour: "blue", below: true }], curves: [
      { name: "teacher", colour: "orange", ...curves.teacher_temperature },
      { name: "student", colour: "blue", ...curves.student_temperature },
    ] },
  ];
}
