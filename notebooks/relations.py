"""How a wrong result is related to the right one, whatever the exercise is about: upside down, in percent, transposed.

Each is stated only where it holds for every set of numbers that was tried, and where that can't be chance."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from notebooks.comparing import is_numeric, numbers, printed, same, telling

FORMS: list[tuple[str, Callable[[np.ndarray], np.ndarray]]] = [
    ("the sign is turned round: minus yours would be right.", lambda right: -right),
    ("this is what is left over: 1 minus yours would be right.", lambda right: 1 - right),
    ("this is upside down: 1 divided by yours would be right.", lambda right: 1 / right),
    ("this is a hundred times too much: in percent?", lambda right: 100 * right),
    ("its logarithm would be right.", np.exp),
    ("its exponential would be right.", np.log),
    ("its root would be right.", np.square),
    ("its square would be right.", np.sqrt),
    (
        "it is in bits (log2); the natural logarithm is asked for.",
        lambda right: right / math.log(2),
    ),
    ("you used log10; the natural logarithm is asked for.", lambda right: right / math.log(10)),
    ("these are running sums; the shares themselves are asked for.", np.cumsum),
    ("the right numbers, the last one first.", lambda right: np.flip(right, 0)),
    ("rows and columns are exchanged.", lambda right: right.T),
]
"""What makes the right numbers into the learner's."""


def explained(results: Sequence[Any], expected: Sequence[Any], near: float) -> str | None:
    """A sentence on how the results are related to what was expected, or None."""
    for found in (_kind, _form, _axes, _factor):
        try:
            sentence = found(results, expected, near)
        except (TypeError, ValueError, IndexError):  # of another kind than it speaks of
            continue
        if sentence:
            return sentence
    return None


def _kind(results: Sequence[Any], expected: Sequence[Any], near: float) -> str | None:
    """The right contents in a wrong container, order or spelling."""
    if isinstance(expected[0], str):
        return _word(results, expected)
    if isinstance(expected[0], dict):
        bare = all(
            isinstance(one, tuple | list) and same(list(one), list(right.values()), near)
            for one, right in zip(results, expected)
        )
        return "the right values without their names: a dictionary is asked for." if bare else None
    if not isinstance(expected[0], tuple | list):
        return None
    inside = [_listed(one) for one in results]
    wanted = [list(one) for one in expected]
    kind = type(results[0])
    if all(same(one, right, near) for one, right in zip(inside, wanted)):
        return f"the right contents; give them as a {type(expected[0]).__name__}, not as {_article(kind)}."
    if all(one is not None and same(one[::-1], right, near) for one, right in zip(inside, wanted)):
        return "the right parts in the wrong order: the last one comes first in yours."
    if all(
        one is not None and _sorted(one) == _sorted(right) for one, right in zip(inside, wanted)
    ):
        return "the right parts, in another order than is asked for."
    return None


def _article(kind: type) -> str:
    name = "numpy array" if kind is np.ndarray else kind.__name__
    return f"an {name}" if name[0] in "aeiou" else f"a {name}"


def _word(results: Sequence[Any], expected: Sequence[Any]) -> str | None:
    known = ", ".join(map(repr, dict.fromkeys(expected)))
    unknown = [one for one in results if isinstance(one, str) and one not in expected]
    if not unknown:
        return None
    return f"{unknown[0]!r} is none of the answers that are asked for, letter by letter: {known}."


def _listed(result: Any) -> list[Any] | None:
    if isinstance(result, set | frozenset):
        return sorted(result)
    if isinstance(result, np.ndarray) and result.ndim:
        return [tuple(row) if isinstance(row, list) else row for row in result.tolist()]
    return list(result) if isinstance(result, tuple | list) else None


def _sorted(parts: list[Any]) -> list[str]:
    return sorted(printed(tuple(part) if isinstance(part, list) else part) for part in parts)


def _form(results: Sequence[Any], expected: Sequence[Any], near: float) -> str | None:
    """The right numbers, turned by a function."""
    pairs = _numbers(results, expected)
    if not pairs or sum(right.size for _, right in pairs) < 2:
        return None
    if all(right.dtype == bool for _, right in pairs):
        turned = all(np.array_equal(mine, ~right) for mine, right in pairs)
        return (
            "it is the other way round: True where False is asked for."
            if turned and _busy(pairs)
            else None
        )
    if not any(telling(right) for _, right in pairs):
        return None
    for sentence, form in FORMS:
        with np.errstate(all="ignore"):
            if all(same(mine, form(right), near) for mine, right in pairs):
                return sentence
    return None


def _axes(results: Sequence[Any], expected: Sequence[Any], near: float) -> str | None:
    """The right numbers with an axis too many."""
    pairs = _numbers(results, expected)
    if not pairs or not all(telling(right) and mine.ndim > right.ndim for mine, right in pairs):
        return None
    if all(same(mine.squeeze(), right, near) for mine, right in pairs):
        return "the right numbers, with an axis of length 1 too many."
    for word in ("mean", "sum"):
        for axis in (None, 0, -1):
            if all(same(getattr(np, word)(mine, axis=axis), right, near) for mine, right in pairs):
                return f"half of it: the {word} of yours{'' if axis is None else f' over axis {axis}'} would be right."
    return None


def _factor(results: Sequence[Any], expected: Sequence[Any], near: float) -> str | None:
    """The right numbers times one number, the same each time."""
    pairs = [
        (mine, right) for mine, right in _numbers(results, expected) if mine.shape == right.shape
    ]
    if len(pairs) < len(results) or sum(telling(right) for _, right in pairs) < 2:
        return None
    mine, right = (
        np.concatenate([pair[place].astype(float).ravel() for pair in pairs]) for place in (0, 1)
    )
    if not (right != 0).any():
        return None
    times = float(mine[right != 0][0] / right[right != 0][0])
    if math.isfinite(times) and times not in (0, 1) and same(mine, times * right, near):
        return f"the right numbers, but {times:.4g} times as large, each time."
    return None


def _numbers(
    results: Sequence[Any], expected: Sequence[Any]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Pairs of arrays, or none where something else is among them."""
    if not all(is_numeric(one) for one in (*results, *expected)):
        return []
    return [(_array(one), _array(other)) for one, other in zip(results, expected)]


def _array(value: Any) -> np.ndarray:
    kind = str(getattr(value, "dtype", type(value).__name__))
    return (
        numbers(value).astype(bool) if kind in ("bool", "bool_", "torch.bool") else numbers(value)
    )


def _busy(pairs: list[tuple[np.ndarray, np.ndarray]]) -> bool:
    """Enough of both answers that the same by chance is out of the question."""
    flat = np.concatenate([right.ravel() for _, right in pairs])
    return flat.size >= 4 and bool(flat.any()) and not bool(flat.all())
