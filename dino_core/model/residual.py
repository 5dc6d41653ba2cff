"""How a residual branch is added: whole, left out for some images, or worked out for some images only.

Axes: B images, Q and q tokens, D features."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from timm.layers import DropPath
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from dino_core.model.abreast import StochasticDepth


class BatchSubset(DropPath):
    """Stochastic depth that saves work: the branch sees only max(1, ⌊B (1 - rate)⌋) of the images, drawn anew each time.

        x_i + B/s · branch(x)_i for the s chosen images, x_i for the others      (DINOv2, Sec. 5; all of DINOv3)

    So the share that is left out is rounded to whole images; a batch of one is never left out."""

    def choose(self, images: int, device: torch.device) -> Tensor | None:
        """The images that take part; None where all do."""
        kept = max(1, int(images * (1 - self.drop_prob))) if self.training else images
        return None if kept == images else torch.randperm(images, device=device)[:kept]


def added(
    depth: nn.Module,
    x: Float[Tensor, "B q D"],
    branch: Callable[[Float[Tensor, "_ Q D"]], Float[Tensor, "_ q D"]],
    given: Float[Tensor, "B Q D"] | None = None,
) -> Float[Tensor, "B q D"]:
    """x + depth(branch(given)); `given` is x where the branch looks at no more than it is added to."""
    given = x if given is None else given
    chosen = depth.choose(len(x), x.device) if isinstance(depth, BatchSubset) else None
    if chosen is None:
        return x + (branch(given) if isinstance(depth, BatchSubset) else depth(branch(given)))
    return x.index_add(0, chosen, branch(given[chosen]).to(x.dtype), alpha=len(x) / len(chosen))


class SubsetBlock(Block):
    """timm's block, whose stochastic depth may be a `BatchSubset`."""

    def forward(self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False) -> Tensor:
        x = added(self.drop_path1, x, lambda y: self.ls1(self.attn(self.norm1(y))))
        return added(self.drop_path2, x, lambda y: self.ls2(self.mlp(self.norm2(y))))


def depth_of(rate: float, subset: bool) -> nn.Module:
    if not rate:
        return nn.Identity()
    return BatchSubset(rate) if subset else StochasticDepth(rate)


def set_stochastic_depth(blocks: Sequence[Any], rate: float, *, uniform: bool, subset: bool) -> None:
    """One rate in all blocks, or one that rises to `rate` in the last (Huang et al. 2016)."""
    for place, block in enumerate(blocks):
        here = rate if uniform else rate * place / max(1, len(blocks) - 1)
        block.drop_path1, block.drop_path2 = depth_of(here, subset), depth_of(here, subset)
