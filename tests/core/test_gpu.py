"""The same code on a CUDA device: the CPU's numbers, never waited for, resumed, in every precision and on one rank of NCCL."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dino_core.config import Backbone, Dino, Machine, TrainConfig
from dino_core.data.loader import Loader
from dino_core.data.sources import open_source
from dino_core.data.views import Batch
from dino_core.engine import Engine
from dino_core.fit import fit
from dino_core.loop import multicrop_of
from dino_core.model import load_backbone
from dino_core.rundir.read import checkpoints, read_run
from dino_core.rundir.schema import CHECKPOINTS, step_name
from dino_core.schedules import Schedule
from dino_core.seeds import generator
from dino_core.stopwatch import Stopwatch
from dino_core.train import build_engine, resume, start
from tests.core.test_phases import phased
from tests.core.test_training import rows_of
from tests.small import small_config

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
STILL = replace(small_config().backbone, drop_path=0.0)
"""Without stochastic depth, whose draws are the device's own."""


def on(device: str, precision: str = "fp32", **options: object) -> Machine:
    return Machine(device=device, precision=precision, threads=1, **options)  # type: ignore[arg-type]


def trained(config: TrainConfig, out: Path) -> Path:
    path, status = start(config, out)
    assert status == "finished"
    return path


def compared(one: Path, other: Path, names: tuple[str, ...], tolerance: float, steps: range) -> None:
    ours, theirs = rows_of(one), rows_of(other)
    for step in steps:
        for name in names:
            assert ours[step][name] == pytest.approx(theirs[step][name], rel=tolerance, abs=tolerance), (step, name)


def test_a_run_on_the_gpu_is_the_run_on_the_cpu(tmp_path):
    names = (
        "loss",
        "teacher/entropy",
        "kl",
        "gradient/backbone",
        "features/rankme",
        "attention/entropy",
        "knn/teacher",
    )
    runs = [trained(small_config(backbone=STILL, machine=on(d)), tmp_path / d) for d in ("cpu", "cuda")]
    compared(*runs, names[:4], 2e-3, range(1, 9))
    first, last = (rows_of(run) for run in runs)
    for name in names[4:6]:
        assert first[4][name] == pytest.approx(last[4][name], rel=1e-2)
    assert first[0][names[6]] == pytest.approx(last[0][names[6]], abs=0.051)  # one image of twenty
    assert read_run(runs[1])["device"] == torch.cuda.get_device_name()


OBJECTIVES = {
    "dino": small_config(machine=on("cuda")),
    "sinkhorn": small_config(machine=on("cuda"), objective=Dino(centering="sinkhorn", koleo_weight=0.1)),
    "bf16": small_config(machine=on("cuda", "bf16")),
    "accumulated": small_config(machine=on("cuda"), optim=replace(small_config().optim, accumulate=2)),
    "dinov3": phased(machine=on("cuda", "bf16")),
}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_step_never_waits_for_the_gpu(name):
    engine, batches = ready(OBJECTIVES[name])
    for step in range(2):  # whatever libraries set up at first
        engine.train_step(next(batches), Schedule(engine.config).at(step), Stopwatch(engine.device))
    torch.cuda.synchronize()
    batch, clock = next(batches), Stopwatch(engine.device)
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as waits:
            warnings.simplefilter("always")
            result = engine.train_step(batch, Schedule(engine.config).at(2), clock)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert not [f"{w.filename}:{w.lineno} {w.message}" for w in waits if "synchronizing" in str(w.message)]
    assert bool(result.applied)


def ready(config: TrainConfig) -> tuple[Engine, Iterator[Batch]]:
    source = open_source(config.data, split="train")
    config, _ = fit(config, len(source))
    phase = config.phase(config.phase_at(0))
    engine = build_engine(phase)
    loader = Loader(
        source, batch_size=8, seed=0, decode_size=64, cache_mib=64, workers=1, on_skip=lambda name, reason: None
    )
    crops = multicrop_of(phase, engine.student.backbone.patch)
    return engine, (
        crops(loader.batch(step).to(engine.device), generator(0, "crops", step))
        for step in range(loader.steps_per_epoch)
    )


def test_a_step_that_is_not_finite_never_reaches_the_weights():
    engine, batches = ready(OBJECTIVES["bf16"])
    now, clock = Schedule(engine.config).at(5), Stopwatch(engine.device)
    engine.train_step(next(batches), now, clock)
    before = {name: value.clone() for name, value in engine.student.state_dict().items()}
    moments = [s["exp_avg"].clone() for s in engine.optimizer_state().values()]
    batch = next(batches)
    batch.globals[0, 0, 0, 0, 0] = torch.nan
    result = engine.train_step(batch, now, clock)
    assert not bool(result.applied)
    for name, value in engine.student.state_dict().items():
        assert torch.equal(value, before[name]), name
    for now_, then in zip(engine.optimizer_state().values(), moments, strict=True):
        assert torch.equal(now_["exp_avg"], then)


@pytest.mark.parametrize(
    "machine",
    [on("cuda", "bf16"), on("cuda", "fp16"), on("cuda", "bf16", checkpointing=True)],
    ids=["bf16", "fp16", "recomputed"],
)
def test_every_precision_and_switch_trains_all_phases(machine, tmp_path):
    rows = rows_of(trained(phased(machine=machine), tmp_path / "run"))
    exact = rows_of(trained(phased(machine=on("cuda")), tmp_path / "exact"))
    assert sorted(rows) == list(range(13))
    assert rows[1]["loss"] == pytest.approx(exact[1]["loss"], rel=0.03)


def test_a_run_of_phases_goes_on_where_it_stopped(tmp_path):
    whole = trained(phased(machine=on("cuda")), tmp_path / "whole")
    for step in (4, 8):
        cut = tmp_path / f"cut_{step}"
        shutil.copytree(whole, cut)
        for later in checkpoints(cut):
            if later > step:
                shutil.rmtree(cut / CHECKPOINTS / step_name(later))
        about = json.loads((cut / "run.json").read_text())
        (cut / "run.json").write_text(json.dumps({**about, "status": "stopped"}))
        assert resume(cut) == "finished"
        compared(cut, whole, ("loss", "kl", "gradient/backbone"), 1e-2, range(step + 1, 13))


OPTIONS = [
    "tiny", "--steps", "6", "--batch-size", "16", "--data.shapes.images", "64", "--machine.precision", "fp32",
    "--backbone.drop-path", "0", "--evaluation.every", "6", "--evaluation.train-images", "40",
    "--evaluation.test-images", "20", "--output.log-every", "1",
]  # fmt: skip
TORCHRUN = ["torch.distributed.run", "--standalone", "--nproc-per-node", "1", "-m"]


def command(out: Path, *before: str, options: tuple[str, ...] = ()) -> Path:
    """A training in a process of its own, whose functions no test looks into."""
    subprocess.run(
        [sys.executable, "-m", *before, "dino_core.train", *OPTIONS, *options, "--out", str(out)], check=True
    )
    return out


@pytest.mark.parametrize(
    ("before", "options"),
    [
        ((), ("--machine.compile",)),
        (TORCHRUN, ("--machine.parallel", "ddp")),
        (TORCHRUN, ("--machine.parallel", "fsdp", "--machine.device", "cuda")),
    ],
    ids=["compiled", "ddp", "fsdp"],
)
def test_compiled_and_on_one_rank_of_nccl_it_is_the_same_run(before, options, tmp_path):
    one, other = command(tmp_path / "one"), command(tmp_path / "other", *before, options=options)
    compared(one, other, ("loss", "kl"), 5e-3, range(1, 7))


@pytest.mark.parametrize("name", ["vit", "rope"])
def test_features_and_attention_are_those_of_the_cpu(name, tmp_path):
    backbone = Backbone(name=name, patch=8, dim=32, depth=2, heads=2)
    run = trained(small_config(backbone=backbone, steps=2, machine=on("cuda")), tmp_path / "run")
    images = torch.randn(2, 3, 48, 48)
    ours, theirs = load_backbone(str(run), device="cuda"), load_backbone(str(run), device="cpu")
    with torch.no_grad():
        torch.testing.assert_close(ours(images.cuda()).patches.cpu(), theirs(images).patches, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(ours.attention(images.cuda()).cpu(), theirs.attention(images), rtol=1e-3, atol=1e-4)
