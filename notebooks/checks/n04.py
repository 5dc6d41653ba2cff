"""04 Train it: reading a log, a schedule, and the options of a fork."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

from dino_core.schedules import cosine
from notebooks.exercises import Exercise, Mistake


def log(seed: int, torn: bool) -> str:
    rows = [{"step": 10 * (n + 1), "loss": round(5.5 - 0.1 * n - 0.01 * seed, 3)} for n in range(4)]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    return text + '{"step": 50, "lo' if torn else text


def whole_lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.split("\n")[:-1]]


def forgiving(text: str) -> list[dict[str, Any]]:
    """Whatever parses, the last line too, whole or not: wrong where a torn line is valid JSON by chance."""
    rows = []
    for line in text.split("\n"):
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue
    return rows


def trying(text: str, instead: Any) -> list[Any]:
    """Something in the place of what does not parse."""
    rows: list[Any] = []
    for line in text.splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            rows.append(instead)
    return rows


read_lines = Exercise(
    "04.1",
    cases=lambda seed: [(log(seed, torn=False),), (log(seed, torn=True),), (log(seed, False) + '{"step": 50}',),
                        (log(seed, False) + '{"step": 50, "loss": 5.1}',), ("",)],
    right=whole_lines,
    mistakes=[
        Mistake("half of it: these are the lines as text. Each is JSON: json.loads makes a dictionary of it.",
                lambda text: text.split("\n")[:-1], half_finished=True),
        Mistake("half of it: this is one row. All of them are asked for.",
                lambda text: (whole_lines(text) or [{}])[-1], half_finished=True),
        Mistake("you leave out the last line always. Where it is whole, it counts: it ends with a newline.",
                lambda text: whole_lines(text)[:-1]),
        Mistake("you skip what does not parse. A torn line may parse all the same (12 of 123), and a row with half its "
                "numbers is worse than none: what counts is the newline at its end.", forgiving),
        Mistake("the rows come in the wrong order.", lambda text: whole_lines(text)[::-1]),
        Mistake("half of it: so many lines are whole. Return them, each as a dictionary.",
                lambda text: text.count("\n"), half_finished=True),
        Mistake("half of it: this is the text without its torn line. Make a dictionary of each line: json.loads.",
                lambda text: text[: text.rfind("\n") + 1], half_finished=True),
        Mistake("in the place of a torn line stands None in yours; leave it out.", lambda text: trying(text, None)),
        Mistake("in the place of a torn line stands an empty row in yours; leave it out.", lambda text: trying(text, {})),
        Mistake("you kept the torn line as text; leave it out until it is whole.",
                lambda text: whole_lines(text) + [line for line in text.split("\n")[-1:] if line]),
        Mistake("you leave out the first line, as if it were a heading; it is a row.", lambda text: whole_lines(text)[1:]),
        Mistake("these are the losses alone; whole rows are asked for, as dictionaries.",
                lambda text: [row["loss"] for row in whole_lines(text)]),
        Mistake("these are the values without their names; rows are dictionaries.",
                lambda text: [tuple(row.values()) for row in whole_lines(text)]),
        Mistake("you made text of the values; json.loads makes numbers of them, which stay as they are.",
                lambda text: [{name: str(value) for name, value in row.items()} for row in whole_lines(text)]),
        Mistake("you cut lines at the commas; json.loads makes a dictionary of a line.",
                lambda text: [line.split(",") for line in text.split("\n")[:-1]]),
        Mistake("rows by their step in a dictionary; a list of them, in order, is asked for.",
                lambda text: {row["step"]: row for row in whole_lines(text)}),
        Mistake("you keep a last line because it ends with a bracket. Half-written numbers do, too; what counts is the "
                "newline.",
                lambda text: [json.loads(line) for line in text.split("\n") if line.endswith("}") and "loss" in line]),
    ],
    hints=[
        "A line is whole when it ends with a newline. What stands behind the last newline of the text?",
        'text.rfind("\\n") is the place of the last newline, -1 where there is none.',
        'whole = text[: text.rfind("\\n") + 1], then json.loads for each of whole.splitlines().',
    ],
    minutes=10,
)  # fmt: skip

Schedule = tuple[int, float, float, int, int]


def right_rate(step: int, peak: float, end: float, steps: int, warmup: int) -> float:
    return cosine(peak, end, steps, warmup)(step)


def half_cosine(share: float, peak: float, end: float) -> float:
    return end + (peak - end) * (1 + math.cos(math.pi * share)) / 2


def without_warmup(step: int, peak: float, end: float, steps: int, warmup: int) -> float:
    return half_cosine(min(1.0, max(0, step - warmup) / (steps - warmup)), peak, end)


def from_zero(step: int, peak: float, end: float, steps: int, warmup: int) -> float:
    return peak * step / warmup if step < warmup else half_cosine(min(1.0, step / steps), peak, end)


def straight(step: int, peak: float, end: float, steps: int, warmup: int) -> float:
    share = min(1.0, (step - warmup) / (steps - warmup))
    return peak * step / warmup if step < warmup else peak + (end - peak) * share


def to_zero(step: int, peak: float, end: float, steps: int, warmup: int) -> float:
    return right_rate(step, peak, 0.0, steps, warmup)


def beyond(step: int, peak: float, end: float, steps: int, warmup: int) -> float:
    share = (step - warmup) / (steps - warmup)
    return peak * step / warmup if step < warmup else half_cosine(share, peak, end)


def whole_wave(step: int, peak: float, end: float, steps: int, warmup: int) -> float:
    share = min(1.0, (step - warmup) / (steps - warmup))
    return peak * step / warmup if step < warmup else half_cosine(2 * share, peak, end)


def bent(falls: Callable[[float], float]) -> Callable[[int, float, float, int, int], float]:
    """A schedule with another curve from 1 to 0 behind the warm-up."""

    def rate(step: int, peak: float, end: float, steps: int, warmup: int) -> float:
        share = min(1.0, (step - warmup) / (steps - warmup))
        return peak * step / warmup if step < warmup else end + (peak - end) * falls(share)

    return rate


def rising(
    climbs: Callable[[int, float, int], float],
) -> Callable[[int, float, float, int, int], float]:
    """A schedule with another way up."""
    return lambda step, peak, end, steps, warmup: (
        climbs(step, peak, warmup) if step < warmup else right_rate(step, peak, end, steps, warmup)
    )


def falling(
    falls: Callable[[float, float, float], float],
) -> Callable[[int, float, float, int, int], float]:
    """A schedule whose way down is a function of the wave (1 to 0), the peak and the end."""

    def rate(step: int, peak: float, end: float, steps: int, warmup: int) -> float:
        share = min(1.0, (step - warmup) / (steps - warmup))
        wave = (1 + math.cos(math.pi * share)) / 2
        return peak * step / warmup if step < warmup else falls(wave, peak, end)

    return rate


def warmed_only(step: int, peak: float, end: float, steps: int, warmup: int) -> float:
    return peak * min(1.0, step / warmup)


def moments(seed: int) -> list[Schedule]:
    shape = (1e-3 * (1 + seed), 1e-5, 700 + seed, 35)
    return [(step, *shape) for step in (0, 10, 35, 200, 500, 690, 700 + seed, 900)]


rate_at = Exercise(
    "04.2",
    cases=moments,
    right=right_rate,
    mistakes=[
        Mistake("half of it: the warm-up is right. Behind it the rate falls along half a cosine.", warmed_only, half_finished=True),
        Mistake("half of it: the cosine is right. Before it, the rate rises from 0 in a straight line.", without_warmup,
                half_finished=True),
        Mistake("your cosine begins at step 0. It begins where the warm-up ends, or the rate jumps there.", from_zero),
        Mistake("you fall in a straight line. Half a cosine is flat at both ends.", straight),
        Mistake("your cosine ends at 0; it ends at `end`.", to_zero),
        Mistake("after the last step the cosine rises again. It has to stay at `end`.", beyond),
        Mistake("you run through a whole wave, down and up again: π, not 2 π, for the whole way.", whole_wave),
        Mistake("math.cos takes radians: half a turn is math.pi, not 180.",
                bent(lambda share: (1 + math.cos(180 * share)) / 2)),
        Mistake("this is a quarter of a cosine, steep at its end. Half of one, (1 + cos(π share)) / 2, is flat at both ends.",
                bent(lambda share: math.cos(math.pi / 2 * share))),
        Mistake("(1 + cos) goes from 2 to 0: divide it by two.",
                bent(lambda share: 1 + math.cos(math.pi * share))),
        Mistake("you divided by all steps. Behind the warm-up there are steps - warmup of them.",
                lambda step, peak, end, steps, warmup: right_rate(step, peak, end, steps + warmup, warmup) if step < steps
                else half_cosine(min(1.0, (step - warmup) / steps), peak, end)),
        Mistake("your warm-up begins at `end`; it begins at 0.",
                lambda step, peak, end, steps, warmup: end + (peak - end) * step / warmup if step < warmup
                else right_rate(step, peak, end, steps, warmup)),
        Mistake("your warm-up is one step ahead: at step 0 the rate is 0.",
                lambda step, peak, end, steps, warmup: peak * (step + 1) / warmup if step < warmup
                else right_rate(step, peak, end, steps, warmup)),
        Mistake("after the last step the rate falls to 0 in yours. It has to stay at `end`.",
                lambda step, peak, end, steps, warmup: 0.0 if step > steps else right_rate(step, peak, end, steps, warmup)),
        Mistake("this is a sine. A cosine begins at its top, as the rate does behind the warm-up.",
                bent(lambda share: (1 + math.sin(math.pi * share)) / 2)),
        Mistake("1 - cos rises from 0 to 2; the rate falls: 1 + cos.", bent(lambda share: (1 - math.cos(math.pi * share)) / 2)),
        Mistake("your cosine ends at 0 and begins below the peak: `end` has to be added to it.",
                falling(lambda wave, peak, end: (peak - end) * wave)),
        Mistake("your cosine begins at peak + end: what falls is the difference, peak - end.",
                falling(lambda wave, peak, end: end + peak * wave)),
        Mistake("what falls is the difference, peak - end; you took their sum.",
                falling(lambda wave, peak, end: end + (peak + end) * wave)),
        Mistake("π is missing: math.cos(share) turns by one radian only, and never arrives at `end`.",
                bent(lambda share: (1 + math.cos(share)) / 2)),
        Mistake("cos alone goes from 1 to -1: below the end. (1 + cos) / 2 goes from 1 to 0.",
                bent(lambda share: math.cos(math.pi * share))),
        Mistake("(1 + cos) needs brackets: only a part of the sum is multiplied in yours.",
                falling(lambda wave, peak, end: end + (peak - end) + (wave - 0.5))),
        Mistake("you fall along an exponential; half a cosine is asked for, flat at both ends.",
                lambda step, peak, end, steps, warmup: bent(lambda share: (peak * (end / peak) ** share - end) / (peak - end))(
                    step, peak, end, steps, warmup)),
        Mistake("the warm-up is a straight line; yours is squared.",
                rising(lambda step, peak, warmup: peak * (step / warmup) ** 2)),
        Mistake("the warm-up is a straight line; yours is a cosine.",
                rising(lambda step, peak, warmup: peak * (1 - math.cos(math.pi * step / warmup)) / 2)),
        Mistake("// rounds down: the warm-up stays at 0. Divide by /.",
                rising(lambda step, peak, warmup: peak * (step // warmup))),
        Mistake("your warm-up does not rise: it is peak · step / warmup.", rising(lambda step, peak, warmup: peak / warmup)),
        Mistake("your warm-up rises to 1; it rises to `peak`.", rising(lambda step, peak, warmup: step / warmup)),
        Mistake("your share counts from step 0; it is 0 where the warm-up ends: (step - warmup) / (steps - warmup).",
                lambda step, peak, end, steps, warmup: peak * step / warmup if step < warmup
                else half_cosine(min(1.0, step / (steps - warmup)), peak, end)),
        Mistake("you multiplied the warm-up by a cosine from step 0; they come one after the other.",
                lambda step, peak, end, steps, warmup: min(1.0, step / warmup) * half_cosine(min(1.0, step / steps), peak, end)),
        Mistake("at the last step yours jumps to 0; it has to arrive at `end` and stay there.",
                lambda step, peak, end, steps, warmup: 0.0 if step >= steps else right_rate(step, peak, end, steps, warmup)),
        Mistake("after the last step yours is at the peak again. It has to stay at `end`.",
                lambda step, peak, end, steps, warmup: peak if step > steps else right_rate(step, peak, end, steps, warmup)),
        Mistake("yours falls towards 0 and is cut off at `end`; half a cosine leads down to `end`, flat there.",
                falling(lambda wave, peak, end: max(end, peak * wave))),
    ],
    hints=[
        "Two cases: before `warmup`, and from there on.",
        "share = (step - warmup) / (steps - warmup) goes from 0 to 1 after the warm-up; (1 + cos(π share)) / 2 from 1 to 0.",
        "end + (peak - end) · (1 + cos(π share)) / 2, with share at most 1.",
    ],
    minutes=10,
    tolerance=1e-9,
)  # fmt: skip


def flattened(changes: Any) -> str | None:
    """What keeps these options from being a fork without sharpening."""
    from dino_core.commands.train import parsed
    from dino_core.errors import DinoError
    from notebooks.course import gallery
    from notebooks.live import options

    if not isinstance(changes, dict) or not all(isinstance(name, str) for name in changes):
        return "return a dictionary, option by name → value."
    if not changes:
        return "half of it: a dictionary, but nothing in it changes anything."
    try:
        config = parsed(gallery().config, options(changes, quick=False), "fork").config
    except (SystemExit, DinoError) as error:
        said = "" if isinstance(error, SystemExit) else f": {error}"
        return f"`dino-lab fork` refuses these options{said}. Names: dino-lab train tiny --help."
    if config.objective.centering == "none":
        return "you switched centering off: that drives towards few prototypes. Flat is what centering does alone."
    first, last = config.schedules.teacher_temperature or (0.0, 0.0)
    student = config.objective.student_temperature
    if max(first, last) < 0.7 * student:
        return f"the teacher's temperature is {max(first, last)} at most, the student's {student}: it still sharpens."
    if min(first, last) < 0.7 * student:
        return f"half of it: a temperature is a pair, before and after its warm-up. Yours goes from {first} to {last}."
    return None


flattening = Exercise(
    "04.3",
    cases=lambda seed: [()],
    judge=flattened,
    mistakes=[
        Mistake("half of it: a dictionary, but nothing in it", dict, half_finished=True),
        Mistake("half of it: a temperature is a pair", lambda: {"schedules__teacher_temperature": (0.04, 0.1)}, half_finished=True),
        Mistake("you switched centering off", lambda: {"objective__centering": "none"}),
        Mistake("it still sharpens", lambda: {"schedules__teacher_temperature": (0.02, 0.02)}),
        Mistake("`dino-lab fork` refuses these options", lambda: {"temperature": 0.1}),
        Mistake("return a dictionary", lambda: ["--objective.centering", "none"]),
    ],
    hints=[
        "Which of the two forces makes answers sharp, and which constant is it (notebook 03, section 3)?",
        "dino-lab train tiny --help lists schedules.teacher-temperature; it takes two numbers.",
        "Make the teacher as warm as the student, from the beginning on.",
    ],
)  # fmt: skip
