"""What a training step computes: which networks look at how many images of what size, and what their heads are asked.

Axes: V global and L local crops, S = V + L, B images, K prototypes, N patches, D features."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch

from dino_core.config import Crops, TrainConfig
from dino_core.model import PRESETS, Backbone, Head, build_backbone
from dino_core.model.recomputing import can_recompute
from dino_core.planning.network import Cost, Flops, cost_of, head_flops, matrices


@dataclass(frozen=True)
class Look:
    """One network on crops of one size."""

    crops: int
    """Of each image of the batch."""
    size: int
    patches: bool
    """Whether patch tokens are asked for."""


@dataclass(frozen=True)
class Model:
    """Backbone and heads in meta memory: shapes without numbers."""

    backbone: Backbone
    head: Head
    patch_head: Head | None
    cost: Cost
    anchor: Backbone | None = None
    """Whose similarities Gram anchoring keeps; None where there is none, or the teacher of each step is it."""
    anchor_cost: Cost | None = None
    source: Model | None = None
    """The frozen teacher of a distillation."""

    @cached_property
    def parameters(self) -> dict[str, int]:
        parts = {"backbone": self.backbone, "head": self.head, "patch_head": self.patch_head}
        return {name: weights(part) for name, part in parts.items() if part is not None}

    @property
    def total(self) -> int:
        return sum(self.parameters.values())

    @cached_property
    def frozen(self) -> int:
        """Weights of networks that never learn."""
        return weights(self.anchor) if self.source is None else self.source.total

    @cached_property
    def matrices(self) -> int:
        return sum(matrices(part) for part in (self.backbone, *self.heads))

    @property
    def heads(self) -> list[Head]:
        return [self.head] if self.patch_head is None else [self.head, self.patch_head]

    @cached_property
    def largest_unit(self) -> int:
        """Weights that are gathered together: a block, or the head."""
        return max(weights(unit) for unit in (*self.backbone.blocks(), *self.heads))

    @property
    def recomputable(self) -> bool:
        """Whether `machine.checkpointing` takes it."""
        return can_recompute(self.backbone)


def weights(module: torch.nn.Module | None) -> int:
    return 0 if module is None else sum(p.numel() for p in module.parameters())


def model_of(config: TrainConfig, source: Model | None = None) -> Model:
    """The networks of a phase; `source` is who a distilled student learns from."""
    with torch.device("meta"):
        backbone = build_backbone(config.backbone, config.image_size, mask_token=config.hides_patches)
        patch_head = None if config.patch_head is None else Head(backbone.dim, config.patch_head)
        head, cost, anchor = Head(backbone.dim, config.head), cost_of(backbone), anchor_like(config, backbone)
    anchors = None if anchor is None else cost if anchor is backbone else cost_of(anchor)
    return Model(backbone, head, patch_head, cost, anchor, anchors, source)


def anchor_like(config: TrainConfig, backbone: Backbone) -> Backbone | None:
    """A network of the Gram anchor's shape: that of a published name, else the run's own."""
    if not config.gram.weight or config.gram.anchor == "teacher":
        return None
    return PRESETS[config.gram.anchor].build() if config.gram.anchor in PRESETS else backbone


@dataclass(frozen=True)
class Step:
    """The looks of a training step at an image."""

    share: float
    """Of the steps that are like this; 1 unless a phase mixes resolutions."""
    teacher: tuple[Look, ...]
    student: tuple[Look, ...]
    masked: float
    """Patches of an image's global crops that go through a head, on average."""
    patches: int
    """Of a global crop, as the student cuts it."""
    anchor: Look | None = None
    """Of the Gram anchor, where that is no look the teacher takes anyway."""

    @property
    def rows(self) -> int:
        """Class tokens of the student that go through the head, S."""
        return sum(look.crops for look in self.student)

    @property
    def teacher_rows(self) -> int:
        return sum(look.crops for look in self.teacher)


def steps_of(config: TrainConfig, model: Model) -> list[Step]:
    """The kinds of steps of a phase: one for each resolution that it mixes."""
    crops = config.crops
    mixed = crops.mixed or ((crops.global_size, crops.local_size, 0, 1.0),)
    whole = sum(share for *_, share in mixed)
    return [
        step_of(config, model, replace(crops, global_size=large, local_size=small, mixed=()), size, share / whole)
        for large, small, size, share in mixed
    ]


def step_of(config: TrainConfig, model: Model, crops: Crops, anchor_size: int, share: float) -> Step:
    """The teacher looks at the global crops, the student at all; with iBOT or Gram anchoring both are asked for the patches of
    global crops.  A frozen teacher always gives patches, of crops as many of its own patches wide."""
    side = model.backbone.patch
    patches = (crops.global_size // side) ** 2
    masked = config.ibot.mask_share * sum(config.ibot.mask_ratio) / 2 if config.masks_patches else 0.0
    whole = Look(crops.global_crops, crops.global_size, patches=config.masks_patches or config.gram.weight > 0)
    looks = (whole, Look(crops.local_crops, crops.local_size, patches=False)) if crops.local_crops else (whole,)
    asked = whole
    if model.source is not None:
        asked = Look(crops.global_crops, crops.global_size // side * model.source.backbone.patch, patches=True)
    return Step(
        share, (asked,), looks, crops.global_crops * patches * masked, patches,
        anchor_look(config, crops, anchor_size or config.gram.size),
    )  # fmt: skip


def anchor_look(config: TrainConfig, crops: Crops, size: int | None) -> Look | None:
    if not config.gram.weight or (config.gram.anchor == "teacher" and size is None):
        return None
    return Look(crops.global_crops, size or crops.global_size, patches=True)


def flops(config: TrainConfig, model: Model, *, checkpointing: bool, gpus: int = 1) -> dict[str, float]:
    """Multiplications plus additions of a step over the whole batch, by what they are for; of mixed resolutions, the mean.

        teacher V F(global);  student V F(global) + L F(local);  heads 2 W a row;  Gram anchor V F(anchor crops);
        similarities 2 N² D a crop on either side, 4 N² D backward;  backward twice the student's forward, but once for
        what meets the images;  recomputed: the student's blocks once more

    Losses, norms, softmax and the optimizer are left out: together less than a hundredth."""
    total: dict[str, float] = {}
    for step in steps_of(config, model):
        for part, work in flops_of(step, config, model, checkpointing, gpus).items():
            total[part] = total.get(part, 0.0) + step.share * work
    return total


def flops_of(step: Step, config: TrainConfig, model: Model, checkpointing: bool, gpus: int) -> dict[str, float]:
    batch, cost = config.batch_size, model.cost
    asked = model if model.source is None else model.source
    teacher = looked(asked.cost, step.teacher, batch)
    whole, local = (looked(cost, looks, batch, learning=True) for looks in (step.student[:1], step.student[1:]))
    again = sum(cost.recomputed(look.size, look.patches) * look.crops * batch for look in step.student)
    rows = step.masked * batch
    teacher_head = head_flops(asked.head, step.teacher_rows * batch) + head_flops(asked.patch_head or asked.head, rows)
    head = head_flops(model.head, step.rows * batch) + head_flops(model.patch_head or model.head, rows)
    anchor = looked(model.anchor_cost or model.cost, (step.anchor,) if step.anchor else (), batch)
    ours, theirs = similarities(step, config, model, gpus)
    return {
        "teacher: backbone": teacher.embedding + teacher.matrices,
        "teacher: attention": teacher.attention,
        "student: backbone, global crops": whole.embedding + whole.matrices,
        "student: backbone, local crops": local.embedding + local.matrices,
        "student: attention": whole.attention + local.attention,
        "heads": teacher_head.forward + head.forward,
        "Gram anchor: forward": anchor.forward,
        "Gram anchor: similarities": ours + theirs,
        "backward": (whole + local).backward + head.backward + 2 * ours,
        "recomputed": again if checkpointing else 0.0,
    }


def looked(cost: Cost, looks: tuple[Look, ...], batch: int, *, learning: bool = False) -> Flops:
    total = Flops()
    for look in looks:
        total += cost.flops(look.size, look.patches, learning=learning) * (look.crops * batch)
    return total


def similarities(step: Step, config: TrainConfig, model: Model, gpus: int) -> tuple[float, float]:
    """FLOPs of the student's and of the anchor's matrices of similarities, 2 Q² D each of Q rows."""
    if not config.gram.weight:
        return 0.0, 0.0
    matrices, rows = gram_matrices(step, config, config.batch_size / gpus / config.optim.accumulate)
    times = 2.0 * matrices * rows**2 * gpus * config.optim.accumulate
    return times * model.backbone.dim, times * (model.anchor or model.backbone).dim


def gram_matrices(step: Step, config: TrainConfig, images: float | int) -> tuple[float, float]:
    """How many matrices of similarities there are among so many images of a rank, and how many rows each has."""
    crops, patches = float(config.crops.global_crops * images), float(step.patches)
    hidden = config.ibot.mask_share * sum(config.ibot.mask_ratio) / 2
    share = {"all": 1.0, "masked": hidden, "unmasked": 1 - hidden}[config.gram.tokens]
    return (1.0, crops * patches * share) if config.gram.across_batch else (crops, patches)
