"""A linear probe from a few patches pointed at.  Axes: I images, N patches, M examples, D features."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

DECAY = 0.1
"""Ridge of the fit: a handful of examples in hundreds of directions can be separated in any way."""


def linear_probe(
    patches: Float[np.ndarray, "*I D"],
    examples: Float[np.ndarray, "M D"],
    positive: Bool[np.ndarray, " M"],
    decay: float = DECAY,
) -> Float[np.ndarray, "*I"]:
    """Scores of patches by a linear classifier of the examples: above 0 like the positive ones.

        w = argmin_w sum_m (w · (x_m - c) - y_m)² + decay |w|²,   y = ±1,   c halfway between the two classes' means

    Solved in the M × M dual, w = sum_m a_m (x_m - c) with a = (K + decay I)⁻¹ y and K the examples' Gram matrix, so that a
    browser solves the same equations.  Raises `ValueError` without an example of each kind."""
    if positive.all() or not positive.any():
        raise ValueError("a linear probe needs an example of each: point at the object, and at the background.")
    rows = np.asarray(examples, dtype=np.float64)
    centre = (rows[positive].mean(axis=0) + rows[~positive].mean(axis=0)) / 2
    centred = rows - centre
    weights = np.linalg.solve(centred @ centred.T + decay * np.eye(len(rows)), np.where(positive, 1.0, -1.0))
    return (np.asarray(patches, dtype=np.float64) - centre) @ (centred.T @ weights)
