"""The loss taken apart: H(t) + KL(t || s)."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from dino_core.measure import collapse
from dino_core.telemetry.monitors import monitor


@monitor("teacher/entropy", unit="nats", title="Teacher entropy")
def teacher_entropy(target_entropy: Float[Tensor, "T B"]) -> Float[Tensor, ""]:
    """How undecided the teacher's targets are, from 0 (one prototype) to ln K (all alike).

    The first half of the loss; at either end the run has collapsed (Caron et al. 2021, Sec. 5.3)."""
    return target_entropy.mean()


@monitor("kl", unit="nats", title="KL divergence from teacher to student")
def divergence(
    student_logits: Float[Tensor, "S B K"], targets: Float[Tensor, "T B K"], student_temperature: float
) -> Float[Tensor, ""]:
    """How much the student's answers differ from the teacher's, over the loss's pairs of views.

    The second half of the loss; 0 means there is nothing left to learn, which happens in every kind of collapse."""
    return collapse.kl(student_logits, targets, student_temperature)


@monitor("student/entropy", unit="nats", title="Student entropy")
def student_entropy(
    student_logits: Float[Tensor, "S B K"], targets: Float[Tensor, "T B K"], student_temperature: float
) -> Float[Tensor, ""]:
    """How undecided the student is about the views the teacher saw, from 0 to ln K."""
    return collapse.entropy_of_logits(student_logits[: len(targets)], student_temperature).mean()
