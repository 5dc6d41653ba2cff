"""What a backbone says about images.  Axes: B images, R registers, N patches, D features."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Tokens:
    """Tokens after the final norm."""

    cls: Float[Tensor, "B D"]
    registers: Float[Tensor, "B R D"]
    patches: Float[Tensor, "B N D"]
    grid: tuple[int, int]
    """Rows and columns of patches; N is their product."""
