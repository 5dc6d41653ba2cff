"""Many images that are read a part at a time: of a run's data set, its probe images, or a folder.  The worker's end; imports torch.

An album is described by what JSON holds, so that a question to the worker can name it: `{"run": path}`, `{"probe": path}` or
`{"folder": path}`.  Axes: M images, S side in pixels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image

from dino_core.data.sources import ImageError, open_source
from dino_core.errors import DataError
from dino_core.evaluation.images import drawn, square
from lab import pictures
from lab.run import Run

Read = tuple[np.ndarray, int]


@dataclass(frozen=True)
class Album:
    """Images by number; some of them may not be readable."""

    count: int
    read: Callable[[int, int], Read | None]
    """The image of a number as a square of so many pixels, with its class (-1: none); None for one that can't be read."""
    classes: tuple[str, ...] = ()

    def part(self, first: int, last: int, side: int) -> tuple[UInt8[np.ndarray, "M S S 3"], Int[np.ndarray, " M"]]:
        """Those from `first` to before `last` that can be read, and their classes."""
        found = [one for number in range(first, min(last, self.count)) if (one := self.read(number, side)) is not None]
        images = np.stack([image for image, _ in found]) if found else np.zeros((0, side, side, 3), np.uint8)
        return images, np.array([label for _, label in found], np.int32)


def album(about: dict[str, Any], count: int) -> Album:
    """The first `count` images of what is described."""
    kind, where = next(iter(about.items()))
    return {"run": _of_run, "probe": _of_probes, "folder": _of_folder}[kind](str(where), count)


@lru_cache(maxsize=2)
def _of_run(path: str, count: int) -> Album:
    """Of the images that a run is trained on, in the order in which evaluations draw them."""
    source = open_source(Run(path).config.data)
    order = drawn(source)[:count]

    def read(number: int, side: int) -> Read | None:
        try:
            sample = source.read(order[number])
        except ImageError:
            return None
        return square(sample.image, side, Image.Resampling.BICUBIC), sample.label

    return Album(len(order), read)


@lru_cache(maxsize=2)
def _of_probes(path: str, count: int) -> Album:
    found = Run(path).probe_images
    images = np.ascontiguousarray(found.images.transpose(0, 2, 3, 1))

    def read(number: int, side: int) -> Read:
        return square(images[number], side, Image.Resampling.BICUBIC), int(found.labels[number])

    return Album(min(count or len(images), len(images)), read)


@lru_cache(maxsize=2)
def _of_folder(path: str, count: int) -> Album:
    """Spread over the folder; its folders are the classes, where there are several."""
    folder = Path(path)
    files = pictures.spread(pictures.files_of(folder), count)
    classes = pictures.classes_of(files)

    def read(number: int, side: int) -> Read | None:
        file = files[number]
        try:
            if file.stat().st_size > pictures.MOST_BYTES:
                return None
            image = pictures.decoded(file.read_bytes(), file.name)[0]
        except (DataError, OSError):
            return None
        label = classes.index(file.parent.name) if classes else -1
        return square(image, side, Image.Resampling.BICUBIC), label

    return Album(len(files), read, classes)
