"""What an objective takes and gives.

Axes: S student views, T teacher views, B images, K prototypes, D features, N patches."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dino_core.data.views import Batch
from dino_core.model.network import Network
from dino_core.schedules import Now


@dataclass(frozen=True)
class Targets:
    """What the teacher says about the global views of a whole batch; without gradient."""

    logits: Float[Tensor, "T B K"]
    """Before centering and temperature."""
    probabilities: Float[Tensor, "T B K"]
    """As the loss uses them."""
    cls: Float[Tensor, "T B D"]
    patches: Float[Tensor, "T B N D"] | None = None
    """Where they were asked for."""

    def part(self, start: int, stop: int) -> Targets:
        """Those of the images `start` to `stop`, for gradient accumulation."""
        cut = slice(start, stop)
        patches = None if self.patches is None else self.patches[:, cut]
        return Targets(self.logits[:, cut], self.probabilities[:, cut], self.cls[:, cut], patches)


@dataclass(frozen=True)
class Term:
    """One term of a loss, before its weight."""

    value: Float[Tensor, ""]
    weight: float


@dataclass(frozen=True)
class Losses:
    """All terms of a loss, and what the student said, for telemetry."""

    terms: dict[str, Term]
    student_logits: Float[Tensor, "S B K"]
    """Before temperature."""
    student_cls: Float[Tensor, "S B D"]

    @property
    def total(self) -> Float[Tensor, ""]:
        return torch.stack([term.value * term.weight for term in self.terms.values()]).sum()

    def detached(self) -> Losses:
        """The same numbers without the graph behind them."""
        terms = {name: Term(term.value.detach(), term.weight) for name, term in self.terms.items()}
        return Losses(terms, self.student_logits.detach(), self.student_cls.detach())

    @staticmethod
    def joined(parts: Sequence[tuple[Losses, float]]) -> Losses:
        """The losses of a batch from those of its parts and each part's share of the images."""
        terms = {
            name: Term(torch.stack([part.terms[name].value * share for part, share in parts]).sum(), term.weight)
            for name, term in parts[0][0].terms.items()
        }
        logits = torch.cat([part.student_logits for part, _ in parts], dim=1)
        return Losses(terms, logits, torch.cat([part.student_cls for part, _ in parts], dim=1))


class Objective(nn.Module, ABC):
    """What is learnt: a module, so that its state (centre, anchor) is saved and moved with everything else."""

    @property
    def centre(self) -> Float[Tensor, " K"] | None:
        """What is taken from the teacher's logits; None where nothing is."""
        return None

    @abstractmethod
    def targets(self, teacher: Network, batch: Batch, now: Now, patches: bool = True) -> Targets:
        """What the teacher says about a whole batch, and about its patches if asked.  No gradient; reads the state."""

    @abstractmethod
    def losses(self, student: nn.Module, batch: Batch, targets: Targets, now: Now) -> Losses:
        """What a batch, or a part of one with its part of the targets, costs the student.  Leaves the state alone."""

    @abstractmethod
    def after_step(self, targets: Targets, step: int) -> None:
        """Writes the state, once a step, from the targets of the whole batch."""
