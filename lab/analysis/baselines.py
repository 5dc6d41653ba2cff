"""What costs no learning: the lines that a curve must pass before it means anything.  Axes: I images, Y rows, X columns."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Shaped


def centred_box(masks: Bool[np.ndarray, "I Y X"], sizes: int = 40) -> tuple[float, float]:
    """Jaccard of the best centred rectangle, the same for all images, against the objects; and the share of the side it covers.

    A stern baseline for attention: photographs put their object in the middle.  Images without an object are left out."""
    masks = masks[masks.any(axis=(1, 2))]
    if len(masks) == 0:
        return math.nan, math.nan
    rows, columns = masks.shape[1:]
    y = np.abs(np.arange(rows) - (rows - 1) / 2) * 2 / rows
    x = np.abs(np.arange(columns) - (columns - 1) / 2) * 2 / columns
    reach = np.maximum(y[:, None], x[None, :])  # a centred box of share s covers the pixels whose reach is at most s
    scores = {}
    for share in np.linspace(1 / sizes, 1, sizes):
        box = reach <= share
        scores[float(share)] = float(((masks & box).sum((1, 2)) / (masks | box).sum((1, 2))).mean())
    best = max(scores, key=lambda share: scores[share])
    return scores[best], best


def chance(labels: Shaped[np.ndarray, " M"]) -> float:
    """Accuracy of always naming the most frequent class."""
    return (
        float(np.bincount(labels[labels >= 0]).max() / max((labels >= 0).sum(), 1)) if (labels >= 0).any() else math.nan
    )


def uniform_loss(prototypes: int) -> float:
    """ln K: the loss of a teacher and a student that give every prototype the same share.  Facing it for long is collapse."""
    return math.log(prototypes)


def of_metric(name: str, baselines: Mapping[str, float | None]) -> dict[str, float]:
    """The baselines of `run.json` that belong beside a curve: `knn_raw_pixels` beside `knn/teacher`."""
    family = name.split("/")[0].split("_")[0]
    return {key: float(value) for key, value in baselines.items() if key.split("_")[0] == family and value is not None}
