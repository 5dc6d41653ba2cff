"""DINO: self-distillation with no labels (Caron et al. 2021, arXiv 2104.14294), Algorithm 1 and Sec. 3.1."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dino_core import config
from dino_core.data.views import Batch
from dino_core.model.network import Network, Output
from dino_core.objective.losses import Losses, Objective, Targets, Term
from dino_core.objective.spread import spread
from dino_core.objective.targets import Centering
from dino_core.objective.terms import mean_pair, view_pairs
from dino_core.schedules import Now


class Dino(Objective):
    """The student sees all crops, the teacher the global ones; across crops the student predicts the teacher.

    The teacher's scores are centred (against one prototype taking all) and sharpened (against all being equal)."""

    def __init__(self, options: config.Dino, prototypes: int, koleo: config.Koleo | None = None) -> None:
        super().__init__()
        self.options = options
        self.koleo = koleo or config.Koleo()
        self.centering = Centering(prototypes, options.centre_momentum)

    @property
    def centre(self) -> Float[Tensor, " K"] | None:  # the buffer exists under any option, so that a fork may change it
        return self.centering.centre if self.options.centering == "centre" else None

    @torch.no_grad()
    def targets(self, teacher: Network, batch: Batch, now: Now, patches: bool = True) -> Targets:
        """Reads the centre.  The loss needs no patch tokens; telemetry asks for them with `patches`."""
        output = teacher([batch.globals], patches)
        return self.of_views(output, now, output.patches() if patches else None)

    def of_views(self, output: Output, now: Now, patches: Float[Tensor, "T B N D"] | None) -> Targets:
        """What the teacher says about whole views."""
        probabilities = self.centering.probabilities(output.logits, now.teacher_temperature, self.options.centering)
        return Targets(output.logits, probabilities, output.cls, patches)

    def losses(self, student: nn.Module, batch: Batch, targets: Targets, now: Now) -> Losses:
        output = student([views for views in (batch.globals, batch.locals) if len(views)], patches=False)
        terms, figures = self.across_views(output, batch, targets, now)
        return Losses(terms, output.logits, output.cls, figures=figures)

    def across_views(
        self, output: Output, batch: Batch, targets: Targets, now: Now
    ) -> tuple[dict[str, Term], dict[str, Float[Tensor, ""]]]:
        """The cross-entropy between views, KoLeo of each global view where it is wanted; and what the first is made of."""
        moved, views = now.weights, len(batch.globals)
        pairs = view_pairs(output.logits, targets.probabilities, now.student_temperature)
        loss = mean_pair(pairs, local_weight=self.options.local_weight * moved.local)
        terms = {"dino": Term(loss, self.options.weight * moved.dino)}
        if self.options.koleo_weight:
            terms["koleo"] = Term(spread(output.cls[:views], self.koleo), self.options.koleo_weight * moved.koleo)
        figures = {"dino_local": pairs[views:].detach().mean()} if len(pairs) > views else {}
        if views > 1:
            figures["dino_global"] = mean_pair(pairs[:views].detach())
        return terms, figures

    def after_step(self, targets: Targets, step: int, teacher: Network | None = None) -> None:
        """Moves the centre, by the logits of the whole batch on all ranks."""
        if self.options.centering == "centre":
            self.centering.update(targets.logits)
