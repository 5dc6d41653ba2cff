"""Build a network in meta memory without working out what its random weights would be."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import torch
from torch.overrides import TorchFunctionMode

P = ParamSpec("P")
R = TypeVar("R")


class _Unfilled(TorchFunctionMode):
    """Operations in place are left out for tensors that hold nothing."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, kwargs = getattr(func, "__name__", ""), kwargs or {}
        filled = args[0] if args else kwargs.get("tensor")
        if name.endswith("_") and not name.endswith("__") and isinstance(filled, torch.Tensor) and filled.is_meta:
            return filled
        return func(*args, **kwargs)


def unfilled_on_meta(build: Callable[P, R]) -> Callable[P, R]:
    """Within `torch.device("meta")` nothing is filled, which would take torch seconds; elsewhere `build` as it is."""

    @functools.wraps(build)
    def built(*args: P.args, **kwargs: P.kwargs) -> R:
        if torch.get_default_device().type != "meta":
            return build(*args, **kwargs)
        with _Unfilled():
            return build(*args, **kwargs)

    return built
