"""Several processes that train as one: collectives that return their input when there is only one process.

Each collective returns a new tensor and writes to none of its arguments."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

_together: dist.ProcessGroup | None = None
"""The ranks that train one student; None stands for all of them."""


def together() -> dist.ProcessGroup | None:
    """Who this module speaks of when it says all ranks: those of `join`, by default really all."""
    return _together


def join(group: dist.ProcessGroup | None) -> None:
    """From now on this process trains with these ranks alone (several students at once, each on its share)."""
    global _together
    _together = group


def group_of(ranks: list[int]) -> dist.ProcessGroup | None:
    """A group to `join`; every process has to ask for every group, in the same order.  None where they are all."""
    if len(ranks) == dist.get_world_size():
        return None
    group = dist.new_group(ranks)
    return group if isinstance(group, dist.ProcessGroup) else None  # a number where this process is no member


@contextmanager
def everyone() -> Iterator[None]:
    """Within, all ranks are really all."""
    before = together()
    join(None)
    try:
        yield
    finally:
        join(before)


def active() -> bool:
    return dist.is_available() and dist.is_initialized()


def world_size() -> int:
    return dist.get_world_size(_together) if active() else 1


def rank() -> int:
    return dist.get_rank(_together) if active() else 0


def is_writer() -> bool:
    """Only this process writes the run directory."""
    return rank() == 0


def barrier() -> None:
    """Wait for each other."""
    if active():
        dist.barrier(group=_together)


def start(device: torch.device) -> None:
    """Work on this device, and join the process group when torchrun started us; one process alone needs none."""
    if device.type == "cuda":
        torch.cuda.set_device(device)  # streams and events are those of the device in hand
    if "RANK" in os.environ and not active():
        if device.type == "cuda":
            dist.init_process_group("nccl", device_id=device)
        else:
            dist.init_process_group("gloo")


def stop() -> None:
    join(None)
    if active():
        dist.destroy_process_group()


def global_sum(x: Tensor) -> Tensor:
    if world_size() == 1:
        return x
    total = x.clone()
    dist.all_reduce(total, group=_together)
    return total


def global_mean(x: Tensor) -> Tensor:
    """Mean over ranks; equal to the mean over the global batch because every rank holds as many images."""
    return global_sum(x) / world_size()


def global_max(x: Tensor) -> Tensor:
    if world_size() == 1:
        return x
    largest = x.clone()
    dist.all_reduce(largest, op=dist.ReduceOp.MAX, group=_together)
    return largest


class _Gathered(torch.autograd.Function):
    """Ranks side by side; backward, each rank gets the sum over ranks of the gradient of its own rows."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.rows = len(x)
        return gather(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return global_sum(gradients[0]).split(ctx.rows)[rank()]


def gather_with_gradient(x: Tensor) -> Tensor:
    """All ranks' rows in the order of ranks; ranks hold equally many.  Gradients flow back to whose rows they are."""
    return x if world_size() == 1 else _Gathered.apply(x)


def gather_lists(ours: list[Any]) -> list[Any]:
    """What all ranks have in lists, in the order of ranks."""
    if world_size() == 1:
        return ours
    lists: list[list[Any]] = [[] for _ in range(world_size())]
    dist.all_gather_object(lists, ours, group=_together)
    return [one for theirs in lists for one in theirs]


def gather(x: Tensor, dim: int = 0) -> Tensor:
    """All ranks' tensors side by side along `dim`, in the order of ranks; carries no gradient."""
    if world_size() == 1:
        return x
    parts = [torch.empty_like(x) for _ in range(world_size())]
    dist.all_gather(parts, x.contiguous(), group=_together)
    return torch.cat(parts, dim)
