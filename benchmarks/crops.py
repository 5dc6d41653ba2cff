"""From image files to views: our loader and multi-crop against torchvision, albumentations, kornia and lightly, on one thread.

Photographs are stood in for by the built-in data, as JPEG files of 96 px.  "Crops" starts from images decoded before, "files"
from the files; "end to end" is loading, cropping and the training step together, with all threads."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.report import goal, threads
from benchmarks.setting import setting
from benchmarks.step import worth_measuring
from benchmarks.worker import Worker, ratio, rounds, seconds
from dino_core.config import Machine

if TYPE_CHECKING:
    import numpy as np

    from dino_core.machine import Precision

SIDE, BATCH = 96, 32
PEERS = {
    "torchvision PIL": "torchvision",
    "torchvision v2": "torchvision",
    "lightly": "lightly",
    "albumentations": "albumentations",
    "kornia": "kornia",
}
"""Pipelines, and the module that each needs."""
Seconds = dict[str, float]


def write_images(folder: Path, count: int, side: int = SIDE) -> None:
    """JPEG files in one class folder."""
    from PIL import Image

    from dino_core.config import Data, Shapes
    from dino_core.data.sources import open_source

    source = open_source(Data(source="shapes", shapes=Shapes(images=count, size=side, background="textured")))
    (folder / "all").mkdir(parents=True)
    for i in range(count):
        Image.fromarray(source.read(i).image).save(folder / "all" / f"{i:05}.jpg", quality=92)


def read_images(folder: str, count: int) -> list[np.ndarray]:
    import numpy as np
    from PIL import Image

    return [np.array(Image.open(path).convert("RGB")) for path in sorted(Path(folder).glob("*/*.jpg"))[:count]]


def pipeline(name: str, folder: str, quick: bool) -> Callable[[], Seconds]:
    """A batch of views by another library."""
    from benchmarks.pipelines import PIPELINES

    make, decoded = PIPELINES[name](setting(quick).config().crops), read_images(folder, BATCH)
    return lambda: {"crops": timed(lambda: make(decoded)), "files": timed(lambda: make(read_images(folder, BATCH)))}


def ours(folder: str, quick: bool) -> Callable[[], Seconds]:
    """A batch of views by our loader and multi-crop: from the loader's cache, and from files."""
    from dino_core.machine import be_a_good_neighbour

    be_a_good_neighbour()
    from benchmarks.ours import folder_loader
    from dino_core.data.multicrop import MultiCrop
    from dino_core.seeds import generator

    config = setting(quick).config()
    caching, reading = (folder_loader(config, folder, BATCH, cache_mib=mib) for mib in (1024, 0))
    multicrop, draw = MultiCrop(config.crops), generator(0, "crops", 0)
    caching.batch(0)
    return lambda: {
        "crops": timed(lambda: multicrop(caching.batch(0), draw)),
        "files": timed(lambda: multicrop(reading.batch(0), draw)),
    }


def timed(call: Callable[[], Any]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def end_to_end(folder: str, quick: bool, precision: Precision) -> Callable[[], float]:
    """A training step of ours with all that comes before it: the loader's threads, multi-crop, the engine."""
    from dino_core.machine import be_a_good_neighbour

    be_a_good_neighbour()
    from benchmarks.ours import loading_steps

    _, steps = loading_steps(setting(quick).config(Machine(device="cpu", precision=precision)), folder)
    return lambda: float(next(steps).total)


def lightly_end_to_end(folder: str, quick: bool, precision: Precision) -> Callable[[], None]:
    """The same from lightly's parts: its transform in a DataLoader's processes, and the step of `benchmarks.rivals`."""
    import torch
    from torchvision.datasets import ImageFolder

    from benchmarks.pipelines import lightly_transform
    from benchmarks.rivals import Lightly

    s = setting(quick)
    rival, data = Lightly(s), ImageFolder(folder, lightly_transform(s.config().crops))
    loader = torch.utils.data.DataLoader(
        data, s.images, shuffle=True, drop_last=True, num_workers=threads(), persistent_workers=True
    )

    def batches() -> Any:
        while True:
            yield from loader

    source = batches()

    def once() -> None:
        views, _ = next(source)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            rival.step(torch.stack(views[:2]), torch.stack(views[2:]))

    return once


def measure(quick: bool) -> dict[str, Any]:
    count = 2 if quick else 20
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        write_images(Path(folder), 2 * BATCH if quick else 16 * BATCH)
        took = views(folder, quick, count)
        for precision in worth_measuring(quick):
            took[f"end to end, {precision}"] = together(folder, quick, count, precision)
    images = {part: BATCH if part in ("crops", "files") else setting(quick).images for part in took}
    return {
        "images": {"side": SIDE, "batch": BATCH},
        "images_per_second": {
            part: {name: images[part] / statistics.median(t) for name, t in found.items()}
            for part, found in took.items()
        },
        "times_as_long_as_ours": {
            part: {name: ratio(t, found["ours"]) for name, t in found.items()} for part, found in took.items()
        },
        "goals": [
            goal("torchvision on PIL takes as long as our crops ×", over(took["crops"], "torchvision PIL"), at_least=3),
            goal("albumentations takes as long as our crops ×", over(took["crops"], "albumentations"), at_least=1),
            goal(
                "torchvision on PIL, from files, takes as long as ours ×",
                over(took["files"], "torchvision PIL"),
                at_least=3,
            ),
            *(
                goal(f"lightly {part} takes as long as ours ×", over(found, "lightly"), at_least=1.5)
                for part, found in took.items()
                if part.startswith("end to end")
            ),
        ],
    }


def views(folder: str, quick: bool, count: int) -> dict[str, dict[str, list[float]]]:
    """Seconds of a batch in each round, of crops and from files, on one thread."""
    options = {"folder": folder, "quick": quick}
    with ExitStack() as stack:
        workers = {"ours": stack.enter_context(Worker("benchmarks.crops:ours", options, threads=1))}
        for name in PEERS:
            if find_spec(PEERS[name]) is not None:
                workers[name] = stack.enter_context(
                    Worker("benchmarks.crops:pipeline", {**options, "name": name}, threads=1)
                )
        turns = rounds(workers, count, 1)
    return {part: {name: [turn.said[part] for turn in t] for name, t in turns.items()} for part in ("crops", "files")}


def together(folder: str, quick: bool, count: int, precision: Precision) -> dict[str, list[float]]:
    """Seconds of a step with all that comes before it, in each round, with all threads."""
    targets = {"ours": "end_to_end", "lightly": "lightly_end_to_end"}
    if find_spec("lightly") is None:
        del targets["lightly"]
    with ExitStack() as stack:
        workers = {
            name: stack.enter_context(
                Worker(
                    f"benchmarks.crops:{target}",
                    {"folder": folder, "quick": quick, "precision": precision},
                    threads=threads(),
                )
            )
            for name, target in targets.items()
        }
        turns = rounds(
            workers, count, 1, warm_up=1 if quick else 16
        )  # an epoch, after which our loader has all in memory
    return {name: seconds(t) for name, t in turns.items()}


def over(took: dict[str, list[float]], name: str) -> float | None:
    return ratio(took[name], took["ours"]) if name in took else None


def rows(result: dict[str, Any]) -> list[list[str]]:
    speeds, times = result["images_per_second"], result["times_as_long_as_ours"]
    names = dict.fromkeys(name for part in speeds.values() for name in part)
    head = ["images/s (times as long as ours)", *speeds]
    return [head] + [
        [
            name,
            *(f"{speeds[part][name]:.0f} ({times[part][name]:.2f})" if name in speeds[part] else "" for part in speeds),
        ]
        for name in names
    ]
