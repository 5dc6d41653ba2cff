"""A run's options as a form, and the trainings started from it."""

from __future__ import annotations

import dataclasses
import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from dino_core.commands.train import parsed
from dino_core.config import with_changes
from dino_core.errors import ConfigError, RunError
from dino_core.rundir.read import read_config, read_run, status
from lab import forms
from lab.answers import House
from lab.run import Run
from lab.shelf import Shelf
from lab.worker import Worker
from tests.small import small_config

GOLDEN = Path(__file__).parents[1] / "data" / "run_v1"
THREE_PHASES = Path(__file__).parents[2] / "lab" / "gallery" / "dinov3_shapes"
PATIENCE = 120.0


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    monkeypatch.setenv("DINO_LAB_CACHE", str(tmp_path / "cache"))
    shutil.copytree(GOLDEN, tmp_path / "runs" / "run_v1")
    return House(Shelf([tmp_path / "runs"]), Worker())


def tell(house: House, path: str, **body: Any) -> Any:
    return house.tell(path, json.dumps(body).encode()).make()


def id_of(house: House, name: str) -> str:
    return next(run["id"] for run in house.shelf.listing() if run["name"] == name)


def test_every_field_of_the_form_is_an_option_of_the_config_with_the_parents_value() -> None:
    run = Run(GOLDEN)
    plain = dataclasses.asdict(forms.parent(run, 200))
    shown = [field for group in forms.form(run, 200)["groups"] for field in group["fields"]]
    options = leaves(plain)
    assert {field["path"] for field in shown} == options
    assert len([field for field in shown if "fixed" not in field]) > 80
    assert all(("kind" in field) or field["fixed"] for field in shown), "what can be changed can be entered"
    for field in shown:
        value: Any = plain
        for part in field["path"].split("."):
            value = value[part]
        assert value == field["value"], field["path"]
    temperature = next(field for field in shown if field["path"] == "schedules.teacher_temperature")
    assert temperature["kind"] == "numbers"
    assert temperature["about"].startswith("Sharpening at the start")


def leaves(plain: dict[str, Any], path: str = "") -> set[str]:
    """Dotted names of whatever is no group."""
    inner = [(f"{path}.{name}" if path else name, value) for name, value in plain.items()]
    return {leaf for name, value in inner for leaf in (leaves(value, name) if isinstance(value, dict) else {name})}


def test_what_a_fork_can_not_change_is_shown_with_the_reason_and_refused() -> None:
    run = Run(GOLDEN)
    shown = {field["path"]: field for group in forms.form(run, 200)["groups"] for field in group["fields"]}
    assert "parent's weights" in shown["head.prototypes"]["fixed"]
    assert shown["head.prototypes"]["value"] == run.config.head.prototypes
    assert shown["data.source"]["fixed"].endswith("dino-lab fork takes it as --data.source.")
    assert {"init.backbone", "backbone.dim", "phases", "crops.mixed"} <= {
        path for path, field in shown.items() if "fixed" in field
    }
    assert "fixed" not in shown["backbone.drop_path"]
    assert "fixed" not in shown["ibot.head.prototypes"], "a head of the patches begins anew"
    with pytest.raises(ConfigError, match="parent's weights"):
        forms.changed(run, 200, {"head.prototypes": 9})


def test_a_fork_begins_another_phase_of_its_run_where_it_is_told_to() -> None:
    run = Run(THREE_PHASES)
    step = run.checkpoints[1]
    assert forms.form(run, step)["phase"] == "pretraining"
    found = forms.form(run, step, "gram")
    assert (found["phase"], found["phases"][1]) == ("gram", "gram")
    weight = next(f for group in found["groups"] for f in group["fields"] if f["path"] == "gram.weight")
    assert weight["value"] > 0
    shown = next(f for group in found["groups"] for f in group["fields"] if f["path"] == "phases")
    assert [phase["name"] for phase in shown["value"]] == found["phases"][2:]
    _, differs = forms.changed(run, step, {"gram.weight": 1.5}, "gram")
    words = forms.arguments(run, step, differs, Path("runs/child"), "gram")
    assert words[4:8] == ["--phase", "gram", "--gram.weight", "1.5"]
    with pytest.raises(ConfigError, match="no phase 'dessert'"):
        forms.form(run, step, "dessert")


def test_the_command_says_exactly_what_the_form_says() -> None:
    run = Run(GOLDEN)
    every: list[dict[str, Any]] = [preset["changes"] for preset in forms.form(run, 200)["presets"]]
    every += [
        {"optim.clip": None, "koleo.over_ranks": True, "ibot.mask_ratio": [0.1, 0.3], "optim.decay_rule": "name"},
        {"ibot.hide": False, "schedules.gram_weight.start": 0.5, "steps": 900, "gram.anchor": "20%"},
    ]
    for changes in every:
        config, differs = forms.changed(run, 200, changes)
        assert set(differs) <= set(changes)
        assert differs
        words = forms.arguments(run, 200, differs, Path("runs/child"))
        assert words[:4] == ["fork", str(run.path), "--at", "200"]
        assert parsed(forms.parent(run, 200), words[4:], "fork").config == config


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"objective.centering": "centered"}, "expected one of 'centre', 'sinkhorn', 'none'"),
        ({"data.source": "/etc"}, "is not changed from here"),
        ({"init.backbone": "/etc/passwd"}, "is not changed from here"),
        ({"output.mirrors": ["wandb"]}, "is not changed from here"),
        ({"no.such": 1}, "is not changed from here"),
        ({"crops.local_size": 999}, "must not be larger than global crops"),
        ({"steps": 100}, "begins at step 200 and would end at 100"),
        ({"gram.anchor": "../../elsewhere"}, "expected a word of letters"),
        ({"gram.anchor": "--out"}, "expected a word of letters"),
        ({"optim.lr": "high"}, "expected float"),
    ],
)
def test_a_mistake_in_the_form_is_a_sentence(house: House, changes: dict[str, Any], sentence: str) -> None:
    run = id_of(house, "run_v1")
    answer = tell(house, f"run/{run}/fork/200/check", changes=changes)
    assert sentence in answer["problem"]
    with pytest.raises((ConfigError, RunError)):
        tell(house, f"run/{run}/fork/200/start", changes=changes)


@pytest.mark.parametrize("name", ["../outside", "a/b", "-flag", "run_v1", "x" * 80, "<img src=x>"])
def test_a_child_gets_no_name_that_leads_elsewhere_or_is_taken(house: House, name: str) -> None:
    answer = tell(house, f"run/{id_of(house, 'run_v1')}/fork/200/check", changes={}, name=name)
    assert "name" in answer["problem"]


def test_a_run_that_ended_needs_more_steps_and_the_form_says_so() -> None:
    assert forms.form(Run(GOLDEN), 500)["needed"] == {"steps": 1000}
    assert forms.form(Run(GOLDEN), 200)["needed"] == {}


def test_a_read_only_lab_starts_and_stops_nothing(house: House) -> None:
    house.read_only = True
    run = id_of(house, "run_v1")
    assert tell(house, f"run/{run}/fork/200/check", changes={})["command"].startswith("dino-lab fork ")
    for path in (f"run/{run}/fork/200/start", f"run/{run}/stop", f"run/{run}/resume"):
        with pytest.raises(RunError, match="read-only"):
            tell(house, path, changes={})


def test_a_run_that_the_lab_did_not_start_is_left_alone(house: House) -> None:
    for act in ("stop", "resume"):
        with pytest.raises(RunError, match="no lab started that run"):
            tell(house, f"run/{id_of(house, 'run_v1')}/{act}")


def test_a_child_is_started_stopped_and_resumed_for_real(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_run: Path
) -> None:
    monkeypatch.setenv("DINO_LAB_CACHE", str(tmp_path / "cache"))
    shutil.copytree(small_run, tmp_path / "runs" / "small")
    house = House(Shelf([tmp_path / "runs"]), Worker())
    parent = id_of(house, "small")
    changes = {"steps": 100_000, "objective.centering": "none", "objective.koleo_weight": 0.0}
    asked = tell(house, f"run/{parent}/fork/4/start", changes=changes, name="child")
    out = tmp_path / "runs" / "child"
    wait(lambda: (out / "run.json").exists() and (out / "metrics.jsonl").exists(), house)
    assert id_of(house, "child") == asked["id"]
    config = read_config(out)
    assert config == with_changes(small_config_of(small_run), changes)
    assert read_run(out)["parent"]["step"] == 4
    gone, house = house, House(Shelf([tmp_path / "runs"]), Worker())  # as after a restart of the lab
    assert started(house)["alive"]
    tell(house, f"run/{asked['id']}/stop")
    wait(lambda: not started(house)["alive"], house)
    assert status(out) == "stopped"
    assert started(house)["said"] == ""
    assert not started(gone)["alive"]
    before = len((out / "metrics.jsonl").read_text().splitlines())
    tell(house, f"run/{asked['id']}/resume")
    wait(lambda: len((out / "metrics.jsonl").read_text().splitlines()) > before, house)
    tell(house, f"run/{asked['id']}/stop")
    wait(lambda: not started(house)["alive"], house)


def test_what_a_training_that_fails_said_last_reaches_the_page(house: House, tmp_path: Path) -> None:
    from lab.views.fork import trainings

    trainings(house).start(["resume", str(tmp_path / "nowhere")], tmp_path / "runs" / "nowhere")
    wait(lambda: not started(house)["alive"], house)
    assert "nowhere" in started(house)["said"]
    assert started(house)["status"] == "failed"


def small_config_of(run: Path) -> Any:
    config = read_config(run)
    assert config.recipe == small_config().recipe
    return config


def started(house: House) -> dict[str, Any]:
    return house.ask("started").make()["started"][0]


def wait(happened: Any, house: House) -> None:
    until = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < until, house.ask("started").make()
        time.sleep(0.1)
