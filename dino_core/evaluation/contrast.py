"""How well patches tell an object from what is around it, without anything learnt on them.

Axes: I images, N patches, D features, S pixels of a side."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from dino_core.precision import at_least_fp32


def contrast(
    patches: Float[Tensor, "I N D"], grid: tuple[int, int], masks: Bool[Tensor, "I S S"]
) -> Float[Tensor, " I"]:
    """How much more alike two patches of the object are than one of them and one of the background; mean cosines, of each image.

    A patch is the object's if more than half of it is.  A patch beside itself counts too, as in the Gram matrix, of whose
    entries this is made: what Gram anchoring holds still (Siméoni et al. 2025, Sec. 4.2), in one number.  NaN for an image
    whose object holds no patch so far, or all of them."""
    ours = F.adaptive_avg_pool2d(masks[:, None].float(), grid).flatten(1) > 0.5
    groups = torch.stack([ours, ~ours], dim=1)  # I 2 N
    unit = F.normalize(at_least_fp32(patches), dim=-1)
    sums = groups.to(unit.dtype) @ unit  # I 2 D
    cosines = sums @ sums.mT  # I 2 2, added up over all pairs of patches
    count = groups.sum(-1)
    return cosines[:, 0, 0] / count[:, 0] ** 2 - cosines[:, 0, 1] / (count[:, 0] * count[:, 1])
