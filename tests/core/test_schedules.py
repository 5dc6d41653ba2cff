"""Schedules against the released tables, and `Schedule` against the config."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from dino_core.config import Optim, Schedules, TrainConfig
from dino_core.errors import ConfigError
from dino_core.schedules import Schedule, cosine, linear

CONFIG = TrainConfig(
    steps=100,
    batch_size=512,
    optim=Optim(lr=5e-4, final_lr=1e-6, weight_decay=(0.04, 0.4)),
    schedules=Schedules(
        lr_warmup=0.1,
        momentum=(0.996, 1.0),
        teacher_temperature=(0.04, 0.07),
        teacher_temperature_warmup=0.3,
        last_layer_frozen=0.05,
    ),
)


def test_cosine_is_the_released_table_after_warm_up() -> None:
    steps, warmup, start, end = 50, 10, 1e-3, 1e-6
    i = np.arange(steps - warmup)
    table = end + 0.5 * (start - end) * (1 + np.cos(np.pi * i / len(i)))
    schedule = cosine(start, end, steps, warmup)
    np.testing.assert_allclose([schedule(step) for step in range(warmup, steps)], table, rtol=1e-12)


def test_warm_up_is_a_straight_line_that_ends_at_the_peak() -> None:
    schedule = cosine(1.0, 0.0, 50, warmup_steps=10, warmup_start=0.2)
    np.testing.assert_allclose([schedule(i) for i in range(11)], np.linspace(0.2, 1.0, 11))


def test_cosine_reaches_its_end_one_step_after_the_last_and_stays() -> None:
    schedule = cosine(1.0, 0.1, 50)
    assert schedule(0) == 1.0
    assert schedule(25) == pytest.approx(0.55)
    assert schedule(49) > schedule(50) == schedule(51) == schedule(10**9) == 0.1


def test_a_cosine_may_rise() -> None:
    values = [cosine(0.996, 1.0, 20)(i) for i in range(21)]
    assert values == sorted(values)
    assert values[-1] == 1.0


def test_a_schedule_that_is_all_warm_up_ends_at_its_end() -> None:
    schedule = cosine(1.0, 0.5, 10, warmup_steps=10)
    assert (schedule(9), schedule(10)) == (0.9, 0.5)


def test_warm_up_longer_than_the_run_is_refused() -> None:
    with pytest.raises(ConfigError, match="11 steps of warm-up do not fit into a schedule of 10"):
        cosine(1.0, 0.0, 10, warmup_steps=11)


def test_linear_goes_straight_and_then_stays() -> None:
    assert [linear(0.04, 0.08, 4)(i) for i in range(6)] == pytest.approx([0.04, 0.05, 0.06, 0.07, 0.08, 0.08])
    assert linear(0.04, 0.08, 0)(0) == 0.08


def test_the_learning_rate_follows_the_linear_rule() -> None:
    schedule = Schedule(CONFIG)
    assert schedule.at(0).learning_rate == 0
    assert schedule.at(10).learning_rate == pytest.approx(1e-3)  # 5e-4 × 512 / 256
    assert max(schedule.at(i).learning_rate for i in range(100)) == schedule.at(10).learning_rate
    assert schedule.at(100).learning_rate == 1e-6


def test_weight_decay_and_momentum_move_on_a_cosine_over_the_whole_run() -> None:
    schedule = Schedule(CONFIG)
    for step in (0, 37, 99):
        half = (1 + math.cos(math.pi * step / 100)) / 2
        assert schedule.at(step).weight_decay == pytest.approx(0.4 - 0.36 * half)
        assert schedule.at(step).momentum == pytest.approx(1 - 0.004 * half)


def test_the_teacher_is_sharpened_less_and_less_until_its_warm_up_ends() -> None:
    schedule = Schedule(CONFIG)
    assert schedule.at(0).teacher_temperature == 0.04
    assert schedule.at(15).teacher_temperature == pytest.approx(0.055)
    assert schedule.at(30).teacher_temperature == schedule.at(99).teacher_temperature == 0.07
    assert schedule.at(50).student_temperature == 0.1


def test_the_last_layer_is_frozen_for_its_share_of_the_run() -> None:
    schedule = Schedule(CONFIG)
    assert [step for step in range(100) if schedule.at(step).last_layer_frozen] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("name", ["lr_warmup", "momentum", "teacher_temperature"])
def test_an_open_config_is_refused(name: str) -> None:
    schedules = dataclasses.replace(CONFIG.schedules, **{name: None})
    with pytest.raises(ConfigError, match="fit it to the data first"):
        Schedule(dataclasses.replace(CONFIG, schedules=schedules))
    with pytest.raises(ConfigError, match="fit it to the data first"):
        Schedule(dataclasses.replace(CONFIG, steps=None))
