"""DINOv3: DINOv2 and Gram anchoring, which keeps patches local through a long training (Siméoni et al. 2025, Sec. 4).

Axes: V global views, B images, N patches of the student, M of the anchor, D features."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import replace

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from dino_core import config
from dino_core.data.views import Batch
from dino_core.model.abreast import abreast
from dino_core.model.backbone import Backbone
from dino_core.model.network import Network
from dino_core.objective.dinov2 import DinoV2
from dino_core.objective.losses import Losses, Targets, Term
from dino_core.objective.terms import gram
from dino_core.precision import at_least_fp32
from dino_core.schedules import Now


class DinoV3(DinoV2):
    """Between the student's patches shall be the similarities that there are between an anchor's, an earlier teacher.

    The anchor sees the same crops whole, larger perhaps and without distortions.  It is renewed from the teacher after
    the steps of `refresh`.  Without an `anchor` the teacher of each step is it."""

    def __init__(
        self,
        options: config.Dino,
        prototypes: int,
        koleo: config.Koleo | None = None,
        *,
        ibot: config.Ibot,
        patch_prototypes: int,
        gram: config.Gram,
        anchor: Backbone | None = None,
        refresh: Set[int] = frozenset(),
    ) -> None:
        super().__init__(options, prototypes, koleo, ibot=ibot, patch_prototypes=patch_prototypes)
        self.gram, self.refresh = gram, refresh
        self.anchor = anchor

    def begin(self, teacher: Network) -> None:
        if self.anchor is not None and self.gram.anchor == "phase":
            self.renew(teacher)

    @torch.no_grad()
    def targets(self, teacher: Network, batch: Batch, now: Now, patches: bool = True) -> Targets:
        """Reads centres and anchor."""
        targets = super().targets(teacher, batch, now)
        assert targets.patches is not None
        seen = targets.patches
        if self.anchor is not None or batch.anchors is not None:
            crops = batch.globals if batch.anchors is None else batch.anchors
            backbone = teacher.backbone if self.anchor is None else self.anchor
            tokens = abreast(backbone, backbone, crops.flatten(0, 1), threads=teacher.threads)
            side = round(targets.patches.shape[2] ** 0.5)
            seen = on_grid(tokens.patches, tokens.grid, (side, side)).unflatten(0, crops.shape[:2])
        return replace(targets, anchor=seen)

    def losses(self, student: nn.Module, batch: Batch, targets: Targets, now: Now) -> Losses:
        losses = super().losses(student, batch, targets, now)
        assert losses.student_patches is not None
        assert targets.anchor is not None
        ours, theirs = losses.student_patches.flatten(0, 1), targets.anchor.flatten(0, 1)
        if self.gram.tokens != "all":
            rows = self.chosen(batch, ours)
            ours, theirs = (x.flatten(0, 1)[rows].unsqueeze(0) for x in (ours, theirs))
        loss = gram(ours, theirs, self.gram.negatives, self.gram.across_batch) if ours.shape[1] else ours.sum()
        term = Term(loss, self.gram.weight * now.weights.gram)
        return replace(losses, terms={**losses.terms, "gram": term})

    def chosen(self, batch: Batch, patches: Float[Tensor, "C N D"]) -> Int[Tensor, " M"]:
        """Places of the patches that `gram.tokens` asks for; worked out on the CPU, where it is known which are hidden."""
        assert batch.masked is not None, "a config that asks for them has masks"
        rows = batch.masked
        if self.gram.tokens == "unmasked":
            seen = torch.ones(patches.shape[0] * patches.shape[1], dtype=torch.bool)
            seen[rows] = False
            rows = seen.nonzero()[:, 0]
        return rows.to(patches.device, non_blocking=True)

    def after_step(self, targets: Targets, step: int, teacher: Network | None = None) -> None:
        """Moves the centres; renews the anchor when it is time."""
        super().after_step(targets, step, teacher)
        if teacher is not None and self.anchor is not None and step + 1 in self.refresh:
            self.renew(teacher)

    @torch.no_grad()
    def renew(self, teacher: Network) -> None:
        """The anchor becomes the teacher of this moment."""
        assert self.anchor is not None
        for ours, theirs in zip(self.anchor.parameters(), teacher.backbone.parameters(), strict=True):
            ours.copy_(theirs)

    def kept_for_readers(self) -> dict[str, Tensor]:
        return {name: state for name, state in super().kept_for_readers().items() if not name.startswith("anchor.")}


def on_grid(patches: Float[Tensor, "C M D"], grid: tuple[int, int], wanted: tuple[int, int]) -> Float[Tensor, "C N D"]:
    """Patches of one grid resampled to another, bicubic without antialiasing (DINOv3, Sec. 4.3)."""
    if grid == wanted:
        return patches
    image = at_least_fp32(patches).mT.unflatten(2, grid)  # C D r c
    return F.interpolate(image, wanted, mode="bicubic", align_corners=False).flatten(2).mT
