"""Is the teacher saying something, and not always the same?  Entropies in nats.

Axes: S student views, T teacher views (the first T student views), B images, K prototypes."""

from __future__ import annotations

from math import log

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dino_core.precision import at_least_fp32


def entropy(probabilities: Float[Tensor, "*axes K"]) -> Float[Tensor, "*axes"]:
    """How undecided a distribution is.

        H(p) = -sum_k p_k log p_k      in nats, from 0 (one prototype) to ln K (all alike)

    0 log 0 counts as 0."""
    p = at_least_fp32(probabilities)
    return -(p * p.clamp_min(torch.finfo(p.dtype).tiny).log()).sum(-1)


def entropy_of_logits(logits: Float[Tensor, "*axes K"], temperature: float) -> Float[Tensor, "*axes"]:
    """Entropy of softmax(logits / temperature), in nats."""
    return entropy((at_least_fp32(logits) / temperature).softmax(-1))


def kl(student: Float[Tensor, "S B K"], targets: Float[Tensor, "T B K"], temperature: float = 0.1) -> Float[Tensor, ""]:
    """How much the student still has to learn from the teacher: the part of the loss that can fall.

        KL(t || s) = sum_k t_k (log t_k - log s_k),    s = softmax(student / temperature)

    In nats, the mean over images and over the pairs of the loss: every student view with every teacher view but its own
    (Caron et al. 2021, Sec. 3.1 and 5.3).  The loss is KL + H(t); falling to 0 is a sign of collapse.
    log s is taken apart into logits and their log-sum-exp, a view at a time, so that it is never held in memory."""
    t = at_least_fp32(targets)
    cross = []
    for view in student:
        z = at_least_fp32(view) / temperature
        cross.append(z.logsumexp(-1) - torch.einsum("tbk,bk->tb", t, z))  # -sum_k t_k log s_k
    pairs = (torch.stack(cross) - entropy(t)).mean(-1)  # S T
    other = 1 - torch.eye(len(student), len(t), dtype=pairs.dtype, device=pairs.device)
    return (pairs * other).sum() / (len(t) * (len(student) - 1))


def information(mean_assignment: Float[Tensor, " K"], mean_entropy: Float[Tensor, ""]) -> Float[Tensor, ""]:
    """What the prototype tells about the image: mutual information of image and prototype.

        I = H(mean over images of p) - mean over images of H(p)      in nats, from 0 to ln K

    0 when every image gets the same answer, whatever it is.  The sample bounds it by ln(number of images)."""
    return entropy(mean_assignment) - mean_entropy


def perplexity(mean_assignment: Float[Tensor, " K"]) -> Float[Tensor, ""]:
    """How many prototypes are in use: exp H(mean assignment), from 1 to K (as SwAV and MSN count them)."""
    return entropy(mean_assignment).exp()


def largest_share(mean_assignment: Float[Tensor, " K"]) -> Float[Tensor, ""]:
    """The share of all images' probability that goes to the most popular prototype, from 1/K to 1."""
    return at_least_fp32(mean_assignment).max()


def choices(probabilities: Float[Tensor, "*axes K"]) -> Int[Tensor, " K"]:
    """How often each prototype is somebody's first choice (arg-max); the device need not be waited for."""
    chosen = probabilities.argmax(-1).flatten()
    return chosen.new_zeros(probabilities.shape[-1]).scatter_add(0, chosen, torch.ones_like(chosen))


def share_of_uniform(entropy_in_nats: float, prototypes: int) -> float:
    """Entropy as a share of its largest value, ln K."""
    return entropy_in_nats / log(prototypes)
