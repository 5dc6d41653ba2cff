"""Runs notebooks one after the other in this process, without a kernel: `python running.py FILE.ipynb ...`.

Each in a namespace of its own; prints a JSON line a notebook: its name, and [place, exception, message] of each cell
that failed."""

from __future__ import annotations

import json
import linecache
import sys

import nbformat


def run(file: str) -> list[tuple[int, str, str]]:
    space = {"__name__": "__main__"}
    failed = []
    for place, cell in enumerate(nbformat.read(file, 4).cells):
        if cell.cell_type != "code":
            continue
        name = f"{file}[{place}]"
        linecache.cache[name] = (len(cell.source), None, cell.source.splitlines(keepends=True), name)
        try:
            exec(compile(cell.source, name, "exec"), space)
        except Exception as error:
            failed.append((place, type(error).__name__, str(error)))
    return failed


if __name__ == "__main__":
    for file in sys.argv[1:]:
        failed = run(file)
        print("ran " + json.dumps({"file": file, "failed": failed}), flush=True)
