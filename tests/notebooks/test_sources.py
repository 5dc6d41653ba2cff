"""Every notebook follows notebooks/README.md, and what is generated from it is current.  Nothing is executed here."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from dataclasses import replace

import nbformat
import pytest

from dino_core.fit import fit, is_checkpoint
from dino_core.recipes import RECIPES
from notebooks import building, timing

SOURCES = building.sources()
each = pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)


@each
def test_generated_files_are_what_the_source_says(source):
    assert building.stale(source) == [], "run: python -m notebooks build --stale"


def test_no_generated_file_has_lost_its_source():
    names = {path.stem for path in SOURCES}
    for folder in (building.STUDENT, building.INSTRUCTOR):
        assert {path.stem for path in folder.glob("*.ipynb")} == names
    assert {path.stem for path in building.SOLUTIONS.glob("n*.py")} == {f"n{name[:2]}" for name in names}


@each
def test_it_begins_with_a_question_a_length_and_sources(source):
    first = building.read(source).cells[0].source
    assert first.startswith(f"# {source.stem[:2]} ")
    assert re.search(r"^\*\*Question:\*\* .+\?$", first, re.MULTILINE)
    minutes = re.search(r"^(\d+) minutes · needs: .+ · no GPU, no internet", first, re.MULTILINE)
    assert minutes
    met = timing.length(source)
    assert round(met.reading + met.exercises) <= int(minutes[1]) <= 60
    assert re.search(r"arXiv|Sec\.|docs", first)


@each
def test_it_asks_before_it_shows_and_ends_with_what_was_learnt(source):
    text = source.read_text()
    asked, shown = (re.findall(rf'^{word}\(\s*"([^"]+)"', text, re.MULTILINE) for word in ("predict", "reveal"))
    assert asked
    assert sorted(asked) == sorted(shown)
    assert all(text.index(f'"{number}"') < text.rindex(f'"{number}"') for number in asked)
    assert all(re.fullmatch(rf"{source.stem[:2]}\.[a-z]", number) for number in asked)
    headings = [line for line in text.splitlines() if line.startswith("# ## ")]
    assert headings[-2:] == ["# ## What was learnt", "# ## Exercises"]


@each
def test_cells_are_short(source):
    for cell in building.read(source).cells:
        lines = [line for line in cell.source.splitlines() if line.strip()]
        if cell.cell_type == "code" and "setup" not in cell.metadata.get("tags", []):
            assert len(lines) <= 25, cell.source


@each
def test_figures_are_shown_with_what_to_look_at(source):
    text = source.read_text()
    assert len(re.findall(r"^(?:\w+ = )?(?:look|show)\(", text, re.MULTILINE)) >= 1
    assert "plt.show" not in text


@each
def test_exercises_and_checks_come_in_pairs(source):
    cells = building.read(source).cells
    exercises = [number for cell in cells if (number := building.number_of(cell, "exercise"))]
    checks = [number for cell in cells if (number := building.number_of(cell, "check"))]
    assert exercises == checks
    assert len(exercises) >= 2
    assert all(f"**{number}**" in source.read_text() for number in exercises)


@each
def test_students_see_no_solution_and_no_hidden_test(source):
    for cell in building.student(source).cells:
        assert "BEGIN" not in cell.source
        if building.number_of(cell, "exercise"):
            assert "NotImplementedError" in cell.source
        if building.number_of(cell, "check"):
            assert "seed=" not in cell.source


@each
def test_student_notebook_has_no_outputs(source):
    for cell in building.student(source).cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None


@each
def test_notebooks_carry_what_nbgrader_asks_for(source):
    for notebook in (building.student(source), building.instructor(source)):
        nbformat.validate(notebook)
        marked = [cell.metadata["nbgrader"] for cell in notebook.cells if "nbgrader" in cell.metadata]
        assert len({marks["grade_id"] for marks in marked}) == len(marked)
        for marks in marked:
            assert marks["schema_version"] == 3
            assert not marks["task"]
            assert marks["grade"] == ("points" in marks)
            assert not (marks["locked"] and marks["solution"])


@each
def test_instructor_notebook_is_executed_small_and_static(source):
    file = building.INSTRUCTOR / source.with_suffix(".ipynb").name
    assert file.stat().st_size < building.LARGEST
    notebook = nbformat.read(file, 4)
    assert "widgets" not in notebook.metadata
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in code)
    kinds = {kind for cell in code for output in cell.outputs for kind in output.get("data", {})}
    assert "image/png" in kinds
    assert "application/vnd.jupyter.widget-view+json" not in kinds
    assert not [output for cell in code for output in cell.outputs if output.output_type == "error"]
    assert not [output for cell in code for output in cell.outputs if output.get("name") == "stderr"]


def test_no_machine_is_named_in_a_generated_file():
    for file in [*building.INSTRUCTOR.glob("*.ipynb"), *building.STUDENT.glob("*.ipynb")]:
        assert not re.search(r"/(home|root|work|tmp|Users)/", file.read_text()), file.name


# ---- the builder itself

SOURCE = '''# %% [markdown]
# # 98 Sums
#
# **Question:** what is a sum?

# %%
import math

# %% tags=["instructor"]
print("for the teacher")

# %% exercise="98.1"
def total(numbers):
    """The sum."""
    ### BEGIN SOLUTION
    return math.fsum(numbers)
    ### END SOLUTION

# %% check="98.1" points=3
assert total([1]) == 1
### BEGIN HIDDEN TESTS
assert total([2, 3]) == 5
### END HIDDEN TESTS

# %% [markdown] written="98.2" points=2
# ### BEGIN SOLUTION
# In words.
# ### END SOLUTION
'''


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "98_sums.py"
    path.write_text(SOURCE)
    return path


def test_a_student_gets_a_stub_that_says_whose_turn_it_is(source):
    code = {building.number_of(cell, "exercise"): cell.source for cell in building.student(source).cells}
    space: dict = {}
    exec(code["98.1"], space)
    with pytest.raises(NotImplementedError, match=r"98\.1 is yours to write"):
        space["total"]([1])


def test_the_teachers_notes_and_hidden_tests_stay_with_the_teacher(source):
    student = "\n".join(cell.source for cell in building.student(source).cells)
    teacher = "\n".join(cell.source for cell in building.instructor(source).cells)
    for text in ("for the teacher", "[2, 3]", "fsum", "In words."):
        assert text not in student
        assert text in teacher
    assert "YOUR ANSWER HERE" in student


def test_points_are_those_of_the_header(source):
    marks = {
        c.metadata.nbgrader.grade_id: c.metadata.nbgrader
        for c in building.student(source).cells
        if "nbgrader" in c.metadata
    }
    assert marks["check-98-1"]["points"] == 3
    assert marks["check-98-1"]["locked"]
    assert marks["written-98-2"] == {
        "grade": True,
        "grade_id": "written-98-2",
        "locked": False,
        "points": 2,
        "schema_version": 3,
        "solution": True,
        "task": False,
    }


def test_solutions_become_a_module_with_the_imports_they_need(source):
    code = building.solutions(source)
    space: dict = {}
    exec(code, space)
    assert space["total"]([1, 2]) == 3
    assert [node.names[0].name for node in ast.parse(code).body if isinstance(node, ast.Import)] == ["math"]


def test_a_solution_that_leans_on_the_notebook_is_refused(source):
    source.write_text(SOURCE.replace("math.fsum(numbers)", "helper(numbers)"))
    with pytest.raises(building.SourceError, match="helper, which only the notebook defines"):
        building.solutions(source)


def test_a_number_of_another_chapter_is_refused(source):
    source.write_text(SOURCE.replace('exercise="98.1"', 'exercise="97.1"'))
    with pytest.raises(building.SourceError, match=r'expected "98\.N"'):
        building.read(source)


def test_an_edited_source_makes_its_notebooks_stale(source, monkeypatch, tmp_path):
    for name in ("STUDENT", "INSTRUCTOR", "SOLUTIONS"):
        folder = tmp_path / name
        folder.mkdir()
        monkeypatch.setattr(building, name, folder)
    monkeypatch.setattr(building, "HERE", tmp_path / "notebooks")
    (tmp_path / "notebooks").mkdir()
    monkeypatch.setattr(building, "_setup", lambda: nbformat.v4.new_code_cell("", metadata={"tags": ["setup"]}))
    building.build(source, run=False)
    (tmp_path / "INSTRUCTOR" / "98_sums.ipynb").write_text(building.text_of(building.instructor(source)))
    assert building.stale(source) == []
    source.write_text(SOURCE.replace("what is a sum", "what is not a sum"))
    assert len(building.stale(source)) == 2
    source.write_text(SOURCE.replace("math.fsum(numbers)", "sum(numbers)"))
    assert len(building.stale(source)) == 2  # the student's does not show it


def test_outputs_are_kept_where_only_words_have_changed(source):
    old = building.instructor(source)
    for cell in old.cells:
        if cell.cell_type == "code":
            cell.execution_count, cell.outputs = 7, [nbformat.v4.new_output("stream", name="stdout", text="seen")]
    source.write_text(SOURCE.replace("what is a sum", "what is not a sum"))
    fresh = building.instructor(source)
    assert building.with_outputs_of(old, fresh)
    assert all(cell.outputs[0].text == "seen" for cell in fresh.cells if building.number_of(cell, "check"))
    source.write_text(SOURCE.replace("math.fsum", "sum"))
    assert not building.with_outputs_of(old, building.instructor(source))


def test_ids_of_cells_follow_from_their_text(source):
    before = {cell.source: cell.id for cell in building.read(source).cells}
    source.write_text(SOURCE.replace("# %%\nimport math", "# %%\n1 + 1\n\n# %%\nimport math"))
    after = {cell.source: cell.id for cell in building.read(source).cells}
    assert before.items() <= after.items()


def test_the_set_up_cell_does_nothing_where_the_course_is_installed(tmp_path):
    code = (
        "import sys\nbefore = list(sys.path)\n"
        + building._setup().source
        + "\nassert sys.path == before\nprint('nothing')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert done.stdout == "nothing\n", done.stderr


def test_the_fork_that_04_suggests_finds_its_checkpoint():
    said = (building.HERE / "04_train_it.py").read_text()
    (step,), (steps,) = (re.findall(words, said) for words in (r"fork\(live\.run, (\d+)", r"steps=scaled\((\d+)"))
    config, _ = fit(replace(RECIPES["tiny"](), steps=int(steps)), images=8000)
    assert is_checkpoint(int(step), int(steps), config.output)
