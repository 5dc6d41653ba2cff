"""How far the teacher's patches have gone from those of the Gram anchor."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from dino_core.measure import features
from dino_core.objective.terms import gram
from dino_core.telemetry.monitors import monitor


@monitor("gram/teacher", unit="squared cosine", better="lower", title="Teacher's similarities from the anchor's")
def teacher_from_anchor(some_patches: Float[Tensor, "I N D"], some_anchor: Float[Tensor, "I N E"]) -> Float[Tensor, ""]:
    """How much the similarities between the teacher's patches differ from the anchor's, as the mean square.

    The student's difference, with patches hidden, is the Gram loss."""
    return gram(some_patches, some_anchor)


@monitor("gram/anchor_cosine", unit="cosine", title="Likeness of the anchor's patches")
def anchor_cosine(some_anchor: Float[Tensor, "I N E"]) -> Float[Tensor, ""]:
    """How alike the anchor's patches of one image are, to compare with those of the teacher."""
    return features.mean_patch_cosine(some_anchor)
