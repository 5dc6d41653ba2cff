"""Follow a run that grows, and hand out what is new: the other half of the live page.

A `Follower` remembers what it has read.  A cursor says how far a reader is; it holds for any follower of the same files, so a
page survives a restart of the server."""

from __future__ import annotations

import hashlib
import json
import math
import threading
import time
from array import array
from bisect import bisect_left, bisect_right
from pathlib import Path
from typing import Any

import numpy as np

from dino_core.rundir import read
from dino_core.rundir.schema import EVENTS, METRICS
from dino_core.rundir.write import plain
from lab.analysis import curves

FRESH = 0.2
"""Seconds for which what was read counts as fresh, however many pages ask."""
TOLD_EVENTS = 400
"""How many events a page gets when it opens, the last ones."""
DIAGNOSED = 500
"""How many of the last lines are diagnosed where the run did not do so itself."""
SILENT_KINDS = ("probe", "checkpoint", "evaluation", "skipped_image")
"""Events that reach the page in another form: as stops, as curves, as a count."""
NO_CURVE = ("step", "segment")


class Curve:
    """One metric: at which line of the file, for which step, which value.  16 bytes more than the number, not a dict a row."""

    def __init__(self) -> None:
        self.lines, self.steps, self.values = array("q"), array("q"), array("d")

    def put(self, line: int, step: int, value: float) -> bool:
        """Add a point; False when it had to go in before points that readers may already have."""
        if not self.steps or step > self.steps[-1]:
            self.lines.append(line)
            self.steps.append(step)
            self.values.append(value)
            return True
        at = bisect_left(self.steps, step)
        if at < len(self.steps) and self.steps[at] == step:
            self.values[at] = value
        else:
            self.lines.insert(at, line)
            self.steps.insert(at, step)
            self.values.insert(at, value)
        return False

    def cut(self, step: int) -> None:
        """Forget this step and all after it."""
        at = bisect_left(self.steps, step)
        del self.lines[at:], self.steps[at:], self.values[at:]


class Follower:
    """What has been read of one run so far."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._lock = threading.Lock()
        self._read_at = -math.inf
        self._metrics_byte, self._events_byte, self._generation = 0, 0, -1
        self._forget_metrics()
        self.events: list[dict[str, Any]] = []
        self._skipped_images = 0
        self._told_diagnosis: dict[str, Any] | None = None

    def since(self, cursor: str = "", points: int = 2000) -> dict[str, Any]:
        """What a page that is at `cursor` has not seen ("" has seen nothing).

            {"cursor", "reset", "changed", "head", "curves": {metric: [[steps], [values]]}, "events": [...]}

        With `reset` the curves are the whole history, each decimated to `points` with its extremes; otherwise only what to
        append.  `changed` is False when there is nothing at all to tell.  Values that are not finite are None."""
        with self._lock:
            self._refresh()
            head = self._head()
            seen = hashlib.sha256(json.dumps({k: v for k, v in head.items() if k != "now"}).encode()).hexdigest()[:10]
            now = f"{self._generation}.{self._lines}.{len(self.events)}.{seen}"
            before = _cursor(cursor)
            if before is None or not self._knows(*before[:3]):
                told = [event for event in self.events if event.get("event") not in SILENT_KINDS][-TOLD_EVENTS:]
                head["catalogue"] = self._about.get("metrics") or {}
                return {"cursor": now, "reset": True, "changed": True, "head": head, "events": told,
                        "curves": {name: _decimated(curve, points) for name, curve in self.curves.items()}}  # fmt: skip
            _, line, event, said = before
            new = {name: _after(curve, line) for name, curve in self.curves.items()}
            told = [e for e in self.events[event:] if e.get("event") not in SILENT_KINDS]
            return {"cursor": now, "reset": False, "changed": now != cursor, "head": head if said != seen else None,
                    "events": told, "curves": {name: points for name, points in new.items() if points[0]}}  # fmt: skip

    def _knows(self, generation: int, line: int, event: int) -> bool:
        """Whether a cursor is a place in what was read."""
        return generation == self._generation and 0 <= line <= self._lines and 0 <= event <= len(self.events)

    def diagnosis(self) -> dict[str, Any] | None:
        """The last finding (`Run.diagnosis`)."""
        with self._lock:
            self._refresh()
            return self._diagnosis()

    def value(self, name: str, step: int) -> float | None:
        """A metric as last logged at or before a step; None where it was not."""
        with self._lock:
            self._refresh()
            curve = self.curves.get(name)
            at = bisect_right(curve.steps, step) if curve is not None else 0
            return None if curve is None or at == 0 else curve.values[at - 1]

    def _refresh(self) -> None:
        if time.monotonic() - self._read_at < FRESH:
            return
        self._about = read.read_run(self.path)
        rows, following = read.read_table(self.path / METRICS, self._metrics_byte)
        if following < self._metrics_byte:
            self._forget_metrics()
            rows, following = read.read_table(self.path / METRICS)
        self._metrics_byte = following
        for row in rows:
            self._take(row)
        self._refresh_events()
        if self._told_diagnosis is None:
            self._diagnose(rows[-DIAGNOSED:])
        self._read_at = time.monotonic()

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
        self.curves: dict[str, Curve] = {}
        self._metrics_byte, self._lines = 0, 0
        self._generation += 1
        self._segment, self.step = 0, 0
        self._own_diagnosis: Any = None
        self._own_findings: list[dict[str, Any]] = []

    def _take(self, row: dict[str, Any]) -> None:
        """One line of metrics.  A new segment takes back what the one before said about its steps, and what lay ahead of it."""
        step, segment = row.get("step"), row.get("segment", 0)
        if not isinstance(step, int) or not isinstance(segment, int) or segment < self._segment:
            return
        self._lines += 1
        if segment > self._segment:
            self._segment = segment
            if any(curve.steps and curve.steps[-1] >= step for curve in self.curves.values()):
                self._generation += 1
                for curve in self.curves.values():
                    curve.cut(step)
        self.step = max(step, 0)
        in_order = True
        for name, value in row.items():
            if name in NO_CURVE or isinstance(value, bool) or not (isinstance(value, int | float) or value is None):
                continue
            number = math.nan if value is None else float(value)
            in_order &= self.curves.setdefault(name, Curve()).put(self._lines, step, number)
        self._generation += not in_order

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

    def _last(self, name: str) -> float | None:
        curve = self.curves.get(name)
        return None if curve is None or not curve.values or math.isnan(curve.values[-1]) else curve.values[-1]

    def _head(self) -> dict[str, Any]:
        """What the page says about the run above its curves."""
        about, config = self._about, self._config()
        backbone = config.get("backbone") or {}
        objective = config.get("objective") or {}
        steps, rate = about.get("steps"), self._last("images_per_second")
        batch = config.get("batch_size")
        status = read.status(self.path)
        left = None
        if status == "running" and steps and rate and batch:
            left = round(max(steps - self.step, 0) * batch / rate)
        return {
            "name": str(about.get("name") or self.path.name), "recipe": about.get("recipe"), "status": status,
            "gallery": bool(about.get("gallery")), "created": about.get("created"), "device": about.get("device"),
            "host": about.get("host"), "versions": about.get("versions"), "parent": about.get("parent"),
            "classes": about.get("classes"), "images": about.get("images"), "derived": about.get("derived"),
            "baselines": about.get("baselines") or {}, "step": self.step, "steps": steps, "batch_size": batch,
            "images_per_second": rate, "seconds_left": left, "seconds": self._last("seconds"),
            "updated": read.last_change(self.path), "now": time.time(), "prototypes": self.prototypes,
            "depth": backbone.get("depth"), "heads": backbone.get("heads"), "patch": backbone.get("patch"),
            "registers": backbone.get("registers"), "student_temperature": objective.get("student_temperature"),
            "backbone": backbone.get("name"), "dim": backbone.get("dim"),
            "source": (config.get("data") or {}).get("source"), "probes": read.probes(self.path),
            "checkpoints": read.checkpoints(self.path), "skipped_images": self._skipped_images,
            "diagnosis": self._diagnosis(),
            "findings": [] if self._told_diagnosis else self._own_findings[-12:],
        }  # fmt: skip


def glance(path: Path) -> dict[str, Any]:
    """What a list of runs says about one, from the ends of its files: cheap enough to ask for every few seconds."""
    about = read.read_run(path)
    size = (path / METRICS).stat().st_size if (path / METRICS).exists() else 0
    rows, _ = read.read_table(path / METRICS, max(0, size - 16_384))
    size = (path / EVENTS).stat().st_size if (path / EVENTS).exists() else 0
    events, _ = read.read_table(path / EVENTS, max(0, size - 65_536))
    last = next((event for event in reversed(events) if event.get("event") == "diagnosis"), None)
    parent = about.get("parent")
    return {
        "name": str(about.get("name") or path.name), "recipe": about.get("recipe"), "created": about.get("created"),
        "status": read.status(path), "gallery": bool(about.get("gallery")), "steps": about.get("steps"),
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
    values = np.array(curve.values)
    kept = curves.decimate(np.where(np.isfinite(values), values, np.nan), points)
    return [np.array(curve.steps)[kept].tolist(), _numbers(values[kept])]


def _after(curve: Curve, line: int) -> list[list[Any]]:
    start = bisect_right(curve.lines, line)
    return [list(curve.steps[start:]), _numbers(np.array(curve.values[start:]))]
