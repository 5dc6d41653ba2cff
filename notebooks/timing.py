"""How long a notebook takes: what there is to read, what its exercises are meant to take, what running it costs."""

from __future__ import annotations

import re
import resource
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from notebooks import building

WORDS_A_MINUTE = 200
"""Of text with formulas, read with care."""
LINES_A_MINUTE = 10
"""Of code, read and run."""


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


def run(source: Path) -> tuple[float, float]:
    """Seconds that running it from top to bottom takes in a fresh kernel, solutions included: by the clock, and of processors.

    Trainings that its cells start count among the second, whether or not the notebook waits for them to end."""
    before, start = _children(), time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        building.execute(building.instructor(source), Path(folder))
    return time.monotonic() - start, _children() - before


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
