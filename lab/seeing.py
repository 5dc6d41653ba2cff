"""Many images of a run's data set through one of its checkpoints: the torch end of `lab.crowd`, called in the worker's process.

Axes: M images, S side in pixels, D features, K prototypes, N patches."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dino_core.data.multicrop import MultiCrop
from dino_core.data.sources import open_source
from dino_core.data.views import Decoded
from dino_core.errors import DataError
from dino_core.evaluation.images import LabelledImages, normalised, read_images
from dino_core.model.teacher import load_teacher
from dino_core.objective.targets import sinkhorn
from dino_core.objective.terms import cross_view
from dino_core.schedules import Schedule
from lab import background, cache
from lab.albums import album
from lab.analysis import prototypes
from lab.crowd import PATCHES, TOP, patches_of, places
from lab.crowd import centres as centres_of
from lab.gathering import MORE, duplicates, in_chunks, in_parts, kept
from lab.resumable import load_student
from lab.run import Run

BATCH = 48
"""Images that a loss is computed over at once."""


@lru_cache(maxsize=1)
def images_of(run: str, count: int) -> LabelledImages:
    """The same images whenever asked: drawn from the training images of the run, at the size of its probes."""
    found = Run(run)
    return read_images(open_source(found.config.data), count, found.probe_images.images.shape[-1])


def dataset(question: dict[str, Any]) -> dict[str, Any]:
    """Some images as they are, with labels, and masks where the data have them."""
    read = images_of(question["run"], question["count"])
    if not len(read.images):
        raise DataError("none of the images of this run's data set can be read.")
    kept = {
        "images": read.images.permute(0, 2, 3, 1).contiguous().numpy(),
        "labels": read.labels.numpy().astype(np.int32),
    }
    if read.masks is not None:
        kept["masks"] = read.masks.numpy().astype(np.uint8)
    cache.store(Path(question["entry"]), kept)
    return {}


@torch.inference_mode()
def crowd(question: dict[str, Any]) -> dict[str, Any]:
    """What a checkpoint's teacher says about the images; `told` says which of it is kept."""
    entry, run = Path(question["entry"]), Run(question["run"])
    found, side = album({"run": str(run.path)}, question["count"]), run.probe_images.images.shape[-1]
    folder = run.checkpoint_folder(question["step"])
    network, crops = load_teacher(folder), run.config.crops
    centres = centres_of(folder) if question["centred"] else {}
    grid = [side // network.backbone.patch] * 2

    def look(pixels: np.ndarray) -> dict[str, np.ndarray]:
        images = torch.from_numpy(pixels).permute(0, 3, 1, 2)
        seen = network.backbone(normalised(images, crops.mean, crops.std, torch.device("cpu")))
        logits = network.head(seen.cls).float().numpy()
        own = None if network.patch_head is None else network.patch_head(seen.patches).float().numpy()
        return told(
            seen.cls.float().numpy(), seen.patches.float().numpy(), logits, own, question["temperature"], centres,
            patches_of(found.count),
        )  # fmt: skip

    whole = in_parts(entry, found.count, f"step {question['step']}: ", in_chunks(found, side, look))
    if whole is None:
        return MORE
    directions = network.head.prototypes.directions.detach().float().numpy()
    beside = {**duplicates(directions, whole["top"]), "grid": np.array(grid, np.int32)}
    return kept(entry, {**whole, **beside}, found.count)


@torch.inference_mode()
def losses(question: dict[str, Any]) -> dict[str, Any]:
    """Every image's own loss at a checkpoint, from crops of its own: `loss` (M), and `student` 1 where the student was kept.

    Crops, targets and pairs are those of a training step; the teacher stands in for a student that was not kept.  Sinkhorn-Knopp
    balances over `BATCH` images at a time, as a step does over its batch."""
    entry, run = Path(question["entry"]), Run(question["run"])
    background.tell(entry, 0.0, "reading images")
    step, config = question["step"], run.config.phase(run.config.phase_before(question["step"]))
    folder = run.checkpoint_folder(step)
    teacher = load_teacher(folder)
    kept = load_student(folder)
    cropped, generator = MultiCrop(config.crops), torch.Generator().manual_seed(0)
    now = Schedule(config).at(max(config.start, min(step, (config.steps or 1) - 1)))
    images = _shown(run, question["count"])
    found: list[torch.Tensor] = []
    for chunk in images.split(BATCH):
        size = len(chunk)
        sizes = torch.tensor(chunk.shape[2:]).repeat(size, 1)
        views = cropped(Decoded(chunk, sizes, torch.full((size,), -1), torch.arange(size)), generator)
        said = teacher([views.globals], patches=False).logits.float()  # T B K
        ours = (kept or teacher)([part for part in (views.globals, views.locals) if len(part)], patches=False).logits
        targets = _targets(said, folder, config.objective.centering, now.teacher_temperature)
        found += [cross_view(ours[:, i : i + 1], targets[:, i : i + 1], now.student_temperature) for i in range(size)]
        background.tell(entry, len(found) / len(images), f"loss of image {len(found)} of {len(images)}")
    loss = torch.stack(found).float().numpy()
    cache.store(entry, {"loss": loss, "student": np.array([kept is not None], np.int32)})
    return {}


def _shown(run: Run, count: int) -> torch.Tensor:
    return images_of(str(run.path), count).images if count else torch.from_numpy(run.probe_images.images.copy())


def _targets(logits: torch.Tensor, folder: Path, way: str, temperature: float) -> torch.Tensor:
    """The teacher's logits (T B K) as the objective makes targets of them."""
    if way == "sinkhorn":
        return sinkhorn(logits.flatten(0, 1), temperature).unflatten(0, logits.shape[:2])
    centre = centres_of(folder).get("centre") if way == "centre" else None
    shift = 0.0 if centre is None else torch.from_numpy(np.asarray(centre, np.float32))
    return ((logits - shift) / temperature).softmax(-1)


def told(
    cls: np.ndarray,
    patches: np.ndarray,
    logits: np.ndarray,
    own: np.ndarray | None,
    temperature: float,
    centres: dict[str, Any],
    most: int = PATCHES,
) -> dict[str, np.ndarray]:
    """Of some images: `cls` (M D), some `patches` (M P D) at `places` (M P), the first prototypes of each answer (`top` and
    `probability`, M 5), its `entropy`, and with a patch head each patch's first (`patch_top`, `patch_probability`, M N)."""
    answer = prototypes.answers(logits, temperature, centres.get("centre"))
    first = np.argsort(-answer, axis=-1, kind="stable")[:, :TOP]
    chosen = places(patches.shape[1], most)
    found: dict[str, np.ndarray] = {
        "cls": cls.astype(np.float16), "patches": patches[:, chosen].astype(np.float16),
        "places": np.tile(chosen, (len(cls), 1)), "top": first.astype(np.int32),
        "probability": np.take_along_axis(answer, first, axis=-1).astype(np.float32),
        "entropy": prototypes.entropy(answer).astype(np.float32),
    }  # fmt: skip
    if own is not None:
        answer = prototypes.answers(own, temperature, centres.get("patch_centre"))
        found |= {
            "patch_top": answer.argmax(-1).astype(np.int32),
            "patch_probability": answer.max(-1).astype(np.float32),
        }
    return found
