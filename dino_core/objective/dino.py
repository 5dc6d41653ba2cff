"""DINO: self-distillation with no labels (Caron et al. 2021, arXiv 2104.14294), Algorithm 1 and Sec. 3.1."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dino_core import config
from dino_core.data.views import Batch
from dino_core.model.network import Network
from dino_core.objective.losses import Losses, Objective, Targets, Term
from dino_core.objective.targets import Centering, sinkhorn
from dino_core.objective.terms import cross_view, koleo
from dino_core.precision import at_least_fp32
from dino_core.schedules import Now


class Dino(Objective):
    """The student sees all crops, the teacher the global ones; across crops the student predicts the teacher.

    The teacher's scores are centred (against one prototype taking all) and sharpened (against all being equal)."""

    def __init__(self, options: config.Dino, prototypes: int) -> None:
        super().__init__()
        self.options = options
        self.centering = Centering(prototypes, options.centre_momentum)

    @property
    def centre(self) -> Float[Tensor, " K"] | None:  # the buffer exists under any option, so that a fork may change it
        return self.centering.centre if self.options.centering == "centre" else None

    @torch.no_grad()
    def targets(self, teacher: Network, batch: Batch, now: Now, patches: bool = True) -> Targets:
        """Reads the centre.  The loss needs no patch tokens; telemetry asks for them with `patches`."""
        output = teacher([batch.globals], patches)
        if self.options.centering == "centre":
            probabilities = self.centering(output.logits, now.teacher_temperature)
        elif self.options.centering == "sinkhorn":
            rows = sinkhorn(output.logits.flatten(0, 1), now.teacher_temperature)
            probabilities = rows.unflatten(0, output.logits.shape[:2])
        else:
            probabilities = (at_least_fp32(output.logits) / now.teacher_temperature).softmax(-1)
        return Targets(output.logits, probabilities, output.cls, output.patches() if patches else None)

    def losses(self, student: nn.Module, batch: Batch, targets: Targets, now: Now) -> Losses:
        output = student([views for views in (batch.globals, batch.locals) if len(views)], patches=False)
        terms = {"dino": Term(cross_view(output.logits, targets.probabilities, now.student_temperature), 1.0)}
        if self.options.koleo_weight:
            spread = torch.stack([koleo(cls) for cls in output.cls[: len(batch.globals)]]).sum()
            terms["koleo"] = Term(spread, self.options.koleo_weight)
        return Losses(terms, output.logits, output.cls)

    def after_step(self, targets: Targets, step: int) -> None:
        """Moves the centre, by the logits of the whole batch on all ranks."""
        if self.options.centering == "centre":
            self.centering.update(targets.logits)
