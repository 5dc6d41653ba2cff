"""Predict first: what is recorded, where, and what is said when the answer is shown."""

from __future__ import annotations

import json

import pytest

from notebooks.guesses import predict, record, recorded, reveal

QUESTION = ("02.a", "The entropy", ["rises", "falls"])


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("DINO_COURSE_HOME", str(tmp_path / "learner"))
    return tmp_path / "learner"


def test_a_guess_without_widgets_is_an_argument(folder, capsys):
    predict(*QUESTION)
    assert "Record yours: predict('02.a', ..., guess='rises')" in capsys.readouterr().out
    predict(*QUESTION, guess="rises")
    assert "Your guess" in capsys.readouterr().out
    assert json.loads((folder / "guesses.json").read_text())["02.a"]["guess"] == "rises"


def test_a_guess_may_be_changed_until_the_answer_was_shown(capsys):
    predict(*QUESTION, guess="rises")
    predict(*QUESTION, guess="falls")
    assert recorded()["02.a"]["guess"] == "falls"
    reveal("02.a", "falls", "Sharpening.")
    predict(*QUESTION, guess="rises")
    assert recorded()["02.a"]["guess"] == "falls"
    assert record("02.a", "The entropy", "rises") == "falls"  # what a late click is told


@pytest.mark.parametrize(("guess", "said"), [("falls", "as it is"), ("rises", "not as it is")])
def test_the_answer_stands_beside_the_guess(guess, said, capsys):
    predict(*QUESTION, guess=guess)
    reveal("02.a", "falls", "Sharpening.")
    out = capsys.readouterr().out
    assert "02.a: falls. Sharpening." in out
    assert f"You guessed {guess}: {said}" in out


@pytest.mark.parametrize(("guess", "near"), [(18, True), (19, True), (25, False)])
def test_a_number_is_right_within_a_distance(guess, near, capsys):
    predict("02.c", "How many pairs?", guess=guess)
    reveal("02.c", 18, within=1)
    assert ("not as it is" not in capsys.readouterr().out) is near


def test_an_answer_that_is_not_offered_is_refused():
    with pytest.raises(ValueError, match=r"'stays' is none of the answers to 02\.a: rises, falls"):
        predict(*QUESTION, guess="stays")
    with pytest.raises(ValueError, match="asks for a number"):
        predict("02.c", "How many pairs?", guess="many")


def test_without_a_guess_the_answer_still_comes(capsys):
    reveal("02.a", "falls")
    assert "You recorded no guess" in capsys.readouterr().out


def test_a_torn_file_of_guesses_is_no_catastrophe(folder):
    folder.mkdir()
    (folder / "guesses.json").write_text('{"02.a": {"gue')
    predict(*QUESTION, guess="rises")
    assert list(recorded()) == ["02.a"]
