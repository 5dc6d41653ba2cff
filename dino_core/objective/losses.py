"""What an objective takes and gives.

Axes: S student views, T teacher views, B images, K prototypes, D features, N patches; M hidden patches of all images,
P prototypes of patches."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float, Int
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
    patch_logits: Float[Tensor, "M P"] | None = None
    """Of the patches that are hidden from the student, in the order of the masks (iBOT)."""
    patch_probabilities: Float[Tensor, "M P"] | None = None
    patch_images: Int[Tensor, " M"] | None = None
    """Which image each hidden patch is of; on the CPU."""
    anchor: Float[Tensor, "V B N E"] | None = None
    """Patches whose similarities are to be kept, on the student's grid (Gram anchoring)."""

    def part(self, start: int, stop: int) -> Targets:
        """Those of the images `start` to `stop`, for gradient accumulation."""
        cut = slice(start, stop)
        patches = None if self.patches is None else self.patches[:, cut]
        anchor = None if self.anchor is None else self.anchor[:, cut]
        whole = Targets(self.logits[:, cut], self.probabilities[:, cut], self.cls[:, cut], patches, anchor=anchor)
        if self.patch_images is None or self.patch_logits is None or self.patch_probabilities is None:
            return whole
        kept = ((self.patch_images >= start) & (self.patch_images < stop)).nonzero()[:, 0]
        rows = kept.to(self.logits.device, non_blocking=True)
        return replace(
            whole,
            patch_logits=self.patch_logits[rows],
            patch_probabilities=self.patch_probabilities[rows],
            patch_images=self.patch_images[kept] - start,
        )


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
    student_patches: Float[Tensor, "V B N D"] | None = None
    """Of its global views, masked ones among them, where the objective looks at patches."""
    figures: dict[str, Float[Tensor, ""]] = field(default_factory=dict)
    """What else is logged of it: means over images of what a term is made of."""

    @property
    def total(self) -> Float[Tensor, ""]:
        return torch.stack([term.value * term.weight for term in self.terms.values()]).sum()

    def detached(self) -> Losses:
        """The same numbers without the graph behind them."""
        terms = {name: Term(term.value.detach(), term.weight) for name, term in self.terms.items()}
        patches = None if self.student_patches is None else self.student_patches.detach()
        figures = {name: value.detach() for name, value in self.figures.items()}
        return Losses(terms, self.student_logits.detach(), self.student_cls.detach(), patches, figures)

    @staticmethod
    def joined(parts: Sequence[tuple[Losses, float]]) -> Losses:
        """The losses of a batch from those of its parts and each part's share of the images."""
        first, losses = parts[0][0], [part for part, _ in parts]
        terms = {
            name: Term(torch.stack([part.terms[name].value * share for part, share in parts]).sum(), term.weight)
            for name, term in first.terms.items()
        }
        figures = {
            name: torch.stack([part.figures[name] * share for part, share in parts]).sum() for name in first.figures
        }
        seen = [part.student_patches for part in losses if part.student_patches is not None]
        return Losses(
            terms,
            torch.cat([part.student_logits for part in losses], dim=1),
            torch.cat([part.student_cls for part in losses], dim=1),
            torch.cat(seen, dim=1) if seen else None,
            figures,
        )


class Objective(nn.Module, ABC):
    """What is learnt: a module, so that its state (centre, anchor) is saved and moved with everything else."""

    def begin(self, teacher: Network) -> None:
        """Writes what a phase starts with, once, before its first step."""

    def kept_for_readers(self) -> dict[str, Tensor]:
        """The state that a checkpoint's reader may want: what is small."""
        return self.state_dict()

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
    def after_step(self, targets: Targets, step: int, teacher: Network | None = None) -> None:
        """Writes the state, once a step, from the targets of the whole batch; the teacher has followed the student by then."""
