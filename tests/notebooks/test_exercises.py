"""Of every exercise: the right answer passes, each mistake gets its own sentence, half a thing is told apart from nothing."""

from __future__ import annotations

from importlib import import_module

import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

from notebooks import building, exercises
from notebooks.exercises import EXERCISES, Exercise, Mistake, Unsolved, hint

for _source in building.sources():
    import_module(f"notebooks.checks.n{_source.stem[:2]}")
COURSE = {number: exercise for number, exercise in EXERCISES.items() if number < "90"}
each = pytest.mark.parametrize("exercise", COURSE.values(), ids=COURSE.keys())
each_mistake = pytest.mark.parametrize(
    ("exercise", "mistake"),
    [(exercise, mistake) for exercise in COURSE.values() for mistake in exercise.mistakes],
    ids=[f"{number}-{place}" for number, exercise in COURSE.items() for place in range(len(exercise.mistakes))],
)


def solution(exercise: Exercise):
    checks = import_module(f"notebooks.checks.n{exercise.number[:2]}")
    name = next(name for name, value in vars(checks).items() if value is exercise)
    return getattr(import_module(f"notebooks.solutions.n{exercise.number[:2]}"), name)


def complaint(exercise: Exercise, answer, seed: int = 0) -> str:
    with pytest.raises(Unsolved) as raised:
        exercise(answer, seed)
    said = str(raised.value)
    assert max(map(len, said.splitlines())) <= 120
    return "\n".join(" ".join(line.split()) for line in said.split("\n")) + "\n" + " ".join(said.split())


def test_every_exercise_cell_has_a_check_and_every_check_a_cell():
    cells = {
        n
        for path in building.sources()
        for cell in building.read(path).cells
        if (n := building.number_of(cell, "exercise"))
    }
    assert cells == set(COURSE)


@each
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_solution_passes(exercise, seed):
    exercise(solution(exercise), seed)


@each_mistake
@pytest.mark.parametrize("seed", [0, 1])
def test_a_mistake_gets_its_own_sentence(exercise, mistake, seed):
    said = complaint(exercise, mistake.made, seed)
    assert mistake.sentence in said
    assert exercise.number in said


@each
def test_what_is_not_written_is_told_apart_from_what_is_wrong(exercise):
    def stub(*_):
        raise NotImplementedError

    assert "not written yet" in complaint(exercise, stub)
    assert "returns nothing" in complaint(exercise, lambda *_: None)
    assert "half of it is there" in complaint(exercise, lambda *_: ...)


@each
def test_it_knows_what_people_do_wrong_and_helps_in_steps(exercise):
    assert len(exercise.mistakes) >= 2
    assert any(mistake.half_finished for mistake in exercise.mistakes)
    assert len(exercise.hints) >= 2
    assert len({mistake.sentence for mistake in exercise.mistakes}) == len(exercise.mistakes)


# ---- the machinery

double = Exercise(
    "98.1",
    cases=lambda seed: [(torch.tensor([1.0, 2.0]) + seed, 3)],
    right=lambda numbers, times: numbers * times,
    mistakes=[Mistake("you added.", lambda numbers, times: numbers + times)],
    hints=["Think of times.", "Use *."],
)


def test_a_wrong_number_is_shown_beside_the_right_one():
    said = complaint(double, lambda numbers, times: numbers * times + 1)
    assert "off by up to 1" in said
    assert "Yours: [4., 7.]; expected: [3., 6.]" in said
    assert "numbers = [1., 2.]\ntimes = 3" in said


def test_a_wrong_shape_is_named():
    assert "has shape (1, 2); expected (2,)" in complaint(double, lambda numbers, times: (numbers * times)[None])


def test_an_argument_that_was_changed_is_noticed():
    assert "changes what it is given" in complaint(double, lambda numbers, times: numbers.mul_(times))


def test_an_error_inside_names_the_line():
    def answer(numbers, times):
        return numbers @ [times]

    said = complaint(double, answer)
    assert "stopped with TypeError" in said
    assert "at your line: return numbers @ [times]" in said


def test_a_result_instead_of_a_function_is_named():
    assert "give the function itself" in complaint(double, torch.ones(2))


def test_nan_is_named():
    assert "holds NaN" in complaint(double, lambda numbers, times: numbers * float("nan"))


def test_half_of_a_tuple_is_half_finished():
    pair = Exercise("98.2", cases=lambda seed: [(1.0,)], right=lambda x: (x, x), mistakes=[])
    assert "still None" in complaint(pair, lambda x: (x, None))
    assert "part 2 of what you return is wrong" in complaint(pair, lambda x: (x, 2 * x))


def test_where_many_answers_are_right_a_judge_says_what_is_wrong():
    even = Exercise(
        "98.3", cases=lambda seed: [(3,)], judge=lambda result, least: None if result > least else "too small."
    )
    even(lambda least: least + 4)
    assert "98.3: too small." in complaint(even, lambda least: least)


def test_hints_come_one_after_the_other(capsys, monkeypatch):
    monkeypatch.setattr(exercises, "import_module", lambda name: None)
    monkeypatch.setattr(exercises, "_given", {})
    hint("98.1")
    hint("98.1")
    hint("98.1")
    hint("98.1", level=1)
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "Hint 1 of 2 for 98.1: Think of times."
    assert said[1] == "Hint 2 of 2 for 98.1: Use *."
    assert "notebooks/solutions/n98.py" in said[2]
    assert said[3] == said[0]


def test_a_hint_for_nothing_lists_what_there_is():
    with pytest.raises(ValueError, match=r"no exercise '02\.9'\. Of chapter 02: 02\.1, 02\.2, 02\.3"):
        hint("02.9")


def test_a_failed_check_shows_its_sentence_without_a_traceback():
    assert Unsolved("02.1: you centred the student.")._render_traceback_() == ["02.1: you centred the student."]


def test_a_mistake_of_the_readers_is_one_sentence_in_a_cell():
    shell = InteractiveShell()
    with capture_output() as said:
        shell.run_cell("from notebooks.course import gallery\ngallery('nowhere').teacher()")
    assert "nowhere" in said.stdout
    assert len(said.stdout.strip().splitlines()) == 1
