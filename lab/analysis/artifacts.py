"""Tokens of unusual length: where a ViT without registers keeps notes of its own (Darcet et al. 2024).

Axes: N patches; leading axes are kept."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

RATIO = 2.0
"""Times the median norm.  The paper cuts DINOv2-g's bimodal norms at a fixed 150 (Sec. 2.1); a ratio serves any network."""


def high_norm(norms: Float[np.ndarray, "*I N"], ratio: float = RATIO) -> Bool[np.ndarray, "*I N"]:
    """Which patches are longer than `ratio` times the median patch of their image.

    `norms` are those of the residual stream, before the final norm, which would hide them."""
    if ratio <= 0:
        raise ValueError(f"ratio is {ratio}; expected how many times the median norm, above 0.")
    return norms > ratio * np.median(norms, axis=-1, keepdims=True)
