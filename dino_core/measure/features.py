"""Do features differ between images, and patches within an image?  Axes: N rows, B images, P patches, D features."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from dino_core.precision import at_least_fp32


def feature_std(x: Float[Tensor, "N D"]) -> Float[Tensor, ""]:
    """Spread of the directions of features, 1 when healthy.

        sqrt(D) · mean over d of std over rows of (x / ||x||)_d

    0 when all rows point the same way, 1 when they are spread evenly on the sphere (Chen & He 2021, SimSiam, arXiv
    2011.10566, Sec. 4.1, times sqrt(D)).  A few directions evenly used give nearly 1 too: see RankMe."""
    unit = normalize(at_least_fp32(x), dim=-1)
    return unit.std(0, unbiased=False).mean() * x.shape[-1] ** 0.5


def mean_patch_cosine(patches: Float[Tensor, "B P D"]) -> Float[Tensor, ""]:
    """How alike the patches of one image are: mean cosine over pairs of different patches, -1 to 1, mean over images.

        (||sum of unit vectors||² - P) / (P (P - 1))

    which is the mean over all pairs without the (P P) matrix.  Rising slowly over a long training, it is the loss of
    locality that DINOv3's Gram anchoring mends (Siméoni et al. 2025, arXiv 2508.10104, Sec. 4)."""
    unit = normalize(at_least_fp32(patches), dim=-1)
    count = patches.shape[1]
    return ((unit.sum(1).square().sum(-1) - count) / (count * max(1, count - 1))).mean()


def cls_patch_cosine(cls: Float[Tensor, "B D"], patches: Float[Tensor, "B P D"]) -> Float[Tensor, ""]:
    """How much patches resemble their image's class token: mean cosine, -1 to 1."""
    unit = normalize(at_least_fp32(patches), dim=-1).mean(1)
    return (normalize(at_least_fp32(cls), dim=-1) * unit).sum(-1).mean()


def high_norm_share(patches: Float[Tensor, "B P D"], factor: float = 3.0) -> Float[Tensor, ""]:
    """Share of patch tokens longer than 3 times the median of their image: the artefacts that registers take away.

    Darcet et al. (2023, arXiv 2309.16588) cut at a fixed norm of 150 for DINOv2, where most tokens have some 50; the
    median makes that rule, 3 times the usual, free of scale.  A final norm layer evens tokens out and hides most."""
    norms = at_least_fp32(patches).norm(dim=-1)
    return (norms > factor * norms.median(-1, keepdim=True).values).to(norms.dtype).mean()
