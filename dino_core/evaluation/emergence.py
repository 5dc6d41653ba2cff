"""Does the network see the object?  Attention and the first principal component against masks nobody trained on.

Axes: I images, H heads, N patches, D features, S pixels of a side."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from dino_core.measure.attention import jaccard, mass_mask


def emergence(
    attention: Float[Tensor, "I H N"] | None,
    patches: Float[Tensor, "I N D"],
    grid: tuple[int, int],
    masks: Bool[Tensor, "I S S"],
) -> dict[str, float]:
    """`jaccard/heads_together`, `jaccard/best_head`, each `jaccard/head_i`, and `pca_iou`, all shares in [0, 1].

    Attention: the fewest patches with 60 % of a head's mass against the mask (Caron et al. 2021, Fig. 4), averaged over
    images; the best head is one head for all images, not the best for each.  Heads divide the object among them, so the
    same is asked of their mean, for which no mask chooses anything.  PCA: the first component of each image's patches, cut
    by Otsu's threshold, the side that the border of the image is not on."""
    found_pca, heads = overlaps(attention, patches, grid, masks)
    found = {"pca_iou": float(found_pca.mean())}
    if heads is not None:
        each = heads.mean(0)  # H
        found |= {f"jaccard/head_{i}": float(value) for i, value in enumerate(each)}
        found["jaccard/best_head"] = float(each.max())
    if attention is not None:
        found["jaccard/heads_together"] = float(together(attention, grid, masks).mean())
    return found


def together(
    attention: Float[Tensor, "I H N"], grid: tuple[int, int], masks: Bool[Tensor, "I S S"]
) -> Float[Tensor, " I"]:
    """Overlap of each image's mask with the fewest patches that hold 60 % of the mean attention of all heads."""
    kept = pixels(mass_mask(attention.mean(1), 0.6), grid, masks.shape[-1])
    return jaccard(kept, masks.flatten(1))


def overlaps(
    attention: Float[Tensor, "I H N"] | None,
    patches: Float[Tensor, "I N D"],
    grid: tuple[int, int],
    masks: Bool[Tensor, "I S S"],
) -> tuple[Float[Tensor, " I"], Float[Tensor, "I H"] | None]:
    """The same image by image: of the first component, and of each head."""
    size, objects = masks.shape[-1], masks.flatten(1)  # I S·S
    component = jaccard(pixels(first_component(patches, grid), grid, size), objects)
    if attention is None:
        return component, None
    kept = pixels(mass_mask(attention, 0.6), grid, size)  # I H S·S
    return component, jaccard(kept, objects[:, None].expand_as(kept))


def pixels(mask: Bool[Tensor, "*b N"], grid: tuple[int, int], size: int) -> Bool[Tensor, "*b P"]:
    """Patches as the P = size² pixels of a square image, nearest neighbour."""
    cells = mask.unflatten(-1, grid).flatten(0, -3)[:, None].float()
    return F.interpolate(cells, size=(size, size), mode="nearest").bool().reshape(*mask.shape[:-1], size * size)


def first_component(patches: Float[Tensor, "I N D"], grid: tuple[int, int]) -> Bool[Tensor, "I N"]:
    """Foreground by the sign-fixed first principal component of each image."""
    centred = (patches - patches.mean(1, keepdim=True)).float()
    values = torch.linalg.svd(centred, full_matrices=False)[0][:, :, 0]  # I N
    border = torch.zeros(grid, dtype=torch.bool, device=patches.device)
    border[[0, -1]] = True
    border[:, [0, -1]] = True
    above = values > otsu(values)[:, None]
    flip = above[:, border.flatten()].float().mean(1) > 0.5
    return above ^ flip[:, None]


def otsu(values: Float[Tensor, "I N"]) -> Float[Tensor, " I"]:
    """The threshold that separates each row into two groups of least variance (Otsu 1979), among the row's own values."""
    ordered = values.sort(-1).values
    n = values.shape[-1]
    low = torch.arange(1, n, device=values.device)
    sums = ordered.cumsum(-1)
    mean_low, mean_high = sums[:, :-1] / low, (sums[:, -1:] - sums[:, :-1]) / (n - low)
    between = low * (n - low) * (mean_high - mean_low).square()
    cut = between.argmax(-1, keepdim=True)
    return (ordered.gather(1, cut) + ordered.gather(1, cut + 1))[:, 0] / 2


def centred_box(masks: Bool[Tensor, "I S S"]) -> float:
    """Mean Jaccard of the best fixed centred square: the baseline that any claim of segmentation has to pass."""
    size = masks.shape[-1]
    best = 0.0
    for half in range(1, size // 2 + 1):
        box = torch.zeros(size, size, dtype=torch.bool, device=masks.device)
        box[size // 2 - half : size // 2 + half, size // 2 - half : size // 2 + half] = True
        best = max(best, float(jaccard(box.expand_as(masks).flatten(1), masks.flatten(1)).mean()))
    return best
