"""What attention maps say.  Axes: H heads, N patches; leading axes are kept."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

ROUNDING = 1e-12
"""Sums that differ by less than this share are the same: ten equal patches of which six are wanted give six, not seven."""


def mass_mask(attention: Float[np.ndarray, "*I N"], mass: float = 0.6) -> Bool[np.ndarray, "*I N"]:
    """The fewest patches that hold a share `mass` of each map's attention.

    The rule of the DINO paper's figure (Caron et al. 2021, Fig. 3, where mass is 0.6): patches are taken from the largest
    down until their sum reaches the share.  Of equal patches the earlier one is taken first.  A map without attention
    (all zero, or not finite) gives an empty mask.  Raises `ValueError` unless 0 < mass <= 1."""
    if not 0 < mass <= 1:
        raise ValueError(f"mass is {mass}; expected a share of the attention, above 0 and at most 1.")
    weights = np.asarray(attention, dtype=np.float64)
    largest_first = np.argsort(-weights, axis=-1, kind="stable")
    held = np.cumsum(np.take_along_axis(weights, largest_first, axis=-1), axis=-1)
    wanted = mass * held[..., -1:] * (1 - ROUNDING)
    before = np.concatenate(
        [np.zeros_like(held[..., :1]), held[..., :-1]], axis=-1
    )  # held by the patches taken earlier
    mask = np.zeros(weights.shape, dtype=bool)
    np.put_along_axis(mask, largest_first, (before < wanted) & np.isfinite(wanted), axis=-1)
    return mask


def head_entropy(attention: Float[np.ndarray, "*I N"]) -> Float[np.ndarray, "*I"]:
    """How widely each head looks, in nats: from 0 (one patch) to ln N (all alike).

    H = -sum_n a_n ln a_n,   a renormalised over the patches"""
    weights = np.asarray(attention, dtype=np.float64)
    shares = weights / weights.sum(axis=-1, keepdims=True)
    return np.asarray(-(shares * np.log(np.where(shares > 0, shares, 1.0))).sum(axis=-1))


def changed(now: Float[np.ndarray, "*I N"], then: Float[np.ndarray, "*#I N"]) -> Float[np.ndarray, "*I"]:
    """What share of the attention went elsewhere: 0 for equal maps, 1 where they have no patch in common.

    d = 1/2 sum_n |a_n - b_n|,   both renormalised over the patches (total variation)"""
    ours, theirs = (np.asarray(one, dtype=np.float64) for one in (now, then))
    shares = ours / ours.sum(axis=-1, keepdims=True) - theirs / theirs.sum(axis=-1, keepdims=True)
    return np.asarray(np.abs(shares).sum(axis=-1) / 2)


def jaccard(mask: Bool[np.ndarray, "*I N"], target: Bool[np.ndarray, "*#I N"]) -> Float[np.ndarray, "*I"]:
    """Overlap of two masks: what they share over what either covers.  NaN where both are empty."""
    shared = (mask & target).sum(axis=-1)
    either = (mask | target).sum(axis=-1)
    return np.asarray(np.where(either > 0, shared / np.maximum(either, 1), np.nan))


def on_pixels(mask: Bool[np.ndarray, "*I N"], grid: tuple[int, int], size: int) -> Bool[np.ndarray, "*I P"]:
    """A mask over patches as one over the size × size pixels of the image (flattened), each pixel asking its own patch."""
    rows, columns = grid
    row = np.arange(size) * rows // size
    column = np.arange(size) * columns // size
    return mask[..., (row[:, None] * columns + column[None, :]).reshape(-1)]


def positions(grid: tuple[int, int]) -> Float[np.ndarray, "N 2"]:
    """Row and column of each patch."""
    rows, columns = grid
    return np.stack(np.divmod(np.arange(rows * columns), columns), axis=-1).astype(np.float64)


def mean_distance(attention: Float[np.ndarray, "*I N N"], grid: tuple[int, int]) -> Float[np.ndarray, "*I N"]:
    """How far each patch looks, in patches: small in heads that work like a convolution.

    d_q = sum_n a_qn |p_q - p_n|,   a renormalised over the patches      (Dosovitskiy et al. 2021, Fig. 7)"""
    where = positions(grid)
    apart = np.linalg.norm(where[:, None] - where[None, :], axis=-1)  # N N
    weights = np.asarray(attention, dtype=np.float64)
    return np.asarray((weights * apart).sum(axis=-1) / weights.sum(axis=-1))


def spread(attention: Float[np.ndarray, "*I N"], grid: tuple[int, int]) -> Float[np.ndarray, "*I"]:
    """How far a map reaches from its own centre, in patches: what `mean_distance` is for a token that has no place.

    d = sum_n a_n |p_n - m|,   m = sum_n a_n p_n,   a renormalised over the patches"""
    weights = np.asarray(attention, dtype=np.float64)
    shares = weights / weights.sum(axis=-1, keepdims=True)
    where = positions(grid)
    centre = shares @ where  # *I 2
    return np.asarray((shares * np.linalg.norm(where - centre[..., None, :], axis=-1)).sum(axis=-1))


def distance_from(attention: Float[np.ndarray, "*I N"], grid: tuple[int, int], patch: int) -> Float[np.ndarray, "*I"]:
    """How far one patch looks, in patches: its own term of `mean_distance`."""
    where = positions(grid)
    apart = np.linalg.norm(where - where[patch], axis=-1)  # N
    weights = np.asarray(attention, dtype=np.float64)
    return np.asarray((weights * apart).sum(axis=-1) / weights.sum(axis=-1))


def row(
    queries: Float[np.ndarray, "*I Q D"], keys: Float[np.ndarray, "*I Q D"], token: int
) -> Float[np.ndarray, "*I Q"]:
    """One token's attention over all tokens: softmax of its query with every key.  Queries are over √d already."""
    scores = np.einsum("...d,...nd->...n", queries[..., token, :], keys)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=-1, keepdims=True))
