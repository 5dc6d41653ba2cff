// Predict, then see: what will H and KL do?  Asked before a lesson runs, compared with what came.

import { choice, h, icon, number } from "./dom.js";
import { HORIZON, LESSONS, QUESTIONS, outcome } from "./playground_words.js";

const DRAWN_AT = { up: 1, down: 0, between: 0.5, zero: 0.02, above: 0.25 };

/** The question and the answer's places, and the guess between them. */
export function guessing({ start, changed }) {
  const question = h("section", { class: "pg-question", hidden: true, "aria-label": "Your guess" });
  const answer = h("section", { class: "pg-reveal", role: "status", hidden: true });
  let guess = {};

  function pick(key, value) {
    guess = { ...guess, [key]: value };
    changed();
    if (Object.keys(guess).length === Object.keys(QUESTIONS).length) start();
  }

  return {
    question, answer,
    forget() { guess = {}; answer.hidden = true; },
    close() { question.hidden = true; },

    /** Put the questions; they wait for both answers. */
    ask(title) {
      guess = {};
      answer.hidden = true;
      question.hidden = false;
      question.replaceChildren(h("h3", {}, `Before it runs: ${title}`), ...Object.entries(QUESTIONS).map(([key, { title: text, answers }]) =>
        h("div", { class: "pg-ask" }, h("span", {}, text), choice(text, answers, guess[key], (value) => pick(key, value)))),
      h("p", { class: "hint" }, `With both answered it runs, and after ${HORIZON} steps you are told. Or `, h("button", { type: "button", class: "quiet", onclick: start }, "just show me")));
    },

    /** Compare with what the last rows have come to, and say why. */
    reveal(experiment) {
      const end = { entropy: experiment.curves.recent("entropy", 40), kl: experiment.curves.recent("kl", 40) }, came = outcome(end.entropy, end.kl);
      const said = Object.entries(QUESTIONS).filter(([key]) => guess[key]).map(([key, { answers }]) => {
        const right = guess[key] === came[key];
        return h("p", { class: "pg-answer", "data-right": String(right) }, icon(right ? "healthy" : "warning"),
          `${key === "kl" ? "KL" : "H"}: you said “${answers[guess[key]]}”, ${right ? "and so it did" : `but it did “${answers[came[key]]}”`}: ${number(end[key], 2)} ln K.`);
      });
      answer.hidden = false;
      answer.replaceChildren(...said, experiment.plain ? h("p", {}, LESSONS[experiment.lesson].why) : h("p", {}, `After ${HORIZON} steps H is ${number(end.entropy, 2)} and KL ${number(end.kl, 2)} ln K.`));
    },

    /** The guess as lines of the chart. */
    lines: () => Object.entries(guess).map(([key, value]) => ({ y: DRAWN_AT[value], label: `your guess of ${key === "kl" ? "KL" : "H"}`, colour: key === "kl" ? "blue" : "orange", left: key === "kl", below: value === "up" })),
  };
}
