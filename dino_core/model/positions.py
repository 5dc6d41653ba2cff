"""Learned positions, resampled to other grids in the way the weights were published with.

Axes: B images, r c rows and columns of patches, Q tokens, D features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn


@dataclass(frozen=True)
class Resampling:
    """How a table of positions is brought to another grid; always bicubic.

    The released codes differ, and weights remember: another rule gives other features at every size but the stored one."""

    offset: float = 0.0
    """Added to rows and columns before they are divided by the stored side, so that the *scale* is given and the sampled
    grid shifts a little (0.1 in DINO and in DINOv2 without registers).  With 0 the *size* is given."""
    antialias: bool = False


OFFSET = Resampling(offset=0.1)
"""DINO, and DINOv2 without registers."""
ANTIALIASED = Resampling(antialias=True)
"""DINOv2 with registers, and timm's ViTs."""
PLAIN = Resampling()
"""transformers' ViT and Dinov2."""


def resampled(table: Float[Tensor, "1 _ D"], grid: tuple[int, int], rule: Resampling) -> Float[Tensor, "1 _ D"]:
    """Positions of the class token and of a grid of patches, from those of a square grid; computed in float32 at least."""
    side = round((table.shape[1] - 1) ** 0.5)
    if grid == (side, side):
        return table
    exact = table if table.dtype == torch.float64 else table.float()
    patches = exact[:, 1:].unflatten(1, (side, side)).movedim(-1, 1)  # 1 D side side
    if rule.offset:
        offset = _offset(exact, grid, side, rule)
        down, across = (bicubic(side, n, offset) for n in grid)
        patches = down.to(exact) @ patches @ across.to(exact).mT
    else:
        patches = F.interpolate(patches, size=grid, mode="bicubic", antialias=rule.antialias)
    return torch.cat([exact[:, :1], patches.flatten(2).mT], dim=1).to(table.dtype)


def bicubic(side: int, n: int, offset: Float[Tensor, ""]) -> Float[Tensor, "_ _"]:
    """Rows that give each of `n` places from `side` others, sampled as if there were n + offset of them.

        source = (i + 1/2) side / (n + offset) - 1/2;    weights of Keys' cubic, a = -3/4, the border repeated

    What torch's `interpolate` does with `scale_factor`, written out so that exported graphs too take any size."""
    source = (torch.arange(n, device=offset.device, dtype=offset.dtype) + 0.5) * side / (n + offset) - 0.5
    near = source.floor().unsqueeze(-1) + torch.arange(-1, 3, device=offset.device)  # n 4
    t = (source.unsqueeze(-1) - near).abs()
    inner, outer = (1.25 * t - 2.25) * t * t + 1, ((-0.75 * t + 3.75) * t - 6) * t + 3
    weight = torch.where(t <= 1, inner, torch.where(t < 2, outer, 0.0))
    place = torch.arange(side, device=offset.device)
    return (weight.unsqueeze(-1) * (near.clamp(0, side - 1).unsqueeze(-1) == place)).sum(1)


def _offset(table: Float[Tensor, "1 _ D"], grid: tuple[int, int], side: int, rule: Resampling) -> Float[Tensor, ""]:
    """None at the stored grid, which an exported graph learns only when it runs."""
    rows, columns = (torch.ones(n, device=table.device, dtype=table.dtype).sum() for n in grid)
    return torch.where((rows == side) & (columns == side), 0.0, rule.offset).to(table.dtype)


class PositionedVit(VisionTransformer):
    """timm's ViT with the position table of the released code: one row for the class token, one a patch, none for registers.

    Registers come in after positions were added (Darcet et al. 2023); hidden patches keep theirs (DINOv2)."""

    pos_embed: Any
    cls_token: Any
    reg_token: Any

    def __init__(self, resampling: Resampling, **sizes: Any) -> None:
        super().__init__(no_embed_class=False, dynamic_img_size=True, num_classes=0, **sizes)
        self.resampling = resampling
        registers = self.num_prefix_tokens - 1
        self.pos_embed = nn.Parameter(self.pos_embed.detach()[:, registers:].clone())

    def _pos_embed(self, x: Float[Tensor, "B r c D"]) -> Float[Tensor, "B Q D"]:
        images, rows, columns, _ = x.shape
        x = torch.cat([self.cls_token.expand(images, -1, -1), x.flatten(1, 2)], dim=1)
        x = x + resampled(self.pos_embed, (rows, columns), self.resampling)
        if self.reg_token is not None:
            x = torch.cat([x[:, :1], self.reg_token.expand(images, -1, -1), x[:, 1:]], dim=1)
        return self.pos_drop(x)
