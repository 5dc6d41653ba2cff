"""The lines of a metrics file that is too long to be read while somebody waits: in pieces, a sample of it, or only some steps.

Lines are only ever appended, and segments and steps rise along the file: a step is found as a word is in a dictionary."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import orjson

from dino_core.rundir import read
from lab.history import History

SAMPLED = 1500
"""Lines of a sample, beside the last ones."""
LAST, LONGEST = 256 * 2**10, 16 * 2**10
"""Bytes: the end of a file, of which a sample has every line, and room for one line."""
PIECE = 2**20
"""Bytes that are read at a time."""
CLOSE = 24 * 2**20
"""Bytes of a stretch that are read whole; of a longer one a sample.  They take half a second of one core."""
SEGMENTS = 512
"""How often a run was resumed at most; what comes after is not looked for."""
DAMAGED = 64
"""Lines without a step that are passed over in search of one."""
Key = tuple[int, int | float]
"""Segment and step of a line."""


def pieces(file: Path, end: int, start: int = 0) -> Iterator[tuple[list[dict[str, Any]], int]]:
    """The lines of a file between two bytes, some at a time, and how far they go."""
    with open(file, "rb") as stream:
        at, rest = stream.seek(start), b""
        while at < end and (piece := stream.read(min(PIECE, end - at))):
            at += len(piece)
            *lines, rest = (rest + piece).split(b"\n")
            yield rows_of(lines), at


def sample(file: Path) -> tuple[list[dict[str, Any]], int]:
    """Some lines spread evenly over a file and all of its last ones; and the byte after the last whole one."""
    with open(file, "rb") as stream:
        size = stream.seek(0, 2)
        lines = _spread(stream, 0, max(size - LAST, 0))
        stream.seek(max(size - LAST, 0))
        end = stream.read()
    whole = end[: end.rfind(b"\n") + 1]
    return rows_of([*lines, *whole.split(b"\n")[1:]]), size - len(end) + len(whole)


def rows_of(lines: Iterable[bytes]) -> list[dict[str, Any]]:
    """The rows of many lines, fast; what only Python's own parser reads (NaN, very deep nesting) is left to it."""
    found = []
    for line in lines:
        try:
            row = orjson.loads(line)
        except ValueError:
            row = read.parse_row(line)
        if isinstance(row, dict):
            found.append(row)
    return found


def stretch(file: Path, end: int, first: int, last: int) -> History:
    """The curves of these steps as they were logged, of the lines up to byte `end`.

    A segment that began before `first` and ended before it too still takes back what an earlier one said: of each segment
    the first line is read.  Of more than `CLOSE` bytes it is a sample."""
    history = History()
    with open(file, "rb") as stream:
        for start, low, high in _segments(stream, end, first, last):
            stream.seek(start)
            history.take(rows_of([stream.readline(LONGEST)]))
            if high - low > CLOSE:
                history.take(rows_of(_spread(stream, low, high)))
                continue
            for rows, _ in pieces(file, high, low):
                history.take(rows)
                time.sleep(0.001)  # whoever waits for another answer goes first
    return history


def _segments(stream: BinaryIO, end: int, first: int, last: int) -> Iterator[tuple[int, int, int]]:
    """Of each segment the byte where it begins, and those where the steps begin and end."""
    at = 0
    for _ in range(SEGMENTS):
        line = _line(stream, at, end)
        if line is None:
            return
        start, _, (segment, _) = line
        after = place(stream, at, end, (segment + 1, -np.inf))
        low = place(stream, at, after, (segment, first))
        yield start, low, place(stream, low, after, (segment, last + 1))
        at = after


def place(stream: BinaryIO, low: int, high: int, key: Key) -> int:
    """The byte between two where the first line begins that is not before `key`; `high` where all are.  `low` begins a line."""
    found = high
    while low < high:
        middle = (low + high) // 2
        line = _line(stream, middle, found)
        if line is not None and line[2] < key:
            low = line[1]
        else:
            found, high = (found if line is None else line[0]), middle
    return found


def _line(stream: BinaryIO, at: int, end: int) -> tuple[int, int, Key] | None:
    """The first line with a step that begins at a byte or after it: where it begins and ends, segment and step."""
    start = stream.seek(max(at - 1, 0))
    if at:
        start += len(stream.readline(LONGEST))
    for _ in range(DAMAGED):
        if start >= end:
            return None
        text = stream.readline(LONGEST)
        for row in rows_of([text]):
            step, segment = row.get("step"), row.get("segment", 0)
            if isinstance(step, int) and isinstance(segment, int):
                return start, start + len(text), (segment, step)
        start += len(text) or LONGEST
    return None


def _spread(stream: BinaryIO, low: int, high: int) -> list[bytes]:
    """Whole lines spread evenly between two bytes."""
    lines = []
    for start in np.linspace(low, high, SAMPLED, endpoint=False).astype(int).tolist():
        stream.seek(start)
        lines += stream.read(LONGEST).split(b"\n")[1:-1][:1]
    return lines
