"""How long a notebook takes: what there is to read, what its exercises are meant to take, what running it costs."""

from __future__ import annotations

import os
import re
import resource
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from notebooks import building

WORDS_A_MINUTE = 200
"""Of text with formulas, read with care."""
LINES_A_MINUTE = 10
"""Of code, read and run."""
QUICK = "DINO_COURSE_QUICK"
"""Set in the environment of a kernel, it makes trainings and long loops short (`notebooks.course.scaled`)."""


@dataclass(frozen=True)
class Length:
    """What a student meets in a notebook."""

    words: int
    lines: int
    exercises: int
    """Minutes, as the exercises say themselves."""

    @property
    def reading(self) -> float:
        """Minutes of text and code."""
        return self.words / WORDS_A_MINUTE + self.lines / LINES_A_MINUTE


def length(source: Path) -> Length:
    """Counted in the student's notebook, the set-up cell aside."""
    cells = [c for c in building.student(source).cells if "setup" not in c.metadata.get("tags", [])]
    text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    code = [cell.source for cell in cells if cell.cell_type == "code"]
    lines = sum(bool(line.strip()) for source in code for line in source.splitlines())
    minutes = re.findall(r"\*\*\d\d\.\d+\*\* \((\d+) minutes[,)]", text)
    return Length(len(text.split()), lines, sum(map(int, minutes)))


def run(source: Path, quick: bool = False) -> tuple[float, float]:
    """Seconds that running it from top to bottom takes in a fresh kernel, solutions included: by the clock, and of processors.

    Trainings that its cells start count among the second, whether or not the notebook waits for them to end.  `quick` is
    what the tests run: everything real, and trainings and loops of a few steps."""
    before, start = _children(), time.monotonic()
    with tempfile.TemporaryDirectory() as folder, _short(quick):
        building.execute(building.instructor(source), Path(folder))
    return time.monotonic() - start, _children() - before


@contextmanager
def _short(quick: bool) -> Iterator[None]:
    """Kernels that are started meanwhile read how long their trainings shall be."""
    before = os.environ.pop(QUICK, None)
    os.environ.update({QUICK: "1"} if quick else {})
    try:
        yield
    finally:
        os.environ.pop(QUICK, None)
        os.environ.update({QUICK: before} if before is not None else {})


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
