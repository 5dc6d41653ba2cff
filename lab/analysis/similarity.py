"""What a patch is similar to.  Axes: I images, N patches, D features."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int8


def normalised(patches: Float[np.ndarray, "*I D"]) -> Float[np.ndarray, "*I D"]:
    """Rows of length one; a row of zeros stays zero."""
    rows = np.asarray(patches, dtype=np.float64)
    return rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12)


def to_patch(patches: Float[np.ndarray, "*I N D"], patch: int, image: int = 0) -> Float[np.ndarray, "*I N"]:
    """Cosine similarity of every patch to one of them: patch `patch` of image `image` (of one image when there is only one)."""
    rows = normalised(patches)
    query = rows.reshape(-1, *rows.shape[-2:])[image, patch]
    return rows @ query


def quantised(patches: Float[np.ndarray, "*I D"]) -> tuple[Int8[np.ndarray, "*I D"], Float[np.ndarray, "*I"]]:
    """Unit rows as eight-bit integers and one scale a row: what travels to the browser, a quarter of float32.

    rows ≈ integers · scale, with an error of at most half a scale (1/254 of the row's largest entry) in each entry."""
    rows = normalised(patches)
    scale = np.maximum(np.abs(rows).max(axis=-1), 1e-12) / 127
    return np.rint(rows / scale[..., None]).astype(np.int8), scale.astype(np.float32)


def shortened(rows: Float[np.ndarray, "*I D"]) -> tuple[Int8[np.ndarray, "*I D"], Float[np.ndarray, "*I"]]:
    """Rows of any length as eight-bit integers and one scale a row: rows ≈ integers · scale (queries and keys)."""
    values = np.asarray(rows, dtype=np.float64)
    scale = np.maximum(np.abs(values).max(axis=-1), 1e-12) / 127
    return np.rint(values / scale[..., None]).astype(np.int8), scale.astype(np.float32)


def sent(patches: Float[np.ndarray, "I N D"], cls: Float[np.ndarray, "I D"]) -> dict[str, np.ndarray]:
    """What travels of a network's features: `patches` and `cls` as `quantised` rows with `scale` and `cls_scale`, and the
    `length` (I N) that the patches' rows had: patches ≈ integers · scale · length."""
    integers, scale = quantised(patches)
    summary, summary_scale = quantised(cls)
    length = np.linalg.norm(np.asarray(patches, dtype=np.float64), axis=-1).astype(np.float32)
    return {"patches": integers, "scale": scale, "length": length, "cls": summary, "cls_scale": summary_scale}
