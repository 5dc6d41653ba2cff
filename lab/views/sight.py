"""Answers about what any network sees in any images (`lab.sight`)."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from safetensors.numpy import save

from dino_core.errors import DataError
from lab import sight
from lab.answers import House, Reply, answers

LARGEST_SHOWN = 448
"""Pixels of an image as the page shows it, whatever the network is given."""


@answers("sight")
def offered(house: House) -> Reply:
    """Models, folders, and whether images may be handed in."""
    return Reply(lambda: sight.offered(house))


@answers("sight/images", verb="tell")
def take(house: House, body: bytes, sizes: str = "", video: bool = False) -> Reply:
    """Hand in images: one file, or several end to end with their `sizes` in bytes, separated by commas."""
    try:
        numbers = [int(size) for size in sizes.split(",") if size]
    except ValueError:
        raise DataError(f"sizes is {sizes[:40]!r}; expected whole numbers separated by commas.") from None
    return Reply(lambda: {"set": sight.take(house, body, numbers, video)})


@answers("sight/images")
def images(house: House, images: str) -> Reply:
    """`images` (I Y X 3), `labels`, and `masks` (I Y X) where there are any; names are said."""
    found = sight.shown(house, images)

    def made() -> bytes:
        seen = found.read()
        every = -(-seen.images.shape[1] // LARGEST_SHOWN)
        tensors = {
            "images": np.ascontiguousarray(seen.images[:, ::every, ::every] if every > 1 else seen.images),
            "labels": np.array(seen.labels or [-1] * len(seen.images), np.int32),
        }
        if seen.masks is not None:
            tensors["masks"] = np.ascontiguousarray(seen.masks[:, ::every, ::every]).astype(np.uint8)
        return sent(tensors, {"names": seen.names, "video": seen.video})

    return Reply(made, found.key)


@answers("sight/features")
def features(house: House, source: str, images: str, size: int = 0) -> Reply:
    """Patch features and class tokens in eight bits."""
    network, found = sight.source(house, source), sight.shown(house, images)
    return Reply(lambda: sent(*sight.features(house, network, found, size)), f"{network.stamp} {found.key}")


@answers("sight/heads")
def heads(house: House, source: str, images: str, image: int = 0, size: int = 0, layer: int | None = None) -> Reply:
    """All heads of all layers, for one image."""
    network, found = sight.source(house, source), sight.shown(house, images)
    return Reply(lambda: sent(*sight.heads(house, network, found, image, size, layer)), f"{network.stamp} {found.key}")


def sent(tensors: dict[str, np.ndarray], said: dict[str, Any]) -> bytes:
    """As safetensors, with what is said of them."""
    return save({name: np.ascontiguousarray(value) for name, value in tensors.items()}, {"said": json.dumps(said)})
