"""Runs that continue from published weights."""

from __future__ import annotations

import dataclasses
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from dino_core.config import Evaluation, Ibot, Init, Phase, from_json
from dino_core.data.loader import Loader
from dino_core.data.multicrop import MultiCrop
from dino_core.data.sources import open_source
from dino_core.errors import ConfigError, RunError
from dino_core.fit import check_crops, fit
from dino_core.model import PRESETS, Backbone, load_backbone, load_teacher
from dino_core.model.continued import continued, first_backbone
from dino_core.model.convert import WRITERS
from dino_core.model.describing import described
from dino_core.rundir.read import read_config
from dino_core.rundir.schema import step_name
from dino_core.schedules import Schedule
from dino_core.seeds import generator
from dino_core.stopwatch import Stopwatch
from dino_core.train import build_engine, resume, start
from tests.core.test_load import close, everything, shaken
from tests.small import small_config

SOURCES = {
    "dinov2": ("dinov2_vits14_reg4", {"dim": 32, "depth": 2, "heads": 2, "hidden": 64, "grid": 6, "patch": 8}),
    "dinov3": ("dinov3_vits16", {"dim": 32, "depth": 2, "heads": 2, "hidden": 64, "patch": 8, "local_cls_norm": True}),
    "dinov3 convnext": ("dinov3_convnext_tiny", {"dims": (8, 8, 16, 32), "depths": (1, 1, 1, 1)}),
}


def published(name: str, folder: Path) -> Path:
    """A file under its publisher's names."""
    torch.manual_seed(0)
    preset, sizes = SOURCES[name]
    backbone = shaken(dataclasses.replace(PRESETS[preset].architecture, **sizes).build())
    path = folder / "published.pth"
    torch.save(WRITERS[name.split()[0]](described(backbone)).tensors, path)
    return path


@pytest.mark.parametrize("name", SOURCES)
def test_a_run_begins_with_the_published_features_at_its_own_size(name: str, tmp_path: Path) -> None:
    path = published(name, tmp_path)
    config, weights, sentence = continued(
        small_config(init=Init(backbone=str(path), heads=2 if name == "dinov2" else None))
    )
    assert sentence.startswith(f"continues from {path}")
    engine = build_engine(fit(config, 64)[0], weights)
    images = torch.randn(2, 3, 64, 64)
    expected: Backbone = load_backbone(path, heads=2 if name == "dinov2" else None)
    for network in (engine.student, engine.teacher):
        network.backbone.eval()
        close(everything(network.backbone(images)), everything(expected(images)))
    assert all(p.requires_grad for p in engine.student.backbone.parameters())
    assert config.backbone.patch == expected.patch
    assert first_backbone(from_json(json.dumps(dataclasses.asdict(config)))).state_dict().keys() == weights.keys()


def test_the_heads_learn_alone_first_and_then_everything(tmp_path: Path) -> None:
    path = published("dinov3", tmp_path)
    config = small_config(init=Init(backbone=str(path), frozen=0.5))
    config, weights, _ = continued(fit(config, 64)[0])
    engine, schedule = build_engine(config, weights), Schedule(config)
    crops = config.crops
    assert [schedule.at(step).backbone_frozen for step in (0, 5, 6, 11)] == [True, True, False, False]
    before = {name: p.detach().clone() for name, p in engine.student.named_parameters()}

    source = open_source(config.data, split="train")
    loader = Loader(
        source, batch_size=8, seed=0, rank=0, world_size=1, decode_size=64, cache_mib=8, workers=1, on_skip=print
    )
    decoded = next(loader.prefetch(0, 1))
    views = MultiCrop(crops, 0, 1)(decoded, generator(0, "crops", 0))
    for step, moves in ((4, {"head"}), (8, {"head", "backbone"})):
        engine.train_step(views, schedule.at(step), Stopwatch(engine.device))
        moved = {
            name.split(".")[0] for name, p in engine.student.named_parameters() if not torch.equal(p, before[name])
        }
        assert moved == moves


def test_a_run_that_continued_is_read_resumed_and_needs_its_source_no_more(tmp_path: Path) -> None:
    path = published("dinov2", tmp_path)
    config = small_config(init=Init(backbone=str(path), heads=2), steps=4)
    config = replace(
        config, output=replace(config.output, checkpoint_every=2), evaluation=replace(config.evaluation, every=4)
    )
    run, status = start(config, tmp_path / "run")
    assert status == "finished"
    path.unlink()
    stored = read_config(run)
    assert (stored.backbone.registers, stored.backbone.dim, stored.backbone.patch) == (4, 32, 8)
    teacher = load_teacher(run / "checkpoints" / step_name(4))
    again = load_backbone(run)
    images = torch.randn(1, 3, 48, 32)
    assert torch.equal(teacher.backbone(images).patches, again(images).patches)
    shorter = run / "checkpoints" / step_name(4)
    for file in sorted(shorter.rglob("*"), reverse=True):
        file.unlink() if file.is_file() else file.rmdir()
    shorter.rmdir()
    assert resume(run) == "finished"
    close(everything(load_backbone(run)(images)), everything(again(images)))


def test_a_run_killed_before_its_first_checkpoint_begins_again_with_the_published_weights(tmp_path: Path) -> None:
    path = published("dinov3", tmp_path)
    config = small_config(init=Init(backbone=str(path)), steps=2, evaluation=Evaluation(every=0))
    run, _ = start(replace(config, output=replace(config.output, checkpoint_every=2)), tmp_path / "run")
    learnt = load_file(run / "checkpoints" / step_name(2) / "teacher.safetensors")
    shutil.rmtree(run / "checkpoints")
    moved = path.rename(tmp_path / "moved.pth")
    with pytest.raises(
        RunError, match=r"begin again from .*published\.pth, which no longer serves: .*Put that file back"
    ):
        resume(run)
    published("dinov3 convnext", tmp_path)
    with pytest.raises(RunError, match=r"published\.pth has become another network since\. Put the file back"):
        resume(run)
    moved.rename(path)
    assert resume(run) == "finished"
    again = load_file(run / "checkpoints" / step_name(2) / "teacher.safetensors")
    assert again.keys() == learnt.keys()
    assert all(torch.equal(again[name], learnt[name]) for name in again)


def test_what_cannot_be_continued_from_is_said(tmp_path: Path) -> None:
    path = published("dinov2", tmp_path)
    config = small_config(init=Init(backbone=str(path), heads=2))
    odd = replace(config, crops=replace(config.crops, local_size=20))
    with pytest.raises(
        ConfigError, match=r"patches of 8 px, which do not divide local crops of 20 px; give --crops.local-size 16"
    ):
        continued(odd)
    convnext = published("dinov3 convnext", tmp_path)
    with pytest.raises(ConfigError, match="has no patches to mask"):
        continued(small_config(init=Init(backbone=str(convnext))), mask_token=True)
    with pytest.raises(ConfigError, match=r"init\.frozen is 1\.1"):
        Init(frozen=1.1)


def test_crops_of_later_phases_follow_the_patches_of_the_source(tmp_path: Path) -> None:
    changes = {
        "crops.mixed": [[38, 18, 44, 0.5], [32, 16, 0, 0.5]],
        "gram.size": 44,
        "crops.local_size": 20,
        "gram.weight": 2.0,
    }
    phases = (Phase(name="large", share=0.5, changes=changes),)
    config, _, _ = continued(small_config(init=Init(backbone=str(published("dinov3", tmp_path))), phases=phases))
    large = config.phase(1)
    assert large.crops.mixed == ((40, 16, 48, 0.5), (32, 16, 0, 0.5))
    assert (large.gram.size, large.crops.local_size, large.gram.weight) == (48, 16, 2.0)
    check_crops(config, 8, "it")


def test_hidden_patches_get_a_token_where_the_source_has_none(tmp_path: Path) -> None:
    path = published("dinov3", tmp_path)
    config, weights, _ = continued(small_config(init=Init(backbone=str(path)), ibot=Ibot(weight=1.0)), mask_token=True)
    assert "mask_token" in weights
    assert first_backbone(config).mask_token is not None
