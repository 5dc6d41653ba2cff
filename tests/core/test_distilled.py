"""Recipes of the published students against the papers' tables, their released configs and their teachers' recipes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dino_core.commands.distill import main as distill
from dino_core.commands.plan import main as plan_command
from dino_core.commands.train import main as train
from dino_core.config import Backbone, Crops, Head, Ibot
from dino_core.distillation.sight import teachers_sight
from dino_core.distillation.suiting import suited
from dino_core.distillation.teacher import Teacher
from dino_core.distilled import TAUGHT_BY
from dino_core.fit import check_crops, fit
from dino_core.model import PRESETS
from dino_core.planning.plan import Machine, plan
from dino_core.planning.step import steps_of
from dino_core.recipes import RECIPES, STUDENTS, recipe
from dino_core.schedules import Schedule
from dino_core.stopwatch import Stopwatch
from dino_core.train import build_engine
from tests.core.test_planning import config_of, counted, masked_batch_of

# architecture, batch, steps, peak learning rate, warm-up, its shape, weight decay, layer decay, momentum, temperature, its
# warm-up, crops, mirrored, shape of weight decay and momentum
V2 = (2048, 625_000, 1e-3, 100_000, "linear", (0.04, 0.2), 1.0, 37_500, (224, 98), 0.5, "cosine")
V3 = (1920, 25_000, 2.739e-4, 12_500, "cosine", (0.04, 0.04), 0.99, 0, (256, 112), 0.0, "cosine")
CONVNEXT = (4096, 625_000, 2e-4, 100_000, "linear", (0.04, 0.2), 1.0, 150_000, (512, 224), 0.0, "linear")
TABLE = {
    "vits14_dinov2_distilled": ("dinov2_vits14", *V2),
    "vitb14_dinov2_distilled": ("dinov2_vitb14", *V2),
    "vitl14_dinov2_distilled": ("dinov2_vitl14", *V2),
    "vits16_dinov3_distilled": ("dinov3_vits16", *V3),
    "vits16plus_dinov3_distilled": ("dinov3_vits16plus", *V3),
    "vitb16_dinov3_distilled": ("dinov3_vitb16", *V3),
    "vitl16_dinov3_distilled": ("dinov3_vitl16", *V3),
    "vith16plus_dinov3_distilled": ("dinov3_vith16plus", *V3),
    "convnext_tiny_dinov3_distilled": ("dinov3_convnext_tiny", *CONVNEXT),
    "convnext_small_dinov3_distilled": ("dinov3_convnext_small", *CONVNEXT),
    "convnext_base_dinov3_distilled": (
        "dinov3_convnext_base", 4096, 625_000, 1e-4, *CONVNEXT[3:5], (0.02, 0.2), *CONVNEXT[6:],
    ),
    "convnext_large_dinov3_distilled": ("dinov3_convnext_large", 4096, 625_000, 1e-4, *CONVNEXT[3:]),
}  # fmt: skip


def test_every_published_student_is_in_the_table():
    assert set(TABLE) == set(TAUGHT_BY)
    assert set(STUDENTS) == {*TABLE, "tiny_student", "tiny_convnext"}


@pytest.mark.parametrize("name", TABLE)
def test_students_keep_the_published_constants(name):
    network, batch, steps, lr, warmup, rise, decay, layers, warm, crops, flip, shape = TABLE[name]
    config, said = fit(recipe(name), 1_281_167)
    assert not any("prototypes" in sentence or "momentum" in sentence for sentence in said)
    assert (config.backbone.name, config.batch_size, config.steps) == (network, batch, steps)
    assert (config.backbone.drop_path, config.phases, config.init.backbone) == (0.0, (), None)
    schedule, half = Schedule(config), steps // 2
    assert schedule.at(warmup).learning_rate == pytest.approx(lr, rel=1e-3)
    assert schedule.at(warmup // 2).learning_rate == pytest.approx(lr / 2, rel=1e-3)
    assert schedule.at(warmup // 4).learning_rate == pytest.approx(
        {"linear": 0.25, "cosine": 0.1464}[rise] * lr, rel=1e-2
    )
    assert schedule.at(steps - 1).learning_rate == pytest.approx(1e-6 if steps == 625_000 else lr, rel=1e-2)
    assert config.optim.weight_decay == decay
    assert config.schedules.momentum == (0.994, 1.0)
    quarter = {"linear": 0.25, "cosine": 0.1464}[shape]
    assert schedule.at(steps // 4).momentum == pytest.approx(0.994 + quarter * 0.006, abs=1e-6)
    assert schedule.at(steps // 4).weight_decay == pytest.approx(decay[0] + quarter * (decay[1] - decay[0]), abs=1e-5)
    assert schedule.at(half).momentum == pytest.approx(0.997)
    assert (schedule.at(0).teacher_temperature, schedule.at(warm).teacher_temperature) == (0.04 if warm else 0.07, 0.07)
    assert (config.optim.layer_decay, config.optim.clip, config.optim.clip_over) == (layers, 3.0, "part")
    c = config.crops
    assert (c.global_size, c.local_size, c.local_crops, c.flip) == (*crops, 8, flip)
    assert (c.global_scale, c.local_scale) == ((0.32, 1.0), (0.05, 0.32))
    assert (config.objective.weight, config.objective.local_weight, config.ibot.weight) == (1.0, 1.0, 1.0)
    assert (config.objective.koleo_weight, config.koleo.over_ranks, config.gram.weight) == (0.1, False, 0.0)
    assert (config.objective.centering, config.ibot.centering, config.ibot.separate_head) == (
        "sinkhorn",
        "sinkhorn",
        True,
    )
    assert (config.ibot.hide, config.hides_patches) == (False, False)


@pytest.mark.parametrize("name", TABLE)
def test_a_student_suits_the_teacher_it_is_published_with(name):
    config, teacher = recipe(name), recipe(TAUGHT_BY[name])
    assert suited(name, config, teacher.head.prototypes, teacher.patch_head.prototypes, True) == config
    assert config.head == teacher.head
    assert config.ibot.head == teacher.ibot.head
    with torch.device("meta"):
        patch, theirs = (PRESETS[c.backbone.name].build().patch for c in (config, teacher))
    assert config.backbone.patch == patch
    check_crops(config, patch, name)
    seen = teachers_sight(fit(config, 10**6)[0], patch, theirs)
    assert seen.crops.global_size // theirs == config.crops.global_size // patch == 16  # 16 by 16 positions
    assert "distilled from its" in (RECIPES[name].__doc__ or "")


def test_students_are_listed_where_they_are_asked_for(capsys):
    for command in (train, distill):
        assert command(["--help"]) == 0
        said = capsys.readouterr().out
        assert all(name in said for name in STUDENTS)


def test_a_distillation_is_planned_with_the_pass_of_its_teacher():
    teacher = config_of(
        backbone=Backbone(name="rope", patch=8, dim=64, depth=3, heads=4, registers=2),
        ibot=Ibot(weight=1.0, separate_head=True, head=Head(prototypes=256, hidden=128, bottleneck=32)),
    )
    student = config_of(
        backbone=Backbone(patch=16, dim=32, depth=2, heads=2, registers=2, drop_path=0.0),
        crops=Crops(global_size=64, local_size=32, local_crops=2),
        head=Head(hidden=64, bottleneck=32),
        ibot=Ibot(weight=1.0, separate_head=True, head=Head(hidden=64, bottleneck=32)),
    )
    found = plan(student, Machine(1, 10**12, 1e12, 0.5), 64, teacher=teacher)
    config, stage = found.config, found.stages[0]
    assert (config.head.prototypes, config.patch_head.prototypes, config.ibot.hide) == (512, 256, False)
    assert stage.model.frozen == stage.model.source.total

    own, engine, clock = build_engine(fit(teacher, 64)[0]).teacher, build_engine(config), Stopwatch(torch.device("cpu"))
    frozen = Teacher(own, {}, Path())
    frozen.speaks_of_patches = True
    views = torch.randn(2, config.batch_size, 3, 32, 32)  # 4 by 4 patches of 8 px, as 64 px have of 16
    batch = masked_batch_of(config, steps_of(config, stage.model)[0], 0)

    def step() -> None:
        frozen.look(views)
        engine.train_step(batch, Schedule(config).at(1), clock, asked=frozen)

    assert sum(found.flops.values()) == pytest.approx(counted(step), rel=0.01)


def test_the_command_plans_a_student_with_its_papers_teacher(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    assert plan_command(["vitl14_dinov2_distilled", "--gpus", "64"]) == 0
    said = capsys.readouterr().out
    assert "distilled from a frozen teacher of" in said
    assert "frozen" in said
    assert plan_command(["tiny_student", "--teacher", "tiny"]) == 0
    assert "distilled from a frozen teacher of" in capsys.readouterr().out
