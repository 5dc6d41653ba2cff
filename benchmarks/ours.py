"""Our own step, as the trainer runs it."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch

from benchmarks.setting import Setting, crops
from dino_core.data.views import Batch, Boxes
from dino_core.schedules import Schedule
from dino_core.stopwatch import Stopwatch
from dino_core.train import build_engine


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
