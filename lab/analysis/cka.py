"""How alike two descriptions of the same things are, whatever the axes they are written in.  Axes: R rows, P and Q features."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float


def linear(one: Float[np.ndarray, "R P"], other: Float[np.ndarray, "R Q"]) -> float:
    """Linear centred kernel alignment, 0 to 1; the same for features that are turned, mirrored, moved or scaled as a whole.

        CKA(X, Y) = ||Yᵀ X||² / (||Xᵀ X|| ||Yᵀ Y||)      (Kornblith et al. 2019, arXiv 1905.00414, Eq. 3 and 4)

    Frobenius norms of features less their mean over the rows.  NaN where one of them is the same in every row.  With few rows
    and many features it is high for anything (Kornblith et al., Sec. 6): compare with an untrained network."""
    x, y = _centred(one), _centred(other)
    own = np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)
    return float(np.linalg.norm(y.T @ x) ** 2 / own) if own > 1e-20 else float("nan")


def matrix(ones: list[np.ndarray], others: list[np.ndarray]) -> Float[np.ndarray, "A B"]:
    """Of every description of the first list with every one of the second."""
    return np.array([[linear(one, other) for other in others] for one in ones])


def pooled(patches: Float[np.ndarray, "I N D"], grid: tuple[int, int], side: int = 4) -> Float[np.ndarray, "R D"]:
    """Patches as means over a grid of `side` by `side` cells an image, so that networks of other patch sizes have the same rows.

    A patch belongs to the cell that its middle lies in; a grid that has fewer patches than cells has cells repeat them."""
    rows, columns = grid
    values = np.asarray(patches, dtype=np.float64).reshape(len(patches), rows, columns, -1)
    across = [_cells(length, side) for length in grid]
    cells = [values[:, r][:, :, c].mean((1, 2)) for r in across[0] for c in across[1]]
    return np.stack(cells, 1).reshape(len(patches) * side * side, -1)


def _cells(length: int, side: int) -> list[np.ndarray]:
    """Which of `length` patches in a line belong to each of `side` cells."""
    middles = (np.arange(length) + 0.5) / length
    found = [np.flatnonzero((middles * side).astype(int) == cell) for cell in range(side)]
    nearest = [np.array([int(np.abs(middles - (cell + 0.5) / side).argmin())]) for cell in range(side)]
    return [own if len(own) else one for own, one in zip(found, nearest, strict=True)]


def _centred(values: np.ndarray) -> np.ndarray:
    rows = np.asarray(values, dtype=np.float64)
    return rows - rows.mean(0)
