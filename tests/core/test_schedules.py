"""Schedules against the released tables, and `Schedule` against the config."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from dino_core.config import Course, Optim, Schedules, TrainConfig
from dino_core.errors import ConfigError
from dino_core.schedules import Schedule, cosine, course, linear, plateau, risen

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


def test_a_plateau_warms_up_stays_and_goes_down_in_a_line() -> None:
    schedule = plateau(1.0, 0.2, 20, warmup_steps=4, decay_steps=8)
    values = [schedule(i) for i in range(22)]
    assert values[:5] == [0, 0.25, 0.5, 0.75, 1]
    assert values[4:13] == [1.0] * 9
    assert values[12:21] == pytest.approx([1 - 0.1 * i for i in range(9)])
    assert values[21] == 0.2
    assert {plateau(1.0, 0.2, 20)(i) for i in range(25)} == {1.0}


def test_a_warm_up_may_be_half_a_cosine() -> None:
    schedule = risen(plateau(2.0, 0.0, 30, warmup_steps=10), 10)
    rising = [2 * (1 - math.cos(math.pi * i / 10)) / 2 for i in range(10)]
    assert [schedule(i) for i in range(12)] == pytest.approx([*rising, 2.0, 2.0])


def test_a_course_is_a_line_then_half_a_cosine_then_constant() -> None:
    """DINOv3's weights: linspace without its end, a cosine, the end; start = peak = 0 makes it rise."""
    i = np.arange(8)
    table = [*np.linspace(1, 3, 4, endpoint=False), *(2 + 0.5 * (3 - 2) * (1 + np.cos(np.pi * i / 8))), 2.0, 2.0]
    found = course(1.0, 3.0, 2.0, warmup_steps=4, cosine_steps=8)
    np.testing.assert_allclose([found(step) for step in range(14)], table)
    rise = [course(0.0, 0.0, 1.0, 0, 5)(step) for step in range(7)]
    assert rise == sorted(rise)
    assert (rise[0], rise[5], rise[6]) == (0, 1, 1)


@pytest.mark.parametrize(("shape", "late"), [("cosine", 1e-6), ("constant", 1e-3), ("decay", 1e-6)])
def test_the_learning_rate_takes_the_shape_of_the_config(shape: str, late: float) -> None:
    schedules = dataclasses.replace(CONFIG.schedules, lr_shape=shape, lr_decay=0.2)
    schedule = Schedule(dataclasses.replace(CONFIG, schedules=schedules))
    assert schedule.at(5).learning_rate == pytest.approx(5e-4)
    assert schedule.at(10).learning_rate == pytest.approx(1e-3)
    assert schedule.at(100).learning_rate == pytest.approx(late)
    assert (schedule.at(75).learning_rate == pytest.approx(1e-3)) == (shape != "cosine")


def test_weights_of_the_loss_follow_their_courses() -> None:
    schedules = dataclasses.replace(
        CONFIG.schedules,
        gram_weight=Course(start=0.0, peak=0.0, fall=0.1),
        local_weight=Course(end=0.5, fall=0.5),
    )
    schedule = Schedule(dataclasses.replace(CONFIG, schedules=schedules))
    assert [schedule.at(i).weights.gram for i in (0, 5, 10, 99)] == pytest.approx([0, 0.5, 1, 1])
    assert [schedule.at(i).weights.local for i in (0, 25, 50, 99)] == pytest.approx([1, 0.75, 0.5, 0.5])
    assert (schedule.at(7).weights.dino, schedule.at(7).weights.ibot, schedule.at(7).weights.koleo) == (1, 1, 1)
