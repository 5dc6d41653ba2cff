"""What several monitors need from the same tensors, computed once: the step's signals and what follows from them.

Figures of the whole batch are reduced over ranks here, before any entropy is taken: the entropy of a mean is not the
mean of entropies."""

from __future__ import annotations

import dataclasses
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dino_core.measure.collapse import choices, entropy
from dino_core.parallel import gather, global_mean, global_sum, world_size
from dino_core.precision import at_least_fp32
from dino_core.telemetry.signals import Signals

IMAGES = 16
"""How many images of the whole batch the patch monitors look at."""


class Derived:
    """The signals of a step by name, those of `Signals` and those below, each computed when it is first asked for."""

    def __init__(self, signals: Signals, idle: Int[Tensor, " K"]) -> None:
        self.signals = signals
        self._idle = idle
        self._gathered: dict[str, Tensor] = {}

    def read(self, name: str, whole_batch: bool = False) -> Tensor | float | dict[str, Tensor] | None:
        """A signal by its name, of this rank's images or of all ranks'; None where the step has none."""
        value = getattr(self if name in DERIVED else self.signals, name)
        if not whole_batch or name not in IMAGE_AXIS or value is None:
            return value
        if name not in self._gathered:
            self._gathered[name] = gather(value, IMAGE_AXIS[name])
        return self._gathered[name]

    @cached_property
    def mean_assignment(self) -> Float[Tensor, " K"]:
        """softmax(logits / teacher temperature) without centre, averaged over views, images and ranks."""
        return self._means[0]

    @cached_property
    def mean_target(self) -> Float[Tensor, " K"]:
        """The targets as the loss used them, averaged over views, images and ranks."""
        return self._means[1]

    @cached_property
    def idle(self) -> Int[Tensor, " K"]:
        """How many targets have been seen since each prototype was last one's first choice, this step's included."""
        counts = global_sum(choices(self.signals.targets))
        return torch.where(counts > 0, 0, self._idle + counts.sum())

    @cached_property
    def some_patches(self) -> Float[Tensor, "I N D"]:
        """Teacher's patches of the first few images, first view."""
        return self.signals.teacher_patches[0, : _share_of_images()]

    @cached_property
    def some_anchor(self) -> Float[Tensor, "I N E"] | None:
        """Gram anchor's patches of the same images; None without one."""
        anchor = self.signals.anchor_patches
        return None if anchor is None else anchor[0, : _share_of_images()]

    @cached_property
    def some_cls(self) -> Float[Tensor, "I D"]:
        """Teacher's class tokens of the first few images, first view."""
        return self.signals.teacher_cls[0, : _share_of_images()]

    @cached_property
    def target_entropy(self) -> Float[Tensor, "T B"]:
        """Entropy of each target, of this rank's images."""
        return entropy(self.signals.targets)

    @cached_property
    def mean_patch_target(self) -> Float[Tensor, " P"] | None:
        """The targets of hidden patches, averaged over those of all ranks; None without iBOT."""
        return None if self._patches is None else self._patches[0]

    @cached_property
    def mean_patch_entropy(self) -> Float[Tensor, ""] | None:
        """Mean entropy of the same targets."""
        return None if self._patches is None else self._patches[1]

    @cached_property
    def _patches(self) -> tuple[Float[Tensor, " P"], Float[Tensor, ""]] | None:
        """Ranks may hide different numbers of patches."""
        if self.signals.patch_targets is None:
            return None
        targets = at_least_fp32(self.signals.patch_targets)
        count = targets.new_tensor([len(targets)])
        sums = global_sum(torch.cat([targets.sum(0), entropy(targets).sum()[None], count]))
        means = sums[:-1] / sums[-1].clamp(min=1)
        return means[:-1], means[-1]

    @cached_property
    def logit_spread(self) -> Float[Tensor, ""]:
        """Root mean square over views, images and ranks of the distance of the teacher's logits from their mean."""
        away = at_least_fp32(self.signals.teacher_logits) - self._means[2]
        return global_mean(away.square().sum(-1).mean()).sqrt()

    @cached_property
    def _means(self) -> Float[Tensor, "3 K"]:
        logits, targets = at_least_fp32(self.signals.teacher_logits), at_least_fp32(self.signals.targets)
        assignment = (logits / self.signals.teacher_temperature).softmax(-1)
        return global_mean(torch.stack([x.mean((0, 1)) for x in (assignment, targets, logits)]))


def _share_of_images() -> int:
    return -(-IMAGES // world_size())


DERIVED = (
    "mean_assignment", "mean_target", "target_entropy", "logit_spread", "idle", "some_patches", "some_cls",
    "mean_patch_target", "mean_patch_entropy", "some_anchor",
)  # fmt: skip
PUBLISHED = tuple(field.name for field in dataclasses.fields(Signals)) + DERIVED
"""All names that a monitor's arguments may have."""
IMAGE_AXIS = {
    "teacher_logits": 1, "targets": 1, "student_logits": 1, "teacher_cls": 1, "student_cls": 1, "teacher_patches": 1,
    "anchor_patches": 1,
    "teacher_attention": 0, "some_patches": 0, "some_cls": 0, "some_anchor": 0,
}  # fmt: skip
"""Which axis counts images, for the signals that have one."""
