"""Whether the steps are neither too long nor too short."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from dino_core.telemetry.monitors import monitor

PARTS = ("backbone", "head", "prototypes", "patch_head", "patch_prototypes")


@monitor("gradient", unit="norm", title="Gradient", parts=PARTS)
def gradient(gradient_norms: dict[str, Tensor]) -> dict[str, Tensor]:
    """Length of the gradient before clipping, by part of the network."""
    return gradient_norms


@monitor("update", unit="ratio", title="Relative update", parts=PARTS)
def update(update_norms: dict[str, Tensor]) -> dict[str, Tensor]:
    """Length of the optimizer's last step over the length of the weights, by part; about 1e-3 is usual."""
    return update_norms


@monitor("student_teacher_distance", unit="ratio", title="Distance of student and teacher")
def distance(student_teacher_distance: Float[Tensor, ""]) -> Float[Tensor, ""]:
    """How far the student's weights are from the teacher's, over the length of the teacher's."""
    return student_teacher_distance
