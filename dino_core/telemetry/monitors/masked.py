"""Hidden patches: what the teacher says about them (iBOT), over the hidden patches of all ranks."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from dino_core.measure import collapse
from dino_core.telemetry.monitors import monitor


@monitor("ibot/entropy", unit="nats", title="Entropy of patch targets")
def patch_entropy(mean_patch_entropy: Float[Tensor, ""]) -> Float[Tensor, ""]:
    """How undecided the teacher's targets for hidden patches are, from 0 (one prototype) to ln P (all alike)."""
    return mean_patch_entropy


@monitor("ibot/mean_entropy", unit="nats", title="Entropy of the mean patch target")
def entropy_of_mean(mean_patch_target: Float[Tensor, " P"]) -> Float[Tensor, ""]:
    """How evenly the targets of hidden patches use the prototypes, from 0 (one takes all) to ln P."""
    return collapse.entropy(mean_patch_target)


@monitor("ibot/information", unit="nats", better="higher", title="Information between patch and prototype")
def patch_information(
    mean_patch_target: Float[Tensor, " P"], mean_patch_entropy: Float[Tensor, ""]
) -> Float[Tensor, ""]:
    """What a target tells about its patch, in nats; 0 when all patches get the same answer."""
    return collapse.information(mean_patch_target, mean_patch_entropy)
