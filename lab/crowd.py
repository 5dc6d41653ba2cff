"""Many images as the checkpoints of a run see them: the probe images, at once, or some hundreds of its data set, by a worker.

`count` 0 means the probe images.  No torch here; the other end is `lab.seeing` and `lab.layouts`."""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
from safetensors import safe_open

from dino_core.errors import DataError, RunError
from lab import cache
from lab.analysis import prototypes
from lab.answers import House, stamp
from lab.background import Waiting, background
from lab.run import Probe, Run

TOP = 5
"""First prototypes that are kept of each image's answer."""
USUAL = 0.04
"""The teacher's temperature where neither log nor config has one (Caron et al. 2021, Sec. 3.2)."""
PATCHES = 6
"""Patches that are kept of each image of the data set, spread over it."""
THUMBNAIL = 48
"""Pixels of the small pictures."""
COUNTS = (0, 300, 1000, 3000, 10_000, 20_000)
MOST_LOSSES = 3000
"""Images whose own loss is computed: for each, all its crops go through both networks."""
MOST_THUMBNAILS = 30_000_000
"""Bytes of all small pictures of a crowd."""
MOST_OF_MANY = 18_000
"""Patches of a crowd, so that no picture has more points than that or than its images."""
MOST_POINTS = 4096
"""Patches of the probe images that are laid out."""
MOST_COMPARED = 4096
"""Prototypes that are all compared with each other; of more, those that some image of the crowd names."""
Tokens = Literal["cls", "patches"]
Seen = dict[str, np.ndarray]


def checked(house: House, run: Run, count: int) -> None:
    """Whether these images may be opened: those that are drawn, those in folders that the lab was given, and sets that torchvision
    or Hugging Face keep in their own folders on this machine.  Nothing is downloaded (`dino_core.data.offline`)."""
    if count not in COUNTS:
        raise DataError(f"{count} images; expected one of {', '.join(map(str, COUNTS))} (0: the probe images).")
    source = run.config.data.source
    if count == 0 or source == "shapes" or source.startswith("torchvision:"):
        return
    given = [*house.shelf.folders, *getattr(house.more.get("sight"), "folders", [])]
    folder = Path(source.removeprefix("hf:")).expanduser()
    if not folder.exists() and source.startswith("hf:"):
        return
    if not folder.is_dir():
        raise DataError(
            f"the images of this run ({source}) are not on this machine as a folder; the probe images can be shown."
        )
    if not any(folder.resolve().is_relative_to(Path(one).resolve()) for one in given):
        raise DataError(
            f"the images of this run are in {folder.name!r}, which this lab was not given. "
            f"Start it with dino-lab watch … --images {source}; the probe images can be shown."
        )


def thumbnail(count: int) -> int:
    """Pixels of the small pictures of so many images."""
    return min(THUMBNAIL, int((MOST_THUMBNAILS / (3 * max(count, 1))) ** 0.5))


def patches_of(count: int) -> int:
    """Patches that are kept of each of so many images."""
    return max(1, min(PATCHES, MOST_OF_MANY // max(count, 1)))


def patches_of_probes(count: int) -> int:
    """Patches that are laid out of each of so many probe images."""
    return max(1, MOST_POINTS // max(count, 1))


def places(patches: int, most: int) -> np.ndarray:
    """Which patches of an image are kept: all, or as many as may be, spread over it."""
    if patches <= most:
        return np.arange(patches, dtype=np.int32)
    return np.linspace(0, patches - 1, 2 * most + 1).astype(np.int32)[1::2]


def pictures(house: House, run: Run, count: int) -> Seen | Waiting:
    """Small pictures (M T T 3) and labels (M)."""
    if count == 0:
        shown = run.probe_images
        return {"images": shown.images.transpose(0, 2, 3, 1), "labels": shown.labels.astype(np.int32)}
    entry = cache.entry(
        "pictures", cache.fingerprint(run.path / "config.json", run.path / "probes" / "images.safetensors"), count
    )
    side = run.probe_images.images.shape[-1]
    asked = {"do": "album", "album": {"run": str(run.path)}, "count": count, "side": side}
    return background(house).get(entry, asked)


def stop_of(run: Run, step: int, count: int) -> int:
    """The stop that is shown at a step: of the probe images a probe, of the data set the last checkpoint not after it."""
    if count == 0:
        return step
    before = [checkpoint for checkpoint in run.checkpoints if checkpoint <= step]
    if not before:
        raise RunError(
            f"{run.path.name} has no checkpoint at or before step {step}, through which to look at its data set."
        )
    return before[-1]


def question(run: Run, step: int, count: int) -> dict[str, Any]:
    """What the worker is asked about a checkpoint, and under which name its answer is kept."""
    folder = run.checkpoint_folder(step)
    about = {
        "run": str(run.path),
        "step": step,
        "count": count,
        "temperature": temperature(run, step),
        "centred": centred(run),
    }
    print_ = cache.fingerprint(folder / "teacher.safetensors", folder / "model.json", run.path / "config.json")
    entry = cache.entry("crowd", print_, count, about["temperature"], about["centred"])
    return {"do": "crowd", **about, "entry": str(entry)}


def seen(house: House, run: Run, step: int, count: int) -> Seen | Waiting:
    """What the teacher said of each image (`lab.seeing.told`), at a probe or a checkpoint."""
    if count == 0:
        return _of_probe_answers(run, step)
    asked = question(run, step, count)
    return background(house).get(Path(asked["entry"]), asked)


def losses(house: House, run: Run, step: int, count: int) -> tuple[int, Seen | Waiting]:
    """Every image's own loss at the last checkpoint not after a step, and which that is (`lab.seeing.losses`)."""
    if count > MOST_LOSSES:
        raise RunError(f"every image's own loss is computed for up to {MOST_LOSSES} images; {count} are shown.")
    at = stop_of(run, step, count or COUNTS[1])
    folder = run.checkpoint_folder(at)
    state = sorted((folder / "state").glob("*.distcp"))
    files = (
        folder / "teacher.safetensors",
        run.path / "config.json",
        run.path / "probes" / "images.safetensors",
        *state,
    )
    entry = cache.entry("losses", cache.fingerprint(*files), count, at)
    return at, background(house).get(entry, {"do": "losses", "run": str(run.path), "step": at, "count": count})


def temperature(run: Run, step: int) -> float:
    """The teacher's at a step: as logged, else as the config begins."""
    logged = run.follower.value("teacher_temperature", step)
    begins = run.config.schedules.teacher_temperature
    return round(float(logged or (begins[0] if begins else USUAL)), 6)


def centred(run: Run) -> bool:
    return run.config.objective.centering == "centre"


def centres(folder: Path) -> Seen:
    """`centre` (K) and `patch_centre` of a checkpoint, where the objective keeps any."""
    names = {"objective.centering.centre": "centre", "objective.patch_centering.centre": "patch_centre"}
    with safe_open(str(folder / "teacher.safetensors"), framework="numpy") as tensors:
        return {said: np.asarray(tensors.get_tensor(name)) for name, said in names.items() if name in tensors.keys()}  # noqa: SIM118


def centre_at(run: Run, step: int) -> tuple[np.ndarray | None, bool]:
    """The centre of the class token's logits (K) at a step, and whether a checkpoint of that step holds it.

    Between two checkpoints it is taken to move straight from one to the other: the last one's alone would make prototypes seem
    to be born and to die at once when the next checkpoint comes.  None where the objective does not centre."""
    if not centred(run) or not run.checkpoints:
        return None, True
    before = max((stop for stop in run.checkpoints if stop <= step), default=run.checkpoints[0])
    after = min((stop for stop in run.checkpoints if stop >= step), default=run.checkpoints[-1])
    folders = [run.checkpoint_folder(stop) for stop in (before, after)]
    first, last = (_centre(str(folder), stamp(folder / "teacher.safetensors")) for folder in folders)
    if first is None or last is None:
        return None, True
    share = (step - before) / (after - before) if before < step < after else 0.0
    return (1 - share) * first + share * last, step in run.checkpoints


@lru_cache(maxsize=128)
def _centre(folder: str, since: str) -> np.ndarray | None:
    found = centres(Path(folder)).get("centre")
    return None if found is None else found.astype(np.float64)


def _of_probe_answers(run: Run, step: int) -> Seen:
    probe = run.probe(step)
    centre, _ = centre_at(run, step)
    print_ = "" if centre is None else centre.astype(np.float32).tobytes()
    return _probe_answers(str(probe.file), stamp(probe.file), temperature(run, step), print_)


@lru_cache(maxsize=64)
def _probe_answers(file: str, at: str, heat: float, centre: bytes | str) -> Seen:
    probe = Probe(Path(file))
    answer = prototypes.answers(
        probe.logits, heat, np.frombuffer(centre, np.float32) if isinstance(centre, bytes) else None
    )
    first = np.argsort(-answer, axis=-1, kind="stable")[:, :TOP]
    return {
        **of_probe(Path(file)), "top": first.astype(np.int32), "entropy": prototypes.entropy(answer).astype(np.float32),
        "probability": np.take_along_axis(answer, first, axis=-1).astype(np.float32), "answer": answer.astype(np.float32),
    }  # fmt: skip


def of_probe(file: Path) -> Seen:
    """`cls`, `patches` and `places` of a probe in the form of `lab.seeing.told`: all patches, or as many as are laid out."""
    probe = Probe(file)
    patches = probe.patches
    chosen = places(patches.shape[1], patches_of_probes(len(patches)))
    return {
        "cls": probe.cls, "patches": patches[:, chosen], "grid": np.array(probe.grid, np.int32),
        "places": np.tile(chosen, (len(patches), 1)),
    }  # fmt: skip


def rows_of(found: Seen, tokens: Tokens) -> np.ndarray:
    """One row a point: an image, or a patch."""
    rows = found[tokens].astype(np.float64)
    return rows.reshape(-1, rows.shape[-1])


def chain(stops: list[int], anchor: int, step: int) -> list[int]:
    """Stops from the anchor to a step, both included, so that each layout can begin at its neighbour's."""
    low, high = sorted((stops.index(anchor), stops.index(step)))
    between = stops[low : high + 1]
    return between if anchor <= step else between[::-1]


def layout_question(run: Run, stops: list[int], count: int, tokens: Tokens, method: str) -> tuple[Path, dict[str, Any]]:
    """The entry of the last stop's layout, and what the worker is asked for it; stops as `chain` gives them."""
    links: list[dict[str, Any]] = []
    so_far = f"{method} {tokens} {count}"
    for stop in stops:
        if count == 0:
            file = run.probe(stop).file
            link: dict[str, Any] = {"probe": str(file)}
            so_far += " " + cache.fingerprint(file)
        else:
            asked = question(run, stop, count)
            link = {"crowd": asked}
            so_far += " " + asked["entry"]
        links.append({**link, "entry": str(cache.entry("layout", so_far))})
    return Path(links[-1]["entry"]), {"do": "layout", "method": method, "tokens": tokens, "chain": links}


def thinned(stops: list[int], keep: tuple[int, ...], most: int = 12) -> list[int]:
    """At most so many stops, spread, with those to keep: a layout for each probe of a long run would never end."""
    if len(stops) <= most:
        return stops
    spread = {stops[i] for i in np.linspace(0, len(stops) - 1, most).astype(int)}
    return sorted(spread | set(keep))


def births(alive: np.ndarray, stops: list[int]) -> dict[str, Any]:
    """Used, born and died at each stop, as curves."""
    born, died = prototypes.changes(alive)
    assert all(a < b for a, b in pairwise(stops))
    return {"steps": stops, "used": alive.sum(axis=1).tolist(), "born": born.tolist(), "died": died.tolist()}
