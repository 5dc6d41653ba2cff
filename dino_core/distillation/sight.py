"""What each network sees of a batch: the same boxes and distortions, at a resolution at which the grids of patches match.

A crop is cut out for each resolution anew from the decoded image, rather than resized from another's, so that what a
network sees does not depend on who looks beside it."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from dino_core import parallel
from dino_core.config import Crops, Data, TrainConfig
from dino_core.data.loader import Loader
from dino_core.data.multicrop import MultiCrop
from dino_core.data.sources import Source
from dino_core.data.views import Batch, Decoded
from dino_core.errors import ConfigError
from dino_core.loop import Loop
from dino_core.seeds import generator


@dataclass(frozen=True)
class Sight:
    """The teacher's view of the data: equal for all students that learn from one pass."""

    data: Data
    crops: Crops
    batch_size: int
    seed: int


def teachers_sight(config: TrainConfig, student_patch: int, teacher_patch: int) -> Sight:
    """What the teacher sees while a student sees the crops of its config: as many patches, each of its own size.

    A student whose patches are twice as wide sees crops twice as large (DINOv3's ConvNeXt: 512 px at a stride of 32,
    where the ViT sees 256 px in patches of 16)."""
    crops, data = config.crops, config.data
    if crops.global_size % student_patch:
        raise ConfigError(
            f"global crops of {crops.global_size} px are no whole number of the student's patches of {student_patch} px; "
            f"ask for a crops.global_size that is a multiple of {student_patch}."
        )
    scale = teacher_patch / student_patch
    size = crops.global_size // student_patch * teacher_patch
    few = crops.global_crops < 2  # then a config needs local crops
    seen = replace(
        crops,
        global_size=size,
        local_crops=crops.local_crops if few else 0,
        local_size=min(crops.local_size, size) if few else size,
        local_scale=crops.local_scale if few else crops.global_scale,
        local_within_global=crops.local_within_global and few,
        local_blur=crops.local_blur if few else 0.0,
        blur_sigma=(crops.blur_sigma[0] * scale, crops.blur_sigma[1] * scale),
    )
    decode = round((data.decode_size or 2 * crops.global_size) * scale)
    return Sight(replace(data, decode_size=decode), seen, config.batch_size, config.seed)


def agreed_sight(sights: dict[str, Sight]) -> Sight:
    """The one sight of all students; refuses students for which the teacher would have to look twice."""
    (first, sight), *others = sights.items()
    for name, other in others:
        for where, a, b in (
            ("", sight, other),
            ("data.", sight.data, other.data),
            ("crops.", sight.crops, other.crops),
        ):
            odd = [key for key in vars(a) if key not in ("data", "crops") and vars(a)[key] != vars(b)[key]]
            if odd:
                raise ConfigError(
                    f"{first} and {name} would make the teacher look twice: {where}{odd[0]} is {vars(a)[odd[0]]} for the one "
                    f"and {vars(b)[odd[0]]} for the other, in the teacher's pixels. Give both the same, or distil them apart."
                )
    return sight


class Stream:
    """Decoded batches of consecutive steps, each decoded once."""

    def __init__(self, loader: Loader, start: int, stop: int) -> None:
        self.batches: Generator[Decoded, None, None] = loader.prefetch(start, stop)
        self.next = start
        self.decoded: Decoded | None = None

    def at(self, step: int) -> Decoded:
        """The batch of a step not before the one asked for last."""
        while self.next <= step or self.decoded is None:
            self.decoded = next(self.batches)
            self.next += 1
        return self.decoded


class Eyes:
    """What students and teacher see, step by step; students of the same data have it decoded once."""

    def __init__(self, sight: Sight, source: Source, device: torch.device, stop: int) -> None:
        self.sight, self.source, self.device, self.stop = sight, source, device, stop
        with parallel.everyone():
            self.rank, self.ranks = parallel.rank(), parallel.world_size()
        self.multicrop = MultiCrop(sight.crops, self.rank, self.ranks)
        self.streams: dict[Data | str, Stream] = {}

    def batch(self, loop: Loop) -> Batch:
        """What a student sees at its step."""
        with loop.clock("data"):
            decoded = self._stream(loop.config.data, loop.step, lambda: loop.load(loop.config)).at(loop.step)
        return loop.crops(decoded, loop.step)

    def teachers(self, step: int, seen: list[tuple[Loop, Batch]]) -> Float[Tensor, "T B 3 h w"]:
        """The global views of this rank's share of the teacher's work; `seen` is what students see."""
        for loop, batch in seen:
            if self._same(loop.config):
                return batch.globals
        decoded = self._stream("teacher", step, self._loader).at(step)
        draw = generator(self.sight.seed, "crops", step)
        return self.multicrop(decoded.to(self.device), draw).globals

    def close(self) -> None:
        for stream in self.streams.values():
            stream.batches.close()

    def _same(self, config: TrainConfig) -> bool:
        """Whether a student's global crops are the teacher's, so that they need not be cut out again."""
        locally = ("local_crops", "local_size", "local_scale", "local_within_global", "local_blur")
        ours, theirs = (
            {k: v for k, v in vars(crops).items() if k not in locally} for crops in (config.crops, self.sight.crops)
        )
        return parallel.world_size() == self.ranks and ours == theirs and config.data == self.sight.data

    def _stream(self, key: Data | str, step: int, loader: Callable[[], Loader]) -> Stream:
        if key not in self.streams:
            self.streams[key] = Stream(loader(), step, self.stop)
        return self.streams[key]

    def _loader(self) -> Loader:
        """The students' own loaders tell of broken images."""
        data = self.sight.data
        return Loader(
            self.source,
            batch_size=self.sight.batch_size // self.ranks,
            seed=self.sight.seed,
            rank=self.rank,
            world_size=self.ranks,
            decode_size=data.decode_size or 2 * self.sight.crops.global_size,
            cache_mib=data.cache,
            workers=data.workers,
            on_skip=lambda name, reason: None,
        )
