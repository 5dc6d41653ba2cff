"""DINOv2: DINO between views, iBOT between patches, KoLeo among images (Oquab et al. 2023, arXiv 2304.07193, Sec. 4)."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from dino_core import config
from dino_core.data.views import Batch
from dino_core.model.network import Network, Output
from dino_core.objective.dino import Dino
from dino_core.objective.losses import Losses, Targets, Term
from dino_core.objective.targets import Centering
from dino_core.objective.terms import masked_patch
from dino_core.schedules import Now


class DinoV2(Dino):
    """The teacher sees whole global crops.  The student sees them with patches hidden, and says what the teacher sees there.

    Hidden patches pass a head of their own or that of the class tokens; their targets are balanced apart from those."""

    def __init__(
        self,
        options: config.Dino,
        prototypes: int,
        koleo: config.Koleo | None = None,
        *,
        ibot: config.Ibot,
        patch_prototypes: int,
    ) -> None:
        super().__init__(options, prototypes, koleo)
        self.ibot = ibot
        self.patch_centering = Centering(patch_prototypes, ibot.centre_momentum)

    @torch.no_grad()
    def targets(self, teacher: Network, batch: Batch, now: Now, patches: bool = True) -> Targets:
        """Reads both centres."""
        output = teacher([batch.globals], chosen=batch.masked)
        views = self.of_views(output, now, output.patches())
        return views if output.patch_logits is None else self.of_patches(views, output, batch, now)

    def of_patches(self, views: Targets, output: Output, batch: Batch, now: Now) -> Targets:
        assert output.patch_logits is not None
        probabilities = self.patch_centering.probabilities(
            output.patch_logits, now.teacher_temperature, self.ibot.centering
        )
        return replace(
            views,
            patch_logits=output.patch_logits,
            patch_probabilities=probabilities,
            patch_images=batch.masked_images,
        )

    def losses(self, student: nn.Module, batch: Batch, targets: Targets, now: Now) -> Losses:
        crops = [views for views in (batch.globals, batch.locals) if len(views)]
        output = student(crops, patches=1, masks=batch.masks if self.ibot.hide else None, chosen=batch.masked)
        terms, figures = self.across_views(output, batch, targets, now)
        terms |= self.within_views(output, batch, targets, now)
        return Losses(terms, output.logits, output.cls, output.patches(), figures)

    def within_views(self, output: Output, batch: Batch, targets: Targets, now: Now) -> dict[str, Term]:
        if batch.masks is None or output.patch_logits is None or targets.patch_probabilities is None:
            return {}
        masks = batch.masks.flatten(0, 1)
        loss = masked_patch(output.patch_logits, targets.patch_probabilities, masks, now.student_temperature)
        return {"ibot": Term(loss, self.ibot.weight * now.weights.ibot)}

    def after_step(self, targets: Targets, step: int, teacher: Network | None = None) -> None:
        """Moves the centres, that of patches by all hidden patches of all ranks."""
        super().after_step(targets, step, teacher)
        if self.ibot.centering == "centre" and targets.patch_logits is not None:
            self.patch_centering.update(targets.patch_logits)
