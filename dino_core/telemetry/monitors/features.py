"""Whether images get different features."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from dino_core.measure.features import feature_std
from dino_core.telemetry.monitors import monitor


@monitor("features/std", unit="ratio", better="higher", title="Spread of the features", gather=True)
def std(teacher_cls: Float[Tensor, "T B D"]) -> Float[Tensor, ""]:
    """How far the directions of the teacher's class tokens are spread, from 0 (all one) to 1 (even on the sphere)."""
    return feature_std(teacher_cls.flatten(0, 1))
