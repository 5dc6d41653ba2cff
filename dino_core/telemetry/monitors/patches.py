"""Whether patches stay local: the dense features."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from dino_core.measure import features
from dino_core.telemetry.monitors import monitor


@monitor("patches/mean_cosine", unit="cosine", better="lower", title="Likeness of an image's patches")
def mean_cosine(some_patches: Float[Tensor, "I N D"]) -> Float[Tensor, ""]:
    """How alike the patches of one image are, as the mean cosine over pairs.

    Rising over a long training, it says that patches lose their locality (DINOv3, Sec. 4)."""
    return features.mean_patch_cosine(some_patches)


@monitor("patches/cls_cosine", unit="cosine", better="lower", title="Likeness of patches and class token")
def cls_cosine(some_cls: Float[Tensor, "I D"], some_patches: Float[Tensor, "I N D"]) -> Float[Tensor, ""]:
    """How much the patches of an image resemble its class token, as the mean cosine."""
    return features.cls_patch_cosine(some_cls, some_patches)


@monitor("patches/high_norm_share", unit="share", better="lower", title="High-norm tokens")
def high_norm_share(some_patches: Float[Tensor, "I N D"]) -> Float[Tensor, ""]:
    """Share of patch tokens longer than 3 times their image's median (the artefacts of Darcet et al. 2023)."""
    return features.high_norm_share(some_patches)
