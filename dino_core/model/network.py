"""Backbone and head together: what is called student, and what follows it as teacher.

Axes: V views of one resolution, S all views, B images, K prototypes, D features."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from timm.layers import DropPath
from torch import Tensor, nn

from dino_core.model.abreast import abreast
from dino_core.model.backbone import Backbone
from dino_core.model.head import Head
from dino_core.model.rotary import Rotary
from dino_core.model.tokens import Tokens


class Output(NamedTuple):
    """What a network says about all views of a batch, in the order the views were given."""

    logits: Float[Tensor, "S B K"]
    """Before temperature."""
    cls: Float[Tensor, "S B D"]
    """Class tokens before the head."""
    tokens: tuple[Tokens, ...]
    """One for each resolution, its V·B images view by view; empty where only class tokens were asked for."""

    def patches(self, resolution: int = 0) -> Float[Tensor, "V B N D"]:
        """Patch tokens of the views of one resolution; 0 are the first views given, the global ones."""
        return self.tokens[resolution].patches.unflatten(0, (-1, self.cls.shape[1]))


class Network(nn.Module):
    """A backbone and a head; called with several views of each image, at several resolutions."""

    threads: int = 1
    """CPU threads that each take a share of the images through the backbone."""

    def __init__(self, backbone: Backbone, head: Head) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, views: Sequence[Float[Tensor, "_ B 3 _ _"]], patches: bool = True) -> Output:
        """`views` has one (V B 3 h w) a resolution: one pass of the backbone for each, one of the head for all.

        Without `patches` the class tokens alone are computed, which spares most of a ViT's last block."""
        images = views[0].shape[1]
        flat = [v.flatten(0, 1) for v in views]
        tokens = tuple(self.run(self.backbone, v) for v in flat) if patches else ()
        cls = torch.cat([t.cls for t in tokens] if patches else [self.run(self.backbone.cls, v) for v in flat])  # S·B D
        return Output(self.head(cls).unflatten(0, (-1, images)), cls.unflatten(0, (-1, images)), tokens)

    def run(self, call: Callable[..., Any], images: Float[Tensor, "_ 3 _ _"], **options: Any) -> Any:
        """The backbone, or a method of it, on all threads."""
        return abreast(self.backbone, call, images, threads=self.threads, **options)

    def frozen_copy(self) -> Network:
        """The teacher: the same weights, without gradients, stochastic depth and moved positions.

        It is left in training mode, which then matters to batch normalisation alone: the teacher normalises by its own
        batch and keeps its own running statistics, of global views only, as in the released code.  Call `eval()` before
        measuring and `train()` after."""
        teacher = copy.deepcopy(self).requires_grad_(False)
        for module in teacher.modules():
            if isinstance(module, DropPath):
                module.drop_prob = 0.0
            elif isinstance(module, nn.Dropout):
                module.p = 0.0
            elif isinstance(module, Rotary):
                module.hold_still()
        return teacher.train()

    @torch.no_grad()
    def follow(self, student: nn.Module, momentum: float) -> None:
        """θ_teacher ← m θ_teacher + (1 - m) θ_student      (Caron et al. 2021, Sec. 3.1)

        Parameters only: running statistics are the teacher's own (see `frozen_copy`)."""
        torch._foreach_lerp_(_weights(self), _weights(student), 1 - momentum)

    def blocks(self) -> list[nn.Module]:
        """The backbone's large parts, for sharding."""
        return self.backbone.blocks()

    def parts(self) -> dict[str, list[nn.Parameter]]:
        """Trainable weights by the part they belong to: `backbone`, `head` (its MLP) and `prototypes`."""
        modules = {"backbone": self.backbone, "head": self.head.mlp, "prototypes": self.head.prototypes}
        return {name: [p for p in module.parameters() if p.requires_grad] for name, module in modules.items()}


@torch.no_grad()
def weight_distance(student: nn.Module, teacher: nn.Module) -> Float[Tensor, ""]:
    """‖student - teacher‖ / ‖teacher‖ over all weights; stays on the device."""
    difference = list(torch._foreach_sub(_weights(student), _weights(teacher)))
    apart, length = (torch.stack(torch._foreach_norm(x)).norm() for x in (difference, _weights(teacher)))
    return apart / length.clamp_min(torch.finfo(length.dtype).tiny)


def _weights(module: nn.Module) -> list[Tensor]:
    return [p.detach() for p in module.parameters()]
