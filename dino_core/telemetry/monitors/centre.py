"""The centre: what is taken off the teacher's logits before they become targets."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from dino_core.precision import at_least_fp32
from dino_core.telemetry.monitors import monitor


@monitor("centre/norm", unit="logits", title="Length of the centre")
def norm(centre: Float[Tensor, " K"]) -> Float[Tensor, ""]:
    """How large the teacher's common answer is, as the root mean square over prototypes: ||c|| / sqrt(K)."""
    return at_least_fp32(centre).square().mean().sqrt()


@monitor("centre/movement", unit="logits", title="Movement of the centre")
def movement(centre: Float[Tensor, " K"], previous_centre: Float[Tensor, " K"]) -> Float[Tensor, ""]:
    """How far the centre went since the last logged step, as the root mean square over prototypes."""
    return (at_least_fp32(centre) - at_least_fp32(previous_centre)).square().mean().sqrt()


@monitor("centre/share", unit="ratio", title="Centre over the spread of logits")
def share(centre: Float[Tensor, " K"], logit_spread: Float[Tensor, ""]) -> Float[Tensor, ""]:
    """What all images have in common over what tells them apart, in the teacher's logits.

        ||c|| / (root mean square over images of ||logits - their mean||)

    Above 1 and growing, the common answer drives the logits."""
    return at_least_fp32(centre).norm() / logit_spread.clamp_min(1e-12)
