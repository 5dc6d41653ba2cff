"""A run on paper: parameters, arithmetic, memory and time of a config on so many GPUs, and what to change if it does not fit."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from dino_core.config import TrainConfig
from dino_core.errors import ConfigError
from dino_core.fit import IMAGENET_IMAGES, fit
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
    """One way of sharing the work."""

    way: Way
    memory: Memory
    fits: bool
    flops: float
    """Of a step, over all GPUs."""
    step_seconds: float
    hours: float


@dataclass(frozen=True)
class Plan:
    config: TrainConfig
    images: int
    said: list[str]
    """What was derived."""
    model: Model
    machine: Machine
    flops: dict[str, float]
    """Of a step without recomputation, over the whole batch."""
    rows: list[Row]
    advice: str

    @property
    def best(self) -> Row | None:
        """The fastest that fits."""
        return min((row for row in self.rows if row.fits), key=lambda row: row.hours, default=None)

    def as_json(self) -> dict[str, Any]:
        config = self.config
        return {
            "recipe": config.recipe,
            "parameters": {"student": self.model.parameters, "teacher": self.model.parameters},
            "batch_size": config.batch_size,
            "steps": config.steps,
            "images": self.images,
            "precision": config.machine.precision,
            "machine": asdict(self.machine),
            "flops_per_step": self.flops,
            "ways": [
                {
                    **asdict(row.way),
                    "bytes": {**asdict(row.memory), "needed": row.memory.needed},
                    "fits": row.fits,
                    "flops_per_step": row.flops,
                    "step_seconds": row.step_seconds,
                    "hours": row.hours,
                    "options": row.way.options,
                }
                for row in self.rows
            ],
            "advice": self.advice,
            "derived": self.said,
        }


def plan(config: TrainConfig, machine: Machine, images: int | None = None) -> Plan:
    """Nothing is trained and no weight is filled.  `images`: size of the data, by default ImageNet-1k's (of `shapes`, its own)."""
    if machine.gpus < 1 or not 0 < machine.share <= 1 or machine.peak <= 0:
        raise ConfigError(
            f"{machine.gpus} GPUs of {machine.peak / 1e12:g} TFLOP/s at a share of {machine.share:g}; expected at least one "
            "GPU, a peak above 0, and a share between 0 and 1."
        )
    if config.batch_size % machine.gpus:
        raise ConfigError(
            f"a batch of {config.batch_size} can't be split over {machine.gpus} GPUs evenly; change --batch-size."
        )
    images = images or (config.data.shapes.images if config.data.source == "shapes" else IMAGENET_IMAGES)
    config, said = fit(config, images)
    config = replace(config, machine=replace(config.machine, precision=config.machine.precision or "bf16"))
    model = model_of(config)
    rows = [row_of(config, model, machine, way) for way in ways(config, model, machine.gpus)]
    return Plan(
        config, images, said, model, machine, flops(config, model, checkpointing=False), rows,
        advice(config, model, machine, rows),
    )  # fmt: skip


def row_of(config: TrainConfig, model: Model, machine: Machine, way: Way) -> Row:
    held = memory(config, model, way)
    work = sum(flops(config, model, checkpointing=way.checkpointing).values())
    seconds = work / (way.gpus * machine.peak * machine.share)
    return Row(way, held, held.needed <= machine.memory, work, seconds, seconds * (config.steps or 0) / 3600)


def advice(config: TrainConfig, model: Model, machine: Machine, rows: list[Row]) -> str:
    """What to run, or what to change."""
    gb = machine.memory / 1e9
    best = min((row for row in rows if row.fits), key=lambda row: row.hours, default=None)
    if best is not None:
        return f"fits with {SHARINGS[best.way.sharing].split(':')[0]}: {best.way.options}"
    least = min(rows, key=lambda row: row.memory.needed)
    short = f"{least.memory.needed / 1e9:.0f} GB are needed at least ({least.way.options}), {gb:.0f} GB are there"
    way = repaired(config, model, machine.memory, machine.gpus)
    if way is None:
        return (
            f"{short}; no number of GPUs up to one an image helps: use smaller crops, fewer prototypes, or more memory."
        )
    gpus = "" if way.gpus == machine.gpus else f"{way.gpus} GPUs, "
    return f"{short}; it fits with {gpus}{way.options}"
