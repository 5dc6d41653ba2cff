"""How a wrong result is related to the right one, whatever the exercise is about: upside down, in percent, transposed.

Each is stated only where it holds for every set of numbers that was tried, and where that can't be chance."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from notebooks.comparing import is_numeric, numbers, printed, same, telling
from notebooks.shapes import missing, reordered, reshaped, shortened


def softmax(values: np.ndarray) -> np.ndarray:
    powers = np.exp(values - values.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def winner(values: np.ndarray) -> np.ndarray:
    """1 at the largest of each row, 0 elsewhere."""
    return (values == values.max(-1, keepdims=True)).astype(float)


def unit(values: np.ndarray) -> np.ndarray:
    return values / np.linalg.norm(values, axis=-1, keepdims=True)


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
    ("the right numbers, the last one first.", lambda right: np.flip(right, 0)),
    ("rows and columns are exchanged.", lambda right: right.T),
    (
        "the right numbers, each row from its end to its beginning.",
        lambda right: np.flip(right, -1),
    ),
    (
        "the right numbers, each column from its end to its beginning.",
        lambda right: np.flip(right, 1),
    ),
    ("yours has lost its signs (abs?); what is negative has to stay so.", np.abs),
    ("yours is cut off below 0; what is negative counts too.", lambda right: right.clip(0)),
    ("yours is cut off at 0 and 1; what lies outside counts too.", lambda right: right.clip(0, 1)),
    ("yours has 1 at the largest and 0 elsewhere; the numbers themselves are asked for.", winner),
    ("yours has lost what stands behind the decimal point: by int or //?", np.trunc),
    ("yours is rounded; give it as it is.", np.round),
    ("yours is rounded to one digit; give it as it is.", lambda right: np.round(right, 1)),
    ("yours is rounded to two digits; give it as it is.", lambda right: np.round(right, 2)),
    ("yours is rounded to three digits; give it as it is.", lambda right: np.round(right, 3)),
    ("one softmax too many: yours is the softmax of what is right.", softmax),
    (
        "you divided by the sum at the end; without that it would be right.",
        lambda right: right / right.sum(),
    ),
    (
        "you divided by the largest at the end; without that it would be right.",
        lambda right: right / right.max(),
    ),
    ("you scaled the result to length one; without that it would be right.", unit),
    ("one too small, each time: 1 plus yours would be right.", lambda right: right - 1),
    ("one too large, each time: yours minus 1 would be right.", lambda right: right + 1),
    ("minus its logarithm would be right.", lambda right: np.exp(-right)),
    ("the logarithm is one too many, and the sign too.", lambda right: -np.log(right)),
    ("the power of 2 is too much: its log2 would be right.", np.exp2),
    ("the right numbers, sorted; their order counts.", lambda right: np.sort(right, -1)),
    (
        "the right numbers, sorted with the largest first; their order counts.",
        lambda right: -np.sort(-right, -1),
    ),
    ("what lies below the diagonal is 0 in yours; both halves are asked for.", np.triu),
    ("what lies above the diagonal is 0 in yours; both halves are asked for.", np.tril),
    (
        "right but for the diagonal, which is 0 in yours.",
        lambda right: right * (1 - np.eye(len(right))),
    ),
    (
        "half precision (16 bits) is too coarse here; use float32.",
        lambda right: right.astype(np.float16),
    ),
]
"""What makes the right numbers into the learner's."""


def explained(results: Sequence[Any], expected: Sequence[Any], near: float) -> str | None:
    """A sentence on how the results are related to what was expected, or None."""
    ways = (_kind, _form, _axes, reshaped, shortened, reordered, missing, _factor, _parts)
    for found in ways:
        try:
            sentence = found(results, expected, near)
        except (
            TypeError,
            ValueError,
            IndexError,
            AttributeError,
        ):  # of another kind than it speaks of
            continue
        if sentence:
            return sentence
    return None


def _kind(results: Sequence[Any], expected: Sequence[Any], near: float) -> str | None:
    """The right contents in a wrong container, order or spelling."""
    first = results[0]
    if hasattr(first, "indices") and hasattr(first, "values") and isinstance(first, tuple):
        return (
            "max, min, sort and topk along an axis give two things: .values, and .indices where "
            "they stand. Take one of them."
        )
    if isinstance(expected[0], str):
        return _word(results, expected)
    if isinstance(first, str):
        return f"yours is text; {_kind_of(expected[0])} is asked for, without quotes, str or print."
    if is_numeric(expected[0]) and isinstance(first, tuple | list | set | dict):
        return _packed(results, expected, near)
    if isinstance(expected[0], dict):
        bare = all(
            isinstance(one, tuple | list) and same(list(one), list(right.values()), near)
            for one, right in zip(results, expected)
        )
        return "the right values without their names: a dictionary is asked for." if bare else None
    if not isinstance(expected[0], tuple | list):
        return None
    if isinstance(first, dict):
        bare = all(
            same(list(one.values()), list(right), near) for one, right in zip(results, expected)
        )
        right_parts = (
            "the right parts, with names to them; " if bare else "you return a dictionary; "
        )
        return f"{right_parts}{_kind_of(expected[0])} is asked for."
    if (
        isinstance(expected[0], tuple)
        and isinstance(first, tuple | list)
        and len(first) != len(expected[0])
    ):
        return f"you return {len(first)} things; {len(expected[0])} are asked for."
    if isinstance(first, zip | map | filter):
        return "half of it: it is still to be run through. Make a list of it: list(...)."
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


def _packed(results: Sequence[Any], expected: Sequence[Any], near: float) -> str | None:
    """A list where one number, or an array of them, is asked for."""
    inside = [list(one.values()) if isinstance(one, dict) else list(one) for one in results]
    for place in (0, -1):
        if all(one and same(one[place], right, near) for one, right in zip(inside, expected)):
            if len(inside[0]) == 1:
                return f"the right thing, wrapped in {_article(type(results[0]))}; give it alone."
            where = "first" if place == 0 else "last"
            return f"you return several things, the {where} of which is right; give that one alone."
    kind = _kind_of(expected[0])
    as_arrays = [np.asarray(one, dtype=float) for one in inside]
    if all(same(one, right, near) for one, right in zip(as_arrays, expected)):
        return f"the right numbers; give them as {kind}, not as {_article(type(results[0]))}."
    for word in ("mean", "sum"):
        whole = [getattr(np, word)(one) for one in as_arrays]
        if all(same(one, right, near) for one, right in zip(whole, expected)):
            return f"half of it: the {word} of what you list would be right."
    return f"you return {_article(type(results[0]))}; {kind} is asked for."


def _kind_of(value: Any) -> str:
    if is_numeric(value) and np.ndim(value) == 0:
        return "True or False" if isinstance(value, bool | np.bool_) else "one number"
    return _article(type(value))


def _article(kind: type) -> str:
    names = {np.ndarray: "numpy array", Tensor: "tensor", dict: "dictionary"}
    name = names.get(kind, kind.__name__)
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
    if isinstance(result, np.ndarray | Tensor) and result.ndim:
        return [tuple(row) if isinstance(row, list) else row for row in result.tolist()]
    return list(result) if isinstance(result, tuple | list) else None


def _parts(results: Sequence[Any], expected: Sequence[Any], near: float) -> str | None:
    """Of a dictionary, what holds for all that it contains; of a tuple, what holds for its first wrong part."""
    if isinstance(expected[0], dict):
        if not all(isinstance(one, dict) for one in results):
            return "a dictionary is asked for, each name with its value."
        absent = [name for name in expected[0] if name not in results[0]]
        if absent:
            return f"{absent[0]!r} is missing in your dictionary: all of {list(expected[0])} are asked for."
        pairs = [
            (mine[name], right[name]) for mine, right in zip(results, expected) for name in right
        ]
        return explained([mine for mine, _ in pairs], [right for _, right in pairs], near)
    if not all(
        isinstance(right, tuple) and isinstance(one, tuple | list) and len(one) == len(right)
        for one, right in zip(results, expected)
    ):
        return None
    for place in range(len(expected[0])):
        mine, right = [one[place] for one in results], [one[place] for one in expected]
        if not all(same(one, other, near) for one, other in zip(mine, right)):
            found = explained(mine, right, near)
            return f"part {place + 1} of what you return: {found}" if found else None
    return None


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
    if not _varied([right for _, right in pairs]):
        return None
    summed = [("these are running sums; the numbers themselves are asked for.", _running)]
    for sentence, form in FORMS + summed:
        if _made(pairs, form, near):
            return sentence
    return None


def _made(
    pairs: list[tuple[np.ndarray, np.ndarray]],
    form: Callable[[np.ndarray], np.ndarray],
    near: float,
) -> bool:
    try:
        with np.errstate(all="ignore"):
            return all(same(mine, form(right), near) for mine, right in pairs)
    except (ValueError, IndexError):  # it needs more axes
        return False


def _running(right: np.ndarray) -> np.ndarray:
    if right.ndim == 0:
        raise ValueError("one number has no running sums")
    return np.cumsum(right, -1)


def _varied(expected: Sequence[np.ndarray]) -> bool:
    """Whether different things are right; what fits one number only, may fit by chance."""
    found = np.concatenate([np.asarray(one, float).ravel() for one in expected])
    return len(np.unique(found.round(6))) > 1


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
    if not (right != 0).any() or not _varied([right]):
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
