"""Rotary positions as DINOv3 has them: each patch turns its queries and keys by angles that tell where it is.

Axes: B images, H heads, Q tokens, N patches, d features of a head."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dino_core.errors import ConfigError


def periods(head_dim: int, base: float = 100.0) -> Float[Tensor, "_"]:
    """base^(i / (d/4)): from 1, two whole turns across the image, to nearly `base` (DINOv3, Sec. 3.2)."""
    return base ** (2 * torch.arange(head_dim // 4, dtype=torch.float32) / (head_dim // 2))


class Rotary(nn.Module):
    """Sines and cosines of a grid of patches (RoPE, Su et al. 2021; on axes, DINOv3, Sec. 3.2).

        angle[p, axis, i] = 2π position[p, axis] / period_i

    Positions are centres of patches in the box [-1, 1] × [-1, 1] whatever the image's size, so that a grid of another
    size samples the same turn more finely.  In training the box may be moved, stretched and scaled, one draw a forward
    (the released code draws anew in each block)."""

    periods: Tensor
    move: tuple[Float[Tensor, "2"], Float[Tensor, "2"]] | None = None
    """A draw made beforehand (`dino_core.model.abreast`)."""

    def __init__(
        self,
        head_dim: int,
        *,
        base: float = 100.0,
        shift: float | None = None,
        jitter: float | None = None,
        rescale: float | None = None,
    ) -> None:
        """`shift`: up to so much along each axis.  `jitter`: each axis times up to so much, or divided by it.
        `rescale`: the same for both axes together (2 in the released models)."""
        super().__init__()
        if head_dim % 4:
            raise ConfigError(
                f"rotary positions turn pairs on two axes: {head_dim} features a head are no multiple of 4."
            )
        self.register_buffer("periods", periods(head_dim, base))
        self.shift, self.jitter, self.rescale = shift, jitter, rescale

    def hold_still(self) -> None:
        """No more draws, in training either: for a teacher."""
        self.shift = self.jitter = self.rescale = None

    def forward(self, rows: int, columns: int) -> Float[Tensor, "2 N d"]:
        """sin and cos; the second half of d repeats the first, which has the vertical angles, then the horizontal."""
        turns = self.periods if self.periods.dtype == torch.float64 else self.periods.float()
        y, x = ((torch.arange(n, device=turns.device, dtype=turns.dtype) + 0.5) / n * 2 - 1 for n in (rows, columns))
        position = torch.cartesian_prod(y, x)  # N 2
        if self.training:
            shift, stretch = self.draw() if self.move is None else self.move
            position = (position + shift.to(position.dtype)) * stretch.to(position.dtype)
        angles = (2 * math.pi * position.unsqueeze(-1) / turns).flatten(1).repeat(1, 2)  # N d
        return torch.stack([angles.sin(), angles.cos()])

    def draw(self) -> tuple[Float[Tensor, "2"], Float[Tensor, "2"]]:
        """How far the box is moved along each axis, and how much it is stretched."""
        shift, stretch = self.periods.new_zeros(2), self.periods.new_zeros(2)
        if self.shift is not None:
            shift.uniform_(-self.shift, self.shift)
        for factor, axes in ((self.jitter, 2), (self.rescale, 1)):
            if factor is not None:
                stretch = stretch + stretch.new_empty(axes).uniform_(-math.log(factor), math.log(factor))
        return shift, stretch.exp()

    def forget(self) -> None:
        """The next forward draws its own move again."""
        self.move = None


def rotated(x: Float[Tensor, "B H Q d"], table: Float[Tensor, "2 N d"]) -> Float[Tensor, "B H Q d"]:
    """The last N tokens turned in the planes (i, i + d/2); those before, the class token and registers, stay."""
    sin, cos = table
    prefix = x.shape[-2] - sin.shape[0]
    patches = x[..., prefix:, :]
    a, b = patches.chunk(2, dim=-1)
    turned = patches * cos + torch.cat([-b, a], dim=-1) * sin
    return torch.cat([x[..., :prefix, :], turned.to(x.dtype)], dim=-2)
