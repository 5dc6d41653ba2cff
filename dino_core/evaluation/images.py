"""Labelled images for measuring: read once, square, the same at every evaluation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from PIL import Image
from torch import Tensor

from dino_core.data.sources import ImageError, Source
from dino_core.errors import DataError
from dino_core.seeds import generator


@dataclass(frozen=True)
class LabelledImages:
    images: UInt8[Tensor, "I 3 S S"]
    labels: Int[Tensor, " I"]
    """-1 where the source has no label."""
    masks: Bool[Tensor, "I S S"] | None
    """True on the object; None where the source has no masks."""
    parts: UInt8[Tensor, "I S S"] | None = None
    """Which part of which object a pixel shows, 0 on the background; None where the source does not know."""

    @property
    def labelled(self) -> bool:
        return len(self.labels) > 0 and bool((self.labels >= 0).all()) and int(self.labels.max()) > 0

    def first(self, count: int) -> LabelledImages:
        masks = None if self.masks is None else self.masks[:count]
        parts = None if self.parts is None else self.parts[:count]
        return LabelledImages(self.images[:count], self.labels[:count], masks, parts)


def read_images(
    source: Source, count: int, size: int, seed: int = 0, broken: dict[str, str] | None = None
) -> LabelledImages:
    """Up to `count` images drawn without repetition, shorter side resized to `size`, centre cropped.

    Those that can't be read are left out, their names and why added to `broken`; `DataError` where no image is left."""
    broken = {} if broken is None else broken
    order = drawn(source, seed)
    images: list[np.ndarray] = []
    labels: list[int] = []
    masks: list[np.ndarray] = []
    parts: list[np.ndarray] = []
    for index in order:
        if len(images) == count:
            break
        try:
            sample = source.read(index)
        except ImageError as error:
            broken[error.name] = error.reason
            continue
        images.append(square(sample.image, size, Image.Resampling.BICUBIC))
        labels.append(sample.label)
        if sample.mask is not None:
            masks.append(square(sample.mask.astype(np.uint8) * 255, size, Image.Resampling.NEAREST) > 127)
        if sample.parts is not None:
            parts.append(square(sample.parts, size, Image.Resampling.NEAREST))
    if not images and broken:
        name, reason = next(iter(broken.items()))
        raise DataError(f"none of the {len(order)} images of {source.name} can be read. One is {name}: {reason}.")
    stacked = (
        torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous() if images else torch.empty(0, 3, size, size)
    )
    every_mask = torch.from_numpy(np.stack(masks)) if masks and len(masks) == len(images) else None
    every_part = torch.from_numpy(np.stack(parts)) if parts and len(parts) == len(images) else None
    return LabelledImages(stacked.to(torch.uint8), torch.tensor(labels, dtype=torch.int64), every_mask, every_part)


def drawn(source: Source, seed: int = 0) -> list[int]:
    """All images of a source in the order in which `read_images` takes them."""
    return list(torch.randperm(len(source), generator=generator(seed, "evaluation", source.name)).tolist())


def square(pixels: np.ndarray, size: int, resampling: Image.Resampling) -> np.ndarray:
    height, width = pixels.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    box = (left, top, left + side, top + side)
    return np.asarray(Image.fromarray(pixels).resize((size, size), resampling, box=box))


def normalised(
    images: UInt8[Tensor, "I 3 S S"], mean: tuple[float, ...], std: tuple[float, ...], device: torch.device
) -> Float[Tensor, "I 3 S S"]:
    """Bytes as the network wants them: (x / 255 - mean) / std."""
    shift, scale = (torch.tensor(v, device=device).view(3, 1, 1) for v in (mean, std))
    return (images.to(device).float() / 255 - shift) / scale
