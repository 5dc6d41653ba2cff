"""Points on a plane whose nearness means likeness.  Axes: P points, D features, k neighbours."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from lab.analysis import pca
from lab.analysis.similarity import normalised


def principal(features: Float[np.ndarray, "P D"]) -> Float[np.ndarray, "P 2"]:
    """The first two principal components of the rows at length one: the picture that needs no waiting."""
    return pca.project(normalised(features), 2)


def align(
    points: Float[np.ndarray, "P 2"], reference: Float[np.ndarray, "P 2"], *, scale: bool = False
) -> Float[np.ndarray, "P 2"]:
    """Points moved, turned and perhaps mirrored (and with `scale` enlarged) so that each is as near to its reference as can be.

        argmin_{s, R, t} Σ_p || s x_p R + t − y_p ||²,   R orthogonal      (Procrustes; Schönemann & Carroll 1970)

    What is near to what stays as it was."""
    centred, target = points - points.mean(axis=0), reference - reference.mean(axis=0)
    turned, _ = pca.align(centred, target)
    size = float((turned * turned).sum())
    factor = float((turned * target).sum()) / size if scale and size > 0 else 1.0
    return turned * factor + reference.mean(axis=0)


def neighbours(
    features: Float[np.ndarray, "P D"], count: int
) -> tuple[Int[np.ndarray, "P k"], Float[np.ndarray, "P k"]]:
    """The most alike other points of each by cosine, the nearest first, and how alike they are."""
    rows = normalised(features)
    cosines = rows @ rows.T
    np.fill_diagonal(cosines, -np.inf)
    nearest = np.argsort(-cosines, axis=1, kind="stable")[:, :count]
    return nearest, np.take_along_axis(cosines, nearest, axis=1)


def agreement(nearest: Int[np.ndarray, "P k"], labels: Shaped[np.ndarray, " P"]) -> Float[np.ndarray, " P"]:
    """The share of each point's neighbours that have its label."""
    return np.asarray((labels[nearest] == labels[:, None]).mean(axis=1))


def common(nearest: Int[np.ndarray, "P k"], others: Int[np.ndarray, "P k"]) -> Float[np.ndarray, " P"]:
    """The share of each point's neighbours to one network that are its neighbours to another.

    Its mean over all points says how alike two networks order the same images (mutual nearest neighbours, Huh et al. 2024,
    App. A); neighbours drawn by chance give k / (P − 1)."""
    return np.asarray((nearest[:, :, None] == others[:, None, :]).any(axis=2).mean(axis=1))


def counterparts(
    image: Int[np.ndarray, " P"],
    others: Int[np.ndarray, " Q"],
    spots: Float[np.ndarray, "P 2"] | None = None,
    theirs: Float[np.ndarray, "Q 2"] | None = None,
) -> Int[np.ndarray, " P"]:
    """For every point the one of other points that shows the same: of the same `image`, and where `spots` say where in it each
    is (from 0 to 1) the nearest; -1 where there is none."""
    found = np.full(len(image), -1)
    ours, theirs = (
        np.full((len(them), 2), 0.5) if at is None else at for them, at in ((image, spots), (others, theirs))
    )
    for p, shown in enumerate(image):
        same = np.flatnonzero(others == shown)
        if len(same):
            found[p] = same[((theirs[same] - ours[p]) ** 2).sum(axis=1).argmin()]
    return found


def inside(points: Float[np.ndarray, "P 2"], polygon: Float[np.ndarray, "V 2"]) -> Bool[np.ndarray, " P"]:
    """Which points a closed line encloses: those from which a ray to the right crosses it an odd number of times."""
    x, y = points[:, 0], points[:, 1]
    found = np.zeros(len(points), bool)
    for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, 1, axis=0), strict=True):
        crosses = (y0 > y) != (y1 > y)
        with np.errstate(divide="ignore", invalid="ignore"):
            found ^= crosses & (x < (x1 - x0) * (y - y0) / (y1 - y0) + x0)
    return found
