"""The Gram matrix: how similar each patch is to each other one.  Axes: N patches, D features, P positions of a picture."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int

from lab.analysis.similarity import normalised

GROUPS = 8
"""Into how many groups `order` sorts patches: as many as an image has parts that are easily told apart."""
ROUNDS = 12
"""How often `order` improves its groups."""


def matrix(patches: Float[np.ndarray, "*I N D"]) -> Float[np.ndarray, "*I N N"]:
    """Cosine similarities between all patches of an image (DINOv3, Sec. 4.2: what Gram anchoring holds still)."""
    rows = normalised(patches)
    return rows @ np.swapaxes(rows, -1, -2)


def distance(patches: Float[np.ndarray, "*I N D"], anchor: Float[np.ndarray, "*I N E"]) -> Float[np.ndarray, "*I"]:
    """Root mean squared difference of two networks' Gram matrices of the same patches; their widths may differ.

        ||X Xᵀ − Y Yᵀ||² = ||Xᵀ X||² + ||Yᵀ Y||² − 2 ||Xᵀ Y||²      (rows of length one; squares summed over all entries)

    The right side never holds a matrix of patches by patches where there are more patches than features."""
    ours, theirs = normalised(patches), normalised(anchor)
    count = ours.shape[-2]
    if count <= max(ours.shape[-1], theirs.shape[-1]):
        return np.asarray(np.sqrt(((matrix(patches) - matrix(anchor)) ** 2).mean(axis=(-2, -1))))
    squares = _square(ours, ours) + _square(theirs, theirs) - 2 * _square(ours, theirs)
    return np.asarray(np.sqrt(np.maximum(squares, 0)) / count)


def _square(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Sum of the squared entries of leftᵀ right."""
    return np.asarray(((np.swapaxes(left, -1, -2) @ right) ** 2).sum(axis=(-2, -1)))


def order(patches: Float[np.ndarray, "N D"], groups: int = GROUPS) -> Int[np.ndarray, " N"]:
    """Patches in an order in which alike ones stand together, so that the Gram matrix shows blocks.

    Spherical k-means; the first centre is the patch nearest to the mean, each further one the patch least like all centres so
    far.  Groups follow one another by likeness of their centres, the largest first; within a group the most typical first."""
    rows = normalised(patches)
    centres = _spread(rows, min(groups, len(rows)))
    for _ in range(ROUNDS):
        mine = (rows @ centres.T).argmax(axis=1)
        sums = np.stack([rows[mine == g].sum(axis=0) for g in range(len(centres))])
        filled = np.linalg.norm(sums, axis=1) > 1e-9
        centres = np.where(filled[:, None], normalised(sums), centres)
    likeness = rows @ centres.T
    mine = likeness.argmax(axis=1)
    chain = _chain(centres, np.bincount(mine, minlength=len(centres)))
    typical = -np.rint(1e5 * likeness)  # the two of a pair are equally typical, whatever rounding says
    sorted_ = [(g, np.flatnonzero(mine == g)) for g in chain]
    return np.concatenate([members[np.argsort(typical[members, g], kind="stable")] for g, members in sorted_])


def _spread(rows: np.ndarray, count: int) -> np.ndarray:
    """Patches that are unlike one another."""
    chosen = [int((rows @ rows.mean(axis=0)).argmax())]
    nearest = rows @ rows[chosen[0]]
    while len(chosen) < count:
        chosen.append(int(nearest.argmin()))
        nearest = np.maximum(nearest, rows @ rows[chosen[-1]])
    return rows[chosen]


def _chain(centres: np.ndarray, sizes: np.ndarray) -> list[int]:
    """Groups one after another, each the most like the one before it."""
    chain, left = [int(sizes.argmax())], set(range(len(centres)))
    left.remove(chain[0])
    while left:
        chain.append(max(sorted(left), key=lambda g: centres[g] @ centres[chain[-1]]))
        left.remove(chain[-1])
    return chain


def binned(patches: Float[np.ndarray, "N D"], order: Int[np.ndarray, " N"], bins: int) -> Float[np.ndarray, "P P"]:
    """The Gram matrix in an order, at the resolution of a picture: each entry the mean over its block of pairs.

        mean_{i in I, j in J} <x_i, x_j> = <mean_I x, mean_J x>

    so a picture of a 4096 × 4096 matrix takes a few hundred mean rows and never the matrix.  Bin b holds the patches whose
    place p in the order has floor(p bins / N) = b; with `bins` of N or more nothing is averaged."""
    rows = normalised(patches)[order]
    bins = min(bins, len(rows))
    of = np.arange(len(rows)) * bins // len(rows)
    means = np.stack([rows[of == b].mean(axis=0) for b in range(bins)])
    return means @ means.T


def changed(patches: Float[np.ndarray, "*I N D"], anchor: Float[np.ndarray, "*I N E"]) -> Float[np.ndarray, "*I N"]:
    """How much each patch's similarities to all others differ from the anchor's: root mean square of its row."""
    return np.asarray(np.sqrt(((matrix(patches) - matrix(anchor)) ** 2).mean(axis=-1)))


def contrast(patches: Float[np.ndarray, "N D"], inside: Bool[np.ndarray, " N"]) -> float:
    """How much more alike patches of one side are than patches of different sides (object and background).

    Mean cosine of all pairs on the same side, each patch with itself left out, minus that of all pairs across.  NaN where a
    side is empty or no side has a pair."""
    rows = normalised(patches)
    sides = [rows[inside], rows[~inside]]
    if any(len(side) == 0 for side in sides) or len(rows) < 3:
        return float("nan")
    totals = [side.sum(axis=0) for side in sides]
    own = sum(float(total @ total) - float((side**2).sum()) for total, side in zip(totals, sides, strict=True))
    pairs = sum(len(side) * (len(side) - 1) for side in sides)
    return own / pairs - float(totals[0] @ totals[1]) / (len(sides[0]) * len(sides[1]))


def on_patches(mask: Bool[np.ndarray, "Y X"], grid: tuple[int, int]) -> Bool[np.ndarray, " N"]:
    """Which patches lie on an object: those of whose pixels at least half do."""
    rows, columns = grid
    of = (np.arange(mask.shape[0]) * rows // mask.shape[0])[:, None] * columns + (
        np.arange(mask.shape[1]) * columns // mask.shape[1]
    )
    pixels = np.maximum(np.bincount(of.reshape(-1), minlength=rows * columns), 1)
    return np.asarray(np.bincount(of.reshape(-1), weights=mask.reshape(-1), minlength=rows * columns) / pixels >= 0.5)
