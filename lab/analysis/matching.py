"""Which patches of two images belong together.

Axes: N, M patches, D features, P pairs, F frames, L places a label may come from."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from lab.analysis.similarity import normalised

TOP = 5
"""Patches that a label is taken from (Caron et al. 2021, the released code's video segmentation)."""
TEMPERATURE = 0.1
"""Of the softmax over their similarities, there too."""
CONTEXT = 7
"""Frames before this one that labels come from, beside the first, there too."""


def nearest(
    patches: Float[np.ndarray, "N D"], others: Float[np.ndarray, "M D"]
) -> tuple[Int[np.ndarray, " N"], Float[np.ndarray, " N"]]:
    """For each patch the most similar of the others, and their cosine; of equals the first."""
    cosine = normalised(patches) @ normalised(others).T  # N M
    best = cosine.argmax(axis=1)
    return best, cosine[np.arange(len(cosine)), best]


def mutual(
    patches: Float[np.ndarray, "N D"], others: Float[np.ndarray, "M D"], ratio: float = 1.0
) -> tuple[Int[np.ndarray, "P 2"], Float[np.ndarray, " P"]]:
    """Pairs of which each is the other's most similar patch, most similar first, and their cosines.

    `ratio` below 1 asks more: the best match must be nearer than `ratio` times the second best (Lowe 2004, Sec. 7.1), by
    the distance of unit rows, sqrt(2 - 2 cos).  Neighbouring patches are much alike, so few survive a small ratio."""
    if not 0 < ratio <= 1:
        raise ValueError(f"ratio is {ratio}; expected above 0 and at most 1 (no test).")
    cosine = normalised(patches) @ normalised(others).T
    forth, back = cosine.argmax(axis=1), cosine.argmax(axis=0)
    every = np.arange(len(cosine))
    kept = back[forth] == every
    if ratio < 1 and cosine.shape[1] > 1:
        apart = np.sqrt(np.maximum(2 - 2 * np.sort(cosine, axis=1)[:, -2:], 0))  # second best, best
        kept &= apart[:, 1] <= ratio * apart[:, 0]
    pairs = np.stack([every[kept], forth[kept]], axis=1)
    likeness = cosine[pairs[:, 0], pairs[:, 1]]
    order = np.argsort(-likeness, kind="stable")
    return pairs[order], likeness[order]


def propagate(
    frames: Float[np.ndarray, "F N D"],
    labels: Float[np.ndarray, " N"],
    *,
    top: int = TOP,
    temperature: float = TEMPERATURE,
    context: int = CONTEXT,
) -> Float[np.ndarray, "F N"]:
    """A mask on the first frame carried through the others: each patch takes the labels of the patches it is most like.

        y_t(n) = sum_m w_m y(m),   w = softmax(cos(n, m) / temperature) over the `top` most similar m

    m runs over the first frame and the `context` frames before t (Caron et al. 2021, Sec. 4.2; Jabri et al. 2020).  With
    `context` 0 every frame asks the first alone, as a set of images without order should.  No limit on how far a label may
    move: the released code allows 12 patches."""
    if top < 1 or context < 0 or temperature <= 0:
        raise ValueError(
            f"top {top}, context {context}, temperature {temperature}: expected at least 1, at least 0, above 0."
        )
    rows = normalised(frames)
    carried = [np.asarray(labels, dtype=np.float64)]
    for t in range(1, len(rows)):
        sources = [0, *range(max(1, t - context), t)]
        cosine = rows[t] @ rows[sources].reshape(-1, rows.shape[-1]).T  # N L
        known = np.concatenate([carried[s] for s in sources])
        best = np.argsort(-cosine, axis=1, kind="stable")[:, :top]
        chosen = np.take_along_axis(cosine, best, axis=1)
        weights = np.exp((chosen - chosen[:, :1]) / temperature)
        carried.append((weights * known[best]).sum(axis=1) / weights.sum(axis=1))
    return np.stack(carried)
