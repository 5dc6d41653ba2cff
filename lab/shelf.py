"""The runs below some folders, by opaque names: whoever asks for a run can name no path."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dino_core.errors import DinoError, RunError
from dino_core.rundir import read
from lab.follow import glance
from lab.run import Run

LOOK_AGAIN = 2.0
"""Seconds between searches for new runs."""
OPEN_RUNS = 24
"""How many runs' histories are held in memory, some 10 MiB each at most (`lab.history`): those of a class that looks around."""


class Shelf:
    """The runs below some folders, and single runs."""

    def __init__(self, folders: Iterable[Path]) -> None:
        self.folders = [Path(folder) for folder in folders]
        self._lock = threading.Lock()
        self._paths: dict[str, Path] = {}
        self._open: dict[str, Run] = {}
        self._looked = -1e9

    def add(self, folder: Path) -> None:
        """One more folder, or single run; what is below it is known at once."""
        with self._lock:
            if folder not in self.folders:
                self.folders.append(folder)
                self._looked = -1e9

    def listing(self) -> list[dict[str, Any]]:
        """All runs, newest first, recorded (gallery) ones last."""
        rows = []
        for name, path in self._found().items():
            try:
                rows.append({"id": name, **glance(path)})
            except (DinoError, OSError, ValueError, TypeError, AttributeError, RecursionError):
                continue  # a broken run takes nothing away from the others
        return sorted(rows, key=lambda row: row["gallery"])

    def run(self, name: str) -> Run:
        """A run by its name; RunError for any other text."""
        path = self._found().get(name) or self._found(again=True).get(name)
        if path is None:
            raise RunError("there is no such run below the folders this lab was given.")
        with self._lock:
            run = self._open.pop(name, None) or Run(path)
            self._open[name] = run
            while len(self._open) > OPEN_RUNS:
                del self._open[next(iter(self._open))]
        return run

    def name_of(self, path: Path) -> str:
        """The name under which this shelf knows a run."""
        return _opaque(Path(path).resolve())

    def _found(self, again: bool = False) -> dict[str, Path]:
        with self._lock:
            if again or time.monotonic() - self._looked > LOOK_AGAIN:
                found = [path.resolve() for folder in self.folders for path in read.find_runs(folder)]
                self._paths = {_opaque(path): path for path in found}
                self._looked = time.monotonic()
            return self._paths


def _opaque(path: Path) -> str:
    return hashlib.sha256(str(path).encode()).hexdigest()[:12]
