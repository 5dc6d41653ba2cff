"""Contestants in processes of their own, so that each has its own memory, threads and settings, and takes its turn.

    python -m benchmarks.worker MODULE:FUNCTION '{"option": 1}'

calls the function with the options, once; what it returns is then called, and timed, as often as each line of the standard
input says.  While others run, a contestant sleeps on its standard input."""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Turn:
    """What a contestant's turn took."""

    wall: list[float]
    """Seconds of each call."""
    cpu: list[float]
    """CPU seconds of each call, of all threads."""
    peak_mib: float
    """Largest resident memory of the process so far."""
    said: Any
    """What the last call returned."""

    @property
    def seconds(self) -> float:
        return statistics.median(self.wall)

    @property
    def cpu_seconds(self) -> float:
        return statistics.median(self.cpu)


class Worker:
    """One contestant; `turn(n)` calls it n times."""

    def __init__(
        self,
        target: str,
        options: dict[str, Any] | None = None,
        *,
        threads: int,
        environment: dict[str, str | None] | None = None,
    ) -> None:
        """`environment` comes on top of this process's own; None takes a variable away."""
        self.target = target
        wanted = {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads), **(environment or {})}
        kept = {name: value for name, value in os.environ.items() if name not in wanted}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", target, json.dumps(options or {})],
            cwd=ROOT,
            env=kept | {name: value for name, value in wanted.items() if value is not None},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def turn(self, calls: int = 1) -> Turn:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(f"{calls}\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise RuntimeError(f"{self.target} ended with status {self.process.wait()}; its error is above.")
        return Turn(**json.loads(line))

    def close(self) -> None:
        self.process.communicate()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.close()


def rounds(workers: dict[str, Worker], count: int, calls: int, *, warm_up: int = 1) -> dict[str, list[Turn]]:
    """A B C, B C A, ...: every contestant has `count` turns of `calls` calls, after a warm-up that is thrown away."""
    names = list(workers)
    for worker in workers.values():
        worker.turn(warm_up)
    turns: dict[str, list[Turn]] = {name: [] for name in names}
    for i in range(count):
        for name in names[i % len(names) :] + names[: i % len(names)]:
            turns[name].append(workers[name].turn(calls))
    return turns


def seconds(turns: Sequence[Turn]) -> list[float]:
    """Of each turn, the median of its calls."""
    return [turn.seconds for turn in turns]


def ratio(of: Sequence[float], to: Sequence[float]) -> float:
    """How many times as long as `to` `of` took: the median over the rounds of the ratio in the same round."""
    return statistics.median(a / b for a, b in zip(of, to, strict=True))


def peak_mib() -> float:
    """Largest resident memory of this process."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints is no answer
    module, function = sys.argv[1].split(":")
    contestant = getattr(import_module(module), function)(**json.loads(sys.argv[2]))
    for line in sys.stdin:
        wall, cpu, said = [], [], None
        for _ in range(int(line)):
            began, worked = time.perf_counter(), time.process_time()
            said = contestant()
            wall.append(time.perf_counter() - began)
            cpu.append(time.process_time() - worked)
        answers.write(json.dumps({"wall": wall, "cpu": cpu, "peak_mib": peak_mib(), "said": said}) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
