"""From a percent source to its two notebooks: the student's without solutions, the instructor's executed.

Cells of a source are marked in their headers: `# %% exercise="02.1"` holds the solution between `### BEGIN SOLUTION` and
`### END SOLUTION`; `# %% check="02.1" points=2` checks it, hidden tests between `### BEGIN HIDDEN TESTS` and
`### END HIDDEN TESTS`; `# %% [markdown] written="02.4" points=2` is a question in words; `tags=["instructor"]` is for
the teacher alone.  Both notebooks carry nbgrader's metadata (schema 3); the instructor's is what nbgrader calls source."""

from __future__ import annotations

import ast
import builtins
import hashlib
import os
import re
import tempfile
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from nbformat import NotebookNode

HERE = Path(__file__).parent
STUDENT, INSTRUCTOR, SOLUTIONS = HERE / "student", HERE / "instructor", HERE / "solutions"
SOLUTION = ("### BEGIN SOLUTION", "### END SOLUTION")
HIDDEN = ("### BEGIN HIDDEN TESTS", "### END HIDDEN TESTS")
LARGEST = 400_000
"""Bytes of a generated notebook: more is not read on a forge with pleasure; aim for half."""


class SourceError(ValueError):
    """A notebook source that does not follow notebooks/README.md."""


def sources(names: list[str] | None = None) -> list[Path]:
    """The sources in order; `names` are numbers (02) or beginnings of names (02_obj)."""
    found = sorted(path for path in HERE.glob("[0-9][0-9]_*.py"))
    if not names:
        return found
    for name in names:
        if not any(path.name.startswith(name) for path in found):
            raise SourceError(
                f"no notebook {name!r}. There are: {', '.join(path.stem for path in found)}."
            )
    return [path for path in found if any(path.name.startswith(name) for name in names)]


def read(source: Path) -> NotebookNode:
    """The source as a notebook, its marks turned into nbgrader's, the set-up cell second."""
    notebook = jupytext.reads(source.read_text(), fmt="py:percent")
    notebook.cells.insert(1, _setup())
    chapter = source.stem[:2]
    for cell in notebook.cells:
        _mark(cell, chapter)
    kernel = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    notebook.metadata = NotebookNode({"kernelspec": kernel, "language_info": {"name": "python"}})
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    return _identified(notebook)


def _setup() -> NotebookNode:
    code = (HERE / "setup_cell.py").read_text().partition('"""\n')[2].strip()
    return nbformat.v4.new_code_cell(
        code, metadata={"jupyter": {"source_hidden": True}, "tags": ["setup"]}
    )


def _mark(cell: NotebookNode, chapter: str) -> None:
    """nbgrader's metadata from the header's words."""
    for kind in ("exercise", "check", "written"):
        number = cell.metadata.pop(kind, None)
        if number is None:
            continue
        if not re.fullmatch(rf"{chapter}\.\d+", str(number)):
            raise SourceError(f'{kind}="{number}" in chapter {chapter}; expected "{chapter}.N".')
        graded = kind != "exercise"
        marks: dict[str, Any] = {
            "grade": graded,
            "grade_id": f"{kind}-{str(number).replace('.', '-')}",
            "locked": kind == "check",
            "schema_version": 3,
            "solution": kind != "check",
            "task": False,
        }
        if graded:
            marks["points"] = int(cell.metadata.pop("points", 1))
        cell.metadata["nbgrader"] = marks
        if kind == "check":  # "run all" goes on behind an exercise that is not solved yet
            cell.metadata["tags"] = [*cell.metadata.get("tags", []), "raises-exception"]


def _identified(notebook: NotebookNode) -> NotebookNode:
    """Ids that follow from a cell's text, so that a change touches the changed cells alone."""
    seen: dict[str, int] = {}
    for cell in notebook.cells:
        digest = hashlib.sha1(cell.source.encode()).hexdigest()[:8]
        seen[digest] = seen.get(digest, 0) + 1
        cell["id"] = digest if seen[digest] == 1 else f"{digest}-{seen[digest]}"
    return notebook


def number_of(cell: NotebookNode, kind: str) -> str | None:
    """ "02.1" of an exercise's, a check's or a written question's cell."""
    grade_id = cell.metadata.get("nbgrader", {}).get("grade_id", "")
    return grade_id[len(kind) + 1 :].replace("-", ".") if grade_id.startswith(kind + "-") else None


# ---- the student's


def student(source: Path) -> NotebookNode:
    """Without solutions, hidden tests, outputs and what is for the teacher."""
    notebook = read(source)
    notebook.cells = [
        cell for cell in notebook.cells if "instructor" not in cell.metadata.get("tags", [])
    ]
    for cell in notebook.cells:
        if number := number_of(cell, "exercise"):
            stub = (
                f'raise NotImplementedError("{number} is yours to write")  # hint("{number}") helps'
            )
            cell.source = replaced(cell.source, SOLUTION, stub)
        elif number_of(cell, "written"):
            cell.source = replaced(cell.source, SOLUTION, "YOUR ANSWER HERE")
        elif number_of(cell, "check"):
            cell.source = replaced(cell.source, HIDDEN, "")
    return _identified(notebook)


def replaced(text: str, markers: tuple[str, str], by: str) -> str:
    """The text with each region between markers, these included, replaced by one line of the same indentation."""
    kept: list[str] = []
    inside = False
    for line in text.splitlines():
        if line.strip() == markers[0]:
            if by:
                kept.append(line[: len(line) - len(line.lstrip())] + by)
            inside = True
        elif line.strip() == markers[1]:
            inside = False
        elif not inside:
            kept.append(line)
    if inside:
        raise SourceError(f"{markers[0]} without {markers[1]}.")
    return "\n".join(kept).rstrip()


# ---- solutions, as a module


def solutions(source: Path) -> str:
    """The module notebooks/solutions/nNN.py: every exercise's solution, with the imports that it needs."""
    notebook = read(source)
    tree = ast.parse(
        "\n".join(
            cell.source
            for cell in notebook.cells
            if cell.cell_type == "code" and not _is_setup(cell)
        )
    )
    imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    parts = [_solution(cell) for cell in notebook.cells if number_of(cell, "exercise")]
    used = {
        node.id
        for part in parts
        for node in ast.walk(ast.parse(part))
        if isinstance(node, ast.Name)
    }
    needed = [line for node in imports if (line := _import(node, used))]
    _complete(parts, used, needed, source)
    head = f'"""Solutions of {source.name}, written by `python -m notebooks build` from that file: edit them there."""\n'
    return "\n\n\n".join(["\n".join([head, *sorted(needed)]).rstrip(), *parts]) + "\n"


def _is_setup(cell: NotebookNode) -> bool:
    return "setup" in cell.metadata.get("tags", [])


def _solution(cell: NotebookNode) -> str:
    lines = [line for line in cell.source.splitlines() if line.strip() not in SOLUTION]
    return "\n".join(lines).strip()


def _import(node: ast.Import | ast.ImportFrom, used: set[str]) -> str | None:
    names = [name for name in node.names if (name.asname or name.name.split(".")[0]) in used]
    return (
        ast.unparse(type(node)(**{**dict(ast.iter_fields(node)), "names": names}))
        if names
        else None
    )


def _complete(parts: list[str], used: set[str], needed: list[str], source: Path) -> None:
    """A solution may use imports and its own cell's functions, and nothing else of the notebook."""
    tree = ast.parse("\n".join([*needed, *parts]))
    known = set(dir(builtins))
    for node in ast.walk(tree):
        match node:
            case ast.alias():
                known.add((node.asname or node.name).split(".")[0])
            case ast.FunctionDef() | ast.ClassDef():
                known.add(node.name)
            case ast.arg():
                known.add(node.arg)
            case ast.Name(ctx=ast.Store()):
                known.add(node.id)
    if missing := used - known:
        raise SourceError(
            f"{source.name}: solutions use {', '.join(sorted(missing))}, which only the notebook defines."
        )


# ---- the instructor's


def instructor(source: Path) -> NotebookNode:
    """With solutions and hidden tests; not executed yet."""
    return read(source)


def execute(notebook: NotebookNode, home: Path, timeout: int = 4000) -> NotebookNode:
    """Run from top to bottom in a fresh kernel, static figures, no widget state; an error stops it."""
    from nbclient import NotebookClient

    for cell in notebook.cells:  # an error is ours, not a learner's
        cell.metadata["tags"] = [
            tag for tag in cell.metadata.get("tags", []) if tag != "raises-exception"
        ]
    settings = {
        "DINO_COURSE_HOME": str(home),
        "DINO_COURSE_STATIC": "1",
        "PYTHONPATH": path_with_course(),
        "OMP_NUM_THREADS": "1",
    }
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        client = NotebookClient(
            notebook,
            timeout=timeout,
            kernel_name="python3",
            store_widget_state=False,
            record_timing=False,
            resources={"metadata": {"path": str(home)}},
        )
        client.extra_arguments = ["--log-level=ERROR"]
        client.execute()
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
    return notebook


def path_with_course() -> str:
    """PYTHONPATH with this checkout first."""
    return os.pathsep.join([str(HERE.parent), *filter(None, [os.environ.get("PYTHONPATH")])])


def executed(source: Path, home: Path | None = None) -> NotebookNode:
    """The instructor's notebook with outputs, as it is kept: checks may fail without stopping "run all"."""
    with tempfile.TemporaryDirectory() as folder:
        notebook = execute(instructor(source), home or Path(folder))
    marked = read(source)
    for cell, fresh in zip(notebook.cells, marked.cells):
        cell.metadata = fresh.metadata
        for output in cell.get("outputs", []):
            output.get("metadata", {}).pop("widgets", None)
    notebook.metadata = marked.metadata
    return notebook


# ---- files


def text_of(notebook: NotebookNode) -> str:
    return nbformat.writes(notebook) + "\n"


def same_cells(one: NotebookNode, other: NotebookNode) -> bool:
    """The same but for outputs and counts of execution."""
    return [(c.cell_type, c.source, dict(c.metadata)) for c in one.cells] == [
        (c.cell_type, c.source, dict(c.metadata)) for c in other.cells
    ]


def stale(source: Path) -> list[str]:
    """What of a source's generated files is missing or out of date, one sentence each."""
    name = source.with_suffix(".ipynb").name
    module = SOLUTIONS / f"n{source.stem[:2]}.py"
    found = []
    if not module.is_file() or module.read_text() != solutions(source):
        found.append(f"{module.relative_to(HERE.parent)} is not what {source.name} says")
    for folder, wanted in ((STUDENT, student(source)), (INSTRUCTOR, instructor(source))):
        file = folder / name
        if not file.is_file():
            found.append(f"{file.relative_to(HERE.parent)} is missing")
        elif not same_cells(nbformat.read(file, 4), wanted):
            found.append(f"{file.relative_to(HERE.parent)} is not what {source.name} says")
    return found


def with_outputs_of(old: NotebookNode, fresh: NotebookNode) -> bool:
    """Give a fresh notebook the outputs of an executed one with the same code; False where the code has changed."""
    before, now = (
        [cell for cell in nb.cells if cell.cell_type == "code" and not _is_setup(cell)]
        for nb in (old, fresh)
    )
    if [cell.source for cell in before] != [cell.source for cell in now]:
        return False
    for one, other in zip(before, now):
        other.outputs, other.execution_count = one.outputs, one.execution_count
    for cell in fresh.cells:
        if _is_setup(cell):
            cell.execution_count = 1
    return all(cell.execution_count for cell in now)


def build(source: Path, run: bool = True, again: bool = False) -> list[Path]:
    """Write what a source gives: the solutions, the student's notebook and (when `run`) the instructor's.

    Where only words have changed, the instructor's keeps its outputs, unless it is to run `again`."""
    name = source.with_suffix(".ipynb").name
    module = SOLUTIONS / f"n{source.stem[:2]}.py"
    module.write_text(solutions(source))
    STUDENT.mkdir(exist_ok=True)
    (STUDENT / name).write_text(text_of(student(source)))
    written = [module, STUDENT / name]
    if run:
        INSTRUCTOR.mkdir(exist_ok=True)
        file, fresh = INSTRUCTOR / name, instructor(source)
        kept = not again and file.is_file() and with_outputs_of(nbformat.read(file, 4), fresh)
        text = text_of(fresh if kept else executed(source))
        if len(text) > LARGEST:
            raise SourceError(
                f"{name} has {len(text) // 1000} kB with outputs; at most {LARGEST // 1000}: smaller figures."
            )
        file.write_text(text)
        written.append(file)
    return written
