"""Several processes that train as one: collectives that return their input when there is only one process.

Each collective returns a new tensor and writes to none of its arguments."""

from __future__ import annotations

import os
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def active() -> bool:
    return dist.is_available() and dist.is_initialized()


def world_size() -> int:
    return dist.get_world_size() if active() else 1


def rank() -> int:
    return dist.get_rank() if active() else 0


def is_writer() -> bool:
    """Only this process writes the run directory."""
    return rank() == 0


def start(device: torch.device) -> None:
    """Join the process group when torchrun started us; one process alone needs none."""
    if "RANK" in os.environ and not active():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")


def stop() -> None:
    if active():
        dist.destroy_process_group()


def global_sum(x: Tensor) -> Tensor:
    if world_size() == 1:
        return x
    total = x.clone()
    dist.all_reduce(total)
    return total


def global_mean(x: Tensor) -> Tensor:
    """Mean over ranks; equal to the mean over the global batch because every rank holds as many images."""
    return global_sum(x) / world_size()


def global_max(x: Tensor) -> Tensor:
    if world_size() == 1:
        return x
    largest = x.clone()
    dist.all_reduce(largest, op=dist.ReduceOp.MAX)
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


def gather(x: Tensor, dim: int = 0) -> Tensor:
    """All ranks' tensors side by side along `dim`, in the order of ranks; carries no gradient."""
    if world_size() == 1:
        return x
    parts = [torch.empty_like(x) for _ in range(world_size())]
    dist.all_gather(parts, x.contiguous())
    return torch.cat(parts, dim)
