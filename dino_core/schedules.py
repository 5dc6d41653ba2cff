"""How constants move over a run: pure functions of the step, and `Schedule`, which has all of a step's constants."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields

from dino_core.config import Course, Schedules, TrainConfig
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
class plateau:
    """A warm-up, a constant, and at the end a straight line down (Hägele et al. 2024, arXiv 2405.18392).

    value(i) = peak i/w                                                            i < w
    value(i) = peak                                                                w <= i < steps - d
    value(i) = end + (peak - end) (steps - i)/d                                    steps - d <= i < steps"""

    peak: float
    end: float
    steps: int
    warmup_steps: int = 0
    decay_steps: int = 0

    def __call__(self, step: int) -> float:
        if step < self.warmup_steps:
            return self.peak * step / self.warmup_steps
        left = max(0, self.steps - step)
        if left >= self.decay_steps:
            return self.peak
        return self.end + (self.peak - self.end) * left / self.decay_steps


@dataclass(frozen=True)
class risen:
    """Another schedule whose warm-up is half a cosine: (1 - cos(pi i / w)) / 2 of its value at w."""

    schedule: cosine | plateau
    warmup_steps: int

    def __call__(self, step: int) -> float:
        if step >= self.warmup_steps:
            return self.schedule(step)
        return self.schedule(self.warmup_steps) * (1 - math.cos(math.pi * step / self.warmup_steps)) / 2


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
    weights: Weights = field(default_factory=lambda: Weights())


@dataclass(frozen=True)
class Weights:
    """What the weights of the loss's terms are multiplied by at one step."""

    dino: float = 1.0
    local: float = 1.0
    """Of the pairs with a local crop."""
    ibot: float = 1.0
    koleo: float = 1.0
    gram: float = 1.0


@dataclass(frozen=True)
class course:
    """A line to `peak`, half a cosine to `end`, then `end` (DINOv3's schedules of weights); steps count from its beginning.

    value(i) = start + (peak - start) i/w                                          i < w
    value(i) = end + (peak - end) (1 + cos(pi (i - w) / c)) / 2                    w <= i < w + c"""

    start: float
    peak: float
    end: float
    warmup_steps: int
    cosine_steps: int

    def __call__(self, step: int) -> float:
        if step < self.warmup_steps:
            return self.start + (self.peak - self.start) * step / self.warmup_steps
        if step >= self.warmup_steps + self.cosine_steps:
            return self.end
        return cosine(self.peak, self.end, self.cosine_steps)(step - self.warmup_steps)


class Schedule:
    """Every constant that moves, from a config with nothing left open (Caron et al. 2021, Sec. 3.2).

    Learning rate: warm-up, then cosine, constant, or constant and a decay.  Weight decay and momentum: cosine or a line.
    Teacher temperature: linear warm-up."""

    def __init__(self, config: TrainConfig) -> None:
        end, schedules = config.steps, config.schedules
        warmup, momentum, temperature = schedules.lr_warmup, schedules.momentum, schedules.teacher_temperature
        if end is None or warmup is None or momentum is None or temperature is None:
            raise ConfigError("this config leaves steps or schedules open; fit it to the data first (dino_core.fit).")
        self.start, steps = config.start, end - config.start
        peak = config.optim.peak_lr(config.batch_size)
        self.learning_rate = learning_rate(schedules, peak, config.optim.final_lr, steps, round(warmup * steps))
        shapes = {"cosine": cosine, "linear": linear}
        self.weight_decay = shapes[schedules.weight_decay_shape](*config.optim.weight_decay, steps)
        self.momentum = shapes[schedules.momentum_shape](*momentum, steps)
        self.teacher_temperature = linear(*temperature, round(schedules.teacher_temperature_warmup * steps))
        self.student_temperature = config.objective.student_temperature
        self.backbone_joins_at = round(config.init.frozen * steps) if config.init.backbone is not None else 0
        self.unfreeze_at = round(schedules.last_layer_frozen * steps)
        self.weights = {f.name: moving(getattr(schedules, f"{f.name}_weight"), steps) for f in fields(Weights)}

    def at(self, step: int) -> Now:
        """The constants of a step of the run's clock; schedules count from where this phase begins."""
        here = step - self.start
        return Now(
            step=step,
            learning_rate=self.learning_rate(here),
            weight_decay=self.weight_decay(here),
            momentum=self.momentum(here),
            teacher_temperature=self.teacher_temperature(here),
            student_temperature=self.student_temperature,
            last_layer_frozen=here < self.unfreeze_at,
            backbone_frozen=here < self.backbone_joins_at,
            weights=Weights(**{name: weight(here) for name, weight in self.weights.items()}),
        )


def learning_rate(schedules: Schedules, peak: float, end: float, steps: int, warmup: int) -> cosine | plateau | risen:
    """The course of the learning rate that a config describes."""
    shape: cosine | plateau
    if schedules.lr_shape == "cosine":
        shape = cosine(peak, end, steps, warmup)
    else:
        decay = min(round(schedules.lr_decay * steps), steps - warmup) if schedules.lr_shape == "decay" else 0
        shape = plateau(peak, end, steps, warmup, decay)
    return risen(shape, warmup) if schedules.lr_warmup_shape == "cosine" else shape


def moving(options: Course, steps: int) -> course:
    """The course that a config describes, over so many steps."""
    warmup = round(options.warmup * steps)
    return course(options.start, options.peak, options.end, warmup, min(round(options.fall * steps), steps - warmup))
