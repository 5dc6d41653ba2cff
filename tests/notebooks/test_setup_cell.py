"""The set-up cell in a Python that knows no course: it clones what it is given, and nothing where it is not needed.

The repository is a small one that answers the cell's import; that the course itself comes up behind it is tried by hand
(LOG.md), since that takes an environment of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from notebooks import building

ROOT = Path(__file__).parents[2]
ALONE = f"""import sys
sys.path = [place for place in sys.path if place not in ("", {str(ROOT)!r})]
sys.meta_path = [finder for finder in sys.meta_path if "editable" not in str(finder).lower()]
"""


def after(cell: str, folder: Path) -> subprocess.CompletedProcess[str]:
    code = ALONE + cell + "\nimport notebooks.course as c; print(c.__file__)"
    return subprocess.run([sys.executable, "-I", "-c", code], cwd=folder, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def cell() -> str:
    return building._setup().source


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("far") / "course"
    (top / "notebooks" / "student").mkdir(parents=True)
    (top / "notebooks" / "course.py").write_text("hint = print\n")
    (top / "notebooks" / "student" / "00_tour.ipynb").write_text("{}")
    git = ["git", "-c", "user.name=teacher", "-c", "user.email=t@example.org", "-C", str(top)]
    for words in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "-m", "The course"]):
        subprocess.run([*git, *words], check=True)
    return top


def test_it_clones_the_repository_it_is_given_and_imports_the_course(cell, repository, tmp_path):
    (tmp_path / "notebooks").mkdir()  # a folder of the learner's own with that name is no course
    told = cell.replace('REPOSITORY = ""', f"REPOSITORY = {repository.as_uri()!r}")
    for _ in range(2):  # and the second time nothing more
        done = after(told, tmp_path)
        assert done.stdout.strip() == str(tmp_path / "dino-lab" / "notebooks" / "course.py"), done.stderr


def test_without_an_address_it_asks_for_one(cell, tmp_path):
    done = after(cell, tmp_path)
    assert done.returncode == 1
    assert "Write the address of the repository between the quotes" in done.stderr


def test_in_the_folder_of_the_course_nothing_is_fetched(cell, repository):
    done = after(cell, repository / "notebooks" / "student")
    assert done.stdout.strip() == str(repository / "notebooks" / "course.py"), done.stderr
