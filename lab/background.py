"""Long questions to the worker, asked in the background: who asks gets the result, or hears how far it is, at once.

What is asked for last is done first, and what nobody asks after any more is dropped before it begins, or between two slices of
time where the worker answers that there is more to do.  Results are entries of the cache, so that a page that comes back finds
them."""

from __future__ import annotations

import json
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np

from dino_core.errors import DinoError, RunError
from lab import cache
from lab.answers import House
from lab.worker import Worker

FORGET = 12.0
"""Seconds after which a question that nobody repeats is dropped."""
LONGEST = 1800.0
"""Seconds one answer may take."""


@dataclass(frozen=True)
class Waiting:
    """A result that is not there yet."""

    share: float
    """Of what is done, from 0 to 1."""
    doing: str
    """In words."""

    def said(self) -> dict[str, Any]:
        return {"waiting": self.doing, "share": round(self.share, 3)}


@dataclass
class _Job:
    question: dict[str, Any]
    asked: float = field(default_factory=time.monotonic)
    begun: bool = False
    error: str | None = None


class Background:
    """One worker of its own, so that quick questions never queue behind long ones."""

    def __init__(self) -> None:
        self.worker = Worker(patience=LONGEST)
        self._jobs: dict[Path, _Job] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def get(self, entry: Path, question: dict[str, Any]) -> dict[str, np.ndarray] | Waiting:
        """An entry's arrays, or how far it is; `RunError` with the worker's sentence where it failed (asking again tries again)."""
        if (known := cache.load(entry)) is not None:
            return known
        with self._lock:
            job = self._jobs.setdefault(entry, _Job({**question, "entry": str(entry)}))
            job.asked = time.monotonic()
            if job.error is not None:
                del self._jobs[entry]
                raise RunError(job.error)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="background", daemon=True)
                self._thread.start()
        return progress(entry) if job.begun else Waiting(0.0, "waiting for its turn")

    def close(self) -> None:
        self.worker.close()

    def _next(self) -> tuple[Path, _Job] | None:
        """The job asked for last; None ends the thread."""
        with self._lock:
            now = time.monotonic()
            self._jobs = {entry: job for entry, job in self._jobs.items() if now - job.asked < FORGET}
            waiting = [(job.asked, entry) for entry, job in self._jobs.items() if job.error is None]
            if not waiting:
                self._thread = None
                return None
            entry = max(waiting)[1]
            self._jobs[entry].begun = True
            return entry, self._jobs[entry]

    def _work(self) -> None:
        while (found := self._next()) is not None:
            entry, job = found
            try:
                if self.worker.ask(job.question).get("more"):
                    continue  # whoever asked for something else since comes first; what nobody asks for any more ends here
                if not entry.is_file():
                    raise RunError(f"the result was computed, but {entry.parent} could not keep it: is the disk full?")
                with self._lock:
                    self._jobs.pop(entry, None)
            except (DinoError, OSError, AssertionError) as error:
                job.error, job.asked = str(error), time.monotonic()
            with suppress(OSError):
                _note(entry).unlink()


def background(house: House) -> Background:
    """The one of this house."""
    return cast(Background, house.more.setdefault("background", Background()))


def tell(entry: Path, share: float, doing: str) -> None:
    """Called by the worker: how far the result is that will be this entry."""
    with suppress(OSError):
        entry.parent.mkdir(parents=True, exist_ok=True)
        draft = entry.with_suffix(".draft")
        draft.write_text(json.dumps([share, doing]), "utf-8")
        draft.replace(_note(entry))


def progress(entry: Path) -> Waiting:
    try:
        share, doing = json.loads(_note(entry).read_text("utf-8"))
        return Waiting(float(share), str(doing))
    except (OSError, ValueError):
        return Waiting(0.0, "a worker starts")


def _note(entry: Path) -> Path:
    return entry.with_suffix(".progress")
