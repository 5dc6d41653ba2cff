"""Our own step, as the trainer runs it."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.setting import Setting
from dino_core.data.views import Batch, Boxes
from dino_core.schedules import Schedule
from dino_core.stopwatch import Stopwatch
from dino_core.train import build_engine


def crops(s: Setting) -> tuple[Tensor, Tensor]:
    """The same crops for all contestants: (2 B 3 h w) and (L B 3 h w), normal noise."""
    draw = torch.Generator().manual_seed(0)
    large = torch.randn(2, s.images, 3, s.global_size, s.global_size, generator=draw)
    return large, torch.randn(s.local_crops, s.images, 3, s.local_size, s.local_size, generator=draw)


def batch_of(s: Setting) -> Batch:
    large, small = crops(s)
    boxes = [Boxes(torch.zeros(n, s.images, 4), torch.zeros(n, s.images, dtype=torch.bool)) for n in (2, s.local_crops)]
    return Batch(large, small, *boxes, torch.zeros(s.images, dtype=torch.long), torch.arange(s.images))


def training_step(s: Setting) -> Callable[[], float]:
    """`Engine.train_step` on the same batch again and again, without telemetry."""
    config = s.config()
    engine, schedule = build_engine(config), Schedule(config)
    batch, clock, steps = batch_of(s), Stopwatch(engine.device), itertools.count(200)
    return lambda: float(engine.train_step(batch, schedule.at(next(steps)), clock).losses.total)
