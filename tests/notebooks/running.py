"""Runs notebooks one after the other in this process, without a kernel: `python running.py TEACHER.ipynb LEARNER.ipynb ...`.

Two files belong to one source.  The cells that they begin with in common run once; then the learner goes on in a copy of
what there is, then the teacher.  Prints a JSON line a source: of each file [place, exception, message] of the cells that
failed, and processor seconds, those of trainings included that have ended."""

from __future__ import annotations

import json
import linecache
import resource
import sys
from typing import Any

import nbformat

Failed = list[tuple[int, str, str]]


def alike(teacher: list[Any], learner: list[Any]) -> int:
    """How many cells the two begin with in common."""
    pairs = zip(teacher, learner)
    return next(
        (n for n, (one, other) in enumerate(pairs) if one.source != other.source), min(map(len, (teacher, learner)))
    )


def run(file: str, cells: list[Any], places: range, space: dict[str, Any]) -> Failed:
    failed = []
    for place in places:
        source = cells[place].source
        if cells[place].cell_type != "code":
            continue
        name = f"{file}[{place}]"
        linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
        try:
            exec(compile(source, name, "exec"), space)
        except Exception as error:
            failed.append((place, type(error).__name__, str(error)))
    return failed


def both(teacher: str, learner: str) -> dict[str, Failed]:
    cells = {file: nbformat.read(file, 4).cells for file in (teacher, learner)}
    common = alike(*cells.values())
    space: dict[str, Any] = {"__name__": "__main__"}
    first = run(teacher, cells[teacher], range(common), space)
    rest = {}
    for file, own in ((learner, dict(space)), (teacher, space)):
        rest[file] = first + run(file, cells[file], range(common, len(cells[file])), own)
    return rest


def seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


if __name__ == "__main__":
    for teacher, learner in zip(sys.argv[1::2], sys.argv[2::2]):
        start = seconds()
        print("ran " + json.dumps({"failed": both(teacher, learner), "seconds": seconds() - start}), flush=True)
