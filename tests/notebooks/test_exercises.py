"""Of every exercise: the right answer passes, each mistake gets its own sentence, half a thing is told apart from nothing."""

from __future__ import annotations

import warnings
from importlib import import_module

import numpy as np
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
    assert "a generator, which is still to be run through" in complaint(exercise, lambda *given: (one for one in given))


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


distilled = EXERCISES["09.1"]


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (lambda s, t, w, c: distilled.right(s, t, w, c), "a gradient flows into `t`, which is a constant"),
        (lambda s, t, w, c: distilled.right(s.detach(), t, w, c), "no gradient reaches `s`"),
        (lambda s, t, w, c: distilled.right(s.detach(), t.detach(), w, c), "no gradient comes of it"),
        (lambda s, t, w, c: distilled.right(s, t, w, c).item(), "no gradient comes of it"),
        (
            lambda s, t, w, c: distilled.right(s, torch.tensor(t.numpy()), w, c),
            "stops where it has to be differentiated",
        ),
    ],
)
def test_a_right_value_that_teaches_the_wrong_network_is_not_right(answer, sentence):
    assert sentence in complaint(distilled, answer)


cosines = Exercise(
    "98.4",
    cases=lambda seed: [(torch.tensor([0.3, 0.5, 0.2]), 0.5, 2.0), (torch.tensor([0.9, 0.25, 0.4]), 0.25, 4.0)],
    right=lambda values, scale, shift: values.cumsum(0) * scale + shift / 10,
)
both = Exercise("98.5", cases=lambda seed: [(0.3, 2), (0.7, 3)], right=lambda x, n: (x * n, [x, n]))
named = Exercise("98.6", cases=lambda seed: [(1,), (-1,)], right=lambda x: "up" if x > 0 else "down")
shares = Exercise("98.12", cases=lambda seed: [(torch.tensor([0.3, 0.9]),)], right=lambda w: {"a": w, "b": w / 3})
table = Exercise("98.13", cases=lambda seed: [(np.arange(24.0).reshape(2, 3, 4) / 7,)], right=lambda t: t)
even = Exercise("98.11", cases=lambda seed: [(2,), (3,), (4,)], right=lambda x: x % 2 == 0)
above = Exercise("98.7", cases=lambda seed: [(np.arange(6), 2), (np.arange(5), 3)], right=lambda x, least: x > least)


@pytest.mark.parametrize(
    ("exercise", "answer", "sentence"),
    [
        (cosines, lambda v, a, b: -cosines.right(v, a, b), "minus yours would be right"),
        (cosines, lambda v, a, b: 1 / cosines.right(v, a, b), "1 divided by yours would be right"),
        (cosines, lambda v, a, b: cosines.right(v, a, b).exp(), "its logarithm would be right"),
        (cosines, lambda v, a, b: cosines.right(v, a, b).flip(0), "the last one first"),
        (cosines, lambda v, a, b: 3 * cosines.right(v, a, b), "the right numbers, but 3 times as large"),
        (cosines, lambda v, a, b: torch.stack([cosines.right(v, a, b)] * 2), "the mean of yours over axis 0"),
        (cosines, lambda v, a, b: cosines.right(v, a, b)[None], "an axis of length 1 too many"),
        (cosines, lambda v, a, b: cosines.right(v, 1, b), "as if `a` were 1"),
        (cosines, lambda v, a, b: cosines.right(v, b, a), "as if `a` and `b` were exchanged"),
        (cosines, lambda v, a, b: cosines.right(v, 0.5, b), "`a` is 0.5 in your function, whatever it is given"),
        (
            cosines,
            lambda v, a, b: cosines.right(v, 0.5, 2.0),
            "written into your function, whatever it is given: `a` 0.5, `b` 2",
        ),
        (cosines, lambda v, a, b: cosines.right(0 * v, a, b), "as if `v` were 0 everywhere"),
        (cosines, lambda v, a, b: cosines.right(v, a, b).softmax(-1), "one softmax too many"),
        (cosines, lambda v, a, b: cosines.right(v, a, b).mean(), "one step too far: yours is the mean"),
        (cosines, lambda v, a, b: cosines.right(v, a, b)[1:], "the first one is missing in yours"),
        (table, lambda t: np.roll(t, 1), "not at their places"),
        (cosines, lambda v, a, b: cosines.right(v, a, b).tolist(), "give them as a tensor, not as a list"),
        (cosines, lambda v, a, b: (a, cosines.right(v, a, b)), "the last of which is right"),
        (cosines, lambda v, a, b: str(a), "yours is text; a tensor is asked for"),
        (cosines, lambda v, a, b: cosines.right(v, a / 10, b), "as if `a` were a tenth"),
        (cosines, lambda v, a, b: cosines.right(v, a**2, b), "as if `a` were squared: do you use it twice?"),
        (cosines, lambda v, a, b: cosines.right(v - v.mean(), a, b), "from `v` the mean over axis 0 were subtracted"),
        (cosines, lambda v, a, b: cosines.right(v.softmax(-1), a, b), "as if a softmax were taken of `v`"),
        (cosines, lambda v, a, b: torch.ones(3), "the same comes out, whatever your function is given"),
        (shares, lambda w: {"a": 2 * w}, "'b' is missing in your dictionary: all of ['a', 'b']"),
        (shares, lambda w: {"a": -w, "b": -w / 3}, "minus yours would be right"),
        (table, lambda t: t.transpose(1, 2, 0), "their axes are in the order (1, 2, 0)"),
        (table, lambda t: t.ravel(), "in the right order, but in another shape"),
        (both, lambda x, n: (x * n, [x, n], n), "you return 3 things; 2 are asked for"),
        (both, lambda x, n: {"product": x * n, "parts": [x, n]}, "the right parts, with names to them"),
        (both, lambda x, n: ([x, n], x * n), "the last one comes first in yours"),
        (
            both,
            lambda x, n: (x, [x, n]),
            "as if `n` were 1: do you use it? In numbers: part 1 of what you return is wrong",
        ),
        (
            named,
            lambda x: "Up" if x > 0 else "down",
            "'Up' is none of the answers that are asked for, letter by letter: 'up', 'down'",
        ),
        (above, lambda x, least: x <= least, "True where False is asked for"),
        (above, lambda x, least: x > 2, "`least` is 2 in your function"),
    ],
)
def test_how_a_wrong_result_is_related_to_the_right_one_is_said(exercise, answer, sentence):
    assert sentence in complaint(exercise, answer)


def test_what_is_tried_for_a_sentence_warns_of_nothing():
    """Of the numbers that the check tries the learner knows nothing; here warnings are errors."""

    def right(large, small):
        if large < small:
            warnings.warn("small is larger than large", stacklevel=1)
        return large - small / 3

    loud = Exercise("98.10", cases=lambda seed: [(5, 2), (7, 1)], right=right)
    assert "as if `a` and `b` were exchanged" in complaint(loud, lambda a, b: b - a / 3)


@pytest.mark.parametrize("number", ["05.2", "06.2"])
def test_a_mask_of_numbers_is_no_mask(number):
    """0 and 1 in brackets are places, and would choose other things without a word."""
    exercise = EXERCISES[number]
    assert "holds the numbers 0 and 1" in complaint(exercise, lambda *given: exercise.right(*given) * 1.0)
    exercise(lambda *given: torch.tensor(exercise.right(*given)))  # a tensor of bool is a mask


def test_the_right_numbers_of_a_wrong_kind_are_told_apart():
    gram = EXERCISES["08.1"]
    assert "as ndarray; Tensor is asked for" in complaint(gram, lambda patches: gram.right(patches).numpy())


def test_what_max_and_topk_give_is_taken_apart():
    assert "give two things: .values, and .indices" in complaint(double, lambda numbers, times: numbers.max(0))


def test_the_same_number_each_time_follows_from_nothing():
    flat = Exercise("98.14", cases=lambda seed: [(0.25, 3.0), (0.25, 5.0)], right=lambda x, y: x + y / 7)
    said = complaint(flat, lambda x, y: 0.5)
    assert "as if" not in said
    assert "whatever your function is given" in said


def test_in_how_many_cases_it_is_right_is_said():
    steps = Exercise("98.15", cases=lambda seed: [(1,), (2,), (3,)], right=lambda n: n * n)
    assert "right in 2 of the 3 cases" in complaint(steps, lambda n: n * n if n < 3 else 7)


def test_one_result_of_many_that_a_mistake_gives_too_is_chance():
    """Half a schedule that touches another wrong one at one step is not that other one."""
    rate = EXERCISES["04.2"]
    cold = rate.mistakes[0]
    said = complaint(rate, lambda *given: rate.right(*given) if given[0] < 800 else cold.made(*given) + 1e-7)
    assert cold.sentence not in said


def test_a_switch_of_gradients_is_noticed():
    def answer(s, t, w, c):
        return distilled.right(s, t.requires_grad_(False), w, c)

    assert "switches requires_grad of what it is given" in complaint(distilled, answer)


def test_true_and_false_are_words():
    assert "returns True; expected False" in complaint(even, lambda x: True)


def test_no_relation_is_made_up():
    """Numbers without places behind the comma are alike by chance, and one result of two proves nothing."""
    said = complaint(double, lambda numbers, times: torch.tensor([6.0, 3.0]) if numbers[0] == 1 else numbers)
    assert said.startswith("98.1: your numbers are off by up to 3")
    assert "98.4: your numbers are off" in complaint(cosines, lambda v, a, b: cosines.right(v, a, b) + 0.1 * v)
    coarse = Exercise(
        "98.8", cases=lambda seed: [(3,), (4,)], right=lambda x: x > 3, mistakes=[Mistake("never.", lambda x: x > 9)]
    )
    assert "never." not in complaint(coarse, lambda x: x == 3)


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
