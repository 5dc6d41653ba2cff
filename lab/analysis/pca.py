"""Principal components of patch features: the colours in which a network sees an image.

Axes: I images, N patches, D features, C components.  `fit` finds a basis, `project` gives scores in it, `foreground` splits
them, `align` turns one checkpoint's colours towards another's."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float


@dataclass(frozen=True)
class Basis:
    """Directions of greatest variance of patch features, longest first."""

    mean: Float[np.ndarray, " D"]
    components: Float[np.ndarray, "C D"]
    """Orthonormal rows; the largest loading of each is positive, so the same data always give the same signs."""
    explained: Float[np.ndarray, " C"]
    """Share of the total variance along each component."""


def fit(
    patches: Float[np.ndarray, "*I N D"], components: int = 3, keep: Bool[np.ndarray, "*I N"] | None = None
) -> Basis:
    """The basis of all given patches together, or of those in `keep`.

    Centred, not whitened.  With fewer than two patches, or without variance, the missing directions are zero rows."""
    rows = np.asarray(patches, dtype=np.float64)
    rows = rows.reshape(-1, rows.shape[-1]) if keep is None else rows[keep]  # patches D
    mean = rows.mean(axis=0) if len(rows) else np.zeros(rows.shape[-1])
    centred = rows - mean
    found, variances, total = _directions(centred)
    directions = np.zeros((components, rows.shape[-1]))
    explained = np.zeros(components)
    count = min(components, len(found))
    directions[:count] = found[:count]
    explained[:count] = variances[:count] / total if total > 0 else 0
    signs = np.sign(np.take_along_axis(directions, np.abs(directions).argmax(axis=1)[:, None], axis=1))
    return Basis(mean=mean, components=directions * np.where(signs == 0, 1, signs), explained=explained)


def _directions(centred: Float[np.ndarray, "M D"]) -> tuple[np.ndarray, np.ndarray, float]:
    """Right singular vectors (rows), squared singular values, and their sum; by the smaller of the two Gram matrices."""
    many, features = centred.shape
    total = float((centred**2).sum())
    if many == 0 or total <= 1e-24:
        return np.zeros((0, features)), np.zeros(0), 0.0
    if features <= many:
        values, vectors = np.linalg.eigh(centred.T @ centred)
        rows = vectors.T[::-1]
        values = values[::-1]
    else:
        values, left = np.linalg.eigh(centred @ centred.T)
        values = values[::-1]
        solid = values > 1e-12 * values[0]
        values = values[solid]
        rows = (left[:, ::-1][:, solid] / np.sqrt(values)).T @ centred
    return rows, np.maximum(values, 0), total


def project(
    patches: Float[np.ndarray, "*I N D"],
    components: int = 3,
    basis: Basis | None = None,
    *,
    per_image: bool = False,
    keep: Bool[np.ndarray, "*I N"] | None = None,
) -> Float[np.ndarray, "*I N C"]:
    """Scores of every patch along the first principal components.

    `basis` is used as it is where given (a fixed basis); else one is fitted to all images together, or to each image by
    itself (`per_image`); `keep` restricts the fit, not the projection, to some patches (the foreground)."""
    values = np.asarray(patches, dtype=np.float64)
    if basis is not None:
        return (values - basis.mean) @ basis.components.T
    if not per_image:
        joint = fit(values, components, keep)
        return (values - joint.mean) @ joint.components.T
    flat = values.reshape(-1, *values.shape[-2:])  # I N D
    kept = [None] * len(flat) if keep is None else list(keep.reshape(len(flat), -1))
    scores = [project(image, components, fit(image, components, mask)) for image, mask in zip(flat, kept, strict=True)]
    return np.stack(scores).reshape(*values.shape[:-1], components)


def otsu(values: Float[np.ndarray, "*M"], bins: int = 128) -> float:
    """The threshold that splits values into two classes with the greatest variance between them (Otsu 1979)."""
    finite = values[np.isfinite(values)].astype(np.float64)
    if finite.size == 0 or finite.min() == finite.max():
        return float(finite.max(initial=0.0))
    counts, edges = np.histogram(finite, bins=bins)
    centres = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)[:-1]
    above = finite.size - below
    sum_below = np.cumsum(counts * centres)[:-1]
    mean_below = sum_below / np.maximum(below, 1)
    mean_above = ((counts * centres).sum() - sum_below) / np.maximum(above, 1)
    between = below * above * (mean_below - mean_above) ** 2
    best = np.flatnonzero(between >= between.max() * (1 - 1e-9))  # an empty stretch gives a plateau: take its middle
    return float(edges[1:-1][best].mean())


def border(grid: tuple[int, int]) -> Bool[np.ndarray, " N"]:
    """The outermost ring of patches."""
    ring = np.ones(grid, dtype=bool)
    ring[1:-1, 1:-1] = False
    return ring.reshape(-1)


def foreground(
    first: Float[np.ndarray, "*I N"], grid: tuple[int, int], *, per_image: bool = False
) -> tuple[Bool[np.ndarray, "*I N"], Float[np.ndarray, "*I N"]]:
    """Which patches belong to an object, by the first component alone, no label used.

    A component has no sign of its own: it is turned so that the border of the image, on average, is background (low).
    What lies above Otsu's threshold is foreground.  Sign and threshold are those of all images together, or of each
    (`per_image`).  Returns the mask and the turned scores minus the threshold (positive in the foreground)."""
    scores = np.asarray(first, dtype=np.float64)
    if per_image:
        flat = [foreground(image, grid) for image in scores.reshape(-1, scores.shape[-1])]
        return np.stack([f[0] for f in flat]).reshape(scores.shape), np.stack([f[1] for f in flat]).reshape(
            scores.shape
        )
    outside = scores[..., border(grid)].mean()
    turned = scores if outside <= scores.mean() else -scores
    above = turned - otsu(turned)
    return above > 0, above


def align(
    scores: Float[np.ndarray, "*I N C"], reference: Float[np.ndarray, "*I N C"]
) -> tuple[Float[np.ndarray, "*I N C"], Float[np.ndarray, "C C"]]:
    """Scores turned towards the reference's by the best rotation or reflection, and that rotation.

        R = argmin_R ||scores R - reference||,  R orthogonal      (orthogonal Procrustes, Schönemann 1966)

    Both must be scores of the same patches.  Distances between patches stay what they were; only the colours stop jumping
    from checkpoint to checkpoint."""
    columns = scores.shape[-1]
    left, _, right = np.linalg.svd(scores.reshape(-1, columns).T @ reference.reshape(-1, columns))
    rotation = left @ right
    return scores @ rotation, rotation


def explained_variance(patches: Float[np.ndarray, "*I N D"], components: int = 3) -> Float[np.ndarray, " C"]:
    """Share of the variance of all patches along each of their first components."""
    return fit(patches, components).explained


def rotation_angle(rotation: Float[np.ndarray, "C C"]) -> float:
    """How far a rotation or reflection turns, in degrees: the largest of the angles of its planes, 180 for a mirror."""
    return float(np.degrees(np.abs(np.angle(np.linalg.eigvals(rotation))).max()))


def colour(scores: Float[np.ndarray, "*I C"]) -> Float[np.ndarray, "*I C"]:
    """Scores in units of their spread as brightness from 0 to 1: logistic, so that outliers do not dim the rest."""
    return 1 / (1 + np.exp(-1.3 * np.asarray(scores, dtype=np.float64)))


def colour_change(scores: Float[np.ndarray, "*I C"], reference: Float[np.ndarray, "*I C"]) -> float:
    """Mean change of brightness between two pictures of the same patches, 0 (none) to 1: what flickers while scrubbing."""
    return float(np.abs(colour(scores) - colour(reference)).mean())
