"""Every source runs: alone, from a fresh kernel in an empty folder; and in order, one behind the other in one folder.

Quick mode: everything real and short.  Learners' notebooks run too: what is not solved says so, and everything else goes on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from notebooks import building

SOURCES = building.sources()
pytestmark = pytest.mark.slow


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_alone_from_a_fresh_kernel(source, tmp_path, monkeypatch):
    monkeypatch.setenv("DINO_COURSE_QUICK", "1")
    notebook = building.execute(building.instructor(source), tmp_path, timeout=120)
    assert all(cell.execution_count for cell in notebook.cells if cell.cell_type == "code")


def one_after_the_other(files: list[Path], folder: Path) -> dict[str, list]:
    """What failed in each notebook, all of them in one process and one folder, without widgets and without a kernel."""
    settings = {"DINO_COURSE_QUICK": "1", "DINO_COURSE_HOME": str(folder), "DINO_COURSE_STATIC": "1"}
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("running.py")), *map(str, files)],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, **settings, "PYTHONPATH": building.path_with_course(), "MPLBACKEND": "agg"},
        timeout=290,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    lines = [json.loads(line.removeprefix("ran ")) for line in done.stdout.splitlines() if line.startswith("ran ")]
    return {Path(line["file"]).stem: line["failed"] for line in lines}


def written(notebooks: dict[str, nbformat.NotebookNode], folder: Path) -> list[Path]:
    for name, notebook in notebooks.items():
        nbformat.write(notebook, folder / f"{name}.ipynb")
    return [folder / f"{name}.ipynb" for name in notebooks]


def test_in_order_in_one_folder(tmp_path):
    failed = one_after_the_other(
        written({path.stem: building.instructor(path) for path in SOURCES}, tmp_path), tmp_path
    )
    assert failed == {path.stem: [] for path in SOURCES}


def test_a_learner_who_has_solved_nothing_reaches_every_last_cell(tmp_path):
    """The checks alone complain, and of nothing but what is not written."""
    notebooks = {path.stem: building.student(path) for path in SOURCES}
    failed = one_after_the_other(written(notebooks, tmp_path), tmp_path)
    for name, notebook in notebooks.items():
        checks = [place for place, cell in enumerate(notebook.cells) if building.number_of(cell, "check")]
        assert [place for place, _, _ in failed[name]] == checks, failed[name]
        assert all("not written yet" in said for _, _, said in failed[name])
