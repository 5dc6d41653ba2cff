"""Configs and recipes: exact round trips, refusals with their path, and the papers' constants."""

from __future__ import annotations

import json
import re

import pytest

from dino_core.config import Backbone, Crops, Evaluation, Output, TrainConfig, from_json, to_json
from dino_core.errors import ConfigError, DataError
from dino_core.fit import fit, is_checkpoint, is_evaluation
from dino_core.recipes import RECIPES, recipe
from tests.small import small_config


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_survives_the_trip_through_json(name):
    assert from_json(to_json(recipe(name))) == recipe(name)


def test_an_unknown_key_is_refused_with_its_path():
    value = json.loads(to_json(small_config()))
    value["optim"]["learning_rate"] = 1.0
    with pytest.raises(ConfigError, match=r"config\.optim\.learning_rate is not an option.*lr"):
        from_json(json.dumps(value))


@pytest.mark.parametrize(
    ("path", "bad"),
    [(("steps",), "many"), (("objective", "centering"), "sometimes"), (("crops", "ratio"), [1.0]), (("seed",), True)],
)
def test_a_value_of_the_wrong_kind_is_refused_with_its_path(path, bad):
    value = json.loads(to_json(small_config()))
    inner = value
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = bad
    with pytest.raises(ConfigError, match=".".join(("config", *path))):
        from_json(json.dumps(value))


def test_impossible_options_are_refused_with_a_sentence():
    with pytest.raises(ConfigError, match="must not be larger"):
        Crops(global_size=32, local_size=64)
    with pytest.raises(ConfigError, match="no other to agree with"):
        Crops(global_crops=1, local_crops=0)
    with pytest.raises(ConfigError, match="do not divide"):
        Backbone(dim=100, heads=3)


def test_an_unknown_recipe_lists_the_known_ones():
    with pytest.raises(ConfigError, match=r"no recipe 'tny'.*tiny, gallery, shapes_gpu, vits16_dino"):
        recipe("tny")


# Constants of the 2021 paper and the code released with it: epochs, global batch, base learning rate, weight decay, EMA
# momentum, teacher temperature, warm-up epochs, last layer frozen for (epochs), K, crops.
PAPER = {
    "vits16_dino": (100, 512, 5e-4, (0.04, 0.4), 0.996, (0.04, 0.04), 10, 1),
    "vits8_dino": (300, 1024, 5e-4, (0.04, 0.4), 0.996, (0.04, 0.07), 10, 1),
    "vitb16_dino": (400, 1024, 5e-4, (0.04, 0.4), 0.996, (0.04, 0.07), 10, 1),
    "vitb8_dino": (300, 1024, 5e-4, (0.04, 0.4), 0.996, (0.04, 0.07), 10, 1),
    "resnet50_dino": (100, 512, 0.03, (1e-4, 1e-4), 0.996, (0.04, 0.04), 10, 1),
}
SIZES = {
    "vits16_dino": (16, 384, 12, 6),
    "vits8_dino": (8, 384, 12, 6),
    "vitb16_dino": (16, 768, 12, 12),
    "vitb8_dino": (8, 768, 12, 12),
}


@pytest.mark.parametrize("name", PAPER)
def test_recipes_keep_the_papers_constants(name):
    config = recipe(name)
    epochs, batch, lr, decay, momentum, temperature, warmup, frozen = PAPER[name]
    assert (config.epochs, config.batch_size, config.optim.lr, config.optim.weight_decay) == (epochs, batch, lr, decay)
    assert config.optim.peak_lr(512) == pytest.approx(2 * lr)
    assert config.schedules.momentum == (momentum, 1.0)
    assert config.schedules.teacher_temperature == temperature
    assert config.schedules.lr_warmup * epochs == pytest.approx(warmup)
    assert config.schedules.last_layer_frozen * epochs == pytest.approx(frozen)
    head = config.head
    assert (head.prototypes, head.hidden, head.bottleneck, head.layers) == (65536, 2048, 256, 3)
    assert (config.objective.student_temperature, config.objective.centre_momentum, config.objective.koleo_weight) == (
        0.1,
        0.9,
        0,
    )
    crops = config.crops
    assert (crops.global_size, crops.global_crops, crops.local_size, crops.local_crops) == (224, 2, 96, 8)
    split = 0.14 if name == "resnet50_dino" else 0.4
    assert (crops.global_scale, crops.local_scale) == ((split, 1.0), (0.05, split))
    assert (crops.brightness, crops.contrast, crops.saturation, crops.hue) == (0.4, 0.4, 0.2, 0.1)
    assert (crops.jitter, crops.grey) == (0.8, 0.2)
    assert (crops.global_blur, crops.local_blur, crops.solarize) == ((1.0, 0.1), 0.5, (0.0, 0.2))
    if name in SIZES:
        backbone = config.backbone
        assert (backbone.patch, backbone.dim, backbone.depth, backbone.heads) == SIZES[name]
        assert (backbone.registers, backbone.drop_path, config.optim.clip) == (0, 0.1, 3.0)


@pytest.mark.parametrize("name", PAPER)
def test_a_papers_recipe_leaves_only_length_and_cadence_to_the_data(name):
    config, said = fit(recipe(name), 1_281_167)
    assert config.head == recipe(name).head
    assert config.schedules == recipe(name).schedules
    assert config.steps == round(config.epochs * (1_281_167 // config.batch_size))
    assert not any("prototypes" in sentence or "momentum" in sentence or "temperature" in sentence for sentence in said)


@pytest.mark.parametrize("name", ["tiny", *PAPER])
def test_a_recipe_says_its_paper_what_to_expect_the_hours_and_the_command(name):
    about = RECIPES[name].__doc__ or ""
    for said in (
        r"Caron et al\. 2021",
        r"k-NN [\w ]*\d",
        "linear",
        r"days on|\d+ on \d+ A100s|minutes on",
        rf"(train|dino_core\.train) {name}\b",
    ):
        assert re.search(said, about), said


def test_a_small_set_gets_fewer_prototypes_and_a_faster_teacher_and_says_so():
    small, said = fit(TrainConfig(steps=1000, batch_size=32), 5000)
    large, _ = fit(TrainConfig(steps=100_000, batch_size=512), 1_281_167)
    assert small.head.prototypes == 256
    assert large.head.prototypes == 65536
    assert small.schedules.momentum[0] < large.schedules.momentum[0] == pytest.approx(0.996, abs=1e-4)
    assert large.schedules.teacher_temperature == (0.04, 0.07)
    for word in ("prototypes", "momentum", "temperature", "warms up", "checkpoint", "evaluation", "shorter side"):
        assert any(word in sentence for sentence in said), word


@pytest.mark.parametrize(
    ("part", "field"),
    [
        (Evaluation, "test_images"),
        (Evaluation, "neighbours"),
        (Output, "log_every"),
        (Output, "heavy_every"),
        (Output, "probe_images"),
    ],
)
def test_none_of_what_a_run_needs_is_one_sentence(part, field):
    with pytest.raises(ConfigError, match=rf"{part.__name__.lower()}\.{field} is 0; expected at least 1\."):
        part(**{field: 0})


def test_fewer_images_than_a_batch_is_one_clear_sentence():
    with pytest.raises(DataError, match=r"10 images are fewer than one batch of 64"):
        fit(TrainConfig(steps=10), 10)
    with pytest.raises(ConfigError, match="--steps or --epochs"):
        fit(TrainConfig(), 1000)


def test_checkpoints_are_log_spaced_first_and_never_miss_the_last():
    output = small_config().output
    steps = [s for s in range(1, 1004) if is_checkpoint(s, 1003, replace_every(output, 100))]
    assert steps[:6] == [1, 2, 5, 10, 20, 50]
    assert steps[6:] == [100, 200, 300, 400, 500, 600, 700, 800, 900, 1000, 1003]


@pytest.mark.parametrize(("every", "expected"), [(4, [0, 4, 8, 10]), (0, [0, 10]), (50, [0, 10])])
def test_evaluations_come_at_both_ends_and_every_interval_between_of_which_none_is_zero(every, expected):
    assert [step for step in range(11) if is_evaluation(step, 10, Evaluation(every=every))] == expected


def replace_every(output, every):
    from dataclasses import replace

    return replace(output, checkpoint_every=every)
