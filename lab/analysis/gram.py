"""The Gram matrix: how similar each patch is to each other one.  Axes: N patches, D features."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from lab.analysis.similarity import normalised


def matrix(patches: Float[np.ndarray, "*I N D"]) -> Float[np.ndarray, "*I N N"]:
    """Cosine similarities between all patches of an image (DINOv3, Sec. 4.2: what Gram anchoring holds still)."""
    rows = normalised(patches)
    return rows @ np.swapaxes(rows, -1, -2)


def distance(patches: Float[np.ndarray, "*I N D"], anchor: Float[np.ndarray, "*I N E"]) -> Float[np.ndarray, "*I"]:
    """Root mean squared difference of two networks' Gram matrices of the same patches; their widths may differ."""
    return np.asarray(np.sqrt(((matrix(patches) - matrix(anchor)) ** 2).mean(axis=(-2, -1))))
