"""In what precision numbers are computed: losses and measures in at least single, whatever the networks run in."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

P = ParamSpec("P")
R = TypeVar("R")


def at_least_fp32(x: Tensor) -> Tensor:
    """Half precision becomes single; double stays double, unlike with a bare `.float()`, so tests can use gradcheck."""
    return x if x.dtype == torch.float64 else x.float()


def without_autocast(function: Callable[P, R]) -> Callable[P, R]:
    """Inside, autocast does not turn matrix products back into half precision.  The first argument is a tensor."""

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        tensor = next(x for x in (*args, *kwargs.values()) if isinstance(x, Tensor))
        with torch.autocast(tensor.device.type, enabled=False):
            return function(*args, **kwargs)

    return wrapped


def fp64(x: Tensor) -> Tensor:
    """float64, for eigenvalues; on the CPU where the device has no float64."""
    return (x.cpu() if x.device.type == "mps" else x).double()
