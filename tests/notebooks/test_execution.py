"""Every source runs: alone, from a fresh kernel in an empty folder; and in order, one behind the other in one folder.

Quick mode: everything real and short.  Learners' notebooks run too: what is not solved says so, and everything else goes on.
In order they come as on the next day: trainings that ran alone are there already, and are found instead of begun."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import nbformat
import pytest

from notebooks import building
from tests.notebooks.forking import Forked, forked_kernels

SOURCES = building.sources()
TRAINED: list[Path] = []
"""Folders of runs that notebooks left which ran alone; none where only the others are asked for, which then begin them."""
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_alone_from_a_fresh_kernel(source, tmp_path, monkeypatch):
    monkeypatch.setenv("DINO_COURSE_QUICK", "1")
    with forked_kernels():
        notebook = building.execute(building.instructor(source), tmp_path, timeout=300)
    assert all(cell.execution_count for cell in notebook.cells if cell.cell_type == "code")
    if (tmp_path / "runs").exists():
        TRAINED.append(tmp_path / "runs")


def one_after_the_other(files: list[Path], folder: Path) -> dict[tuple[str, str], list]:
    """What failed in each notebook, all of them in one process and one folder, without widgets and without a kernel."""
    settings = {"DINO_COURSE_QUICK": "1", "DINO_COURSE_HOME": str(folder), "DINO_COURSE_STATIC": "1"}
    process = Forked(
        [sys.executable, str(Path(__file__).with_name("running.py")), *map(str, files)],
        cwd=folder,
        env={**os.environ, **settings, "PYTHONPATH": building.path_with_course(), "MPLBACKEND": "agg"},
        said=folder / "said",
    )
    code, said = process.wait(800), (folder / "said").read_text()
    process.kill()
    assert code == 0, said[-4000:]
    lines = [json.loads(line.removeprefix("ran ")) for line in said.splitlines() if line.startswith("ran ")]
    failed = [one for line in lines for one in line["failed"].items()]
    return {(Path(file).parent.name, Path(file).stem): found for file, found in failed}


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], list]:
    """What failed of the teacher's notebooks, in order, and of a learner's who has solved nothing, all in one folder."""
    folder = tmp_path_factory.mktemp("course")
    files = []
    for runs in TRAINED:
        shutil.copytree(runs, folder / "runs", dirs_exist_ok=True)
    for source in SOURCES:
        for kind, made in (("teacher", building.instructor), ("learner", building.student)):
            files.append(folder / kind / f"{source.stem}.ipynb")
            files[-1].parent.mkdir(exist_ok=True)
            nbformat.write(made(source), files[-1])
    return one_after_the_other(files, folder)


def test_in_order_in_one_folder(ran):
    assert {name: failed for (kind, name), failed in ran.items() if kind == "teacher"} == {s.stem: [] for s in SOURCES}


def test_a_learner_who_has_solved_nothing_reaches_every_last_cell(ran):
    """The checks alone complain, and of nothing but what is not written."""
    for source in SOURCES:
        cells = building.student(source).cells
        checks = [place for place, cell in enumerate(cells) if building.number_of(cell, "check")]
        failed = ran["learner", source.stem]
        assert [place for place, _, _ in failed] == checks, failed
        assert all("not written yet" in said for _, _, said in failed)
