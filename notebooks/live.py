"""A run that trains beside the notebook: a process of its own, which goes on while cells run."""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
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

QUICK_STUDENTS = {
    name: value
    for name, value in QUICK_OPTIONS.items()
    if name.split(".")[0] in ("evaluation", "output") and name != "evaluation.size"
} | {"batch_size": 4, "data.shapes.images": 64}
"""The same for students, whose crops and sizes have to stay those of their teacher and family."""

DISTILLATION = "distillation.json"
"""What tells a folder of students from any other (`dino_core.distillation.students`, which would import torch)."""

_started: dict[Path, subprocess.Popen[bytes]] = {}


@dataclass(frozen=True)
class LiveRun:
    """A run and, while it trains, its process.  `live.run` is what the lab reads of it."""

    path: Path
    log: Path | None = None
    """What its process prints; by default beside the run, for a run directory belongs to its trainer."""

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
            log = self.log or log_of(self.path)
            return "\n".join(log.read_text(errors="replace").splitlines()[-8:])
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


def training(otherwise: lab.Run) -> lab.Run:
    """The run that trains beside the notebooks (the last one begun, if several do), so that a widget follows it.

    `otherwise` where none does; and on a page, where nothing follows."""
    if os.environ.get("DINO_COURSE_STATIC"):
        return otherwise
    begun = [path.parent for path in (home() / "runs").glob(f"*/{RUN}")]
    now = [path for path in begun if LiveRun(path).training]
    return lab.Run(max(now, key=lambda path: (path / RUN).stat().st_mtime)) if now else otherwise


def log_of(path: Path) -> Path:
    """Beside a run, not in it."""
    return path.with_name(f"{path.name}.log")


def _asked(path: Path) -> Path:
    """Which options a run was begun with, beside the run."""
    return path.with_name(f"{path.name}.asked.json")


def _remind(path: Path, given: list[str] | None) -> None:
    """Say so where a run is there already that was begun with other options: they are not in it."""
    if given is None or not _asked(path).exists():
        return
    if json.loads(_asked(path).read_text()) != given:
        print(f"{path.name} is there already, begun with other options; another name begins anew.")


def live_run(
    recipe: str = "tiny", name: str = "live", seconds: float = 120, **changes: Any
) -> LiveRun:
    """A real run of a recipe, begun or gone on with, that trains on while you read.

    `changes` are options of `dino-lab train` with `_` for `-` and `__` for `.`: `steps=300`,
    `objective__centering="none"`.  A run of that `name` that was stopped goes on; one that trains or is finished is
    left alone.  Returns as soon as its first step is logged."""
    path = (home() / "runs" / name).resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    live, given = LiveRun(path), options(changes)
    if live.training or (path / RUN).exists():
        _remind(path, given if changes else None)
    if live.training or ((path / RUN).exists() and read.status(path) == "finished"):
        return live
    if (path / RUN).exists():
        return _begin(path, ["resume", str(path)], seconds)
    _asked(path).write_text(json.dumps(given))
    return _begin(path, ["train", recipe, "--out", str(path), *given], seconds)


def fork(parent: lab.Run, at: int, name: str, seconds: float = 120, **changes: Any) -> LiveRun:
    """A run that starts from a checkpoint of another with something changed (`dino-lab fork`); begun once."""
    path = (home() / "runs" / name).resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    live = LiveRun(path)
    given = options(changes, shorter={"steps": at + 400})  # goes on until it is stopped
    if live.training or (path / RUN).exists():
        _remind(path, given if changes else None)
        return live
    _asked(path).write_text(json.dumps(given))
    arguments = ["fork", str(parent.path), "--at", str(at), "--out", str(path), *given]
    return _begin(path, arguments, seconds)


def distil(
    teacher: lab.Run,
    students: Sequence[str],
    name: str = "students",
    seconds: float = 180,
    **changes: Any,
) -> dict[str, LiveRun]:
    """Students of a frozen teacher, in one process that trains on while you read (`dino-lab distill`).

    `students` are recipes; each student's run is `runs/NAME/RECIPE`.  Begun once, gone on with if it was stopped."""
    folder = (home() / "runs" / name).resolve()
    folder.parent.mkdir(parents=True, exist_ok=True)
    lives = {student: LiveRun(folder / student, log_of(folder)) for student in students}
    first = lives[students[0]]
    ended = [
        (live.path / RUN).exists() and read.status(live.path) == "finished"
        for live in lives.values()
    ]
    if first.training or all(ended):
        return lives
    arguments = ["resume", str(folder)]
    if not (folder / DISTILLATION).exists():
        given = options(changes, shorter=QUICK_STUDENTS)
        arguments = ["distill", "--teacher", str(teacher.path), "--students", *students]
        arguments += ["--out", str(folder), *given]
    _begin(folder, arguments, seconds, list(lives.values()))
    return lives


def options(
    changes: dict[str, Any],
    quick: bool | None = None,
    shorter: dict[str, Any] = QUICK_OPTIONS,
) -> list[str]:
    """Words of the command line; where notebooks are only tried out, those that make it short come first."""
    quick = bool(os.environ.get("DINO_COURSE_QUICK")) if quick is None else quick
    named = {name.replace("__", "."): value for name, value in changes.items()}
    words: list[str] = []
    for name, value in {**(shorter if quick else {}), **named}.items():
        values = value if isinstance(value, tuple | list) else [value]
        words += [f"--{name.replace('_', '-')}", *map(str, values)]
    return words


def _begin(
    path: Path, arguments: list[str], seconds: float, lives: Sequence[LiveRun] = ()
) -> LiveRun:
    """Start a process that writes a run, or several `lives`, and wait for the first step of the last of them."""
    with log_of(path).open("ab") as log:
        command = [sys.executable, "-m", "dino_core.cli", *arguments]
        process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    lives = lives or [LiveRun(path)]
    _started.update({live.path: process for live in lives})
    live = lives[-1]
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
