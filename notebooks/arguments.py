"""Whether a wrong result is the right answer to other arguments: one unused, squared, exchanged, scaled or written in."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np
import torch

from notebooks.comparing import is_mask, is_numeric, numbers, printed, same, telling

Case = tuple[Any, ...]
Right = Callable[..., Any]

TURNS: list[tuple[str, Callable[[float], float]]] = [
    ("as if `{}` had the other sign: is a minus missing, or one too many?", lambda x: -x),
    (
        "as if `{}` were 1/`{}`: do you multiply where you should divide, or the other way round?",
        lambda x: 1 / x,
    ),
    ("as if `{}` were squared: do you use it twice?", lambda x: x * x),
    ("as if `{}` were its root: a root, or a power of 0.5, is too much.", lambda x: x**0.5),
    ("as if `{}` were 1 - `{}`: are the two shares exchanged?", lambda x: 1 - x),
    ("as if `{}` were one more: do you count from another place?", lambda x: x + 1),
    ("as if `{}` were one less: do you count from another place?", lambda x: x - 1),
    ("as if `{}` were twice as large.", lambda x: 2 * x),
    ("as if `{}` were half as large.", lambda x: x / 2),
    ("as if `{}` were ten times as large.", lambda x: 10 * x),
    ("as if `{}` were a tenth.", lambda x: x / 10),
    ("as if `{}` were in percent and you divided by 100; it is a share.", lambda x: x / 100),
    ("as if `{}` were 0: do you use it?", lambda x: 0 * x),
    ("as if `{}` were 1/2, whatever it is given.", lambda x: 0 * x + 0.5),
]
"""What may have happened to a number before it was used."""


def _length(values: np.ndarray, axis: int | None) -> np.ndarray:
    return values / np.linalg.norm(values, axis=axis, keepdims=axis is not None)


def _softmax(values: np.ndarray, axis: int) -> np.ndarray:
    powers = np.exp(values - values.max(axis, keepdims=True))
    return powers / powers.sum(axis, keepdims=True)


CHANGES: list[tuple[str, Callable[[np.ndarray], np.ndarray]]] = [
    ("as if {} had the other sign: is a minus missing, or one too many?", lambda x: -x),
    (
        "as if the rows of {} were scaled to length one; here lengths count.",
        lambda x: _length(x, -1),
    ),
    (
        "as if the columns of {} were scaled to length one (dim=0), which is not asked for.",
        lambda x: _length(x, 0),
    ),
    (
        "as if {} were divided by one length of all its numbers, which is not asked for.",
        lambda x: _length(x, None),
    ),
    (
        "as if a softmax were taken of {}, which needs none, or no second one.",
        lambda x: _softmax(x, -1),
    ),
    ("as if a softmax over axis 0 were taken of {}.", lambda x: _softmax(x, 0)),
    ("as if the logarithm of {} were taken before, which is one too many.", np.log),
    ("as if the exponential of {} were taken before, which is one too many.", np.exp),
    ("as if {} were squared before, which is one square too many.", np.square),
    ("as if {} had lost its signs (abs).", np.abs),
    ("as if {} were cut off below 0.", lambda x: x.clip(0)),
    (
        "as if from {} the mean over axis 0 were subtracted, which is not asked for.",
        lambda x: x - x.mean(0),
    ),
    (
        "as if from each row of {} its own mean were subtracted.",
        lambda x: x - x.mean(-1, keepdims=True),
    ),
    ("as if from {} the mean of all its numbers were subtracted.", lambda x: x - x.mean()),
    (
        "as if from {} its median were subtracted; the mean is asked for.",
        lambda x: x - np.median(x, 0),
    ),
    (
        "as if the columns of {} were standardised: mean 0, deviation 1.",
        lambda x: (x - x.mean(0)) / x.std(0),
    ),
    (
        "as if each row of {} were centred and then scaled to length one.",
        lambda x: _length(x - x.mean(0), -1),
    ),
    ("as if {} were transposed: rows and columns are exchanged.", lambda x: x.swapaxes(-1, -2)),
    ("as if {} began with its last row.", lambda x: x[::-1]),
    (
        "as if only the largest of each row of {} counted (argmax).",
        lambda x: 1.0 * (x == x.max(-1, keepdims=True)),
    ),
    ("as if {} were sorted before.", lambda x: np.sort(x, 0)),
    ("as if the last row of {} were missing.", lambda x: x[:-1]),
    ("as if the first row of {} were missing.", lambda x: x[1:]),
    ("as if {} were divided by its largest number.", lambda x: x / x.max()),
    ("as if each row of {} were divided by its sum.", lambda x: x / x.sum(-1, keepdims=True)),
]
"""What may have happened to a tensor before it was used."""


def argument(
    results: Sequence[Any],
    expected: Sequence[Any],
    cases: Sequence[Case],
    right: Right,
    names: Sequence[str],
    near: float,
) -> str | None:
    """The right answer to other numbers than were given: one of them unused, written into the function, or exchanged."""
    wrong = [place for place, one in enumerate(results) if not same(one, expected[place], near)]
    for sentence, changed in chain(_changes(cases, names), _turns(cases, names)):
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")  # of our trials the learner knows nothing
                answers = [right(*changed(copy.deepcopy(case))) for case in cases]
        except Exception:  # numbers that the right answer refuses
            continue
        if _follows(results, expected, answers, wrong, near):
            return sentence
    return None


def _follows(
    results: Sequence[Any],
    expected: Sequence[Any],
    answers: Sequence[Any],
    wrong: list[int],
    near: float,
) -> bool:
    """Every result is this answer; or, where results have parts, each wrong part is this answer's."""
    if all(same(one, other, near) for one, other in zip(results, answers)):
        if len({str(part) for one in results for part in _flat(one)}) < 2:
            return False  # the same number each time may come from anywhere
        return _many(results) or any(telling(results[place]) for place in wrong)
    parted = [
        isinstance(one, tuple) and isinstance(right, tuple) and len(one) == len(right)
        for one, right in zip(results, expected)
    ]
    if not all(parted):
        return False
    triples = [
        three
        for one, right, other in zip(results, expected, answers)
        for three in zip(one, right, other)
    ]
    amiss = [(mine, other) for mine, right, other in triples if not same(mine, right, near)]
    return any(telling(mine) for mine, _ in amiss) and all(
        same(mine, other, near) for mine, other in amiss
    )


def _flat(value: Any) -> list[Any]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, tuple | list):
        return [part for one in value for part in _flat(one)]
    return list(numbers(value).ravel()) if is_numeric(value) else [value]


def _many(results: Sequence[Any]) -> bool:
    """So much and so different that the same by chance is out of the question."""
    flat = [part for one in results for part in _flat(one)]
    kinds = len({str(part) for part in flat})
    return kinds > 1 and (
        len(flat) >= 16 or (len(flat) >= 10 and (kinds >= 4 or is_mask(results[0])))
    )


def _turns(
    cases: Sequence[Case], names: Sequence[str]
) -> Iterator[tuple[str, Callable[[Case], Case]]]:
    """What happened to one argument, or to all tensors alike, before it was used."""
    places = range(min(len(names), len(cases[0])))
    scalar = [place for place in places if all(_scalar(case[place]) for case in cases)]
    array = [place for place in places if all(_floating(case[place]) for case in cases)]
    for place in scalar:
        for sentence, turn in TURNS:
            yield sentence.replace("{}", names[place]), _turned([place], turn)
    for one, other in [(a, b) for a in scalar for b in scalar if a < b]:
        for value, told in (
            (lambda x: 0 * x + 1, "1: do you use them?"),
            (lambda x: 1 / x, "upside down."),
        ):
            both = f"as if `{names[one]}` and `{names[other]}` were both {told}"
            yield both, _turned([one, other], value)
    for chosen in [[place] for place in array] + ([array] if len(array) > 1 else []):
        called = " and ".join(f"`{names[place]}`" for place in chosen)
        for sentence, change in CHANGES:
            yield sentence.replace("{}", called), _turned(chosen, _kept(change))


def _floating(value: Any) -> bool:
    if isinstance(value, dict):
        return bool(value) and all(map(_floating, value.values()))
    if isinstance(value, torch.Tensor):
        return value.is_floating_point()
    return isinstance(value, np.ndarray) and value.dtype.kind == "f"


def _kept(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Any], Any]:
    """The change of a tensor, an array, or of each in a dictionary; the kind stays."""

    def changed(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: changed(one) for name, one in value.items()}
        turned = change(numbers(value))
        if isinstance(value, torch.Tensor):
            return torch.tensor(np.ascontiguousarray(turned), dtype=value.dtype)
        return turned

    return changed


def _turned(places: Sequence[int], turn: Callable[[Any], Any]) -> Callable[[Case], Case]:
    return lambda case: tuple(
        turn(one) if place in places else one for place, one in enumerate(case)
    )


def _changes(
    cases: Sequence[Case], names: Sequence[str]
) -> Iterator[tuple[str, Callable[[Case], Case]]]:
    """Sentences, and what happens to the arguments if they are true."""
    places = range(min(len(names), len(cases[0])))
    scalar = [place for place in places if all(_scalar(case[place]) for case in cases)]
    array = [place for place in places if all(_tensors(case[place]) for case in cases)]
    for given in cases:
        if len(scalar) > 1:
            told = ", ".join(f"`{names[place]}` {printed(given[place])}" for place in scalar)
            yield (
                f"these are written into your function, whatever it is given: {told}.",
                _all(scalar, given),
            )
    for place in scalar:
        for value in dict.fromkeys(case[place] for case in cases):
            if any(case[place] != value for case in cases):
                yield (
                    f"`{names[place]}` is {printed(value)} in your function, whatever it is given.",
                    _with(place, value),
                )
        yield f"as if `{names[place]}` were 1: do you use it?", _with(place, 1)
        for other in scalar:
            if other != place:
                yield (
                    f"as if `{names[place]}` were the same as `{names[other]}`.",
                    _copied(place, other),
                )
                yield (
                    f"as if `{names[place]}` and `{names[other]}` were exchanged.",
                    _swapped(place, other),
                )
    for place in array:
        yield f"as if `{names[place]}` were 0 everywhere: do you use it?", _zero(place)
        for other in array:
            if other > place:
                yield (
                    f"as if `{names[place]}` and `{names[other]}` were exchanged.",
                    _swapped(place, other),
                )


def _tensors(value: Any) -> bool:
    return _floating(value) or (is_numeric(value) and not _scalar(value))


def _scalar(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _with(place: int, value: Any) -> Callable[[Case], Case]:
    return lambda case: (*case[:place], value, *case[place + 1 :])


def _all(places: list[int], given: Case) -> Callable[[Case], Case]:
    return lambda case: tuple(
        given[place] if place in places else one for place, one in enumerate(case)
    )


def _zero(place: int) -> Callable[[Case], Case]:
    return _turned(
        [place],
        lambda value: _kept(lambda x: 0 * x)(value) if isinstance(value, dict) else 0 * value,
    )


def _copied(place: int, other: int) -> Callable[[Case], Case]:
    return lambda case: (*case[:place], case[other], *case[place + 1 :])


def _swapped(place: int, other: int) -> Callable[[Case], Case]:
    def swapped(case: Case) -> Case:
        turned = list(case)
        turned[place], turned[other] = case[other], case[place]
        return tuple(turned)

    return swapped
