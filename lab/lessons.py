"""A notebook of the course as what a page of it needs: its title and question, its cells, what they printed, the views they show.

What is on a page comes from two notebooks of the same name: the one that is read (`student/`), and the one that was executed
(`instructor/`), whose outputs stand below the cells that both have.  Exercises have no outputs: they are for the reader to do."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from lab.local import GALLERY
from lab.run import Run

FIGURES = "figures"
"""The folder beside the pages that holds the lab's views, one file each."""
RECORDED = "dino_shapes"
"""The recorded run that stands in where a notebook trains one of its own."""


@dataclass(frozen=True)
class Shown:
    """A view that a cell shows."""

    view: str
    run: str | None
    """A recorded run; None where it is the reader's own."""
    state: dict[str, Any] = field(default_factory=dict)

    @property
    def file(self) -> str:
        state = "".join(f"-{key}{value}" for key, value in sorted(self.state.items()))
        return f"{FIGURES}/{self.view}-{self.run or RECORDED}{state}.html"


@dataclass
class Lesson:
    """One notebook."""

    name: str
    cells: list[dict[str, Any]]
    outputs: dict[str, list[dict[str, Any]]]
    """What a cell printed when it was executed, by its text."""

    @cached_property
    def title(self) -> str:
        return first(r"^# (.+)$", self.cells) or self.name

    @cached_property
    def question(self) -> str:
        return first(r"^\*\*Question:\*\* (.+)$", self.cells)

    @cached_property
    def minutes(self) -> str:
        return first(r"^(\d+ minutes) ·", self.cells)

    @property
    def page(self) -> str:
        return f"{self.name}.html"

    @property
    def bare(self) -> dict[str, Any]:
        """The notebook to take away: what is read, without outputs."""
        cells = [{**c, "outputs": [], "execution_count": None} if c["cell_type"] == "code" else c for c in self.cells]
        kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
        return {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}

    @cached_property
    def shown(self) -> dict[int, Shown]:
        """The views of the lab that it shows, by the place of the cell."""
        return dict(_views(self.cells))


def lessons(folder: str | Path) -> list[Lesson]:
    """The notebooks of a folder, in order: of its `student/` with outputs of its `instructor/`, or as they lie in it."""
    read, ran = Path(folder) / "student", Path(folder) / "instructor"
    if not read.is_dir():
        read = ran = Path(folder)
    return [_lesson(file, ran / file.name) for file in sorted(read.glob("*.ipynb"))]


def _lesson(file: Path, ran: Path) -> Lesson:
    cells = [_whole(cell) for cell in json.loads(file.read_text("utf-8"))["cells"]]
    executed = [_whole(cell) for cell in json.loads(ran.read_text("utf-8"))["cells"]] if ran.is_file() else cells
    return Lesson(file.stem, cells, {cell["source"]: cell.get("outputs", []) for cell in executed})


def _whole(cell: dict[str, Any]) -> dict[str, Any]:
    return {**cell, "source": text_of(cell["source"])}


def text_of(lines: str | list[str]) -> str:
    return lines if isinstance(lines, str) else "".join(lines)


def first(pattern: str, cells: list[dict[str, Any]]) -> str:
    found = re.search(pattern, cells[0]["source"], re.MULTILINE) if cells else None
    return found[1].strip() if found else ""


def _views(cells: list[dict[str, Any]]) -> Iterator[tuple[int, Shown]]:
    """Calls of `show`, and what their arguments are, as far as plain assignments above them say."""
    values: dict[str, Any] = {}
    for place, cell in enumerate(cells):
        for node in statements(cell):
            match node:
                case ast.Assign(targets=[ast.Name(id=name)], value=value):
                    values[name] = _value(value, values)
                case ast.Expr(value=ast.Call(func=ast.Name(id="show"), args=[ast.Constant(value=str(view))]) as call):
                    given = {word.arg: _value(word.value, values) for word in call.keywords if word.arg}
                    run = given.pop("run", None)
                    state = {key: value for key, value in given.items() if isinstance(value, int | str)}
                    yield place, Shown(view, run.path.name if isinstance(run, Run) else None, state)


def statements(cell: dict[str, Any]) -> list[ast.stmt]:
    try:
        return ast.parse(cell["source"]).body if cell["cell_type"] == "code" else []
    except SyntaxError:
        return []


def _value(node: ast.expr, values: dict[str, Any]) -> Any:
    """A constant, a name that was given one, or a recorded run: `gallery("dinov3_shapes")`.  None for all else."""
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name(id=name):
            return values.get(name)
        case ast.Call(func=ast.Name(id="gallery"), args=args):
            name = str(args[0].value) if args and isinstance(args[0], ast.Constant) else RECORDED
            return Run(GALLERY / name)
    return None
