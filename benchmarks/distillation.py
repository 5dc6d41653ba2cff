"""Distillation: what a second student costs.  The teacher looks once a step, however many learn from it.

All contestants in one process, in turns, the fastest of each:
a student with its teacher, two students of one teacher, and two that each ask
a teacher of their own.  Crops are given, so that the arithmetic alone is timed."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from benchmarks.report import goal
from benchmarks.setting import Setting, crops

LARGE = Setting(
    16, 64, 32, local_crops=2, patch=8, dim=192, depth=12, heads=3, prototypes=512, hidden=256, bottleneck=64
)
SMALL = Setting(16, 64, 32, local_crops=2, patch=8, dim=96, depth=4, heads=3, prototypes=512, hidden=256, bottleneck=64)
QUICK = Setting(4, 16, 8, local_crops=2, patch=8, dim=32, depth=2, heads=2, prototypes=64, hidden=64, bottleneck=16)


def measure(quick: bool) -> dict[str, Any]:
    import torch

    from dino_core.data.views import Batch, Boxes
    from dino_core.distillation.teacher import Teacher
    from dino_core.machine import be_a_good_neighbour
    from dino_core.model import Head, Network, build_backbone
    from dino_core.schedules import Schedule
    from dino_core.stopwatch import Stopwatch
    from dino_core.train import build_engine

    be_a_good_neighbour()
    large, small = (QUICK, QUICK) if quick else (LARGE, SMALL)
    torch.manual_seed(0)
    config = large.config()
    backbone = build_backbone(config.backbone, config.image_size)
    teachers = [Teacher(Network(backbone, Head(backbone.dim, config.head)), {}, Path()) for _ in range(2)]
    students = [build_engine(small.config()) for _ in range(2)]
    big, little = crops(small)
    boxes = Boxes(torch.zeros(2, small.images, 4), torch.zeros(2, small.images, dtype=torch.bool))
    labels = torch.zeros(small.images, dtype=torch.int64)
    batch, clock = Batch(big, little, boxes, boxes, labels, labels), Stopwatch(torch.device("cpu"))
    now = Schedule(students[0].config).at(100)

    def learn(count: int, own_teachers: bool = False) -> None:
        for place in range(count):
            if place == 0 or own_teachers:
                teachers[place].look(batch.globals)
            students[place].train_step(batch, now, clock, asked=teachers[place if own_teachers else 0])

    contestants = {
        "the teacher alone": lambda: teachers[0].look(batch.globals),
        "one student": lambda: learn(1),
        "two students": lambda: learn(2),
        "two students, a pass for each": lambda: learn(2, own_teachers=True),
    }
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for each in range(2 if quick else 12):
        for name, run in contestants.items():
            before, began = teachers[0].passes + teachers[1].passes, time.perf_counter()
            run()
            if each:  # the first is for warming up
                times[name].append(time.perf_counter() - began)
            looked = teachers[0].passes + teachers[1].passes - before
            assert looked == (2 if name.endswith("for each") else 1)
    alone, one, two, apart = (min(took) for took in times.values())
    return {
        "contestants": {name: {"seconds": min(took), "rounds": took} for name, took in times.items()},
        "goals": [
            goal(
                "a second student, over the step of a student without its teacher ×",
                (two - one) / (one - alone),
                at_most=1.15,
            ),
            goal("a pass for each student takes as long as one for both ×", apart / two, at_least=1.1),
        ],
    }


def rows(result: dict[str, Any]) -> list[list[str]]:
    one = result["contestants"]["one student"]["seconds"]
    head = ["a step of", "s", "times one student"]
    return [head] + [
        [name, f"{found['seconds']:.3f}", f"{found['seconds'] / one:.2f}"]
        for name, found in result["contestants"].items()
    ]
