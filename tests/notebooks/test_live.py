"""A run beside the notebook: a real process, begun once, stopped, gone on with, forked."""

from __future__ import annotations

import json
import shutil

import pytest

from dino_core.errors import RunError
from notebooks import live as living
from notebooks.course import gallery
from notebooks.live import QUICK_STUDENTS, LiveRun, distil, fork, live_run, options, stop, training

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def quick(tmp_path, monkeypatch):
    monkeypatch.setenv("DINO_COURSE_QUICK", "1")
    monkeypatch.setenv("DINO_COURSE_HOME", str(tmp_path))
    yield tmp_path
    stop()


def test_a_run_is_begun_once_stopped_gone_on_with_and_forked(quick, capsys):
    live = live_run("tiny", name="mine", steps=400)
    assert live.training
    assert live_run("tiny", name="mine", steps=400) == live
    assert capsys.readouterr().out == ""
    assert live_run("tiny", name="mine", steps=500) == live
    assert "mine is there already, begun with other options; another name" in capsys.readouterr().out
    live.wait(step=3, seconds=120)
    assert training(gallery()).path == live.path  # what widgets of other notebooks follow
    stop(live)
    assert live.run.status == "stopped"
    assert training(gallery()).path == gallery().path
    reached = live.step
    with pytest.raises(RunError, match=f"mine stopped at step {reached}; live_run goes on with it"):
        live.wait()
    assert live.wait(step=3).path == live.path  # what was asked for has been logged

    again = live_run("tiny", name="mine")
    again.wait(step=reached + 2, seconds=120)
    stop(again)
    assert again.run.events()[-1]["segment"] == 1

    branch = fork(again.run, again.run.checkpoints[-1], "branch", objective__centering="none")
    branch.wait(step=again.run.checkpoints[-1] + 1, seconds=120)
    stop(branch)
    assert branch.run.config.objective.centering == "none"
    assert branch.run.about["parent"]["step"] == again.run.checkpoints[-1]
    assert not [path for path in (quick / "runs" / "mine").iterdir() if path.suffix == ".log"]


def test_what_the_trainer_refuses_reaches_the_learner():
    with pytest.raises(RunError, match=r"refused did not start:\n(.*\n)*.*no recipe 'tinny'"):
        live_run("tinny", name="refused")


def test_options_are_words_of_the_command_line():
    changes = {"steps": 300, "objective__centering": "none", "schedules__teacher_temperature": (0.1, 0.1)}
    assert options(changes, quick=False) == [
        "--steps", "300", "--objective.centering", "none", "--schedules.teacher-temperature", "0.1", "0.1",
    ]  # fmt: skip


def test_a_run_that_never_began_is_said_to_be_starting(quick):
    assert str(LiveRun(quick / "runs" / "nothing")) == "nothing: starting, step -1"


def test_on_a_page_nothing_is_followed(quick, monkeypatch):
    path = quick / "runs" / "mine"
    path.mkdir(parents=True)
    shutil.copy(gallery().path / "run.json", path)
    monkeypatch.setattr(LiveRun, "training", True)
    assert training(gallery()).path == path
    monkeypatch.setenv("DINO_COURSE_STATIC", "1")
    assert training(gallery()).path == gallery().path


def test_students_are_begun_together_and_then_gone_on_with(quick, monkeypatch):
    """The words of the command line; that they distil is what executing notebook 09 shows."""
    begun = []
    monkeypatch.setattr(living, "_begin", lambda folder, words, seconds, lives: begun.append((folder, words, lives)))
    students = distil(gallery(), ["tiny_student", "tiny_convnext"], steps=4)
    folder, words, lives = begun[0]
    assert [live.path for live in lives] == [folder / "tiny_student", folder / "tiny_convnext"]
    assert list(students.values()) == lives
    assert words[:5] == ["distill", "--teacher", str(gallery().path), "--students", "tiny_student"]
    assert words[words.index("--out") + 1] == str(folder)
    assert words[-2:] == ["--steps", "4"]
    assert not {"crops.global_size", "backbone.dim", "head.prototypes"} & set(QUICK_STUDENTS)
    assert all(live.log == folder.with_name("students.log") for live in lives)  # a folder of students begins empty

    folder.mkdir(parents=True)
    (folder / living.DISTILLATION).write_text(json.dumps({}))
    distil(gallery(), ["tiny_student", "tiny_convnext"], steps=4)
    assert begun[1][1] == ["resume", str(folder)]


def test_a_folder_of_students_is_known_by_the_file_that_distilling_writes():
    from dino_core.distillation import students

    assert living.DISTILLATION == students.DISTILLATION
