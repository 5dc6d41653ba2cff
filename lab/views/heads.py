"""What is asked about the heads of the last layer through training."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from dino_core.errors import RunError
from lab.analysis import attention
from lab.answers import House, Reply, answers, stamp
from lab.run import Probe, Run


@answers("run/{run}/heads")
def through_training(house: House, run: str, image: int = 0, mass: float = 0.6) -> Reply:
    """Of one probe image at every stop, by head of the last layer: `entropy` of the class token's attention as a share of ln N,
    `jaccard` of the patches that hold `mass` of it with the object (null without a mask), `changed` since the first stop."""
    found = house.shelf.run(run)
    steps = found.probes
    if not steps:
        raise RunError(f"{found.path.name} has no probe yet.")
    files = [found.probe(step).file for step in steps]

    def made() -> dict[str, Any]:
        maps = np.stack([_maps(str(file), stamp(file), image) for file in files])  # S H N
        patches = maps.shape[-1]
        return {
            "steps": steps, "patches": patches, "image": image, "mass": mass,
            "entropy": _plain(attention.head_entropy(maps) / np.log(patches)),
            "jaccard": _overlap(found, maps, files, image, mass), "changed": _plain(attention.changed(maps, maps[:1])),
        }  # fmt: skip

    return Reply(made, f"{run} {image} {mass} {stamp(*files)}")


@lru_cache(maxsize=512)
def _maps(file: str, at: str, image: int) -> np.ndarray:
    maps = Probe(Path(file)).attention
    if not 0 <= image < len(maps):
        raise RunError(f"there is no probe image {image}; there are {len(maps)}.")
    return maps[image].astype(np.float64)


def _overlap(run: Run, maps: np.ndarray, files: list[Path], image: int, mass: float) -> list[list[float | None]] | None:
    masks = run.probe_images.masks
    if masks is None:
        return None
    target = masks[image].reshape(-1) > 0
    held = attention.on_pixels(attention.mass_mask(maps, mass), Probe(files[0]).grid, masks.shape[-1])
    return _plain(attention.jaccard(held, target))


def _plain(values: np.ndarray) -> list[list[float | None]]:
    return [[round(float(value), 4) if np.isfinite(value) else None for value in row] for row in values]
