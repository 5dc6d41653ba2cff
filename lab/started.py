"""Trainings that the lab itself started: real processes, which it may stop and go on with, and which outlive it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dino_core.errors import RunError
from dino_core.rundir import read
from lab import cache

AT_ONCE = 2
"""Trainings started from here that may run together."""


@dataclass
class Training:
    out: Path
    process: subprocess.Popen[bytes]
    log: Path
    asked_to_stop: bool = False

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def said(self) -> str:
        """Its last words, where it ended badly."""
        code = self.process.poll()
        if code in (None, 0) or self.asked_to_stop:
            return ""
        try:
            lines = self.log.read_text("utf-8", "replace").strip().splitlines()
        except OSError:
            lines = []
        return (lines[-1] if lines else f"it ended with code {code} and said nothing.")[:400]


@dataclass
class Trainings:
    """Those of one lab."""

    by_place: dict[Path, Training] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self, arguments: Sequence[str], out: Path) -> Training:
        """`dino-lab` with these arguments, for the run in `out`; RunError where enough are running."""
        with self.lock:
            running = [one.out.name for one in self.by_place.values() if one.alive]
            if len(running) >= AT_ONCE:
                raise RunError(
                    f"{' and '.join(running)} train already; stop one first, or paste the command elsewhere."
                )
            log = cache.folder() / "started" / f"{out.name}.log"
            log.parent.mkdir(parents=True, exist_ok=True)
            with open(log, "wb") as stream:
                process = subprocess.Popen(
                    [sys.executable, "-m", "dino_core.cli", *arguments],
                    stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True,
                    env={**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"},
                )  # fmt: skip
            self.by_place[out.resolve()] = Training(out.resolve(), process, log)
            return self.by_place[out.resolve()]

    def stop(self, out: Path) -> None:
        """Ask it to end after the step in hand, with a checkpoint."""
        training = self._of(out)
        if training.alive:
            training.asked_to_stop = True
            training.process.send_signal(signal.SIGTERM)

    def resume(self, out: Path) -> None:
        training = self._of(out)
        if training.alive:
            raise RunError(f"{out.name} trains already.")
        if read.status(out) == "finished":
            raise RunError(f"{out.name} has run to its end; fork it to train on.")
        self.start(["resume", str(out)], out)

    def listing(self) -> list[dict[str, Any]]:
        """Newest first."""
        return [
            {"name": one.out.name, "place": one.out, "alive": one.alive, "said": one.said(),
             "status": read.status(one.out) if (one.out / "run.json").exists() else ("starting" if one.alive else "failed")}
            for one in reversed(list(self.by_place.values()))
        ]  # fmt: skip

    def _of(self, out: Path) -> Training:
        training = self.by_place.get(out.resolve())
        if training is None:
            raise RunError("this lab did not start that run, so it neither stops it nor goes on with it.")
        return training
