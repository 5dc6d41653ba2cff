"""The recipes of DINOv2 and DINOv3 against the tables of the papers and of their released configs."""

from __future__ import annotations

import pytest

from dino_core.config import Head
from dino_core.fit import fit
from dino_core.recipes import recipe
from dino_core.schedules import Schedule

# global batch, steps of the first phase, peak learning rate, warm-up, weight decay, clip, layer decay, stochastic depth,
# momentum, temperature, its warm-up, crops, K of views and patches, separate head, centering
TABLE = {
    "vitl16_dinov2_short": (
        2048, 125_000, 5.657e-3, 12_500, (0.04, 0.4), 3, 0.9, 0.3, (0.992, 1), (0.04, 0.07), 37_500, (224, 96), 65536, 65536,
        False, "centre",
    ),
    "vitl14_dinov2": (
        3072, 615_000, 3.464e-4, 100_000, (0.04, 0.2), 3, 1, 0.4, (0.994, 1), (0.04, 0.07), 37_500, (224, 98), 131072, 131072,
        True, "sinkhorn",
    ),
    "vitg14_dinov2": (
        3072, 615_000, 3.464e-4, 100_000, (0.04, 0.2), 3, 1, 0.4, (0.994, 1), (0.04, 0.07), 37_500, (224, 98), 131072, 131072,
        True, "sinkhorn",
    ),
    "vitl16_dinov3_im1k": (
        2048, 125_000, 5.657e-3, 12_500, (0.04, 0.4), 3, 0.9, 0.3, (0.992, 1), (0.04, 0.07), 37_500, (224, 96), 65536, 65536,
        True, "sinkhorn",
    ),
    "vit7b16_dinov3": (
        4096, 1_000_000, 4e-4, 100_000, (0.04, 0.04), 30, 0.98, 0.4, (0.994, 0.994), (0.04, 0.07), 100_000, (256, 112), 262144,
        98304, True, "sinkhorn",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLE)
def test_recipes_keep_the_papers_constants(name):
    (batch, steps, lr, warmup, decay, clip, layers, depth, momentum, temperature, warm, crops, views, patches, separate, way) = (
        TABLE[name]
    )  # fmt: skip
    whole, said = fit(recipe(name), 1_281_167)
    config = whole.phase(0)
    assert not any("prototypes" in sentence or "momentum" in sentence for sentence in said)
    assert (config.batch_size, config.steps) == (batch, steps)
    schedule = Schedule(config)
    assert schedule.at(warmup).learning_rate == pytest.approx(lr, rel=1e-3)
    assert schedule.at(warmup - 1000).learning_rate < 0.995 * lr
    assert schedule.at(warm).teacher_temperature == pytest.approx(temperature[1])
    assert schedule.at(0).teacher_temperature == temperature[0]
    assert (config.schedules.momentum, config.optim.weight_decay) == (momentum, decay)
    optim = config.optim
    assert (optim.clip, optim.clip_over, optim.layer_decay, optim.patch_embed_lr) == (clip, "part", layers, 0.2)
    assert (optim.decay_rule, optim.betas) == ("name", (0.9, 0.99) if name == "vit7b16_dinov3" else (0.9, 0.999))
    backbone = config.backbone
    assert (backbone.drop_path, backbone.drop_path_subset) == (depth, True)
    assert (config.crops.global_size, config.crops.local_size, config.crops.local_crops) == (*crops, 8)
    assert (config.crops.global_scale, config.crops.local_scale) == ((0.32, 1.0), (0.05, 0.32))
    assert (config.crops.global_blur, config.crops.local_blur, config.crops.solarize) == ((0.0, 0.9), 0.5, (0.0, 0.2))
    assert config.crops.flip == (0.0 if name == "vit7b16_dinov3" else 0.5)
    patch_head = config.patch_head or config.head
    assert (config.head.prototypes, patch_head.prototypes, config.ibot.separate_head) == (views, patches, separate)
    assert (config.objective.centering, config.ibot.centering) == (way, way)
    assert (config.objective.weight, config.ibot.weight, config.objective.koleo_weight) == (1, 1, 0.1)
    assert (config.ibot.mask_share, config.ibot.mask_ratio) == (0.5, (0.1, 0.5))


def test_the_7b_has_the_papers_heads_and_phases():
    config = recipe("vit7b16_dinov3")
    assert config.head == Head(prototypes=262_144, hidden=8192, bottleneck=512, unit_prototypes=False)
    assert config.ibot.head == Head(prototypes=98_304, hidden=4096, bottleneck=384, unit_prototypes=False)
    assert config.bounds() == [0, 1_000_000, 1_200_000, 1_230_000]
    whole, _ = fit(config, 10_000_000)
    _, gram, large = (whole.phase(i) for i in range(3))
    anchored = Schedule(gram)
    assert anchored.at(1_000_000).weights.gram == 0
    assert anchored.at(1_001_000).weights.gram * gram.gram.weight == pytest.approx(2.0)
    assert anchored.at(1_001_000).weights.local == 0.5
    assert anchored.at(1_100_000).learning_rate == pytest.approx(2.4e-4)
    assert (anchored.at(1_100_000).momentum, anchored.at(1_000_000).teacher_temperature) == (0.999, 0.07)
    assert (gram.gram.size, gram.gram.distorted, gram.gram.anchor) == (512, False, "200000")
    assert gram.gram.refresh_steps(gram.start, gram.steps) == {1_010_000, 1_020_000, 1_030_000}
    assert (large.batch_size, large.gram.weight, large.gram.anchor, large.gram.refreshes) == (2048, 1.5, "phase", 0)
    assert Schedule(large).at(1_210_000).learning_rate == pytest.approx(7.07e-5, rel=1e-3)
    assert Schedule(large).at(1_229_999).learning_rate == pytest.approx(7.07e-5, rel=1e-3)
    assert (large.objective.local_weight, large.koleo.over_ranks, large.koleo.group) == (0.5, True, 16)
    assert [(g, s, a) for g, s, a, _ in large.crops.mixed] == [
        (512, 112, 768), (768, 112, 1152), (768, 160, 1152), (768, 224, 1152), (768, 336, 1152)
    ]  # fmt: skip
    assert sum(share for *_, share in large.crops.mixed) == pytest.approx(1)


def test_dinov2_ends_at_518_pixels():
    config = recipe("vitl14_dinov2")
    assert config.bounds() == [0, 615_000, 625_000]
    assert config.phase(1).crops.global_size == config.phase(1).image_size == 518
    assert config.backbone.hidden == 2736


def test_the_boosted_small_model_of_2021():
    config = recipe("vits16_dino_boost")
    assert (config.epochs, config.batch_size, config.head.frozen_gain) == (300, 1024, False)
    assert config.schedules.teacher_temperature == (0.04, 0.07)
    assert config.schedules.teacher_temperature_warmup * 300 == pytest.approx(30)
