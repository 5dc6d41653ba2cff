"""Many images as any network sees them: a published or untrained one, or a run's checkpoint, over a data set or a folder.

A run over its own images is `lab.crowd`.  What is computed is kept, of images handed in in memory alone.  No torch here; the other
end is `lab.gathering`."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dino_core.errors import DataError, RunError
from lab import cache, crowd, pictures, sight
from lab.analysis import layout as plane
from lab.answers import House, stamp
from lab.background import Waiting, background
from lab.crowd import Seen, Tokens
from lab.sight import Source

LARGEST_READ = 128
"""Pixels at which images are read for the small pictures of them."""


@dataclass(frozen=True)
class Many:
    """Images, before they are read."""

    text: str
    key: str
    """What they are, the same wherever they lie."""
    album: dict[str, str] | None
    """What the worker reads (`lab.albums`); None for images handed in, which are seen in memory."""
    count: int
    classes: tuple[str, ...] = ()


def many(house: House, text: str, count: int) -> Many:
    """The images a text names (`lab.sight`), at most `count` of them; a sentence where it names none."""
    kind, _, rest = text.partition(":")
    if kind == "set":
        return Many(text, rest, None, len(sight.given(house).sets.get(rest).images))
    if count not in crowd.COUNTS or (count == 0 and kind != "probe"):
        raise DataError(f"{count} images; expected one of {', '.join(map(str, crowd.COUNTS[1:]))}.")
    if kind == "folder":
        sight.shown(house, text)  # a sentence where there is no such folder
        folder = sight.given(house).folders[int(rest)]
        listed = _listed(folder, stamp(folder), count)
        return Many(text, listed.digest, {"folder": str(folder)}, listed.count, listed.classes)
    if kind not in ("data", "probe"):
        raise DataError(f"{text[:60]!r} are no images; expected probe:RUN, data:RUN, folder:NUMBER or set:HASH.")
    run = house.shelf.run(rest)
    images = run.path / "probes" / "images.safetensors"
    if kind == "probe":
        return Many(text, cache.fingerprint(images), {"probe": str(run.path)}, len(run.probe_images.images))
    crowd.checked(house, run, count)
    print_ = cache.fingerprint(run.path / "config.json", images)
    return Many(text, f"{print_} {count}", {"run": str(run.path)}, count)


@dataclass(frozen=True)
class _Listed:
    digest: str
    count: int
    classes: tuple[str, ...]


@lru_cache(maxsize=8)
def _listed(folder: Path, when: str, count: int) -> _Listed:
    """What a folder holds, known by names, sizes and times of its files."""
    chosen = pictures.spread(pictures.files_of(folder), count)
    if not chosen:
        raise DataError(f"{folder.name} has no image that can be read.")
    digest = hashlib.sha256()
    for file in chosen:
        about = file.stat()
        digest.update(f"{file} {about.st_size} {about.st_mtime_ns}\0".encode())
    return _Listed(digest.hexdigest()[:32], len(chosen), pictures.classes_of(chosen))


def network(house: House, text: str) -> Source:
    """A network that can be shown new images: a model, or a checkpoint of a run."""
    found = sight.source(house, text)
    if not found.where:
        raise RunError(
            "at this step the run kept its answers to its probe images alone: move the clock to a checkpoint."
        )
    return found


def small(house: House, images: Many) -> Seen | Waiting:
    """Small pictures (M T T 3) and labels (M)."""
    if images.album is None:
        held = sight.given(house).sets.get(images.key)
        shown = [np.asarray(Image.fromarray(image).resize((crowd.THUMBNAIL,) * 2)) for image in held.images]
        return {"images": np.stack(shown), "labels": np.array(held.labels or [-1] * len(shown), np.int32)}
    entry = cache.entry("album", images.key, images.count)
    asked = {"do": "album", "album": images.album, "count": images.count, "side": LARGEST_READ}
    return background(house).get(entry, asked)


def question(seen_by: Source, images: Many, size: int) -> dict[str, Any]:
    """What the worker is asked, and under which name its answer is kept."""
    about: dict[str, Any] = {
        "do": "gathered", "source": seen_by.where, "stamp": seen_by.stamp, "network": seen_by.network, "album": images.album,
        "count": images.count, "size": size, "patches": _patches_of(images),
    }  # fmt: skip
    if seen_by.run is not None:
        step = int(seen_by.text.split(":")[2])
        about |= {"temperature": crowd.temperature(seen_by.run, step), "centred": crowd.centred(seen_by.run)}
    named = (seen_by.identity(), images.key, images.count, size, about.get("temperature"), about.get("centred"))
    return {**about, "entry": str(cache.entry("gathered", *named, about["patches"]))}


def _patches_of(images: Many) -> int:
    """As many patches of each as where a run is looked at alone, so that two networks can be seen through the same."""
    probed = images.album is not None and "probe" in images.album
    return (crowd.patches_of_probes if probed else crowd.patches_of)(images.count)


def seen(house: House, seen_by: Source, images: Many, size: int) -> Seen | Waiting:
    """`cls`, `patches`, `places`, `grid`, and of networks with a head `top`, `probability`, `entropy` (`lab.gathering`)."""
    if images.album is not None:
        asked = question(seen_by, images, size)
        return background(house).get(Path(asked["entry"]), asked)
    held, _ = sight.features(house, seen_by, sight.shown(house, images.text), size)
    patches = held["patches"].astype(np.float32) * held["scale"][..., None] * held["length"][..., None]
    grid = np.array([round(patches.shape[1] ** 0.5)] * 2, np.int32)
    places = np.tile(np.arange(patches.shape[1], dtype=np.int32), (len(patches), 1))
    cls = held["cls"].astype(np.float32) * held["cls_scale"][:, None]
    return {"cls": cls, "patches": patches, "places": places, "grid": grid}


def why_no_head(house: House, seen_by: Source) -> str:
    """In a sentence, why a network names no prototypes; empty where it does."""
    asked = {"do": "head", "source": seen_by.where, "network": seen_by.network}
    return _why(house, seen_by.identity(), asked)


def _why(house: House, identity: str, asked: dict[str, Any]) -> str:
    known: dict[str, str] = house.more.setdefault("heads", {})
    if identity not in known:
        known[identity] = str(house.worker.ask(asked)["why"])
    return known[identity]


def layout_question(seen_by: list[Source], images: Many, size: int, tokens: Tokens, method: str) -> tuple[Path, Any]:
    """The entry of the last network's layout, and what the worker is asked for it: each begins at the one before."""
    links: list[dict[str, Any]] = []
    so_far = f"{method} {tokens}"
    for one in seen_by:
        asked = question(one, images, size)
        so_far += f" {asked['entry']}"
        links.append({"gathered": asked, "entry": str(cache.entry("layout", so_far))})
    return Path(links[-1]["entry"]), {"do": "layout", "method": method, "tokens": tokens, "chain": links}


def principal(ours: Seen, theirs: Seen, tokens: Tokens) -> np.ndarray:
    """Both on the plane of their own first components, the one turned towards the other."""
    points, reference = (plane.principal(crowd.rows_of(one, tokens)) for one in (ours, theirs))
    return points if ours is theirs or points.shape != reference.shape else plane.align(points, reference)
