"""What a training step computes: which networks look at how many images of what size, and what their heads are asked.

Axes: V global and L local crops, S = V + L, B images, K prototypes."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from dino_core.config import TrainConfig
from dino_core.errors import ConfigError
from dino_core.model import Backbone, Head, build_backbone
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
    """Backbone and head in meta memory: shapes without numbers."""

    backbone: Backbone
    head: Head
    patch_head: Head | None
    cost: Cost

    @property
    def parameters(self) -> dict[str, int]:
        parts = {"backbone": self.backbone, "head": self.head, "patch_head": self.patch_head}
        return {name: sum(p.numel() for p in part.parameters()) for name, part in parts.items() if part is not None}

    @property
    def total(self) -> int:
        return sum(self.parameters.values())

    @property
    def matrices(self) -> int:
        return sum(matrices(part) for part in (self.backbone, *self.heads))

    @property
    def heads(self) -> list[Head]:
        return [self.head] if self.patch_head is None else [self.head, self.patch_head]

    @property
    def largest_unit(self) -> int:
        """Weights that are gathered together: a block, or the head."""
        units = [*self.backbone.blocks(), *self.heads]
        return max(sum(p.numel() for p in unit.parameters()) for unit in units)

    @property
    def recomputable(self) -> bool:
        """Whether `machine.checkpointing` takes it."""
        return can_recompute(self.backbone)


def model_of(config: TrainConfig) -> Model:
    with torch.device("meta"):
        backbone = build_backbone(config.backbone, config.image_size, mask_token=config.hides_patches)
        patch_head = None if config.patch_head is None else Head(backbone.dim, config.patch_head)
        return Model(backbone, Head(backbone.dim, config.head), patch_head, cost_of(backbone))


@dataclass(frozen=True)
class Step:
    """The looks of a training step at an image."""

    teacher: tuple[Look, ...]
    student: tuple[Look, ...]
    masked: float
    """Patches of an image's global crops that go through a head, on average."""

    @property
    def rows(self) -> int:
        """Class tokens of the student that go through the head, S."""
        return sum(look.crops for look in self.student)

    @property
    def teacher_rows(self) -> int:
        return sum(look.crops for look in self.teacher)


def step_of(config: TrainConfig, model: Model) -> Step:
    """The teacher looks at the global crops, the student at all; with iBOT both are asked for the patches of global crops."""
    crops = config.crops
    for size in (crops.global_size, crops.local_size if crops.local_crops else crops.global_size):
        if model.backbone.has_attention and size % model.backbone.patch:
            raise ConfigError(
                f"crops of {size} px can't be cut into patches of {model.backbone.patch} px; use a multiple."
            )
    whole, masked = Look(crops.global_crops, crops.global_size, patches=config.masks_patches), 0.0
    if config.masks_patches:
        patches = (crops.global_size // model.backbone.patch) ** 2
        masked = crops.global_crops * patches * config.ibot.mask_share * sum(config.ibot.mask_ratio) / 2
    small = Look(crops.local_crops, crops.local_size, patches=False)
    return Step((whole,), (whole, small) if crops.local_crops else (whole,), masked)


def flops(config: TrainConfig, model: Model, *, checkpointing: bool) -> dict[str, float]:
    """Multiplications plus additions of a step over the whole batch, by what they are for.

        teacher V F(global);  student V F(global) + L F(local);  heads 2 W a row;  backward twice the student's forward,
        but once for what meets the images;  recomputed: the student's blocks once more

    Losses, norms, softmax and the optimizer are left out: together less than a hundredth."""
    step, batch = step_of(config, model), config.batch_size

    def of(looks: tuple[Look, ...]) -> Flops:
        total = Flops()
        for look in looks:
            total += model.cost.flops(look.size, look.patches) * (look.crops * batch)
        return total

    teacher, student = of(step.teacher), of(step.student)
    whole, local = of(step.student[:1]), of(step.student[1:])
    again = sum(model.cost.recomputed(look.size, look.patches) * look.crops * batch for look in step.student)
    patches = head_flops(model.patch_head or model.head, step.masked * batch)
    teacher_head = head_flops(model.head, step.teacher_rows * batch) + patches
    head = head_flops(model.head, step.rows * batch) + patches
    return {
        "teacher: backbone": teacher.embedding + teacher.matrices,
        "teacher: attention": teacher.attention,
        "student: backbone, global crops": whole.embedding + whole.matrices,
        "student: backbone, local crops": local.embedding + local.matrices,
        "student: attention": student.attention,
        "heads": teacher_head.forward + head.forward,
        "backward": student.backward + head.backward,
        "recomputed": again if checkpointing else 0.0,
    }
