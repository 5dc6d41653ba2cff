"""The recorded runs that ship with the lab: whole, small enough to hand on, and places to fork from."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from dino_core.config import Evaluation, Output, differences
from dino_core.recipes import RECIPES, recipe
from dino_core.rundir.read import checkpoints, probes, read_config, read_events, read_run, status
from dino_core.train import Parent, start
from lab import runs

ROOT = Path(__file__).parents[2]
GALLERY = sorted(path.parent for path in (ROOT / "lab" / "gallery").glob("*/run.json"))


def test_the_lab_lists_them():
    assert {run.name for run in runs(ROOT / "lab" / "gallery")} == {path.name for path in GALLERY}
    assert {path.name for path in GALLERY} >= {"dino_shapes", "dinov3_shapes"}
    packaged = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["lab"]
    assert "gallery/**/*" in packaged


@pytest.mark.parametrize("path", GALLERY, ids=lambda path: path.name)
def test_each_is_what_its_recipe_and_the_makefile_make(path):
    config = read_config(path)
    assert config.recipe in RECIPES
    fitted = {"head.prototypes", "schedules", "data", "machine", "backbone", "ibot"}
    changed = {name.split(".")[0] for name in differences(recipe(config.recipe), config)}
    assert changed <= {name.split(".")[0] for name in fitted}
    makefile = (ROOT / "Makefile").read_text()
    assert f"dino-lab train {config.recipe} " in makefile
    assert f"lab/gallery/{path.name} " in makefile


@pytest.mark.parametrize("path", GALLERY, ids=lambda path: path.name)
def test_each_is_finished_judged_and_small(path):
    assert read_run(path)["gallery"] is True
    assert status(path) == "finished"
    events = read_events(path)
    assert {"started", "evaluation", "diagnosis", "checkpoint", "finished"} <= {event["event"] for event in events}
    assert sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) < 25e6
    config = read_config(path)
    assert {0, config.steps} <= set(checkpoints(path))
    assert set(config.bounds()) <= set(checkpoints(path)) & set(probes(path))
    named = [event["name"] for event in events if event["event"] == "phase"]
    assert named == ([config.phase_name, *(phase.name for phase in config.phases)] if config.phases else [])


@pytest.mark.parametrize("path", GALLERY, ids=lambda path: path.name)
def test_each_can_be_forked_where_its_last_phase_begins(path, tmp_path):
    config = read_config(path)
    step = config.bounds()[-2] if config.phases else 500
    fork = replace(
        config.from_phase(config.phase_at(step)),
        batch_size=4,
        evaluation=Evaluation(every=10**6, train_images=8, test_images=8, size=64),
        output=Output(log_every=1, checkpoint_every=10**6, probe_images=2),
    )
    child, ended = start(replace(fork, steps=step + 1), tmp_path / "fork", parent=Parent(path, step, {}))
    assert ended == "finished"
    assert read_run(child)["parent"]["run"] == path.name
