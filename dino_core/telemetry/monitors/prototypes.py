"""How the prototypes are shared among the images of the whole batch, all ranks."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor

from dino_core.measure import collapse
from dino_core.telemetry.monitors import monitor

DEAD_AFTER = 4
"""A prototype is dead when none of the last 4 K targets chose it; by chance alone, e^-4 = 2 % of them would look so."""


@monitor("teacher/mean_entropy", unit="nats", title="Entropy of the teacher's mean answer, uncentred")
def mean_entropy(mean_assignment: Float[Tensor, " K"]) -> Float[Tensor, ""]:
    """How evenly the teacher's own answers, before centering, use the prototypes, from 0 (one) to ln K (all).

    Sinkhorn-Knopp fixes the mean of the targets by construction, so it is this one that shows a collapse under it."""
    return collapse.entropy(mean_assignment)


@monitor("target/mean_entropy", unit="nats", title="Entropy of the mean target")
def mean_target_entropy(mean_target: Float[Tensor, " K"]) -> Float[Tensor, ""]:
    """How evenly the targets, as the loss used them, use the prototypes, from 0 (one) to ln K (all)."""
    return collapse.entropy(mean_target)


@monitor("teacher/information", unit="nats", better="higher", title="Information between image and prototype")
def information(mean_target: Float[Tensor, " K"], target_entropy: Float[Tensor, "T B"]) -> Float[Tensor, ""]:
    """What a target tells about its image, in nats.

    The entropy of the mean target minus the mean entropy of targets; 0 when every image gets the same answer."""
    return collapse.information(mean_target, target_entropy.mean())


@monitor("prototypes/perplexity", unit="prototypes", better="higher", title="Prototypes in use")
def perplexity(mean_target: Float[Tensor, " K"]) -> Float[Tensor, ""]:
    """How many prototypes share the targets of the batch, from 1 to K.

    exp of the entropy of the mean target; a batch of n targets that are sure of themselves can't use more than n."""
    return collapse.perplexity(mean_target)


@monitor("prototypes/largest_share", unit="share", better="lower", title="Share of the largest prototype")
def largest_share(mean_target: Float[Tensor, " K"]) -> Float[Tensor, ""]:
    """How much of all targets' probability the most popular prototype takes, from 1/K to 1."""
    return collapse.largest_share(mean_target)


@monitor("prototypes/dead", unit="share", better="lower", title="Dead prototypes")
def dead(idle: Int[Tensor, " K"]) -> Float[Tensor, ""]:
    """Share of prototypes that were first choice of none of the last 4 K targets looked at; 0 until so many were."""
    return (idle >= DEAD_AFTER * idle.shape[0]).float().mean()
