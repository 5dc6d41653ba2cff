"""Many images through any network: the torch end of `lab.gathered`, called in the worker's process.

What takes long is made in parts that are kept, a slice of time at once: other people's questions come between, what nobody waits
for any more ends, and who comes back finds what was made.  Axes: M images, P of their patches, D features, K prototypes."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from dino_core.errors import CheckpointError, DataError, RunError
from dino_core.model import Head, load_head, load_teacher
from lab import background, cache, eyes
from lab.albums import Album, album
from lab.analysis import prototypes
from lab.crowd import MOST_COMPARED, TOP, USUAL, centres, places, thumbnail

PART = 64
"""Images of a part."""
CHUNK = 16
"""Images in one forward pass."""
SLICE = 12.0
"""Seconds of work between two looks at whether somebody still waits."""
Arrays = dict[str, np.ndarray]
Tell = Callable[[int], None]
MORE = {"more": True}


def in_parts(entry: Path, count: int, words: str, make: Callable[[int, int, Tell], Arrays]) -> Arrays | None:
    """All parts of a result, end to end; None where more is left than one slice of time made.

    `make(first, last, tell)` makes one part; `tell` is told how many images of all are done.  Parts are entries of the cache
    beside the whole, and go when the whole is kept."""
    began, kept_in = time.monotonic(), [(first, _part(entry, first)) for first in range(0, count, PART)]
    parts: list[Arrays] = []
    fresh = 0
    for first, place in kept_in:
        known = cache.load(place)
        if known is None:
            if fresh and time.monotonic() - began > SLICE:
                return None
            last = min(first + PART, count)
            known = make(
                first, last, lambda done: background.tell(entry, done / count, f"{words}image {done} of {count}")
            )
            cache.store(place, known)
            fresh += 1
            if not place.is_file():
                raise RunError(f"images were looked at, but {place.parent} could not keep it: is the disk full?")
        parts.append(known)
    if not parts or not sum(len(next(iter(part.values()))) for part in parts):
        raise DataError("none of these images can be read.")
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def in_chunks(found: Album, side: int, look: Callable[[np.ndarray], Arrays]) -> Callable[[int, int, Tell], Arrays]:
    """What makes a part: its images that can be read (M S S 3), some at a time, through `look`; of none the arrays are empty."""

    def make(first: int, last: int, tell: Tell) -> Arrays:
        read, _ = found.part(first, last, side)
        some = read if len(read) else np.zeros((1, side, side, 3), np.uint8)
        parts: list[Arrays] = []
        for at in range(0, len(some), CHUNK):
            tell(first + at)
            parts.append(look(some[at : at + CHUNK]))
        return {name: np.concatenate([part[name] for part in parts])[: len(read)] for name in parts[0]}

    return make


def kept(entry: Path, whole: Arrays, count: int) -> dict[str, Any]:
    """Keep the whole, and no part of it any more."""
    cache.store(entry, whole)
    for first in range(0, count, PART):
        _part(entry, first).unlink(missing_ok=True)
    return {}


def _part(entry: Path, first: int) -> Path:
    return entry.with_name(f"{entry.stem}-{first}.safetensors")


def pictures(question: dict[str, Any]) -> dict[str, Any]:
    """Small `images` (M T T 3) and `labels` (M) of an album."""
    entry = Path(question["entry"])
    found = album(question["album"], question["count"])
    side = min(thumbnail(found.count), question["side"])

    def make(first: int, last: int, tell: Tell) -> Arrays:
        tell(first)
        read, labels = found.part(first, last, question["side"])
        small = [np.asarray(Image.fromarray(one).resize((side, side), Image.Resampling.BOX)) for one in read]
        return {"images": np.stack(small) if small else np.zeros((0, side, side, 3), np.uint8), "labels": labels}

    whole = in_parts(entry, found.count, "reading ", make)
    return MORE if whole is None else kept(entry, whole, found.count)


@torch.inference_mode()
def gathered(question: dict[str, Any]) -> dict[str, Any]:
    """What a network makes of the images of an album (`told`), and of its prototypes where it has any."""
    entry = Path(question["entry"])
    eye = eyes.opened(question["source"], question["stamp"], question["network"])
    mouth = answering(question["source"], question["stamp"], question["network"])
    found = album(question["album"], question["count"])
    patch = eye.backbone.patch
    side = max(1, round((question["size"] or eye.size) / patch)) * patch
    grid = np.array([side // patch] * 2, np.int32)

    def look(pixels: np.ndarray) -> Arrays:
        return _told(eye, mouth, pixels, side, question)

    whole = in_parts(entry, found.count, "", in_chunks(found, side, look))
    if whole is None:
        return MORE
    return kept(entry, {**whole, **_beside(mouth, whole), "grid": grid}, found.count)


def _told(eye: eyes.Eye, mouth: Mouth | None, pixels: np.ndarray, side: int, question: dict[str, Any]) -> Arrays:
    """Of some images: `cls` (M D), some `patches` (M P D) at `places` (M P), and what the prototypes answer."""
    seen = eye.backbone(eye.sees(pixels, side))
    cls, patches = seen.cls.float(), seen.patches.float().numpy()
    chosen = places(patches.shape[1], question["patches"])
    said = {} if mouth is None else mouth.answers(cls, question.get("temperature"), question.get("centred", True))
    return {
        "cls": cls.numpy().astype(np.float16), "patches": patches[:, chosen].astype(np.float16),
        "places": np.tile(chosen, (len(pixels), 1)), **said,
    }  # fmt: skip


# ---- prototypes


class Mouth:
    """A head and its objective's centre: what a network answers."""

    def __init__(self, head: Head, centre: np.ndarray | None, temperature: float) -> None:
        self.head, self.centre, self.temperature = head, centre, temperature

    def answers(self, cls: torch.Tensor, temperature: float | None, centred: bool) -> Arrays:
        """The first prototypes (`top`, `probability`, M 5) of each answer, and its `entropy` (M)."""
        logits = self.head(cls).float().numpy()
        answer = prototypes.answers(logits, temperature or self.temperature, self.centre if centred else None)
        first = np.argsort(-answer, axis=-1, kind="stable")[:, :TOP]
        return {
            "top": first.astype(np.int32), "probability": np.take_along_axis(answer, first, axis=-1).astype(np.float32),
            "entropy": prototypes.entropy(answer).astype(np.float32),
        }  # fmt: skip


@lru_cache(maxsize=2)
def answering(source: str, stamp: str, network: str) -> Mouth | None:
    """The head of a checkpoint folder or a published file; None where it has none."""
    folder = Path(source)
    if (folder / "teacher.safetensors").is_file():
        if network != "teacher":
            return None
        return Mouth(load_teacher(folder).head, centres(folder).get("centre"), USUAL)
    try:
        found = load_head(source)
    except CheckpointError:
        return None
    centre = None if found.centre is None else found.centre.numpy()
    return Mouth(found.head, centre, found.teacher_temperature or USUAL)


def _beside(mouth: Mouth | None, whole: Arrays) -> Arrays:
    """How many prototypes there are, the temperature, and the pairs of them that are alike."""
    if mouth is None:
        return {}
    directions = mouth.head.prototypes.directions.float().numpy()
    return {
        "prototypes": np.array([len(directions)], np.int32), "temperature": np.array([mouth.temperature], np.float32),
        "has_centre": np.array([mouth.centre is not None], np.int32), **duplicates(directions, whole["top"]),
    }  # fmt: skip


def duplicates(directions: np.ndarray, top: np.ndarray) -> Arrays:
    """`twins` (T 2) and `twin_cosine` (T): the pairs of prototypes whose directions are nearly one."""
    chosen = np.arange(len(directions)) if len(directions) <= MOST_COMPARED else np.unique(top[:, 0])
    pairs, cosines = prototypes.duplicates(directions[chosen])
    twins = np.asarray(chosen[pairs], np.int32).reshape(-1, 2)
    return {"twins": twins, "twin_cosine": np.asarray(cosines, np.float32)}


def why_no_head(question: dict[str, Any]) -> dict[str, Any]:
    """In a sentence, why a source has no prototypes; empty where it has."""
    if (Path(question["source"]) / "teacher.safetensors").is_file():
        return {"why": "" if question["network"] == "teacher" else "prototypes of a student are not shown"}
    try:
        load_head(question["source"])
    except CheckpointError as error:
        return {"why": str(error).rstrip(".")}
    return {"why": ""}
