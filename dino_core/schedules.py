"""How constants move over a run: pure functions of the step, and `Schedule`, which has all of a step's constants."""

from __future__ import annotations

import math
from dataclasses import dataclass

from dino_core.config import TrainConfig
from dino_core.errors import ConfigError


@dataclass(frozen=True)
class cosine:
    """Linear warm-up, then half a cosine.

        value(i) = warmup_start + (start - warmup_start) i/w                           i < w
        value(i) = end + (start - end) (1 + cos(pi (i - w) / (steps - w))) / 2         w <= i < steps

    So it is `start` at step w, and reaches `end` one step after the last, at `steps`, where it stays (as in the code
    released with Caron et al. 2021, whose warm-up is one step shorter)."""

    start: float
    end: float
    steps: int
    warmup_steps: int = 0
    warmup_start: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.warmup_steps <= self.steps:
            raise ConfigError(f"{self.warmup_steps} steps of warm-up do not fit into a schedule of {self.steps} steps.")

    def __call__(self, step: int) -> float:
        if step < self.warmup_steps:
            return self.warmup_start + (self.start - self.warmup_start) * step / self.warmup_steps
        if step >= self.steps:
            return self.end
        share = (step - self.warmup_steps) / (self.steps - self.warmup_steps)
        return self.end + (self.start - self.end) * (1 + math.cos(math.pi * share)) / 2


@dataclass(frozen=True)
class linear:
    """From `start` to `end` in a straight line over `steps` steps, then `end`."""

    start: float
    end: float
    steps: int

    def __call__(self, step: int) -> float:
        return self.end if step >= self.steps else self.start + (self.end - self.start) * step / self.steps


@dataclass(frozen=True)
class Now:
    """The constants of one step."""

    step: int
    """Steps finished before this one."""
    learning_rate: float
    weight_decay: float
    momentum: float
    """EMA momentum of the teacher."""
    teacher_temperature: float
    student_temperature: float
    last_layer_frozen: bool
    backbone_frozen: bool = False
    """The heads learn alone, on published weights."""


class Schedule:
    """Every constant that moves, from a config with nothing left open (Caron et al. 2021, Sec. 3.2).

    Learning rate: warm-up, then cosine.  Weight decay and momentum: cosine.  Teacher temperature: linear warm-up."""

    def __init__(self, config: TrainConfig) -> None:
        steps, schedules = config.steps, config.schedules
        warmup, momentum, temperature = schedules.lr_warmup, schedules.momentum, schedules.teacher_temperature
        if steps is None or warmup is None or momentum is None or temperature is None:
            raise ConfigError("this config leaves steps or schedules open; fit it to the data first (dino_core.fit).")
        peak = config.optim.peak_lr(config.batch_size)
        self.learning_rate = cosine(peak, config.optim.final_lr, steps, round(warmup * steps))
        self.weight_decay = cosine(*config.optim.weight_decay, steps)
        self.momentum = cosine(*momentum, steps)
        self.teacher_temperature = linear(*temperature, round(schedules.teacher_temperature_warmup * steps))
        self.student_temperature = config.objective.student_temperature
        self.backbone_joins_at = round(config.init.frozen * steps) if config.init.backbone is not None else 0
        self.unfreeze_at = round(schedules.last_layer_frozen * steps)

    def at(self, step: int) -> Now:
        return Now(
            step=step,
            learning_rate=self.learning_rate(step),
            weight_decay=self.weight_decay(step),
            momentum=self.momentum(step),
            teacher_temperature=self.teacher_temperature(step),
            student_temperature=self.student_temperature,
            last_layer_frozen=step < self.unfreeze_at,
            backbone_frozen=step < self.backbone_joins_at,
        )
