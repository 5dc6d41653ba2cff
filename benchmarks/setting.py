"""The training step that is measured: a DINO step at a laptop's size, and how much arithmetic it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dino_core.config import Backbone, Crops, Head, Machine, Schedules, TrainConfig

if TYPE_CHECKING:
    from torch import Tensor

LEARNING_RATE, WEIGHT_DECAY, MOMENTUM, CLIP = 1e-4, 0.04, 0.996, 3.0


@dataclass(frozen=True)
class Setting:
    """Sizes of a step; two global crops."""

    images: int
    global_size: int
    local_size: int
    local_crops: int
    patch: int
    dim: int
    depth: int
    heads: int
    prototypes: int
    hidden: int = 2048
    bottleneck: int = 256

    @property
    def flops(self) -> float:
        """Multiplications and additions of a plain loop's step, the reference for all.

        Forward of teacher and student, and twice the student's for backward, but no gradient of the images.  For an image of
        N patches, Q = N + 1 tokens:

            patches 2 N 3p² D;  a block 24 Q D² (qkv 6, output 2, MLP 16) + 4 Q² D (scores, mixing);  head 2 (D h + h² + h b + b K)
        """
        teacher = 2 * self.images * self._forward(self.global_size)
        student = teacher + self.local_crops * self.images * self._forward(self.local_size)
        images = 2 * self._patches(self.global_size) + self.local_crops * self._patches(self.local_size)
        return teacher + 3 * student - self.images * images

    def _forward(self, size: int) -> float:
        tokens, d, h, b = (size // self.patch) ** 2 + 1, self.dim, self.hidden, self.bottleneck
        block = 24 * tokens * d**2 + 4 * tokens**2 * d
        head = 2 * (d * h + h * h + h * b + b * self.prototypes)
        return self._patches(size) + self.depth * block + head

    def _patches(self, size: int) -> float:
        return 2 * (size // self.patch) ** 2 * 3 * self.patch**2 * self.dim

    def config(self, machine: Machine | None = None, drop_path: float = 0.0) -> TrainConfig:
        """The same step as a config of ours; float32 on the CPU unless `machine` says otherwise."""
        return TrainConfig(
            steps=1000,
            batch_size=self.images,
            crops=Crops(global_size=self.global_size, local_size=self.local_size, local_crops=self.local_crops),
            backbone=Backbone(patch=self.patch, dim=self.dim, depth=self.depth, heads=self.heads, drop_path=drop_path),
            head=Head(prototypes=self.prototypes, hidden=self.hidden, bottleneck=self.bottleneck),
            schedules=Schedules(
                lr_warmup=0.1, momentum=(MOMENTUM, 1.0), teacher_temperature=(0.04, 0.04), last_layer_frozen=0.0
            ),
            machine=machine or Machine(device="cpu", precision="fp32"),
        )


FULL = Setting(32, global_size=64, local_size=32, local_crops=4, patch=8, dim=192, depth=12, heads=3, prototypes=4096)
"""8.3 GFLOP an image: a network between a laptop's and ViT-S."""
QUICK = Setting(4, 16, 8, local_crops=2, patch=8, dim=32, depth=2, heads=2, prototypes=64, hidden=64, bottleneck=16)
"""To see that everything works."""
GPU = Setting(64, global_size=224, local_size=96, local_crops=8, patch=16, dim=384, depth=12, heads=6, prototypes=65536)
"""ViT-S/16 as in the paper's recipe, on one GPU."""


def setting(quick: bool) -> Setting:
    return QUICK if quick else FULL


def crops(s: Setting) -> tuple[Tensor, Tensor]:
    """The same crops for all contestants: (2 B 3 h w) and (L B 3 h w), normal noise."""
    import torch

    draw = torch.Generator().manual_seed(0)
    large = torch.randn(2, s.images, 3, s.global_size, s.global_size, generator=draw)
    return large, torch.randn(s.local_crops, s.images, 3, s.local_size, s.local_size, generator=draw)
