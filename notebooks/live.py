"""A run that trains beside the notebook: a process of its own, which goes on while cells run."""

from __future__ import annotations

import atexit
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lab
from dino_core.errors import RunError
from dino_core.rundir import read
from dino_core.rundir.schema import RUN
from notebooks.guesses import home

QUICK_OPTIONS = {
    "batch_size": 8,
    "data.shapes.images": 64,
    "data.shapes.size": 32,
    "crops.global_size": 32,
    "crops.local_size": 16,
    "crops.local_crops": 2,
    "backbone.dim": 48,
    "backbone.depth": 2,
    "head.prototypes": 64,
    "head.hidden": 32,
    "head.bottleneck": 16,
    "evaluation.every": 10,
    "evaluation.train_images": 40,
    "evaluation.test_images": 20,
    "evaluation.size": 32,
    "output.log_every": 1,
    "output.heavy_every": 4,
    "output.probe_images": 4,
    "output.checkpoint_every": 10,
}
"""What makes a run of `tiny` one of seconds, for trying the notebooks out; everything else stays."""

_started: dict[Path, subprocess.Popen[bytes]] = {}


@dataclass(frozen=True)
class LiveRun:
    """A run and, while it trains, its process.  `live.run` is what the lab reads of it."""

    path: Path

    @property
    def run(self) -> lab.Run:
        return lab.Run(self.path)

    @property
    def step(self) -> int:
        """The last step that was logged; -1 before the first."""
        table = self.run.metrics() if (self.path / RUN).exists() else None
        return -1 if table is None or table.empty else int(table["step"].iloc[-1])

    @property
    def training(self) -> bool:
        process = _started.get(self.path)
        if process is not None and process.poll() is None:
            return True
        return (self.path / RUN).exists() and read.status(self.path) == "running"

    def wait(self, step: int | None = None, seconds: float = 600) -> lab.Run:
        """Until the run has logged a step (or all: its end).  `RunError` where it ends before that, or takes too long."""
        until = time.monotonic() + seconds
        while self.training and (step is None or self.step < step):
            if time.monotonic() > until:
                raise RunError(
                    f"{self.path.name} is at step {self.step} after {seconds:.0f} s; asked for {step}."
                )
            time.sleep(0.2)
        state = read.status(self.path) if (self.path / RUN).exists() else "failed"
        if state in ("failed", "died") or (
            state != "finished" and (step is None or self.step < step)
        ):
            raise RunError(
                f"{self.path.name} {state} at step {self.step}; live_run goes on with it.\n{self.said()}"
            )
        return self.run

    def said(self) -> str:
        """The last lines that the training printed."""
        try:
            return "\n".join(log_of(self.path).read_text(errors="replace").splitlines()[-8:])
        except OSError:
            return "(it printed nothing)"

    def __str__(self) -> str:
        state = (
            "training"
            if self.training
            else read.status(self.path)
            if (self.path / RUN).exists()
            else "starting"
        )
        return f"{self.path.name}: {state}, step {self.step}"

    __repr__ = __str__


def log_of(path: Path) -> Path:
    """What a run prints goes beside it, not into it: a run directory belongs to its trainer."""
    return path.with_name(f"{path.name}.log")


def live_run(
    recipe: str = "tiny", name: str = "live", seconds: float = 120, **changes: Any
) -> LiveRun:
    """A real run of a recipe, begun or gone on with, that trains on while you read.

    `changes` are options of `dino-lab train` with `_` for `-` and `__` for `.`: `steps=300`,
    `objective__centering="none"`.  A run of that `name` that was stopped goes on; one that trains or is finished is
    left alone.  Returns as soon as its first step is logged."""
    path = (home() / "runs" / name).resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    live = LiveRun(path)
    if live.training or ((path / RUN).exists() and read.status(path) == "finished"):
        return live
    if (path / RUN).exists():
        return _begin(path, ["resume", str(path)], seconds)
    return _begin(path, ["train", recipe, "--out", str(path), *options(changes)], seconds)


def fork(parent: lab.Run, at: int, name: str, seconds: float = 120, **changes: Any) -> LiveRun:
    """A run that starts from a checkpoint of another with something changed (`dino-lab fork`); begun once."""
    path = (home() / "runs" / name).resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    live = LiveRun(path)
    if live.training or (path / RUN).exists():
        return live
    arguments = [
        "fork",
        str(parent.path),
        "--at",
        str(at),
        "--out",
        str(path),
        *options(changes, quick=False),
    ]
    return _begin(path, arguments, seconds)


def options(changes: dict[str, Any], quick: bool | None = None) -> list[str]:
    """Words of the command line; where notebooks are only tried out, those that make it short come first."""
    quick = bool(os.environ.get("DINO_COURSE_QUICK")) if quick is None else quick
    named = {name.replace("__", "."): value for name, value in changes.items()}
    words: list[str] = []
    for name, value in {**(QUICK_OPTIONS if quick else {}), **named}.items():
        values = value if isinstance(value, tuple | list) else [value]
        words += [f"--{name.replace('_', '-')}", *map(str, values)]
    return words


def _begin(path: Path, arguments: list[str], seconds: float) -> LiveRun:
    with log_of(path).open("ab") as log:
        command = [sys.executable, "-m", "dino_core.cli", *arguments]
        _started[path] = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    live = LiveRun(path)
    until = time.monotonic() + seconds
    while live.step < 1 and live.training and time.monotonic() < until:
        time.sleep(0.2)
    if live.step < 1 and not live.training:
        raise RunError(f"{path} did not start:\n{live.said()}")
    return live


def stop(live: LiveRun | None = None, seconds: float = 60) -> None:
    """Stop a run that this notebook started, or all of them; each saves first, so that it can go on."""
    for path, process in list(_started.items()):
        if live is not None and path != live.path:
            continue
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(seconds)
            except subprocess.TimeoutExpired:
                process.kill()
        del _started[path]


atexit.register(stop)
