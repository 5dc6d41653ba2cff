"""Backbone and head together: what is called student, and what follows it as teacher.

Axes: V views of one resolution, S all views, B images, N patches, M chosen patches, K and P prototypes, D features."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
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
    """One for each resolution whose patches were asked for, its V·B images view by view; the first views come first."""
    patch_logits: Float[Tensor, "M P"] | None = None
    """Of the chosen patches, before temperature."""

    def patches(self, resolution: int = 0) -> Float[Tensor, "V B N D"]:
        """Patch tokens of the views of one resolution; 0 are the first views given, the global ones."""
        return self.tokens[resolution].patches.unflatten(0, (-1, self.cls.shape[1]))


class Network(nn.Module):
    """A backbone and a head; called with several views of each image, at several resolutions.

    Patches are scored by `patch_head`, or by the same head as class tokens where there is none."""

    threads: int = 1
    """CPU threads that each take a share of the images through the backbone."""

    def __init__(self, backbone: Backbone, head: Head, patch_head: Head | None = None) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.patch_head = patch_head

    def forward(
        self,
        views: Sequence[Float[Tensor, "_ B 3 _ _"]],
        patches: bool | int = True,
        *,
        masks: Bool[Tensor, "V B N"] | None = None,
        chosen: Int[Tensor, " M"] | None = None,
    ) -> Output:
        """`views` has one (V B 3 h w) a resolution: one pass of the backbone for each, one of the head for all.

        `patches` says of which resolutions patch tokens are wanted: all, none, or so many of the first.  For the others
        the class tokens alone are computed, which spares most of a ViT's last block.
        `masks` hides patches of the first views.  `chosen` patches of these, as places in V·B·N, are scored."""
        images = views[0].shape[1]
        wanted = len(views) if patches is True else int(patches)
        tokens: list[Tokens] = []
        cls: list[Tensor] = []
        for place, view in enumerate(views):
            flat = view.flatten(0, 1)
            told = {"local": True} if place and self.backbone.tells_local_crops else {}
            if place < wanted:
                hidden = {"masks": masks.flatten(0, 1)} if masks is not None and place == 0 else {}
                tokens.append(self.run(self.backbone, flat, **hidden, **told))
                cls.append(tokens[-1].cls)
            else:
                cls.append(self.run(self.backbone.cls, flat, **told))
        rows = torch.cat(cls)  # S·B D
        scored = None
        if chosen is not None:
            scored = tokens[0].patches.flatten(0, 1)[chosen.to(rows.device, non_blocking=True)]  # M D
        logits, patch_logits = self._scores(rows, scored)
        return Output(logits.unflatten(0, (-1, images)), rows.unflatten(0, (-1, images)), tuple(tokens), patch_logits)

    def _scores(
        self, cls: Float[Tensor, "Q D"], patches: Float[Tensor, "M D"] | None
    ) -> tuple[Float[Tensor, "Q K"], Float[Tensor, "M P"] | None]:
        """Each head is called once."""
        if patches is None:
            return self.head(cls), None
        if self.patch_head is not None:
            return self.head(cls), self.patch_head(patches)
        logits = self.head(torch.cat([cls, patches]))
        return logits[: len(cls)], logits[len(cls) :]

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

    def heads(self) -> list[Head]:
        return [self.head] if self.patch_head is None else [self.head, self.patch_head]

    def parts(self) -> dict[str, list[nn.Parameter]]:
        """Trainable weights by the part they belong to: `backbone`, `head` (its MLP) and `prototypes`; likewise of patches."""
        modules: dict[str, nn.Module] = {
            "backbone": self.backbone,
            "head": self.head.mlp,
            "prototypes": self.head.prototypes,
        }
        if self.patch_head is not None:
            modules |= {"patch_head": self.patch_head.mlp, "patch_prototypes": self.patch_head.prototypes}
        return {name: [p for p in module.parameters() if p.requires_grad] for name, module in modules.items()}


@torch.no_grad()
def weight_distance(student: nn.Module, teacher: nn.Module) -> Float[Tensor, ""]:
    """‖student - teacher‖ / ‖teacher‖ over all weights; stays on the device."""
    difference = list(torch._foreach_sub(_weights(student), _weights(teacher)))
    apart, length = (torch.stack(torch._foreach_norm(x)).norm() for x in (difference, _weights(teacher)))
    return apart / length.clamp_min(torch.finfo(length.dtype).tiny)


def _weights(module: nn.Module) -> list[Tensor]:
    return [p.detach() for p in module.parameters()]
