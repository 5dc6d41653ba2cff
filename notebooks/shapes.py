"""How the shape and order of a wrong result are related to the right one: a mean too many, axes exchanged, rows left out."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from typing import Any

import numpy as np

from notebooks.comparing import is_numeric, numbers, same, telling

Pairs = list[tuple[np.ndarray, np.ndarray]]


def pairs_of(results: Sequence[Any], expected: Sequence[Any]) -> Pairs:
    """Arrays that can be compared, or none: other things are among them, or too little to exclude chance."""
    if not all(is_numeric(one) for one in (*results, *expected)):
        return []
    pairs = [(numbers(one), numbers(other)) for one, other in zip(results, expected)]
    return pairs if any(telling(right) for _, right in pairs) else []


def reshaped(results: Sequence[Any], expected: Sequence[Any], near: float) -> str | None:
    """The right numbers, their axes in another order or made into one."""
    pairs = pairs_of(results, expected)
    if not pairs or all(right.ndim < 2 for _, right in pairs):
        return None
    axes = range(pairs[0][1].ndim)
    for order in permutations(axes):
        if order == tuple(axes):
            continue
        if all(same(mine, right.transpose(order), near) for mine, right in pairs):
            return f"the right numbers, but their axes are in the order {order}."
    if all(
        mine.shape != right.shape and same(mine.ravel(), right.ravel(), near)
        for mine, right in pairs
    ):
        return "the right numbers in the right order, but in another shape."
    return None


def shortened(results: Sequence[Any], expected: Sequence[Any], near: float) -> str | None:
    """One step too far: what is right was averaged, summed or picked from."""
    pairs = pairs_of(results, expected)
    if not pairs or not all(mine.ndim < right.ndim for mine, right in pairs):
        return None
    for word, does in (
        ("mean", np.mean),
        ("sum", np.sum),
        ("largest", np.max),
        ("argmax", np.argmax),
    ):
        for axis in (None, 0, -1):
            over = "" if axis is None else f" over axis {axis}"
            if all(same(mine, does(right, axis=axis), near) for mine, right in pairs):
                return f"one step too far: yours is the {word}{over} of what is right."
    for word, place in (("first", 0), ("last", -1)):
        if all(same(mine, right[place], near) for mine, right in pairs):
            return f"yours is only the {word} of what is asked for; all are asked for."
    return None


def missing(results: Sequence[Any], expected: Sequence[Any], near: float) -> str | None:
    """The right numbers, the first or the last left out."""
    pairs = pairs_of(results, expected)
    if not pairs or not all(mine.ndim == right.ndim > 0 for mine, right in pairs):
        return None
    if all(same(mine, right[1:], near) for mine, right in pairs):
        return "the first one is missing in yours; the others are right."
    if all(same(mine, right[:-1], near) for mine, right in pairs):
        return "the last one is missing in yours; the others are right."
    return None


def reordered(results: Sequence[Any], expected: Sequence[Any], near: float) -> str | None:
    """The right numbers, each at another place."""
    pairs = pairs_of(results, expected)
    if not pairs or not all(mine.shape == right.shape and right.size > 3 for mine, right in pairs):
        return None
    if all(same(np.sort(mine, None), np.sort(right, None), near) for mine, right in pairs):
        return "the right numbers, but not at their places: rows, columns or images are mixed up."
    return None
