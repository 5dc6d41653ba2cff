"""Exercises whose checks say what is wrong, not only that something is.

An `Exercise` knows the right answer as a function, numbers to try it on, and the mistakes people make, each as the
function somebody writes who makes it: an answer that gives what the mistake gives gets the mistake's sentence."""

from __future__ import annotations

import copy
import inspect
import math
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from textwrap import fill
from typing import Any

import numpy as np
import torch

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
    minutes: int = 5
    tolerance: float = 1e-4
    praise: str = "Right."
    arguments: Sequence[str] = field(default=())
    """Names of the arguments in messages; by default those of `right`."""

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
            wrong = (
                self.judge(result, *given) if self.judge else self._compared(results, cases, place)
            )
            if wrong is not None:
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
            place = where(error, answer)
            raise self._unsolved(
                f"your function stopped with {type(error).__name__}: {error}{place}"
            ) from None
        if result is None:
            raise self._unsolved("your function returns nothing; is its last line a `return`?")
        if result is Ellipsis or (
            isinstance(result, tuple) and any(part is None or part is ... for part in result)
        ):
            raise self._unsolved(
                "half of it is there: a part of what your function returns is still None or `...`."
            )
        return result

    def _compared(self, results: list[Any], cases: list[tuple[Any, ...]], place: int) -> str | None:
        """What is wrong with one result: the mistake that explains all of them, else this one, else what is visible."""
        assert self.right is not None
        result, case = results[place], cases[place]
        expected = self.right(*copy.deepcopy(case))
        if same(result, expected, self.tolerance):
            return None
        for explained in (zip(results, cases), [(result, case)]):
            pairs = list(explained)
            for mistake in self.mistakes:
                if all(
                    same(one, mistake.made(*copy.deepcopy(given)), self.tolerance)
                    for one, given in pairs
                ):
                    return mistake.sentence
        for symptom in self.symptoms:
            if _shows(symptom, result, case):
                return symptom.sentence
        return difference(result, expected) + self._shown(case)

    def _shown(self, case: tuple[Any, ...]) -> str:
        names = self.arguments or list(inspect.signature(self.right or self.judge).parameters)  # type: ignore[arg-type]
        return "\nIt was given " + "\n".join(
            f"{name} = {printed(value)}" for name, value in zip(names, case)
        )

    def _unsolved(self, sentence: str) -> Unsolved:
        first, *rest = f"{self.number}: {sentence}".split("\n")
        more = f"(hint({self.number!r}) gives a hint, and more when asked again.)"
        return Unsolved("\n".join([fill(first, WIDTH), *rest, more]))


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


def same(one: Any, other: Any, tolerance: float) -> bool:
    """Equal as tensors, arrays, numbers, words, or tuples, lists and dicts of them."""
    if isinstance(other, dict):
        return (
            isinstance(one, dict)
            and one.keys() == other.keys()
            and all(same(one[k], other[k], tolerance) for k in other)
        )
    if isinstance(other, tuple | list):
        alike = isinstance(one, tuple | list) and len(one) == len(other)
        return alike and all(same(a, b, tolerance) for a, b in zip(one, other))
    if isinstance(other, torch.nn.Module):
        return isinstance(one, torch.nn.Module) and same(
            dict(one.state_dict()), dict(other.state_dict()), tolerance
        )
    if not is_numeric(other):
        return bool(type(one) is type(other) and one == other) or one is other
    if not is_numeric(one):
        return False
    a, b = numbers(one), numbers(other)
    return a.shape == b.shape and bool(
        np.allclose(a, b, rtol=tolerance, atol=tolerance, equal_nan=True)
    )


def is_numeric(value: Any) -> bool:
    return isinstance(value, torch.Tensor | np.ndarray | np.generic | int | float)


def numbers(value: Any) -> np.ndarray:
    array = value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)
    return array.astype(np.float64)


def difference(result: Any, expected: Any) -> str:
    """A sentence for a wrong result that no mistake explains."""
    if (
        isinstance(expected, tuple | list)
        and isinstance(result, tuple | list)
        and len(expected) == len(result)
    ):
        for place, (one, other) in enumerate(zip(result, expected), start=1):
            if not same(one, other, 1e-4):
                return f"part {place} of what you return is wrong: {difference(one, other)}"
    if not is_numeric(result) or not is_numeric(expected):
        return f"your function returns {printed(result)}; expected {printed(expected)}."
    a, b = numbers(result), numbers(expected)
    if a.shape != b.shape:
        return f"your result has shape {a.shape}; expected {b.shape}."
    if np.isnan(a).any() and not np.isnan(b).any():
        return f"your result holds NaN: a division 0/0, log of a negative number or 0·∞. Yours: {printed(result)}."
    far = math.nan if a.size == 0 else float(np.abs(a - b).max())
    return f"your numbers are off by up to {far:.4g}. Yours: {printed(result)}; expected: {printed(expected)}."


def printed(value: Any) -> str:
    """A short picture of a value: numbers where they are few, shape where they are many."""
    if is_numeric(value) and not isinstance(value, bool | int | float):
        array = numbers(value)
        if array.size > 24:
            return f"an array of shape {array.shape}"
        return np.array2string(array, precision=4, suppress_small=True, separator=", ")
    return f"{value:.6g}" if isinstance(value, float) else repr(value)


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
