"""Whether a wrong result is the right answer to other arguments: one unused, written into the function, or exchanged."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from notebooks.comparing import is_numeric, numbers, printed, same, telling

Case = tuple[Any, ...]
Right = Callable[..., Any]


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
    for sentence, changed in _changes(cases, names):
        try:
            with warnings.catch_warnings():
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
        many = sum(numbers(one).size if is_numeric(one) else 1 for one in results) >= 6
        return many or any(telling(results[place]) for place in wrong)
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


def _changes(
    cases: Sequence[Case], names: Sequence[str]
) -> Iterator[tuple[str, Callable[[Case], Case]]]:
    """Sentences, and what happens to the arguments if they are true."""
    places = range(min(len(names), len(cases[0])))
    scalar = [place for place in places if all(_scalar(case[place]) for case in cases)]
    array = [
        place
        for place in places
        if all(is_numeric(case[place]) and not _scalar(case[place]) for case in cases)
    ]
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


def _scalar(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _with(place: int, value: Any) -> Callable[[Case], Case]:
    return lambda case: (*case[:place], value, *case[place + 1 :])


def _all(places: list[int], given: Case) -> Callable[[Case], Case]:
    return lambda case: tuple(
        given[place] if place in places else one for place, one in enumerate(case)
    )


def _zero(place: int) -> Callable[[Case], Case]:
    return lambda case: (*case[:place], 0 * case[place], *case[place + 1 :])


def _copied(place: int, other: int) -> Callable[[Case], Case]:
    return lambda case: (*case[:place], case[other], *case[place + 1 :])


def _swapped(place: int, other: int) -> Callable[[Case], Case]:
    def swapped(case: Case) -> Case:
        turned = list(case)
        turned[place], turned[other] = case[other], case[place]
        return tuple(turned)

    return swapped
