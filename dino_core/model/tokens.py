"""What a backbone says about images.  Axes: B images, R registers, N patches, D features."""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor


class Tokens(NamedTuple):
    """Tokens after the final norm.  A tuple, so that whoever hooks into modules (FSDP) finds the tensors in it."""

    cls: Float[Tensor, "B D"]
    registers: Float[Tensor, "B R D"]
    patches: Float[Tensor, "B N D"]
    grid: tuple[int, int]
    """Rows and columns of patches; N is their product."""
