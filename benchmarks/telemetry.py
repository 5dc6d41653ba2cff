"""What telemetry costs: the loop's step with a line of metrics every 10 and the heavy monitors every 50 steps, and without.

A plain step, one that writes a line and one that also runs the heavy monitors take turns, each just after a plain step, in one
process."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.report import goal, threads
from benchmarks.setting import setting
from benchmarks.worker import Worker

LOG_EVERY, HEAVY_EVERY = 10, 50
KINDS = {"plain": 1, "line": LOG_EVERY, "heavy": HEAVY_EVERY}
"""The kinds of step, and what the number of one is a multiple of (and of nothing after it)."""


def turns(quick: bool, tiny: bool) -> Callable[[], dict[str, list[float]]]:
    """Seconds of the steps of each kind, those of the plain step just before included, as pairs."""
    from dino_core.machine import be_a_good_neighbour

    be_a_good_neighbour()
    from benchmarks.ours import StepByStep
    from dino_core.recipes import recipe

    config = recipe("tiny") if tiny else setting(quick).config()
    config = replace(config, output=replace(config.output, log_every=LOG_EVERY, heavy_every=HEAVY_EVERY))
    if quick:
        config = replace(config, batch_size=4)
    loop = StepByStep(config, Path(tempfile.mkdtemp(prefix="benchmark-")) / "run")

    def once() -> dict[str, list[float]]:
        found: dict[str, list[float]] = {}
        for kind in ("plain", "line", "heavy"):
            before = loop.timed(KINDS["plain"])
            found[kind] = [before, loop.timed(KINDS[kind])]
        return found

    return once


def measure(quick: bool) -> dict[str, Any]:
    found = {}
    for name, tiny in {"the measured step": False, "the recipe tiny": True}.items():
        count = 1 if quick else (25 if tiny else 5)
        with Worker("benchmarks.telemetry:turns", {"quick": quick, "tiny": tiny}, threads=threads()) as worker:
            worker.turn()
            pairs = [worker.turn().said for _ in range(count)]
        found[name] = shares(pairs)
    return {
        "every": {"line": LOG_EVERY, "heavy": HEAVY_EVERY},
        "cost": found,
        "goals": [goal(f"telemetry's share of {name}, %", 100 * c["share"], at_most=2) for name, c in found.items()],
    }


def shares(pairs: list[dict[str, list[float]]]) -> dict[str, float]:
    """Extra seconds of a line and of the heavy monitors, and their share of training."""
    plain = statistics.median(before for turn in pairs for before, _ in turn.values())
    extra = {
        kind: statistics.median(after - before for before, after in (turn[kind] for turn in pairs)) for kind in KINDS
    }
    lines = HEAVY_EVERY // LOG_EVERY - 1
    share = (lines * extra["line"] + extra["heavy"]) / (HEAVY_EVERY * plain)
    return {
        "plain_step": plain,
        "line": extra["line"],
        "heavy": extra["heavy"],
        "noise": extra["plain"],
        "share": share,
    }


def rows(result: dict[str, Any]) -> list[list[str]]:
    head = [
        "telemetry",
        "plain step, ms",
        "a line more, ms",
        "heavy monitors more, ms",
        "noise, ms",
        "share of training",
    ]
    cells = [[1000 * c[key] for key in ("plain_step", "line", "heavy", "noise")] for c in result["cost"].values()]
    return [head] + [
        [name, *(f"{cell:.1f}" for cell in row), f"{100 * cost['share']:.2f} %"]
        for (name, cost), row in zip(result["cost"].items(), cells, strict=True)
    ]
