"""Every source runs: alone, from a fresh kernel in an empty folder; and in order, one behind the other.

Quick mode: everything real and short.  Learners' notebooks run too: what is not solved says so, and everything else goes on."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from notebooks import building

SOURCES = building.sources()
each = pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
pytestmark = pytest.mark.slow


@each
def test_alone_from_a_fresh_kernel(source, tmp_path, monkeypatch):
    monkeypatch.setenv("DINO_COURSE_QUICK", "1")
    notebook = building.execute(building.instructor(source), tmp_path, timeout=120)
    assert all(cell.execution_count for cell in notebook.cells if cell.cell_type == "code")


@each
def test_as_a_learner_who_has_solved_nothing(source, tmp_path, monkeypatch):
    """`Run all` reaches the last cell: the checks alone complain, and of nothing but what is not written."""
    monkeypatch.setenv("DINO_COURSE_QUICK", "1")
    notebook = building.execute(building.student(source), tmp_path, timeout=120, stop=False)
    for cell in notebook.cells:
        errors = [output for output in cell.get("outputs", []) if output.output_type == "error"]
        if building.number_of(cell, "check"):
            assert "not written yet" in errors[0].evalue
        else:
            assert errors == [], cell.source


def test_in_order_in_one_folder(tmp_path):
    """As plain scripts of one process, so that no widget and no notebook is needed either."""
    code = "import runpy, sys\nfor path in sys.argv[1:]:\n    runpy.run_path(path, run_name='__main__')\n    print('done', path)"
    environment = {**os.environ, "DINO_COURSE_QUICK": "1", "DINO_COURSE_HOME": str(tmp_path), "DINO_COURSE_STATIC": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, SOURCES)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert done.stdout.count("\ndone ") + done.stdout.startswith("done ") == len(SOURCES)
