"""Where gradients of a learner's result go: a value can be right and still teach the wrong network."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection
from typing import Any

import torch
from torch import Tensor


def flow(
    answer: Callable[..., Any], case: tuple[Any, ...], constant: Collection[int], names: list[str]
) -> str | None:
    """What is wrong with it in a sentence: no gradient may reach the tensors at the places `constant`, all others must get one."""
    given = [_leaf(value) for value in case]
    leaves = {
        place: value
        for place, value in enumerate(given)
        if isinstance(value, Tensor) and value.requires_grad
    }
    try:
        result = answer(*given)
    except Exception as error:
        return (
            "the value is right, but your function stops where it has to be differentiated, with "
            f"{type(error).__name__}: {error}"
        )
    called = [names[place] if place < len(names) else f"argument {place + 1}" for place in leaves]
    if not isinstance(result, Tensor) or not result.requires_grad:
        return (
            "the value is right, but no gradient comes of it: nobody would learn. What is detached, or made a "
            "plain number, is too much."
        )
    if not all(one.requires_grad for one in leaves.values()):
        return (
            "your function switches requires_grad of what it is given, which reaches the network it came from; "
            "`.detach()` makes a tensor of its own."
        )
    found = torch.autograd.grad(result.sum(), list(leaves.values()), allow_unused=True)
    for place, name, gradient in zip(leaves, called, found):
        flows = gradient is not None and bool(gradient.any())
        if flows and place in constant:
            return (
                f"the value is right, but a gradient flows into `{name}`, which is a constant here: `.detach()` what is "
                "made of it."
            )
        if not flows and place not in constant:
            return f"the value is right, but no gradient reaches `{name}`, which is what learns."
    return None


def _leaf(value: Any) -> Any:
    """A copy; a tensor of numbers that can be differentiated begins a graph of its own."""
    if isinstance(value, Tensor) and value.is_floating_point():
        return value.detach().clone().requires_grad_()
    return copy.deepcopy(value)
