"""A run on paper: parameters, arithmetic, memory and time of a config on so many GPUs, and what to change if it does not fit."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

from dino_core.config import TrainConfig
from dino_core.distillation.suiting import suited
from dino_core.errors import ConfigError
from dino_core.fit import IMAGENET_IMAGES, check_crops, fit
from dino_core.planning.memory import SHARINGS, Memory, Way, memory, repaired, ways
from dino_core.planning.step import Model, flops, model_of


@dataclass(frozen=True)
class Machine:
    """What the run is planned for."""

    gpus: int
    memory: int
    """Bytes of each."""
    peak: float
    """Operations a second of each, at best."""
    share: float
    """Of the peak that a training step reaches."""


@dataclass(frozen=True)
class Row:
    """One way of sharing the work of a phase, or of the whole run: then memory is that of its fullest phase."""

    way: Way
    memory: Memory
    fits: bool
    flops: float
    """Of a step, over all GPUs; of the whole run, on average."""
    step_seconds: float
    hours: float

    def as_json(self) -> dict[str, Any]:
        return {
            **asdict(self.way),
            "bytes": {**asdict(self.memory), "needed": self.memory.needed},
            "fits": self.fits,
            "flops_per_step": self.flops,
            "step_seconds": self.step_seconds,
            "hours": self.hours,
            "options": self.way.options,
        }


@dataclass(frozen=True)
class Stage:
    """One phase of the run."""

    config: TrainConfig
    model: Model
    flops: dict[str, float]
    """Of a step without recomputation, over the whole batch."""
    rows: list[Row]

    @property
    def steps(self) -> int:
        return (self.config.steps or 0) - self.config.start


@dataclass(frozen=True)
class Plan:
    config: TrainConfig
    images: int
    said: list[str]
    """What was derived."""
    machine: Machine
    stages: list[Stage]
    rows: list[Row]
    """Of the whole run, a way each."""
    advice: str

    @property
    def model(self) -> Model:
        return self.stages[0].model

    @property
    def steps(self) -> int:
        return sum(stage.steps for stage in self.stages)

    @property
    def flops(self) -> dict[str, float]:
        """Of a step without recomputation, over the whole batch; of several phases, the mean."""
        return {
            part: sum(stage.flops[part] * stage.steps for stage in self.stages) / self.steps
            for part in self.stages[0].flops
        }

    @property
    def best(self) -> Row | None:
        """The fastest that fits."""
        return min((row for row in self.rows if row.fits), key=lambda row: row.hours, default=None)

    def as_json(self) -> dict[str, Any]:
        config = self.config
        return {
            "recipe": config.recipe,
            "parameters": {
                "student": self.model.parameters,
                "teacher": self.model.parameters,
                "frozen": max(stage.model.frozen for stage in self.stages),
            },
            "batch_size": config.batch_size,
            "steps": config.steps,
            "images": self.images,
            "precision": config.machine.precision,
            "machine": asdict(self.machine),
            "flops_per_step": self.flops,
            "ways": [row.as_json() for row in self.rows],
            "phases": [
                {
                    "name": stage.config.phase_name,
                    "start": stage.config.start,
                    "steps": stage.steps,
                    "batch_size": stage.config.batch_size,
                    "flops_per_step": stage.flops,
                    "ways": [row.as_json() for row in stage.rows],
                }
                for stage in self.stages
            ],
            "advice": self.advice,
            "derived": self.said,
        }


def plan(
    config: TrainConfig, machine: Machine, images: int | None = None, *, teacher: TrainConfig | None = None
) -> Plan:
    """Nothing is trained and no weight is filled.  `images`: size of the data, by default ImageNet-1k's (of `shapes`, its own).

    `teacher` is the config of the frozen network that a distilled student learns from."""
    if machine.gpus < 1 or not 0 < machine.share <= 1 or not 0 < machine.peak < math.inf:
        raise ConfigError(
            f"{machine.gpus} GPUs of {machine.peak / 1e12:g} TFLOP/s at a share of {machine.share:g}; expected at least one "
            "GPU, a finite peak above 0, and a share between 0 and 1."
        )
    if images is None:
        images = config.data.shapes.images if config.data.source == "shapes" else IMAGENET_IMAGES
    if images < 1:
        raise ConfigError(f"{images} images in the data; expected at least one.")
    source = None if teacher is None else source_of(teacher, images)
    if source is not None:
        views, patches = (len(head.prototypes.directions) for head in (source.head, source.patch_head or source.head))
        config = suited(config.recipe, config, views, patches, source.patch_head is not None)
    config, said = fit(config, images)
    config = replace(config, machine=replace(config.machine, precision=config.machine.precision or "bf16"))
    stages = [stage_of(config.phase(i), machine, source) for i in range(len(config.phases) + 1)]
    rows = [together(list(same_way), stages, machine) for same_way in zip(*(s.rows for s in stages), strict=True)]
    return Plan(config, images, said, machine, stages, rows, advice(stages, machine, rows))


def source_of(teacher: TrainConfig, images: int) -> Model:
    """The frozen teacher of a distillation, as its last phase left it."""
    known, _ = fit(teacher, max(images, teacher.batch_size))
    return model_of(known.phase(len(known.phases)))


def stage_of(config: TrainConfig, machine: Machine, source: Model | None) -> Stage:
    if config.batch_size % machine.gpus:
        raise ConfigError(
            f"a batch of {config.batch_size} can't be split over {machine.gpus} GPUs evenly; change --batch-size."
        )
    model = model_of(config, source)
    if model.backbone.has_attention or source is not None:
        check_crops(config, model.backbone.patch, config.backbone.name)
    rows = [row_of(config, model, machine, way) for way in ways(config, model, machine.gpus)]
    return Stage(config, model, flops(config, model, checkpointing=False, gpus=machine.gpus), rows)


def row_of(config: TrainConfig, model: Model, machine: Machine, way: Way) -> Row:
    held = memory(config, model, way)
    work = sum(flops(config, model, checkpointing=way.checkpointing, gpus=way.gpus).values())
    seconds = work / (way.gpus * machine.peak * machine.share)
    steps = (config.steps or 0) - config.start
    return Row(way, held, held.needed <= machine.memory, work, seconds, seconds * steps / 3600)


def together(rows: list[Row], stages: list[Stage], machine: Machine) -> Row:
    """The whole run in one way: the memory of its fullest phase, the hours of all."""
    steps = [stage.steps for stage in stages]
    fullest = max((row.memory for row in rows), key=lambda held: held.total)
    work = sum(row.flops * n for row, n in zip(rows, steps, strict=True)) / sum(steps)
    hours = sum(row.hours for row in rows)
    return Row(rows[0].way, fullest, fullest.needed <= machine.memory, work, 3600 * hours / sum(steps), hours)


def advice(stages: list[Stage], machine: Machine, rows: list[Row]) -> str:
    """What to run, or what to change."""
    gb = machine.memory / 1e9
    best = min((row for row in rows if row.fits), key=lambda row: row.hours, default=None)
    if best is not None:
        return f"fits with {SHARINGS[best.way.sharing].split(':')[0]}: {best.way.options}"
    least = min(rows, key=lambda row: row.memory.needed)
    short = f"{least.memory.needed / 1e9:.0f} GB are needed at least ({least.way.options}), {gb:.0f} GB are there"
    way = repaired([(stage.config, stage.model) for stage in stages], machine.memory, machine.gpus)
    if way is None:
        return (
            f"{short}; no number of GPUs up to one an image helps: use smaller crops, fewer prototypes, or more memory."
        )
    gpus = "" if way.gpus == machine.gpus else f"{way.gpus} GPUs, "
    return f"{short}; it fits with {gpus}{way.options}"
