"""All metrics of a run within a bound: a run of a million steps takes no more memory than one of ten thousand.

A curve keeps its points as they were logged until they are too many for any screen; then it is thinned, but never loses an
extreme, a gap, or its newest point."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from lab.analysis import curves

KEPT = 4096
"""Points of a curve that thinning leaves."""
ROOM, ROOM_IN_BULK = KEPT // 8, KEPT
"""How many more there are when it happens: while points come one by one, and while a long file is read."""
BLOCK = 64
"""Rows from which on it pays to take them by columns."""
NO_CURVE = ("step", "segment")
NUMBERS = {float, int, type(None)}
"""What a value may be; None was not finite, and True is no number."""
Row = dict[str, Any]


class Curve:
    """One metric: at which line of the file, for which step, which value.  16 bytes more than the number, not a dict a row."""

    def __init__(self) -> None:
        self.lines, self.steps, self.values = array("q"), array("q"), array("d")
        self.thinned = False
        """Points were left out."""

    def put(self, line: int, step: int, value: float) -> bool:
        """Add a point; False when it had to go in before points that readers may already have."""
        if not self.steps or step > self.steps[-1]:
            self.lines.append(line)
            self.steps.append(step)
            self.values.append(value)
            self._bound(ROOM)
            return True
        at = bisect_left(self.steps, step)
        if at < len(self.steps) and self.steps[at] == step:
            self.values[at] = value
        else:
            self.lines.insert(at, line)
            self.steps.insert(at, step)
            self.values.insert(at, value)
        return False

    def extend(
        self, lines: Int[np.ndarray, " P"], steps: Int[np.ndarray, " P"], values: Float[np.ndarray, " P"]
    ) -> None:
        """Add points that all come after those that are here."""
        self.lines.frombytes(lines.astype(np.int64).tobytes())
        self.steps.frombytes(steps.astype(np.int64).tobytes())
        self.values.frombytes(values.astype(np.float64).tobytes())
        self._bound(ROOM_IN_BULK)

    def cut(self, step: int) -> None:
        """Forget this step and all after it."""
        at = bisect_left(self.steps, step)
        del self.lines[at:], self.steps[at:], self.values[at:]

    def decimated(self, points: int) -> tuple[Int[np.ndarray, " P"], Float[np.ndarray, " P"]]:
        """Steps and values of at most so many points, spread evenly over the lines that were logged."""
        kept = self._chosen(points)
        return np.array(self.steps, np.int64)[kept], np.array(self.values)[kept]

    def between(self, first: int, last: int) -> Curve:
        """The points of these steps, both of them too."""
        low, high = bisect_left(self.steps, first), bisect_right(self.steps, last)
        part = Curve()
        part.lines, part.steps, part.values = self.lines[low:high], self.steps[low:high], self.values[low:high]
        return part

    def joined(self, other: Curve) -> Curve:
        """The points of both, each step once; they are spread along steps, for lines are counted from different places."""
        steps, kept = np.unique(np.concatenate([self.steps, other.steps]).astype(np.int64), return_index=True)
        both = Curve()
        both.lines = both.steps = array("q", steps.tobytes())
        both.values = array("d", np.concatenate([self.values, other.values])[kept].tobytes())
        return both

    def _bound(self, room: int) -> None:
        if len(self.steps) <= KEPT + room:
            return
        self.thinned = True
        kept = self._chosen(KEPT)
        self.lines, self.steps = (array("q", np.array(column)[kept].tobytes()) for column in (self.lines, self.steps))
        self.values = array("d", np.array(self.values)[kept].tobytes())

    def _chosen(self, points: int) -> Int[np.ndarray, " P"]:
        values = np.array(self.values)
        return curves.decimate(np.where(np.isfinite(values), values, np.nan), points, np.array(self.lines, np.int64))


class History:
    """The curves of the lines taken so far.  `generation` changes when readers have to forget what they were told."""

    def __init__(self, generation: int = 0) -> None:
        self.curves: dict[str, Curve] = {}
        self.generation, self.lines, self.segment, self.step = generation, 0, 0, 0
        self.sampled = False
        """What it was given is a sample of the lines."""

    @property
    def whole(self) -> bool:
        """Whether every point that was logged is here."""
        return not self.sampled and not any(curve.thinned for curve in self.curves.values())

    def take(self, rows: Sequence[Row]) -> None:
        """Lines of metrics, in the order of the file."""
        for start in range(0, len(rows), 16 * BLOCK):
            block = rows[start : start + 16 * BLOCK]
            if len(block) < BLOCK or not self._take_columns(block):
                for row in block:
                    self._take(row)

    def _take(self, row: Row) -> None:
        """One line.  A new segment takes back what the one before said about its steps, and what lay ahead of it."""
        step, segment = row.get("step"), row.get("segment", 0)
        if not isinstance(step, int) or not isinstance(segment, int) or segment < self.segment:
            return
        self.lines += 1
        if segment > self.segment:
            self.segment = segment
            if any(curve.steps and curve.steps[-1] >= step for curve in self.curves.values()):
                self.generation += 1
                for curve in self.curves.values():
                    curve.cut(step)
        self.step = max(step, 0)
        in_order = True
        for name, value in row.items():
            if name not in NO_CURVE and type(value) in NUMBERS:
                curve = self.curves.setdefault(name, Curve())
                in_order &= curve.put(self.lines, step, math.nan if value is None else float(value))
        self.generation += not in_order

    def _take_columns(self, rows: Sequence[Row]) -> bool:
        """Many lines of one segment with rising steps; False, and nothing is taken, where they are not that."""
        steps = [row.get("step") for row in rows]
        if set(map(type, steps)) != {int} or {row.get("segment", 0) for row in rows} != {self.segment}:
            return False
        at = np.array(steps)
        last = max((curve.steps[-1] for curve in self.curves.values() if curve.steps), default=-1)
        if at[0] <= last or (np.diff(at) <= 0).any():
            return False
        lines = self.lines + 1 + np.arange(len(rows))
        for name, (places, values) in _columns(rows).items():
            self.curves.setdefault(name, Curve()).extend(lines[places], at[places], values)
        self.lines, self.step = int(lines[-1]), max(int(at[-1]), 0)
        return True


def _columns(rows: Sequence[Row]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """For each name the places of the rows that have a number under it, rising, and the numbers; None becomes NaN.

    Rows of the same names are read together: most lines of a run are alike."""
    alike: dict[tuple[str, ...], list[int]] = {}
    for i, row in enumerate(rows):
        alike.setdefault(tuple(row), []).append(i)
    parts: dict[str, list[tuple[list[int], list[Any]]]] = {}
    for names, places in alike.items():
        for name, cells in zip(names, zip(*(rows[i].values() for i in places), strict=True), strict=True):
            if name in NO_CURVE:
                continue
            if set(map(type, cells)) <= NUMBERS:
                parts.setdefault(name, []).append((places, list(cells)))
            elif there := [n for n, cell in enumerate(cells) if type(cell) in NUMBERS]:
                parts.setdefault(name, []).append(([places[n] for n in there], [cells[n] for n in there]))
    found = {}
    for name, some in parts.items():
        where = np.concatenate([places for places, _ in some])
        values = np.concatenate([np.array(cells, dtype=float) for _, cells in some])
        order = np.argsort(where)
        found[name] = (where[order], values[order])
    return found
