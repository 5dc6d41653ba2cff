"""Trainings that a lab started: real processes, which it may stop and go on with, and which outlive it.

Beside each log in the cache folder stands which run and which process it is of, so that the next lab knows them too.  A training
holds a lock on its log, which the system takes back however the process ends: a number that now belongs to another is never taken
for it."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dino_core.errors import RunError
from dino_core.rundir import read
from lab import cache

try:
    import fcntl
except ImportError:  # Windows: a lab only knows the trainings that it started itself
    fcntl = None  # type: ignore[assignment]

AT_ONCE = 2
"""Trainings started from here that may run together."""


@dataclass
class Training:
    out: Path
    log: Path
    pid: int
    process: subprocess.Popen[bytes] | None = None
    """None where another lab started it, which is gone."""
    asked_to_stop: bool = False

    @property
    def alive(self) -> bool:
        """Whether this process trains, or one with which another lab went on."""
        return (self.process is not None and self.process.poll() is None) or _locked(self.log)

    @property
    def status(self) -> str:
        if (self.out / "run.json").exists():
            return read.status(self.out)
        return "starting" if self.alive else "failed"

    def said(self) -> str:
        """Its last words, where it ended badly."""
        code = None if self.process is None else self.process.poll()
        badly = self.status == "failed" if self.process is None else code not in (None, 0)
        if not badly or self.asked_to_stop:
            return ""
        try:
            lines = self.log.read_text("utf-8", "replace").strip().splitlines()
        except OSError:
            lines = []
        return (lines[-1] if lines else "it ended and said nothing.")[:400]

    def stop(self) -> None:
        """Ask it to end after the step in hand, with a checkpoint."""
        if self.alive:
            self.asked_to_stop = True
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGTERM)


@dataclass
class Trainings:
    """Those of one lab, and of the labs before it on this machine."""

    by_place: dict[Path, Training] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self, arguments: Sequence[str], out: Path) -> Training:
        """`dino-lab` with these arguments, for the run in `out`; RunError where enough are running."""
        out = out.resolve()
        with self.lock:
            running = [one.out.name for one in self._known(out.parent) if one.alive]
            if len(running) >= AT_ONCE:
                raise RunError(
                    f"{' and '.join(running)} train already; stop one first, or paste the command elsewhere."
                )
            log = _log_of(out)
            log.parent.mkdir(parents=True, exist_ok=True)
            with open(log, "wb") as stream:
                if fcntl is not None:
                    fcntl.flock(stream, fcntl.LOCK_EX)  # the process inherits it, and holds it to its end
                process = subprocess.Popen(
                    [sys.executable, "-m", "dino_core.cli", *arguments],
                    stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True,
                    env={**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"},
                )  # fmt: skip
            log.with_suffix(".json").write_text(json.dumps({"out": str(out), "pid": process.pid}), "utf-8")
            self.by_place[out] = Training(out, log, process.pid, process)
            return self.by_place[out]

    def stop(self, out: Path) -> None:
        self._of(out).stop()

    def resume(self, out: Path) -> None:
        if self._of(out).alive:
            raise RunError(f"{out.name} trains already.")
        if read.status(out) == "finished":
            raise RunError(f"{out.name} has run to its end; fork it to train on.")
        self.start(["resume", str(out)], out)

    def listing(self, folder: Path) -> list[dict[str, Any]]:
        """Those of this lab, and of runs in `folder` what an earlier one started and can still be stopped or resumed."""
        every = {one.out: one for one in self._known(folder.resolve())}
        rows = [
            {"name": one.out.name, "place": one.out, "alive": one.alive, "said": one.said(), "status": one.status}
            for one in every.values()
            if one.process is not None or (one.status not in ("finished", "starting") and one.out.is_dir()) or one.alive
        ]
        return rows[::-1]

    def _known(self, folder: Path) -> Iterator[Training]:
        """Oldest first."""
        for record in sorted(_records().glob("*.json"), key=lambda file: file.stat().st_mtime):
            kept = _kept(record)
            if kept is not None and kept.out.parent == folder and kept.out not in self.by_place:
                yield kept
        yield from list(self.by_place.values())

    def _of(self, out: Path) -> Training:
        out = out.resolve()
        ours, kept = self.by_place.get(out), _kept(_log_of(out).with_suffix(".json"))
        if ours is not None and (kept is None or kept.pid == ours.pid):
            return ours
        if kept is None or kept.out != out:
            raise RunError("no lab started that run from here, so this one neither stops it nor goes on with it.")
        self.by_place[out] = kept
        return kept


def _records() -> Path:
    return cache.folder() / "started"


def _log_of(out: Path) -> Path:
    return _records() / f"{out.name}-{hashlib.sha256(str(out).encode()).hexdigest()[:8]}.log"


def _kept(record: Path) -> Training | None:
    """What an earlier lab wrote down; None for what can't be read."""
    try:
        said = json.loads(record.read_text("utf-8"))
        return Training(Path(said["out"]), record.with_suffix(".log"), int(said["pid"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _locked(log: Path) -> bool:
    """Whether the process that writes there lives."""
    if fcntl is None:
        return False
    try:
        with open(log, "rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
