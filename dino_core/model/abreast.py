"""Several threads, each with a share of the images.

On a CPU, PyTorch splits each operation over the threads, which then wait for each other a thousand times a step: spinning, they
take the cores from whatever else runs; sleeping, they wake late (`benchmarks/neighbour.py`).  Threads that each take a share of
the images through the whole network wait once a pass.  The numbers are those of one pass, up to the order of sums.

Axes: B images."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float
from timm.layers import DropPath
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm

from dino_core.model.rotary import Rotary
from dino_core.model.tokens import Tokens

_mine = threading.local()
"""`rows`: which images of the batch this thread works on."""


def abreast(
    network: nn.Module, call: Callable[..., Any], images: Float[Tensor, "B 3 _ _"], *, threads: int, **options: Any
) -> Any:
    """`call(images, **options)`, a tensor or `Tokens`, with a share of the images (and of options that are tensors) on each thread.

    `network` holds the weights that `call` uses.  Called plainly where threads would change the numbers (`can_share`)."""
    threads = min(threads, len(images))
    if threads <= 1 or images.device.type != "cpu" or not can_share(network):
        return call(images, **options)
    edges = [len(images) * i // threads for i in range(threads + 1)]
    shares = [slice(*edge) for edge in pairwise(edges)]
    grids: list[tuple[int, int]] = []

    def work(rows: slice) -> list[Tensor]:
        _mine.rows = rows
        out = call(images[rows], **{k: v[rows] if isinstance(v, Tensor) else v for k, v in options.items()})
        if isinstance(out, Tokens):
            grids.append(out.grid)
            return [out.cls, out.registers, out.patches]
        return [out]

    trained = [p for p in network.parameters() if p.requires_grad] if torch.is_grad_enabled() else []
    with drawn_beforehand(network, len(images)):
        if trained:
            joined = _Abreast.apply(lambda: each_on_its_thread(work, shares), *trained)
        else:
            joined = _joined(each_on_its_thread(work, shares))
    return Tokens(joined[0], joined[1], joined[2], grids[0]) if grids else joined[0]


def can_share(network: nn.Module) -> bool:
    """Not where images of a batch look at each other, or where a layer draws at random what `drawn_beforehand` can't."""
    return not any(
        isinstance(m, _BatchNorm)
        or (isinstance(m, nn.Dropout) and m.p > 0 and m.training)
        or (isinstance(m, DropPath) and not isinstance(m, StochasticDepth) and m.drop_prob and m.training)
        for m in network.modules()
    )


def each_on_its_thread(work: Callable[[Any], list[Any]], shares: Sequence[Any]) -> list[list[Any]]:
    """What `work` gives for each share; the threads inherit gradients and autocast from this one."""
    gradients, mixed = torch.is_grad_enabled(), torch.is_autocast_enabled("cpu")
    precision, whole = torch.get_autocast_dtype("cpu"), torch.get_num_threads()

    def alone(share: Any) -> list[Any]:
        torch.set_num_threads(1)
        with torch.set_grad_enabled(gradients), torch.autocast("cpu", precision, enabled=mixed):
            return work(share)

    try:
        return list(_pool(len(shares)).map(alone, shares))
    finally:
        torch.set_num_threads(whole)


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="abreast")


class _Abreast(torch.autograd.Function):
    """Each thread's graph ends at its share of the outputs; gradients of the weights are added in the order of the shares."""

    @staticmethod
    def forward(ctx: Any, run: Callable[[], list[list[Tensor]]], *weights: Tensor) -> tuple[Tensor, ...]:
        with torch.enable_grad():
            ctx.parts = run()
        ctx.weights = weights
        ctx.set_materialize_grads(False)
        return _joined([[t.detach() for t in part] for part in ctx.parts])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        weights, outputs, ctx.parts = ctx.weights, ctx.parts, None
        wanted = [(i, g.split([len(part[i]) for part in outputs])) for i, g in enumerate(gradients) if g is not None]
        shares = [([part[i] for i, _ in wanted], [split[n] for _, split in wanted]) for n, part in enumerate(outputs)]
        found = each_on_its_thread(lambda s: list(torch.autograd.grad(s[0], weights, s[1], allow_unused=True)), shares)
        used = [i for i, g in enumerate(found[0]) if g is not None]
        for other in found[1:]:
            torch._foreach_add_([found[0][i] for i in used], [other[i] for i in used])
        return None, *found[0]


def _joined(parts: Sequence[Sequence[Tensor]]) -> tuple[Tensor, ...]:
    return tuple(torch.cat(same) for same in zip(*parts, strict=True))


class StochasticDepth(DropPath):
    """A residual branch left out for some images (Huang et al. 2016), drawn here or, for several threads, beforehand."""

    scale: Float[Tensor, " B"] | None = None
    """0, or one over the share that is kept."""

    def forward(self, x: Float[Tensor, "B ..."]) -> Float[Tensor, "B ..."]:
        if not self.drop_prob or not self.training:
            return x
        scale = self.draw(len(x), x) if self.scale is None else self.scale[_mine.rows].to(x.dtype)
        return x * scale.view(-1, *[1] * (x.ndim - 1))

    def draw(self, images: int, like: Tensor) -> Float[Tensor, " B"]:
        kept = 1 - self.drop_prob
        return like.new_empty(images).bernoulli_(kept).div_(kept)

    def forget(self) -> None:
        self.scale = None


def replace_drop_path(model: nn.Module) -> None:
    """timm's stochastic depth, and then ours, which can be drawn beforehand; the same draws."""
    for parent in model.modules():
        for name, child in parent.named_children():
            if type(child) is DropPath:
                setattr(parent, name, StochasticDepth(child.drop_prob, child.scale_by_keep))


@contextmanager
def drawn_beforehand(network: nn.Module, images: int) -> Iterator[None]:
    """Stochastic depth and moves of positions drawn by this thread, in the order and with the numbers of a plain call."""
    like = next(network.parameters())
    drawn = [m for m in network.modules() if isinstance(m, StochasticDepth | Rotary) and m.training]
    for module in drawn:
        if isinstance(module, StochasticDepth):
            module.scale = module.draw(images, like) if module.drop_prob else None
        else:
            module.move = module.draw()
    try:
        yield
    finally:
        for module in drawn:
            module.forget()
