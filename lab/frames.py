"""What travels to the browser about one probe: safetensors bytes, small enough to ship once and derive every map from.

Axes: I probe images, N patches, D features, H heads, C components."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float
from safetensors.numpy import save

from dino_core.errors import RunError
from lab.analysis import pca, similarity
from lab.once import Once
from lab.run import Network, Probe, ProbeImages, Run

LARGEST = 512 * 2**20
"""A probe file beyond this is refused: a page could not hold it."""
Mode = Literal["joint", "image"]


def images(shown: ProbeImages) -> bytes:
    """`images` (I Y X 3) and `labels`; `masks` (I Y X) where there are any."""
    tensors = {
        "images": np.ascontiguousarray(shown.images.transpose(0, 2, 3, 1)),
        "labels": shown.labels.astype(np.int32),
    }
    if shown.masks is not None:
        tensors["masks"] = (shown.masks > 0).astype(np.uint8)
    return save(tensors)


def attention(maps: Float[np.ndarray, "I H N"], grid: tuple[int, int], step: int, layer: int) -> bytes:
    """`attention` (I H N) float32."""
    return save({"attention": maps.astype(np.float32)}, _said(grid, step=step, layer=layer))


def features(probe: Probe, network: Network = "teacher") -> bytes:
    """`patches` (I N D) int8 and `scale` (I N) float32, whose product has rows of length one."""
    integers, scale = similarity.quantised(_patches(probe, network).astype(np.float32))
    return save({"patches": integers, "scale": scale}, _said(probe.grid, step=probe.step))


def components(
    run: Run, step: int, anchor: int, mode: Mode, *, only_foreground: bool, network: Network = "teacher"
) -> bytes:
    """`scores` (I N 3) float32 in units of their own spread, and `above` (I N): positive where the patch is foreground.

    Scores are turned towards those of the checkpoint `anchor`, so that a colour keeps its meaning through training."""
    probe = run.probe(step)
    scores, above, explained = _once_scores(probe.file, network, mode, only_foreground)
    angle = 0.0
    if anchor != step:
        reference = _once_scores(run.probe(anchor).file, network, mode, only_foreground)[0]
        if reference.shape == scores.shape:
            scores, rotation = _aligned(scores, reference, mode)
            angle = float(np.degrees(np.arccos(np.clip((np.trace(rotation) - 1) / 2, -1, 1))))
    tensors = {"scores": scores.astype(np.float32), "above": above.astype(np.float32)}
    return save(
        tensors, _said(probe.grid, step=step, anchor=anchor, explained=explained.round(4).tolist(), angle=round(angle))
    )


def _aligned(scores: np.ndarray, reference: np.ndarray, mode: Mode) -> tuple[np.ndarray, np.ndarray]:
    """All images by one rotation, or each by its own where each has its own basis."""
    if mode == "joint":
        return pca.align(scores, reference)
    turned = [pca.align(one, other) for one, other in zip(scores, reference, strict=True)]
    return np.stack([t[0] for t in turned]), turned[0][1]


_once = Once()


def _once_scores(file: Path, *asked: Any) -> tuple[np.ndarray, ...]:
    """The same for all who ask at the same time: a class that opens one page has them computed once."""
    key = (str(file), _stamp(file), *asked)
    with _once(key):
        return _scores(*key)


@lru_cache(maxsize=128)
def _scores(file: str, stamp: int, network: Network, mode: Mode, only_foreground: bool) -> tuple[np.ndarray, ...]:
    """Scores over their standard deviation, foreground, and explained variance; the file's stamp makes the key."""
    probe = Probe(Path(file))
    patches = _patches(probe, network).astype(np.float32)
    per_image = mode == "image"
    basis = pca.fit(patches, 3)
    scores = pca.project(patches, 3, None if per_image else basis, per_image=per_image)
    mask, above = pca.foreground(scores[..., 0], probe.grid, per_image=per_image)
    keep = mask if only_foreground and mask.any() else None
    if keep is not None:
        basis = pca.fit(patches, 3, keep)
        scores = pca.project(patches, 3, None if per_image else basis, per_image=per_image, keep=keep)
    axis = 1 if per_image else (0, 1)
    chosen = scores if keep is None else np.where(keep[..., None], scores, np.nan)
    with np.errstate(invalid="ignore"):
        spread = np.nan_to_num(np.nanstd(chosen, axis=axis, keepdims=True), nan=1.0)
    whitened = scores / np.maximum(spread, 1e-6 * max(float(spread.max()), 1e-12))
    return whitened, above / max(float(np.abs(above).max()), 1e-12), basis.explained


def _patches(probe: Probe, network: Network) -> np.ndarray:
    if probe.file.stat().st_size > LARGEST:
        raise RunError(
            f"the probe of step {probe.step} has {probe.file.stat().st_size >> 20} MiB; a page shows up to 512."
        )
    return probe.read(f"{network}.patches")


def _stamp(file: Path) -> int:
    return file.stat().st_mtime_ns


def _said(grid: tuple[int, int], **more: object) -> dict[str, str]:
    """Metadata of safetensors are strings: one of them is JSON."""
    return {"said": json.dumps({"rows": grid[0], "columns": grid[1], **more})}
