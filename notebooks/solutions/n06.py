"""Solutions of 06_patches.py, written by `python -m notebooks build` from that file: edit them there."""

import numpy as np


def explained(points):
    """Points (M D), M > D -> shares of the variance along the D principal components (D), largest first; they sum to 1."""
    centred = points - points.mean(axis=0)
    values = np.linalg.eigvalsh(centred.T @ centred)[::-1]
    return values / values.sum()


def object_of(scores, threshold):
    """A map of scores (r c) and a threshold -> bool (r c): True where the turned score is above the threshold.

    The map is turned (multiplied by -1) if the mean of its outermost ring is greater than the mean of the whole map."""
    ring = np.ones(scores.shape, dtype=bool)
    ring[1:-1, 1:-1] = False
    turned = -scores if scores[ring].mean() > scores.mean() else scores
    return turned > threshold


def mutual(table):
    """Similarities (N M) of the patches of A (rows) to those of B -> list of pairs (row, column) that choose each other, by row."""
    to_b, to_a = table.argmax(axis=1), table.argmax(axis=0)
    return [(row, int(to_b[row])) for row in range(len(table)) if to_a[to_b[row]] == row]
