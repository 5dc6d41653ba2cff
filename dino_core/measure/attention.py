"""Where the class token looks.  Axes: B images, H heads, N patches."""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor

from dino_core.measure.collapse import entropy
from dino_core.precision import at_least_fp32


def head_entropy(attention: Float[Tensor, "B H N"]) -> Float[Tensor, " H"]:
    """How widely each head looks: entropy over the patches, in nats, from 0 (one patch) to ln N, mean over images.

    What the class token gives to itself and to registers is left out: rows are made to sum to 1 over patches first."""
    a = at_least_fp32(attention)
    return entropy(a / a.sum(-1, keepdim=True).clamp_min(1e-12)).mean(0)


def mass_mask(attention: Float[Tensor, "*axes N"], mass: float = 0.6) -> Bool[Tensor, "*axes N"]:
    """The fewest patches that hold this share of the attention (Caron et al. 2021, Fig. 1 and Appendix D: 60 %)."""
    a = at_least_fp32(attention)
    largest, order = a.sort(dim=-1, descending=True)
    before = largest.cumsum(-1) - largest
    keep = before < mass * largest.sum(-1, keepdim=True)
    return keep.new_zeros(keep.shape).scatter(-1, order, keep)


def jaccard(found: Bool[Tensor, "*axes N"], truth: Bool[Tensor, "*axes N"]) -> Float[Tensor, "*axes"]:
    """Overlap of two masks: what both hold over what either holds, 0 to 1; two empty masks agree (1)."""
    both, either = (found & truth).sum(-1), (found | truth).sum(-1)
    return (both + (either == 0)) / either.clamp_min(1)
