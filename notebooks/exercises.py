"""Exercises whose checks say what is wrong, not only that something is.

An `Exercise` knows the right answer as a function, numbers to try it on, and the mistakes people make, each as the
function somebody writes who makes it: an answer that gives what the mistake gives gets the mistake's sentence."""

from __future__ import annotations

import copy
import inspect
import traceback
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from importlib import import_module
from textwrap import fill
from typing import Any

from notebooks.arguments import argument
from notebooks.comparing import difference, printed, same, telling
from notebooks.relations import explained

WIDTH = 100
"""Characters of a printed line."""


class Unsolved(AssertionError):
    """A check that does not pass.  Notebooks show its sentence without a traceback."""

    def _render_traceback_(self) -> list[str]:
        return [str(self)]


@dataclass(frozen=True)
class Mistake:
    """A wrong answer that people give."""

    sentence: str
    """What was done and why it is wrong, to the learner: "You centred the student ..."."""
    made: Callable[..., Any]
    """The answer with the mistake in it."""
    half_finished: bool = False
    """Right as far as it goes: the check should say what is still missing."""


@dataclass(frozen=True)
class Symptom:
    """Something visible in a wrong result, whatever caused it."""

    sentence: str
    shown_by: Callable[..., bool]
    """Called with the result and then the arguments."""


EXERCISES: dict[str, Exercise] = {}


@dataclass
class Exercise:
    """Called with a learner's function, it returns after a word of praise or raises `Unsolved` with what is wrong."""

    number: str
    """As in the notebook: "02.1"."""
    cases: Callable[[int], Sequence[tuple[Any, ...]]]
    """Seed → arguments to try the answer on.  Seed 0 is what learners see; hidden tests take another."""
    right: Callable[..., Any] | None = None
    """The right answer.  Where many answers are right, None, and `judge` says which are not."""
    judge: Callable[..., str | None] | None = None
    """Called with the result and then the arguments: what is wrong with it, or None."""
    mistakes: Sequence[Mistake] = ()
    symptoms: Sequence[Symptom] = ()
    hints: Sequence[str] = ()
    """From a nudge to all but the answer."""
    constant: Collection[int] = ()
    """Places of arguments to which no gradient may flow back; to all other tensors it must.  Empty: gradients are not asked for."""
    minutes: int = 5
    tolerance: float = 1e-4
    kind: type | None = None
    """What the result has to be, where the right numbers alone are not enough."""
    praise: str = "Right."

    def __post_init__(self) -> None:
        if (self.right is None) == (self.judge is None):
            raise ValueError(f"exercise {self.number} needs either `right` or `judge`.")
        EXERCISES[self.number] = self

    def __call__(self, answer: Callable[..., Any], seed: int = 0) -> None:
        if not callable(answer):
            raise self._unsolved(
                "give the function itself to the check, not what it returns: without brackets."
            )
        cases = list(self.cases(seed))
        results = [self._tried(answer, case) for case in cases]
        for place, (result, case) in enumerate(zip(results, cases)):
            given = copy.deepcopy(case)
            if self.judge:
                wrong = self.judge(result, *given)
            else:
                names = _names(answer) or _names(self.right)
                wrong = self._compared(results, cases, place, names)
            if wrong is not None:
                raise self._unsolved(wrong)
        if self.constant and (wrong := self._flow(answer, cases[0])):
            raise self._unsolved(wrong)
        if seed == 0:
            print(f"{self.number}: {self.praise}")

    def _tried(self, answer: Callable[..., Any], case: tuple[Any, ...]) -> Any:
        given = copy.deepcopy(case)
        result = self._result(answer, given)
        if not all(same(now, before, 0) for now, before in zip(given, case)):
            raise self._unsolved(
                "your function changes what it is given; work on a copy, or make a new tensor."
            )
        return result

    def _result(self, answer: Callable[..., Any], case: tuple[Any, ...]) -> Any:
        try:
            result = answer(*case)
        except NotImplementedError:
            raise self._unsolved("not written yet.") from None
        except Exception as error:
            told = f"{type(error).__name__}: {error}{where(error, answer)}"
            given = shown(_names(answer), case)
            raise self._unsolved(f"your function stopped with {told}{given}") from None
        if result is None:
            raise self._unsolved("your function returns nothing; is its last line a `return`?")
        if inspect.isgenerator(result):
            raise self._unsolved(
                "half of it: a generator, which is still to be run through. Make a list of it: [... for ...]."
            )
        if result is Ellipsis or (
            isinstance(result, tuple) and any(part is None or part is ... for part in result)
        ):
            raise self._unsolved(
                "half of it is there: a part of what your function returns is still None or `...`."
            )
        return result

    def _compared(
        self, results: list[Any], cases: list[tuple[Any, ...]], place: int, names: list[str]
    ) -> str | None:
        """What is wrong with one result: the mistake that explains all of them, or this one where that can't be chance, else
        what is visible, else how it is related to what is right."""
        assert self.right is not None
        result, case = results[place], cases[place]
        expected = [self.right(*copy.deepcopy(given)) for given in cases]
        if same(result, expected[place], self.tolerance):
            if self.kind and not isinstance(result, self.kind):
                return f"the right numbers, but as {type(result).__name__}; {self.kind.__name__} is asked for."
            return None
        pairs = list(zip(results, cases))
        amiss = [
            pair for pair, right in zip(pairs, expected) if not same(pair[0], right, self.tolerance)
        ]
        alone = [(result, case)] if len(cases) < 4 else amiss
        if sentence := self._known(pairs):
            return sentence
        if telling(result) and (sentence := self._known(alone)):
            return sentence
        how = explained(results, expected, self.tolerance) or argument(
            results, expected, cases, self.right, names, self.tolerance
        )
        told = difference(result, expected[place])
        if how:
            return f"{how} In numbers: {told}"
        for symptom in self.symptoms:
            if _shows(symptom, result, case):
                return symptom.sentence
        how = fixed(results, expected) or partly(len(amiss), len(cases))
        return f"{how}{told}{shown(names, case)}"

    def _flow(self, answer: Callable[..., Any], case: tuple[Any, ...]) -> str | None:
        from notebooks.gradients import flow  # torch, which not every chapter needs

        return flow(answer, case, self.constant, _names(answer))

    def _known(self, pairs: list[tuple[Any, tuple[Any, ...]]]) -> str | None:
        """The sentence of the first mistake that gives all these results."""
        for mistake in self.mistakes:
            made = (mistake.made(*copy.deepcopy(given)) for _, given in pairs)
            if all(same(one, other, self.tolerance) for (one, _), other in zip(pairs, made)):
                return mistake.sentence
        return None

    def _unsolved(self, sentence: str) -> Unsolved:
        first, *rest = f"{self.number}: {sentence}".split("\n")
        more = f"(hint({self.number!r}) gives a hint, and more when asked again.)"
        return Unsolved("\n".join([fill(first, WIDTH, break_on_hyphens=False), *rest, more]))


def _names(function: Callable[..., Any] | None) -> list[str]:
    """Of its arguments, as whoever wrote it calls them."""
    if function is None:
        return []
    try:
        found = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return []
    return [one.name for one in found if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)]


def shown(names: list[str], case: tuple[Any, ...]) -> str:
    """What a function was given, by the names it has for it."""
    given = "\n".join(f"{name} = {printed(value)}" for name, value in zip(names, case))
    return f"\nIt was given {given}" if given else ""


def fixed(results: Sequence[Any], expected: Sequence[Any]) -> str:
    """Whether the same comes out whatever is given."""
    alike = all(same(one, results[0], 1e-9) for one in results)
    if len(results) < 2 or not alike or all(same(one, expected[0], 1e-9) for one in expected):
        return ""
    return "the same comes out, whatever your function is given: which argument does it not use? "


def partly(wrong: int, tried: int) -> str:
    """Right for some of what was tried: a hint that something is written in, or that one case was forgotten."""
    if wrong == tried:
        return ""
    return f"right in {tried - wrong} of the {tried} cases that were tried, but not in all: "


def _shows(symptom: Symptom, result: Any, case: tuple[Any, ...]) -> bool:
    try:
        return bool(symptom.shown_by(result, *copy.deepcopy(case)))
    except Exception:  # of another type or shape than the symptom speaks of
        return False


def where(error: BaseException, answer: Callable[..., Any]) -> str:
    """The line of the learner's own function at which it stopped."""
    code = getattr(answer, "__code__", None)
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if code and frame.filename == code.co_filename
    ]
    return f"\nat your line: {frames[-1].line}" if frames and frames[-1].line else "."


_given: dict[str, int] = {}


def find(number: str) -> Exercise:
    """The exercise of a number; its notebook's checks are imported for it."""
    chapter = number.partition(".")[0]
    try:
        import_module(f"notebooks.checks.n{chapter}")
        return EXERCISES[number]
    except (ModuleNotFoundError, KeyError):
        known = (
            ", ".join(sorted(name for name in EXERCISES if name.startswith(chapter)))
            or "none imported"
        )
        raise ValueError(f"no exercise {number!r}. Of chapter {chapter}: {known}.") from None


def hint(number: str, level: int | None = None) -> None:
    """The next hint of an exercise, or that of a level (1, 2, ...).  After the last: where the solution is."""
    exercise = find(number)
    level = _given.get(number, 0) + 1 if level is None else level
    _given[number] = max(_given.get(number, 0), level)
    if not 1 <= level <= len(exercise.hints):
        print(
            f"{number} has {len(exercise.hints)} hints. Its solution is in notebooks/solutions/n{number[:2]}.py."
        )
        return
    print(f"Hint {level} of {len(exercise.hints)} for {number}: {exercise.hints[level - 1]}")
