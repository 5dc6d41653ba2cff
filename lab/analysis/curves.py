"""Curves for a screen: fewer points, the same picture."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int, Shaped


def decimate(
    values: Float[np.ndarray, " M"], limit: int = 2000, places: Shaped[np.ndarray, " M"] | None = None
) -> Int[np.ndarray, " P"]:
    """Which of M points to draw so that at most `limit` remain and no extreme is lost.

    The points are cut into equal stretches: of as many points, or, where rising `places` are given, of the same length.  Of
    each its lowest, its highest and its first missing value (NaN: a gap in the curve) are kept, and always the first and the
    last point.  With few enough points all are kept."""
    if limit < 5:
        raise ValueError(f"limit is {limit}; expected at least 5: two ends and one stretch of three.")
    count, stretches = len(values), (limit - 2) // 3
    if count <= limit:
        return np.arange(count)
    if places is None:
        edges = np.linspace(0, count, stretches + 1).astype(int)
    else:
        edges = np.searchsorted(places, np.linspace(places[0], places[-1], stretches + 1))
    starts = np.unique(edges[:-1])
    stretch = np.repeat(np.arange(len(starts)), np.diff(starts, append=count))
    missing = np.isnan(values)
    lowest = np.minimum.reduceat(np.where(missing, np.inf, values), starts)
    highest = np.maximum.reduceat(np.where(missing, -np.inf, values), starts)
    chosen = (missing, ~missing & (values == lowest[stretch]), ~missing & (values == highest[stretch]))
    return np.unique(np.concatenate([[0, count - 1], *(_first(which, stretch) for which in chosen)]))


def _first(which: Shaped[np.ndarray, " M"], stretch: Int[np.ndarray, " M"]) -> Int[np.ndarray, " P"]:
    """The first marked point of each stretch that has one."""
    marked = np.flatnonzero(which)
    return marked[np.unique(stretch[marked], return_index=True)[1]]


def log_spaced(stops: Shaped[np.ndarray, " M"], count: int) -> Int[np.ndarray, " P"]:
    """Indices of at most `count` stops, dense at first and thinning out by ratio; the first and the last are always there."""
    if len(stops) <= count:
        return np.arange(len(stops))
    wanted = np.geomspace(1, stops[-1] - stops[0] + 1, count) + stops[0] - 1
    nearest = np.abs(np.asarray(stops)[None, :] - wanted[:, None]).argmin(axis=1)
    return np.unique(np.concatenate([[0], nearest, [len(stops) - 1]]))
