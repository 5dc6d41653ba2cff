"""The training tensors that monitors may read, by name.  A monitor's argument names are names of this class.

Axes: S student views, T teacher views (the first T student views), B images, K prototypes, D features, N patches, H heads,
I the first few images of the batch, V the student's global views, M patches hidden from it, P prototypes of patches."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Signals:
    """One step's tensors, detached, on the training device, of this rank's images.  None where the step has no such tensor."""

    teacher_logits: Float[Tensor, "T B K"]
    """Before centering and temperature."""
    targets: Float[Tensor, "T B K"]
    """The teacher's probabilities, as the loss used them."""
    student_logits: Float[Tensor, "S B K"]
    """Before temperature."""
    teacher_temperature: float
    student_temperature: float
    teacher_cls: Float[Tensor, "T B D"]
    student_cls: Float[Tensor, "S B D"]
    teacher_patches: Float[Tensor, "T B N D"]
    centre: Float[Tensor, " K"] | None = None
    previous_centre: Float[Tensor, " K"] | None = None
    """The centre at the last logged step."""
    teacher_attention: Float[Tensor, "I H N"] | None = None
    """Last layer, class token over patches; only at steps where heavy monitors run."""
    gradient_norms: dict[str, Tensor] | None = None
    """Norm of the gradient before clipping, for `backbone`, `head` and `prototypes`."""
    update_norms: dict[str, Tensor] | None = None
    """Norm of the step the optimizer took relative to the norm of the weights, for the same parts."""
    student_teacher_distance: Float[Tensor, ""] | None = None
    """||student - teacher|| / ||teacher|| over all weights."""
    patch_logits: Float[Tensor, "M P"] | None = None
    """The teacher's, of the patches hidden from the student, before centering and temperature (iBOT)."""
    patch_targets: Float[Tensor, "M P"] | None = None
    """Its probabilities, as the loss used them."""
    student_patches: Float[Tensor, "V B N D"] | None = None
    """Where the objective looks at patches; some were hidden."""
    anchor_patches: Float[Tensor, "V B N E"] | None = None
    """Patches of the Gram anchor on the student's grid."""
