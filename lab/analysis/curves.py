"""Curves for a screen: fewer points, the same picture."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from jaxtyping import Float, Int, Shaped


def decimate(values: Float[np.ndarray, " M"], limit: int = 2000) -> Int[np.ndarray, " P"]:
    """Which of M points to draw so that at most `limit` remain and no extreme is lost.

    The points are cut into equal stretches; of each its lowest, its highest and its first missing value (NaN: a gap in the
    curve) are kept, and always the first and the last point.  With few enough points all are kept."""
    if limit < 5:
        raise ValueError(f"limit is {limit}; expected at least 5: two ends and one stretch of three.")
    count = len(values)
    if count <= limit:
        return np.arange(count)
    kept = {0, count - 1}
    edges = np.linspace(0, count, (limit - 2) // 3 + 1).astype(int)
    for start, stop in pairwise(edges.tolist()):
        stretch = values[start:stop]
        missing = np.isnan(stretch)
        if missing.any():
            kept.add(start + int(missing.argmax()))
        if not missing.all():
            kept.update((start + int(np.nanargmin(stretch)), start + int(np.nanargmax(stretch))))
    return np.array(sorted(kept))


def log_spaced(stops: Shaped[np.ndarray, " M"], count: int) -> Int[np.ndarray, " P"]:
    """Indices of at most `count` stops, dense at first and thinning out by ratio; the first and the last are always there."""
    if len(stops) <= count:
        return np.arange(len(stops))
    wanted = np.geomspace(1, stops[-1] - stops[0] + 1, count) + stops[0] - 1
    nearest = np.abs(np.asarray(stops)[None, :] - wanted[:, None]).argmin(axis=1)
    return np.unique(np.concatenate([[0], nearest, [len(stops) - 1]]))
