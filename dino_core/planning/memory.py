"""Memory of one GPU while it trains, part by part, for each way of sharing the work."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from dino_core.config import TrainConfig
from dino_core.planning.network import WIDE, head_saved
from dino_core.planning.step import Model, Step, gram_matrices, steps_of

Sharing = Literal["ddp", "zero2", "zero3"]
SHARINGS: dict[Sharing, str] = {
    "ddp": "DDP: every GPU has everything",
    "zero2": "FSDP2, ZeRO-2: shards, weights stay gathered until the backward pass",
    "zero3": "FSDP2, ZeRO-3: shards, weights gathered block by block",
}
OPTIMIZER_STATE = {"adamw": 2, "sgd": 1, "lars": 1}
"""Numbers kept for each weight."""
RESERVED = 2 * 10**9
"""Bytes that the CUDA context, NCCL and the allocator's holes take; a guess, on the safe side for small runs."""


@dataclass(frozen=True)
class Way:
    """How the work is shared over GPUs."""

    sharing: Sharing
    checkpointing: bool
    gpus: int
    accumulate: int = 1

    @property
    def options(self) -> str:
        """What to give `dino-lab train`."""
        said = ["--machine.parallel", "ddp"] if self.sharing == "ddp" else ["--machine.parallel", "fsdp"]
        said += ["--machine.no-reshard"] if self.sharing == "zero2" else []
        said += ["--machine.checkpointing"] if self.checkpointing else []
        said += ["--optim.accumulate", str(self.accumulate)] if self.accumulate > 1 else []
        return " ".join(said)


@dataclass(frozen=True)
class Memory:
    """Bytes on one GPU."""

    weights: float | int
    """The student's, in float32, with what of them is gathered, and their half-precision copies."""
    teacher: float | int
    gradients: float | int
    """With the buckets in which they travel."""
    optimizer: float | int
    images: float | int
    activations: float | int
    """What the student's forward pass keeps for the backward pass."""
    logits: float | int
    """Of student and teacher, targets, and the loss's own."""
    frozen: float | int = 0
    """Of networks that never learn (Gram anchor, teacher of a distillation), what they saw and said, and similarities."""

    @property
    def total(self) -> float | int:
        """All at once, as at the start of the backward pass when gradients of earlier parts are there already."""
        return sum(vars(self).values())

    @property
    def needed(self) -> float | int:
        return self.total + RESERVED


def memory(config: TrainConfig, model: Model, way: Way) -> Memory:
    """Everything a GPU holds when a backward pass begins, the fullest moment of a step; of mixed resolutions, the fullest.

    A weight takes 4 bytes, its gradient 4, AdamW's two moments 8, the teacher's copy 4; DDP's buckets 4 more.  Shares of
    1/GPUs where it is sharded; then two units (the one at work, the next) are gathered, or with ZeRO-2 all of them.  The
    frozen teacher of a distillation is whole on every GPU."""
    one, alone = model.total * WIDE, way.gpus == 1
    narrow = WIDE if config.machine.precision == "fp32" else 2
    copies = 0.0 if narrow == WIDE else float(model.matrices * narrow)
    unit = 2 * model.largest_unit * WIDE
    sharded = way.sharing != "ddp" and not alone
    share = 1 / way.gpus if sharded else 1.0
    gathered = {"ddp": 0, "zero2": one, "zero3": unit}[way.sharing] if sharded else 0
    buckets = one if way.sharing == "ddp" and not alone else 0
    images = -(-config.batch_size // way.gpus)
    frozen = model.frozen * WIDE * (share if model.source is None else 1.0)

    def at(step: Step) -> Memory:
        return Memory(
            weights=one * share + gathered + copies,
            teacher=one * share + (unit if sharded else 0),
            gradients=one * share + (unit / 2 if sharded else 0) + buckets,
            optimizer=one * share * OPTIMIZER_STATE[config.optim.algorithm],
            images=float(images * pixels(step) * 3 * WIDE),
            activations=activations(step, model, images / way.accumulate, narrow, way.checkpointing),
            logits=logits(step, model, images, way.accumulate, narrow),
            frozen=frozen + beside(step, config, model, images, way.accumulate),
        )

    return max((at(step) for step in steps_of(config, model)), key=lambda held: held.total)


def pixels(step: Step) -> int:
    """Of all crops of an image, with those that are cut for anchor or teacher alone."""
    theirs = step.teacher if step.teacher[0].size != step.student[0].size else ()
    anchor = (step.anchor,) if step.anchor and step.anchor.size != step.student[0].size else ()
    return sum(look.crops * look.size**2 for look in (*step.student, *theirs, *anchor))


def activations(step: Step, model: Model, images: float | int, narrow: int, checkpointing: bool) -> float | int:
    """What backbone and head keep for `images` of one part of the batch, and the gradients in one block, one size at a time.

    With `checkpointing` what is inside blocks comes back a block at a time."""
    total, largest = head_saved(model.head, images * step.rows, narrow), 0.0
    total += head_saved(model.patch_head or model.head, images * step.masked, narrow) if step.masked else 0
    for look in step.student:
        saved = model.cost.saved(look.size, look.patches, narrow)
        count = images * look.crops
        if checkpointing:
            total += count * (saved.outside + saved.inputs)
            largest = max(largest, count * (saved.largest_block + saved.working))
        else:
            total += count * (saved.outside + saved.blocks)
            largest = max(largest, count * saved.working)
    return total + largest


def logits(step: Step, model: Model, images: float | int, accumulate: int, narrow: int) -> float | int:
    """Student: logits, in float32 and divided by the temperature, their log-softmax, and the gradient of one of these;
    accumulated parts leave their logits.  Teacher: logits and targets."""
    width, patch_width = (len(head.prototypes.directions) for head in (model.head, model.patch_head or model.head))
    student, teacher = (rows * width + step.masked * patch_width for rows in (step.rows, step.teacher_rows))
    return images * (student * (narrow + 3 * WIDE / accumulate) + teacher * (narrow + WIDE))


def beside(step: Step, config: TrainConfig, model: Model, images: float | int, accumulate: int) -> float:
    """Patches that a frozen teacher or an anchor speaks of, in float32; of one part of the batch the student's of unit length, and
    matrices of similarities: the difference, its square's gradient, and three on the way."""
    if model.source is not None:
        return float(images * step.teacher_rows * step.patches * model.source.backbone.dim * WIDE)
    if not config.gram.weight:
        return 0.0
    spoken = images * config.crops.global_crops * step.patches * WIDE
    count, rows = gram_matrices(step, config, images / accumulate)
    theirs = (model.anchor or model.backbone).dim
    return spoken * theirs + spoken * (3 * model.backbone.dim + theirs) / accumulate + 5 * WIDE * count * rows**2


def ways(config: TrainConfig, model: Model, gpus: int) -> list[Way]:
    """All ways on so many GPUs, the fastest first."""
    sharings: tuple[Sharing, ...] = ("ddp",) if gpus == 1 else ("ddp", "zero2", "zero3")
    recompute = (False, True) if model.recomputable else (False,)
    return [Way(s, c, gpus, config.optim.accumulate) for c in recompute for s in sharings]


def repaired(phases: list[tuple[TrainConfig, Model]], room: int, gpus: int) -> Way | None:
    """The first way in which all phases fit with more accumulation, then with more GPUs; None where nothing helps."""
    (config, model), total = phases[0], gpus
    while total <= max(config.batch_size, gpus):
        images = -(-config.batch_size // total)
        for accumulate in _powers(images):
            for way in ways(config, model, total):
                candidate = replace(way, accumulate=max(accumulate, config.optim.accumulate))
                if all(memory(*phase, candidate).needed <= room for phase in phases):
                    return candidate
        total *= 2
    return None


def _powers(stop: int) -> list[int]:
    return [2**i for i in range(max(stop, 1).bit_length()) if 2**i <= max(stop, 1)]
