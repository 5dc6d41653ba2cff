"""Everything that can be asked of a frozen backbone on labelled images."""

from __future__ import annotations

import torch

from dino_core.evaluation.contrast import contrast
from dino_core.evaluation.emergence import centred_box, emergence
from dino_core.evaluation.images import LabelledImages
from dino_core.evaluation.knn import accuracy, knn
from dino_core.evaluation.linear import linear_probe
from dino_core.evaluation.segmentation import patch_ceiling, patch_segmentation
from dino_core.model import Backbone
from dino_core.probes import tokens_of

NEIGHBOURS = (10, 20, 100, 200)
"""The k that the paper's evaluation reports (Caron et al. 2021, Sec. 4.1)."""
SEGMENTED = 500
"""Images of either set whose patches are looked at."""


def measured(
    backbone: Backbone, train: LabelledImages, test: LabelledImages, mean: tuple[float, ...], std: tuple[float, ...]
) -> dict[str, float | int]:
    """Accuracies and overlaps in [0, 1], a difference of cosines; what the data does not allow (labels, masks) is left out."""
    device = next(backbone.parameters()).device
    seen, attention = tokens_of(backbone, test.images, mean, std, device)
    found: dict[str, float | int] = {"train_images": len(train.images), "test_images": len(test.images)}
    if train.labelled and test.labelled:
        known = tokens_of(backbone, train.images, mean, std, device, attend=False)[0]
        labels, wanted = train.labels.to(device), test.labels.to(device)
        for k in NEIGHBOURS:
            if k <= len(labels):
                found[f"knn_{k}"] = accuracy(knn(known.cls, labels, seen.cls, k=k), wanted)
        found["linear"] = accuracy(linear_probe(known.cls, labels, seen.cls), wanted)
        found["chance"] = float(torch.bincount(wanted).max() / len(wanted))
    if test.masks is not None:
        found |= emergence(attention, seen.patches, seen.grid, test.masks.to(device))
        found["jaccard_centred_box"] = centred_box(test.masks)
        apart = contrast(seen.patches, seen.grid, test.masks.to(device))
        if not apart.isnan().all():
            found["patch_contrast"] = float(apart.nanmean())
    return found | segmented(backbone, train, test, mean, std)


def segmented(
    backbone: Backbone, train: LabelledImages, test: LabelledImages, mean: tuple[float, ...], std: tuple[float, ...]
) -> dict[str, float]:
    """`patch_miou`: parts, or object and background, told apart by a linear probe on patches; and the most it can reach."""
    truth = [part.parts if part.parts is not None else part.masks for part in (train, test)]
    if truth[0] is None or truth[1] is None:
        return {}
    device = next(backbone.parameters()).device
    known, seen = (
        tokens_of(backbone, part.images[:SEGMENTED], mean, std, device, attend=False)[0] for part in (train, test)
    )
    learnt, wanted = (t[:SEGMENTED].to(device).long() for t in truth if t is not None)
    found = patch_segmentation(known.patches, learnt, seen.patches, wanted, seen.grid)
    return {"patch_miou": found, "patch_miou_ceiling": patch_ceiling(wanted, seen.grid)}
