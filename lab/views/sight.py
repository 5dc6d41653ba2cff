"""Answers about what any network sees in any images (`lab.sight`)."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from safetensors.numpy import save

from dino_core.errors import DataError
from lab import colours, sight
from lab.analysis import matching
from lab.answers import House, Reply, answers
from lab.colours import Basis, Fit

LARGEST_SHOWN = 448
"""Pixels of an image as the page shows it, whatever the network is given."""


@answers("sight/places")
def places(house: House) -> Reply:
    """Where models (by name) and folders of images are: what `lab.offer` takes to give them their names; names alone to a class."""
    about = sight.given(house)
    models = {name: name if house.read_only else where for name, where in about.models.items()}
    folders = [folder.name if house.read_only else str(folder) for folder in about.folders]
    return Reply(lambda: {"models": models, "folders": folders})


@answers("sight")
def offered(house: House) -> Reply:
    """Models, folders, and whether images may be handed in."""
    return Reply(lambda: sight.offered(house))


@answers("sight/images", verb="tell")
def take(house: House, body: bytes, sizes: str = "", video: bool = False) -> Reply:
    """Hand in images: one file, or several end to end with their `sizes` in bytes, separated by commas."""
    wanted = numbers(sizes, "sizes")
    return Reply(lambda: {"set": sight.take(house, body, wanted, video)})


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
def features(house: House, source: str, images: str, size: int = 0, image: int | None = None) -> Reply:
    """Patch features and class tokens in eight bits, of all images or of one."""
    network, found = sight.source(house, source), sight.shown(house, images)
    return Reply(lambda: sent(*sight.features(house, network, found, size, image)), f"{network.stamp} {found.key}")


@answers("sight/heads")
def heads(house: House, source: str, images: str, image: int = 0, size: int = 0, layer: int | None = None) -> Reply:
    """All heads of all layers, for one image."""
    network, found = sight.source(house, source), sight.shown(house, images)
    return Reply(lambda: sent(*sight.heads(house, network, found, image, size, layer)), f"{network.stamp} {found.key}")


@answers("sight/components")
def components(
    house: House,
    source: str,
    images: str,
    size: int = 0,
    fit: str = "all",
    above: float | None = None,
    flip: bool = False,
    basis: Basis = "own",
    anchor: str | None = None,
    channels: str = "0,1,2",
) -> Reply:
    """Three principal components of patches as colours, first component, explained variance (`lab.colours`)."""
    network, found = sight.source(house, source), sight.shown(house, images)
    held = network if anchor is None else sight.source(house, anchor)
    wanted = Fit(fit, above, flip)

    def made() -> bytes:
        return sent(*colours.components(
            house, network, found, size, fit=wanted, basis=basis, anchor=held, channels=numbers(channels, "channels")
        ))  # fmt: skip

    return Reply(made, f"{network.stamp} {held.stamp} {found.key}")


@answers("sight/propagate")
def propagate(
    house: House, source: str, images: str, start: str, size: int = 0, top: int = matching.TOP,
    temperature: float = matching.TEMPERATURE, context: int = matching.CONTEXT,
) -> Reply:  # fmt: skip
    """`labels` (I N): a mask on the first image carried to the others; `start` are its patches, separated by commas."""
    network, found = sight.source(house, source), sight.shown(house, images)
    first = numbers(start, "start")

    def made() -> bytes:
        rows, about = colours.rows_of(house, network, found, size)
        if not all(0 <= n < rows.shape[1] for n in first):
            raise DataError(f"start names patch {max(first)}; there are {rows.shape[1]}.")
        labels = np.isin(np.arange(rows.shape[1]), first).astype(np.float32)
        carried = matching.propagate(rows, labels, top=top, temperature=temperature, context=context)
        return sent({"labels": carried.astype(np.float32)}, about)

    return Reply(made, f"{network.stamp} {found.key}")


def numbers(text: str, name: str) -> list[int]:
    """Whole numbers separated by commas."""
    try:
        return [int(word) for word in text.split(",") if word]
    except ValueError:
        raise DataError(f"{name} is {text[:40]!r}; expected whole numbers separated by commas.") from None


def sent(tensors: dict[str, np.ndarray], said: dict[str, Any]) -> bytes:
    """As safetensors, with what is said of them."""
    return save({name: np.ascontiguousarray(value) for name, value in tensors.items()}, {"said": json.dumps(said)})
