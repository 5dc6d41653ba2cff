"""How much of an image's parts can be read off single patches: a linear probe on frozen patch tokens.

Axes: I images, N patches, D features, S pixels of a side, C classes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from dino_core.evaluation.linear import linear_probe

PATCHES = 20_000
"""Training patches that the probe is fitted on, at most."""


def patch_segmentation(
    train: Float[Tensor, "I N D"],
    train_parts: Int[Tensor, "I S S"],
    test: Float[Tensor, "J N D"],
    test_parts: Int[Tensor, "J S S"],
    grid: tuple[int, int],
) -> float:
    """Mean intersection over union, over the classes in `test_parts`, of a linear probe's parts against the true ones.

        mIoU = 1/C sum_c |predicted c ∧ true c| / |predicted c ∨ true c|          (over all pixels of all test images)

    A patch learns the class that most of its pixels have, and its prediction counts for all its pixels, so even a perfect
    probe stays below 1: `patch_ceiling` says where.  (The linear protocol of DINOv2, Sec. 7.4, at patch resolution.)"""
    return mean_iou(patch_classes(train, train_parts, test, grid), test_parts, grid)


def patch_classes(
    train: Float[Tensor, "I N D"],
    train_parts: Int[Tensor, "I S S"],
    test: Float[Tensor, "J N D"],
    grid: tuple[int, int],
) -> Int[Tensor, "J N"]:
    """What the probe says about each patch of the test images."""
    x, y = train.flatten(0, 1), majority(train_parts, grid).flatten()
    if len(x) > PATCHES:
        some = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))[:PATCHES].to(x.device)
        x, y = x[some], y[some]
    return linear_probe(x.float(), y, test.flatten(0, 1).float()).view(len(test), -1)


def patch_ceiling(test_parts: Int[Tensor, "J S S"], grid: tuple[int, int]) -> float:
    """The mIoU of a probe that is right about every patch's majority."""
    return mean_iou(majority(test_parts, grid), test_parts, grid)


def majority(parts: Int[Tensor, "I S S"], grid: tuple[int, int]) -> Int[Tensor, "I N"]:
    """The class that most pixels of each patch have."""
    rows, columns = grid
    cells = parts.unflatten(2, (columns, -1)).unflatten(1, (rows, -1)).transpose(2, 3)  # I r c h w
    return cells.flatten(1, 2).flatten(2).mode(-1).values.long()


def mean_iou(patches: Int[Tensor, "J N"], parts: Int[Tensor, "J S S"], grid: tuple[int, int]) -> float:
    """Of classes given to patches, each spread over its pixels."""
    classes = int(max(patches.max(), parts.max())) + 1
    return float(iou_of(confusion(patches, parts, grid, classes).sum(0)))


def confusion(
    patches: Int[Tensor, "J N"], parts: Int[Tensor, "J S S"], grid: tuple[int, int], classes: int
) -> Int[Tensor, "J C C"]:
    """How many pixels of each image are of class c (row) and were called class d (column)."""
    size = parts.shape[-1]
    spread = F.interpolate(patches.unflatten(1, grid)[:, None].float(), size=(size, size), mode="nearest")
    image = torch.arange(len(parts), device=parts.device)[:, None]
    cells = (image * classes + parts.long().flatten(1)) * classes + spread.long().flatten(1)  # J S·S
    return torch.bincount(cells.flatten(), minlength=len(parts) * classes**2).view(-1, classes, classes)


def iou_of(counts: Int[Tensor, "*b C C"]) -> Float[Tensor, "*b"]:
    """Mean over the classes that are there of what both call so over what either calls so."""
    hit, called, there = counts.diagonal(dim1=-2, dim2=-1), counts.sum(-2), counts.sum(-1)
    each = hit / (called + there - hit).clamp_min(1)  # *b C
    return (each * (there > 0)).sum(-1) / (there > 0).sum(-1).clamp_min(1)
