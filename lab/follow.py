"""Follow a run that grows, and hand out what is new: the other half of the live page.

A `Follower` remembers what it has read.  A cursor says how far a reader is; it holds for any follower of the same files, so a
page survives a restart of the server."""

from __future__ import annotations

import hashlib
import json
import math
import os
import threading
import time
from bisect import bisect_right
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from dino_core.rundir import read
from dino_core.rundir.schema import CHECKPOINTS, EVENTS, METRICS, PROBES, RUN, STEP_NAME
from dino_core.rundir.write import plain
from lab import longfile
from lab.history import Curve, History

FRESH = 0.2
"""Seconds for which what was read counts as fresh, however many pages ask."""
TOLD_EVENTS = 400
"""How many events a page gets when it opens, the last ones."""
DIAGNOSED = 500
"""How many of the last lines are diagnosed where the run did not do so itself."""
SILENT_KINDS = ("probe", "checkpoint", "evaluation", "skipped_image")
"""Events that reach the page in another form: as stops, as curves, as a count."""
AT_ONCE = 4 * 2**20
"""Bytes of metrics that are read while a page waits; of more it gets a sample first."""


class Follower:
    """What has been read of one run so far."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._lock = threading.Lock()
        self._read_at = -math.inf
        self._metrics_byte, self._events_byte = 0, 0
        self._history = History()
        self._reading: Reading | None = None
        self._own_diagnosis: Any = None
        self._own_findings: list[dict[str, Any]] = []
        self.events: list[dict[str, Any]] = []
        self._shown: dict[str, Any] = {}
        self._seen = ""
        self._skipped_images = 0
        self._listed: dict[str, tuple[frozenset[str], list[int]]] = {}
        self._told_diagnosis: dict[str, Any] | None = None

    def since(self, cursor: str = "", points: int = 2000) -> dict[str, Any]:
        """What a page that is at `cursor` has not seen ("" has seen nothing).

            {"cursor", "reset", "changed", "head", "curves": {metric: [[steps], [values]]}, "events": [...]}

        With `reset` the curves are the whole history, each decimated to `points` with its extremes, and `thinned` says whether
        there is more to see from closer (`within`); otherwise they are only what to append.  `changed` is False when there is
        nothing at all to tell.  Values that are not finite are None.  Of a long file the first answer is a sample, its head says
        how much is being `reading`, and the whole follows as another reset."""
        with self._lock:
            self._refresh()
            history, seen = self._history, self._seen
            head = {**self._shown, "now": time.time()}
            now = f"{history.generation}.{history.lines}.{len(self.events)}.{seen}"
            before = _cursor(cursor)
            if before is None or not self._knows(*before[:3]):
                told = [event for event in self.events if event.get("event") not in SILENT_KINDS][-TOLD_EVENTS:]
                head["catalogue"] = self._about.get("metrics") or {}
                return {"cursor": now, "reset": True, "changed": True, "head": head, "events": told,
                        "thinned": not history.whole or any(len(c.steps) > points for c in history.curves.values()),
                        "curves": {name: _decimated(curve, points) for name, curve in history.curves.items()}}  # fmt: skip
            _, line, event, said = before
            new = {name: _after(curve, line) for name, curve in history.curves.items()}
            told = [e for e in self.events[event:] if e.get("event") not in SILENT_KINDS]
            return {"cursor": now, "reset": False, "changed": now != cursor, "head": head if said != seen else None,
                    "events": told, "curves": {name: points for name, points in new.items() if points[0]}}  # fmt: skip

    def within(self, first: int, last: int, points: int = 2000) -> dict[str, Any]:
        """The curves between two steps as they were logged, each decimated to `points` with its extremes.

            {"first", "last": the last step that is known, at most `last`, "curves": {metric: [[steps], [values]]}}

        What the history no longer holds is read from the file again (`lab.longfile.stretch`), while others are answered."""
        with self._lock:
            self._refresh()
            history, end = self._history, self._metrics_byte
            found = {name: curve.between(first, last) for name, curve in history.curves.items()}
            told = {"first": first, "last": min(last, history.step)}
        if not history.whole:
            with suppress(OSError):
                logged = longfile.stretch(self.path / METRICS, end, first, last).curves
                found |= {
                    name: curve.between(first, last).joined(found.get(name, Curve())) for name, curve in logged.items()
                }
        return told | {"curves": {name: _decimated(curve, points) for name, curve in found.items() if curve.steps}}

    def _knows(self, generation: int, line: int, event: int) -> bool:
        """Whether a cursor is a place in what was read."""
        history = self._history
        return generation == history.generation and 0 <= line <= history.lines and 0 <= event <= len(self.events)

    def diagnosis(self) -> dict[str, Any] | None:
        """The last finding (`Run.diagnosis`)."""
        with self._lock:
            self._refresh()
            return self._diagnosis()

    def value(self, name: str, step: int) -> float | None:
        """A metric as last logged at or before a step, of the points that are kept; None where it was not."""
        with self._lock:
            self._refresh()
            curve = self._history.curves.get(name)
            at = bisect_right(curve.steps, step) if curve is not None else 0
            return None if curve is None or at == 0 else curve.values[at - 1]

    def _refresh(self) -> None:
        if time.monotonic() - self._read_at < FRESH:
            return
        self._about = read.read_run(self.path)
        rows = self._new_rows()
        self._history.take(rows)
        if self._reading:
            self._reading.meanwhile += rows
        self._refresh_events()
        if self._told_diagnosis is None:
            self._diagnose(rows[-DIAGNOSED:])
        self._shown = self._head()
        self._seen = hashlib.sha256(json.dumps(self._shown).encode()).hexdigest()[:10]
        self._read_at = time.monotonic()

    def _new_rows(self) -> list[dict[str, Any]]:
        """Lines that were written since; of a long file that is new here a sample, while a thread reads all of it."""
        file = self.path / METRICS
        if self._metrics_byte == 0 and _size(file) > AT_ONCE:
            rows, self._metrics_byte = longfile.sample(file)
            self._history = History(self._history.generation + 1)
            self._history.sampled = True
            self._reading = Reading(self, file, self._metrics_byte)
            return rows
        rows, following = read.read_table(file, self._metrics_byte)
        if following < self._metrics_byte:
            self._forget_metrics()
            return self._new_rows()
        self._metrics_byte = following
        return rows

    def read_whole(self, reading: Reading) -> None:
        """A thread has read what was there when it began: it takes the place of the sample."""
        with self._lock:
            if self._reading is not reading:
                return
            self._reading, self._read_at = None, -math.inf
            if reading.at == reading.end:  # else the file went away under it, and the sample is all there is
                reading.history.take(reading.meanwhile)
                reading.history.generation = self._history.generation + 1
                self._history = reading.history

    def wants(self, reading: Reading) -> bool:
        return self._reading is reading

    @property
    def curves(self) -> dict[str, Curve]:
        return self._history.curves

    def _refresh_events(self) -> None:
        events, following = read.read_table(self.path / EVENTS, self._events_byte)
        if following < self._events_byte:
            self.events, self._skipped_images, self._told_diagnosis = [], 0, None
            events, following = read.read_table(self.path / EVENTS)
        self._events_byte = following
        self.events += events
        self._told_diagnosis = next(
            (e for e in reversed(events) if e.get("event") == "diagnosis"), self._told_diagnosis
        )
        self._skipped_images += sum(event.get("event") == "skipped_image" for event in events)

    def _forget_metrics(self) -> None:
        self._history = History(self._history.generation + 1)
        self._metrics_byte, self._reading = 0, None
        self._own_diagnosis, self._own_findings = None, []

    def _diagnose(self, rows: list[dict[str, Any]]) -> None:
        """Our own reading of the metrics, for runs whose events have none."""
        if self._own_diagnosis is None:
            from dino_core.telemetry.diagnosis import Diagnosis

            self._own_diagnosis = Diagnosis(self.prototypes or 0, self._about.get("steps"))
        for row in rows:
            for finding in self._own_diagnosis.update(read.restore_nonfinite(row)):
                self._own_findings.append({"event": "diagnosis", "step": row["step"], **plain(finding.as_event())})

    def _diagnosis(self) -> dict[str, Any] | None:
        """The last finding.  Health is told once, when it begins; its sentence is made anew of the numbers that hold now."""
        finding = self._told_diagnosis or (self._own_findings[-1] if self._own_findings else None)
        if finding is None or finding.get("name") != "healthy":
            return finding
        from dino_core.telemetry.diagnosis import healthy

        count = self.prototypes
        largest = math.log(max(2, count)) if isinstance(count, int) else 0.0
        now = healthy(self._last("kl"), self._last("teacher/information"), largest)
        return finding if now is None else {**finding, "sentence": now}

    @property
    def prototypes(self) -> int | None:
        return (self._config().get("head") or {}).get("prototypes")

    def _config(self) -> dict[str, Any]:
        """config.json as plain values; of another version too, for the page needs only a few of them."""
        if not hasattr(self, "_config_read"):
            try:
                value = json.loads((self.path / "config.json").read_text())
            except (OSError, ValueError, RecursionError):
                return {}
            self._config_read: dict[str, Any] = value if isinstance(value, dict) else {}
        return self._config_read

    def _early(self, step: int) -> int | None:
        """The step before which no diagnosis calls a run healthy, where this one has not come so far."""
        from dino_core.telemetry.diagnosis import WARM_UP

        return WARM_UP if step < WARM_UP else None

    def _last(self, name: str) -> float | None:
        curve = self._history.curves.get(name)
        return None if curve is None or not curve.values or math.isnan(curve.values[-1]) else curve.values[-1]

    def _stops(self, kind: str, look: Callable[[Path], list[int]]) -> list[int]:
        """Steps of the probes or checkpoints.  While no name comes or goes and all that have one are whole, none is looked into."""
        names: frozenset[str] = frozenset()
        with suppress(OSError):
            names = frozenset(filter(STEP_NAME.fullmatch, os.listdir(self.path / kind)))
        known, steps = self._listed.get(kind, (frozenset(), []))
        if names != known or len(names) != len(steps):
            self._listed[kind] = (names, steps := look(self.path))
        return steps

    def _head(self) -> dict[str, Any]:
        """What the page says about the run above its curves."""
        about, config = self._about, self._config()
        backbone = config.get("backbone") or {}
        objective = config.get("objective") or {}
        steps, rate = about.get("steps"), self._last("images_per_second")
        begun = begun_at(about, config)
        step = max(self._history.step, begun)
        batch = config.get("batch_size")
        status = read.status_of(about, self.path)
        left = None
        if status == "running" and steps and rate and batch:
            left = round(max(steps - step, 0) * batch / rate)
        return {
            "name": str(about.get("name") or self.path.name), "recipe": about.get("recipe"), "status": status,
            "gallery": bool(about.get("gallery")), "created": about.get("created"), "device": about.get("device"),
            "host": about.get("host"), "versions": about.get("versions"), "parent": about.get("parent"),
            "classes": about.get("classes"), "images": about.get("images"), "derived": about.get("derived"),
            "baselines": about.get("baselines") or {}, "step": step, "steps": steps, "batch_size": batch,
            "begun": begun, "first_logged": first_logged(begun, config.get("output") or {}), "early": self._early(step),
            "reading": round(self._reading.share, 2) if self._reading else None,
            "images_per_second": rate, "seconds_left": left, "seconds": self._last("seconds"),
            "updated": read.last_change(self.path), "prototypes": self.prototypes,
            "depth": backbone.get("depth"), "heads": backbone.get("heads"), "patch": backbone.get("patch"),
            "registers": backbone.get("registers"), "student_temperature": objective.get("student_temperature"),
            "backbone": backbone.get("name"), "dim": backbone.get("dim"),
            "source": (config.get("data") or {}).get("source"), "probes": self._stops(PROBES, read.probes),
            "checkpoints": self._stops(CHECKPOINTS, read.checkpoints), "skipped_images": self._skipped_images,
            "diagnosis": self._diagnosis(),
            "findings": [] if self._told_diagnosis else self._own_findings[-12:],
        }  # fmt: skip


def begun_at(about: dict[str, Any], config: dict[str, Any]) -> int:
    """The step at which a run began: that of its parent's checkpoint, if it has a parent."""
    parent = about.get("parent")
    step = parent.get("step") if isinstance(parent, dict) else config.get("start")
    return step if isinstance(step, int) else 0


def first_logged(begun: int, output: dict[str, Any]) -> int:
    """The first step after `begun` of which there is a line of metrics (`dino_core.telemetry.recorder.Recorder.wants`)."""
    every = [n for n in (output.get("log_every"), output.get("heavy_every")) if isinstance(n, int) and n > 0]
    return begun + 1 if begun == 0 or not every else min((begun // n + 1) * n for n in every)


class Reading(threading.Thread):
    """Reads all lines of a file up to `end`, in pieces, while its follower answers from a sample."""

    def __init__(self, follower: Follower, file: Path, end: int) -> None:
        super().__init__(daemon=True)
        self.follower, self.file, self.end, self.at = follower, file, end, 0
        self.history = History()
        self.meanwhile: list[dict[str, Any]] = []
        """Lines that came after `end`."""
        self.start()

    @property
    def share(self) -> float:
        return self.at / max(self.end, 1)

    def run(self) -> None:
        with suppress(OSError):
            for rows, at in longfile.pieces(self.file, self.end):
                self.history.take(rows)
                self.at = at
                if not self.follower.wants(self):
                    return
                time.sleep(0.001)  # whoever waits for an answer goes first
        self.follower.read_whole(self)


def glance(path: Path) -> dict[str, Any]:
    """What a list of runs says about one, from the ends of its files: cheap enough to ask for every few seconds.

    Files that have not changed are not read again; only whether a run that says `running` does live is looked at each time."""
    stamps, last = [_stamp(path / name) for name in (RUN, METRICS, EVENTS)], _last(path)
    if not last or last["stamps"] != stamps:
        last |= {"stamps": stamps, "told": _told(path)}
    found = last["told"]
    shown = {key: value for key, value in found.items() if key not in ("pid", "host")}
    return shown | {"status": read.status_of(found, path)}


def _stamp(file: Path) -> tuple[int, int] | None:
    try:
        about = file.stat()
    except OSError:
        return None
    return about.st_mtime_ns, about.st_size


@lru_cache(maxsize=4096)
def _last(path: Path) -> dict[str, Any]:
    """What the files of a run said, and their stamps then; of each run only the last, for one that grows has new ones all day."""
    return {}


def _told(path: Path) -> dict[str, Any]:
    """What the ends of the files say."""
    about = read.read_run(path)
    rows, _ = read.read_table(path / METRICS, max(0, _size(path / METRICS) - 16_384))
    told, _ = read.read_table(path / EVENTS, max(0, _size(path / EVENTS) - 65_536))
    last = next((event for event in reversed(told) if event.get("event") == "diagnosis"), None)
    parent = about.get("parent")
    return {
        "name": str(about.get("name") or path.name), "recipe": about.get("recipe"), "created": about.get("created"),
        "status": about.get("status"), "pid": about.get("pid"), "host": about.get("host"),
        "gallery": bool(about.get("gallery")), "steps": about.get("steps"),
        "step": next((row["step"] for row in reversed(rows) if isinstance(row.get("step"), int)), 0),
        "parent": parent.get("run") if isinstance(parent, dict) else None,
        "level": last.get("level") if last else None, "finding": last.get("name") if last else None,
    }  # fmt: skip


def _cursor(text: str) -> tuple[int, int, int, str] | None:
    try:
        generation, line, event, seen = text.split(".")
        return int(generation), int(line), int(event), seen
    except ValueError:
        return None


def _numbers(values: np.ndarray) -> list[float | None]:
    return [value if math.isfinite(value) else None for value in values.tolist()]


def _decimated(curve: Curve, points: int) -> list[list[Any]]:
    steps, values = curve.decimated(points)
    return [steps.tolist(), _numbers(values)]


def _after(curve: Curve, line: int) -> list[list[Any]]:
    start = bisect_right(curve.lines, line)
    return [list(curve.steps[start:]), _numbers(np.array(curve.values[start:]))]


def _size(file: Path) -> int:
    return file.stat().st_size if file.is_file() else 0
