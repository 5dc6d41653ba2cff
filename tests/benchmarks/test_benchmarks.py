"""The benchmarks run and say what they promise; no timing is asserted."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from timm.layers import set_fused_attn
from torch.utils.flop_counter import FlopCounterMode

import lab
from benchmarks import report, scenes, worker
from benchmarks.__main__ import BENCHMARKS
from benchmarks.ours import batch_of
from benchmarks.pipelines import PIPELINES
from benchmarks.rivals import Lightly, Plain
from benchmarks.setting import MOMENTUM, QUICK, Setting, crops
from dino_core.config import Crops
from dino_core.schedules import Schedule
from dino_core.stopwatch import Stopwatch
from dino_core.train import build_engine
from lab.follow import Follower
from tests.benchmarks import forked

ROOT = Path(report.__file__).parents[1]
CONTESTANTS = "tests.benchmarks.contestants"
MANY = ("step", "telemetry", "crops", "neighbour", "latency")
"""Benchmarks of contestants, each of which would import torch anew; the others are called as users do."""
needs_lightly = pytest.mark.skipif(find_spec("lightly") is None, reason="lightly comes with the extra `bench`")


def run(name: str, folder: Path) -> dict[str, Any]:
    if name in MANY:
        said = folder / "said"
        assert forked.run([name, "--quick", "--out", str(folder)], said, 280) == 0, said.read_text()
        return json.loads((folder / f"{name}_cpu.json").read_text())
    command = [sys.executable, "-m", "benchmarks", name, "--quick", "--out", folder]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    return json.loads((folder / f"{name}_cpu.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("step", {"work", "peak_gflops", "trainer_chooses", "precisions"}),
        ("attention", {"seconds"}),
        ("help", {"seconds"}),
        ("telemetry", {"every", "cost"}),
        ("crops", {"images", "images_per_second", "times_as_long_as_ours"}),
        ("neighbour", {"seconds_per_step"}),
        ("latency", {"seconds", "browser"}),
    ],
)
def test_a_benchmark_leaves_its_numbers_with_machine_and_versions(name: str, keys: set[str], tmp_path: Path) -> None:
    found = run(name, tmp_path)
    assert found["benchmark"] == name
    assert keys < set(found)
    assert {"processor", "cores", "threads", "date", "python", "libraries"} < set(found["machine"])
    assert found["machine"]["libraries"]["torch"] == torch.__version__.split("+")[0]
    assert found["goals"]
    for each in found["goals"]:
        assert set(each) == {"what", "goal", "measured", "met"}


def test_the_made_runs_are_runs_that_the_lab_reads(tmp_path: Path) -> None:
    scenes.many(tmp_path, 2)
    scenes.long(tmp_path, 300)
    growing = scenes.watched(tmp_path / "watched", scenes.QUICK)
    about = {run.name: run for run in lab.runs(tmp_path)}
    assert set(about) == {"many_000", "many_001", "long", "watched"}
    news = about["long"].since()
    assert scenes.SPIKE in news["curves"]["teacher/entropy"][1]
    assert (news["head"]["step"], news["head"]["status"]) == (299, "finished")
    watched = about["watched"]
    assert watched.probes == growing.stops
    assert watched.checkpoints == [growing.stops[0], growing.stops[-1]]
    assert watched.probe().patches.shape == (3, 64, scenes.QUICK.backbone.dim)
    cursor = watched.since()["cursor"]
    step = growing.log()
    growing.writer.close()
    assert Follower(watched.path).since(cursor)["curves"]["loss"][0] == [step]


@pytest.mark.slow
def test_without_a_gpu_its_benchmark_says_so() -> None:
    command = [sys.executable, "-m", "benchmarks", "gpu", "--quick"]
    environment = {"CUDA_VISIBLE_DEVICES": "", "PATH": ""}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == 0, done.stderr
    assert "skipped: torch sees no CUDA device" in done.stdout


def test_an_unknown_benchmark_is_refused_with_the_choices() -> None:
    command = [sys.executable, "-m", "benchmarks", "speed"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert f"no benchmark 'speed'. Benchmarks: {', '.join(BENCHMARKS)}." in done.stderr


def test_the_counted_arithmetic_is_that_of_the_plain_loop() -> None:
    set_fused_attn(False)  # so that the counter sees attention's products
    try:
        plain = Plain(QUICK)
        with FlopCounterMode(display=False) as counter:
            plain.step(*crops(QUICK))
    finally:
        set_fused_attn(True)
    assert counter.get_total_flops() == pytest.approx(QUICK.flops, rel=1e-3)


def test_an_image_of_the_measured_step_is_eight_gigaflops() -> None:
    full = Setting(
        32, global_size=64, local_size=32, local_crops=4, patch=8, dim=192, depth=12, heads=3, prototypes=4096
    )
    assert full.flops / full.images == pytest.approx(8.3e9, rel=0.01)


@pytest.mark.parametrize("rival", [Plain, pytest.param(Lightly, marks=needs_lightly)])
def test_the_rivals_take_the_same_step(rival: type) -> None:
    engine = build_engine(QUICK.config())
    other = rival(QUICK)
    network = engine.student
    with torch.no_grad():
        for backbone, head in networks(other):
            backbone.load_state_dict(network.backbone.model.state_dict())
            mlp, last = head
            for mine, theirs in zip(linears(network.head.mlp), linears(mlp), strict=True):
                theirs.load_state_dict(mine.state_dict())
            last.weight_v.copy_(network.head.prototypes.directions)
    ours = engine.train_step(batch_of(QUICK), Schedule(QUICK.config()).at(200), Stopwatch(engine.device)).losses.total
    assert other.step(*crops(QUICK)) == pytest.approx(ours.item(), rel=1e-5)


def networks(rival: Any) -> list[tuple[Any, tuple[Any, Any]]]:
    if isinstance(rival, Plain):
        return [(n.backbone, (n.head.mlp, n.head.last)) for n in (rival.student, rival.teacher)]
    pairs = [(rival.student, rival.student_head), (rival.teacher, rival.teacher_head)]
    return [(backbone, (head.layers, head.last_layer)) for backbone, head in pairs]


def linears(module: torch.nn.Module) -> list[torch.nn.Linear]:
    return [m for m in module.modules() if isinstance(m, torch.nn.Linear)]


@pytest.mark.parametrize("name", PIPELINES)
def test_other_pipelines_give_the_same_kinds_of_views(name: str) -> None:
    if name not in ("torchvision PIL", "torchvision v2") and find_spec(name) is None:
        pytest.skip(f"{name} comes with the extra `bench`")
    draw = np.random.default_rng(0)
    images = [draw.integers(0, 256, (40, 48, 3), dtype=np.uint8) for _ in range(3)]
    large, small = PIPELINES[name](Crops(global_size=24, local_size=16, local_crops=3))(images)
    assert large.shape == (2, 3, 3, 24, 24)
    assert small.shape == (3, 3, 3, 16, 16)
    for views in (large, small):
        assert views.dtype == torch.float32
        assert -3.5 < views.min() < views.max() < 3.5
        assert views.std() > 0.2


def test_contestants_take_turns_in_processes_of_their_own() -> None:
    with worker.Worker(f"{CONTESTANTS}:counting", {"of": 3}, threads=1) as one:
        first, second = one.turn(2), one.turn(1)
    assert [first.said, second.said] == [2, 0]
    assert len(first.wall) == len(first.cpu) == 2
    assert second.peak_mib >= first.peak_mib > 1


def test_a_contestant_that_fails_is_named() -> None:
    with (
        worker.Worker(f"{CONTESTANTS}:missing", threads=1) as one,
        pytest.raises(RuntimeError, match="missing ended with status 1"),
    ):
        one.turn()


def test_the_ratio_is_of_the_same_round() -> None:
    assert worker.ratio([2.0, 30.0, 4.0], [1.0, 10.0, 2.0]) == 2.0


def test_a_goal_knows_whether_it_is_met() -> None:
    assert report.goal("speed", 1.3, at_least=1.2)["met"] is True
    assert report.goal("memory", 1.3, at_most=1)["met"] is False
    assert report.goal("lightly", None, at_least=1.2)["met"] is None


def test_the_moving_average_is_the_same_for_all() -> None:
    assert Schedule(QUICK.config()).at(0).momentum == pytest.approx(MOMENTUM)
    assert math.isclose(QUICK.config().optim.clip or 0, 3.0)
