"""Whether two results are the same, and how they differ, in words."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch


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
    if isinstance(other, str):
        return isinstance(one, str) and one == other
    if not is_numeric(other):
        return bool(type(one) is type(other) and one == other) or one is other
    if not is_numeric(one) or (np.ndim(other) > 0 and is_mask(other) and not is_mask(one)):
        return False
    a, b = numbers(one), numbers(other)
    return a.shape == b.shape and bool(
        np.allclose(a, b, rtol=tolerance, atol=tolerance, equal_nan=True)
    )


def is_numeric(value: Any) -> bool:
    return isinstance(value, torch.Tensor | np.ndarray | np.number | np.bool_ | int | float)


def is_mask(value: Any) -> bool:
    """Of True and False; numbers 1 and 0 choose other things when they are put in brackets."""
    return getattr(value, "dtype", None) in (torch.bool, np.dtype(bool))


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
    if isinstance(expected, dict) and isinstance(result, dict) and result.keys() == expected.keys():
        for name, other in expected.items():
            if not same(result[name], other, 1e-4):
                return f"{name!r} of what you return is wrong: {difference(result[name], other)}"
    truth = any(isinstance(one, bool | np.bool_) for one in (result, expected))
    if truth or not is_numeric(result) or not is_numeric(expected):
        return f"your function returns {printed(result)}; expected {printed(expected)}."
    a, b = numbers(result), numbers(expected)
    if a.shape != b.shape:
        few = "one number is asked for, and yours are many: " if b.ndim == 0 else ""
        few = "many numbers are asked for, and yours is one: " if a.ndim == 0 else few
        return f"{few}your result has shape {a.shape}; expected {b.shape}."
    if np.isnan(a).any() and not np.isnan(b).any():
        return f"your result holds NaN: a division 0/0, log of a negative number or 0·∞. Yours: {printed(result)}."
    if same(a, b, 1e-4) and is_mask(expected):
        return "a mask is of bool, True and False; yours holds the numbers 1 and 0, which in brackets mean places."
    far = math.nan if a.size == 0 else float(np.abs(a - b).max())
    return f"your numbers are off by up to {far:.4g}. Yours: {printed(result)}; expected: {printed(expected)}."


def printed(value: Any) -> str:
    """A short picture of a value: numbers where they are few, shape where they are many."""
    if is_numeric(value) and not isinstance(value, bool | int | float):
        array = numbers(value)
        if array.size > 24:
            return f"an array of shape {array.shape}"
        return np.array2string(array, precision=4, suppress_small=True, separator=", ")
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name!r}: {printed(one)}" for name, one in value.items()) + "}"
    if isinstance(value, tuple | list) and any(map(is_numeric, value)):
        left, right = "[]" if isinstance(value, list) else "()"
        return left + ", ".join(map(printed, value)) + right
    return f"{value:.6g}" if isinstance(value, float) else repr(value)


def telling(result: Any) -> bool:
    """Numbers with places behind the comma: alike by chance with nobody's, unlike True, 3, "healthy" or a mask."""
    if isinstance(result, tuple | list):
        return any(map(telling, result))
    if isinstance(result, dict):
        return any(map(telling, result.values()))
    if not is_numeric(result):
        return False
    found = numbers(result)
    return bool((found != np.round(found))[np.isfinite(found)].any())
