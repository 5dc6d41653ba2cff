"""Predict first: a guess is recorded before the answer is seen, and shown again beside it.

Guesses lie in `guesses.json`, in the folder of the notebook, or below ~/.dino-lab where that can't be written
(DINO_COURSE_HOME names another folder)."""

from __future__ import annotations

import html
import json
import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from textwrap import fill
from typing import Any

Guess = str | float
WIDTH = 100
"""Characters of a printed line."""


def home() -> Path:
    """Where the learner's guesses and runs are kept."""
    named = os.environ.get("DINO_COURSE_HOME")
    folder = Path(named) if named else Path.cwd()
    if named or os.access(folder, os.W_OK):
        return folder
    return Path.home() / ".dino-lab"


def recorded() -> dict[str, dict[str, Any]]:
    """All guesses so far: number → question, guess, when."""
    try:
        return json.loads((home() / "guesses.json").read_text())
    except (OSError, ValueError):
        return {}


def record(number: str, question: str, guess: Guess) -> Guess:
    """Keep a guess; a later one for the same question replaces it until the answer was shown.  Returns the one kept."""
    guesses = recorded()
    before = guesses.get(number, {})
    if "shown" in before:
        return before["guess"]
    now = datetime.now().isoformat(timespec="seconds")
    guesses[number] = {"question": question, "guess": guess, "when": now}
    _write(guesses)
    return guess


def _write(guesses: dict[str, dict[str, Any]]) -> None:
    home().mkdir(parents=True, exist_ok=True)
    draft = home() / ".guesses.json.draft"
    draft.write_text(json.dumps(guesses, indent=1, ensure_ascii=False))
    draft.replace(home() / "guesses.json")


def predict(
    number: str, question: str, options: Sequence[str] = (), *, guess: Guess | None = None
) -> None:
    """Ask before the answer is seen.  With `options` one of them is the guess, else a number.

    With widgets: click.  Without: write `guess=...` into the call and run the cell again."""
    if guess is not None:
        if options and guess not in options:
            raise ValueError(f"{guess!r} is none of the answers to {number}: {', '.join(options)}.")
        if not options and not isinstance(guess, int | float):
            raise ValueError(f"{number} asks for a number; got {guess!r}.")
        record(number, question, guess)
    print(fill(f"Predict {number}. {question}", WIDTH))
    kept = recorded().get(number)
    if kept is None and _with_widgets(number, question, options):
        return
    for option in options:
        print(f"   - {option}")
    if kept is not None:
        print(f"Your guess, {kept['when'][:16].replace('T', ' ')}: {kept['guess']}")
    else:
        example = repr(options[0]) if options else "1.0"
        print(f"Record yours: predict({number!r}, ..., guess={example})")


def reveal(number: str, answer: Guess, because: str = "", *, within: float | None = None) -> None:
    """Show what happened beside what was guessed.  A number counts as right `within` a distance of the answer."""
    guesses = recorded()
    kept = guesses.get(number)
    said = f"{answer:.4g}" if isinstance(answer, float) else str(answer)
    print(fill(f"{number}: {said}. {because}", WIDTH))
    if kept is None:
        print("You recorded no guess. The next question is better before its answer.")
        return
    near = kept["guess"] == answer
    if isinstance(kept["guess"], int | float) and isinstance(answer, int | float):
        near = abs(kept["guess"] - answer) <= (abs(answer) / 10 if within is None else within)
    verdict = (
        "as it is"
        if near
        else "not as it is: what did you think would happen, and which step is different?"
    )
    print(fill(f"You guessed {kept['guess']}: {verdict}", WIDTH))
    if "shown" not in kept:
        kept["shown"] = datetime.now().isoformat(timespec="seconds")
        _write(guesses)


def _with_widgets(number: str, question: str, options: Sequence[str]) -> bool:
    """Buttons or a field, where a notebook can show them; says whether it did."""
    try:
        import ipywidgets as widgets
        from IPython import get_ipython
        from IPython.display import display
    except ImportError:
        return False
    if os.environ.get("DINO_COURSE_STATIC") or get_ipython() is None:
        return False
    said = widgets.HTML()

    def keep(value: Guess) -> None:
        kept = record(number, question, value)
        late = "" if kept == value else "The answer has been shown; your guess stays. "
        said.value = f"{late}Recorded: {html.escape(str(kept))}"

    if options:
        buttons = [
            widgets.Button(description=option, layout={"width": "auto"}) for option in options
        ]
        for button in buttons:
            button.on_click(lambda pressed: keep(pressed.description))
        display(widgets.HBox(buttons, layout={"flex_flow": "row wrap"}), said)
        return True
    entry = widgets.FloatText(description="Guess")
    button = widgets.Button(description="Record")
    button.on_click(lambda _: keep(float(entry.value)))
    display(widgets.HBox([entry, button]), said)
    return True
