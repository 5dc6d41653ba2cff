"""Our step alone and beside one busy process, by how OpenMP's threads wait for each other.

`dino_core.machine.be_a_good_neighbour` chooses from this."""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.report import goal, threads
from benchmarks.setting import setting
from benchmarks.worker import Worker, seconds

UNSET: dict[str, str | None] = {"OMP_WAIT_POLICY": None, "GOMP_SPINCOUNT": None, "KMP_BLOCKTIME": None}
SETTINGS: dict[str, tuple[dict[str, str | None], int | None]] = {
    "default": ({}, None),
    "passive": ({"OMP_WAIT_POLICY": "PASSIVE"}, None),
    "spins 10 000 times": ({"GOMP_SPINCOUNT": "10000"}, None),
    "spins 30 000 times": ({"GOMP_SPINCOUNT": "30000"}, None),
    "spins 100 000 times": ({"GOMP_SPINCOUNT": "100000"}, None),
    "one thread": ({"OMP_WAIT_POLICY": "PASSIVE"}, 1),
    "as trained": ({}, None),
}
"""Environment, and number of threads (None: as many as cores)."""


def step(quick: bool) -> Callable[[], float]:
    import torch  # its OpenMP reads the environment now, before the trainer changes it

    from benchmarks.ours import training_step

    assert torch.get_num_threads() > 0
    return training_step(setting(quick))


@contextmanager
def busy() -> Iterator[None]:
    """One process that keeps one core busy."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def measure(quick: bool) -> dict[str, Any]:
    count = 1 if quick else 5
    found: dict[str, dict[str, float]] = {}
    for name, (environment, wanted) in list(SETTINGS.items())[-2 if quick else 0 :]:
        target = "benchmarks.step:ours" if name == "as trained" else "benchmarks.neighbour:step"
        alone, beside = [], []
        with Worker(target, {"quick": quick}, threads=wanted or threads(), environment=UNSET | environment) as worker:
            worker.turn(2)
            for _ in range(count):
                alone.append(worker.turn())
                with busy():
                    beside.append(worker.turn())
        found[name] = {"alone": statistics.median(seconds(alone)), "beside": statistics.median(seconds(beside))}
    best = {where: min(s[where] for s in found.values()) for where in ("alone", "beside")}
    ours = {where: found["as trained"][where] / best[where] for where in best}
    return {
        "seconds_per_step": found,
        "goals": [
            goal("as trained, alone, over the fastest", ours["alone"], at_most=1.15),
            goal("as trained, beside one busy process, over the fastest", ours["beside"], at_most=1.15),
        ],
    }


def rows(result: dict[str, Any]) -> list[list[str]]:
    head = ["waiting threads", "alone, s/step", "beside one busy process", "times as long"]
    return [head] + [
        [name, f"{s['alone']:.3f}", f"{s['beside']:.3f}", f"{s['beside'] / s['alone']:.2f}"]
        for name, s in result["seconds_per_step"].items()
    ]
