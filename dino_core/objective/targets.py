"""From the teacher's logits to targets that can't collapse: the moving centre, or Sinkhorn-Knopp.

Axes: K prototypes, N rows (views and images, or masked patches)."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dino_core.parallel import global_max, global_sum
from dino_core.precision import at_least_fp32


class Centering(nn.Module):
    """The one small state of DINO: the running mean of the teacher's logits (Caron et al. 2021, Eq. 4)."""

    centre: Float[Tensor, " K"]

    def __init__(self, prototypes: int, momentum: float = 0.9) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("centre", torch.zeros(prototypes))

    def forward(self, logits: Float[Tensor, "... K"], temperature: float) -> Float[Tensor, "... K"]:
        """softmax((logits - centre) / temperature); reads only."""
        return ((at_least_fp32(logits) - self.centre) / temperature).softmax(-1)

    @torch.no_grad()
    def update(self, logits: Float[Tensor, "... K"]) -> None:
        """centre ← m centre + (1 - m) mean(logits) over all leading axes and all ranks; writes only.

        Ranks may hold different numbers of rows, and all of them none: then the centre stays."""
        rows = at_least_fp32(logits).flatten(0, -2)
        total = global_sum(torch.cat([rows.sum(0), rows.new_full((1,), len(rows))]))
        mean = torch.where(total[-1] > 0, total[:-1] / total[-1].clamp(min=1), self.centre)
        self.centre.lerp_(mean.to(self.centre.dtype), 1 - self.momentum)

    def probabilities(
        self, logits: Float[Tensor, "... K"], temperature: float, way: Literal["centre", "sinkhorn", "none"]
    ) -> Float[Tensor, "... K"]:
        """Targets in the way a config names: centred, balanced by Sinkhorn-Knopp over all rows, or as they are."""
        if way == "centre":
            return self(logits, temperature)
        if way == "sinkhorn":
            return sinkhorn(logits.flatten(0, -2), temperature).view(logits.shape)
        return (at_least_fp32(logits) / temperature).softmax(-1)


@torch.no_grad()
def sinkhorn(logits: Float[Tensor, "N K"], temperature: float, iterations: int = 3) -> Float[Tensor, "N K"]:
    """Probabilities that use all prototypes about equally: Sinkhorn-Knopp (SwAV, Caron et al. 2020; DINOv2, Sec. 4).

    exp(logits / temperature) is scaled in turn so that prototypes (columns, over all ranks) and rows have equal sums;
    rows come last and sum to 1.  Three iterations are an approximation by design.  All of it happens in logarithms, so
    that nothing overflows or vanishes, however large the logits (the released code exponentiates them).  Ranks may hold
    different numbers of rows, or none."""
    if iterations < 1:
        raise ValueError(f"{iterations} iterations of Sinkhorn-Knopp; expected at least 1.")
    x = at_least_fp32(logits)
    largest = global_max(_peak(x.flatten()[:, None])[0])
    lowest = torch.finfo(x.dtype).min / 1024  # the steps below may add such numbers up
    log_q = ((x - largest) / temperature).clamp(min=lowest)
    for _ in range(iterations):
        peak = global_max(_peak(log_q))
        log_q = log_q - peak - global_sum((log_q - peak).exp().sum(0)).log()
        log_q = log_q.log_softmax(-1)
    return log_q.exp()


def _peak(x: Float[Tensor, "N K"]) -> Float[Tensor, " K"]:
    """The largest number of each column; -inf in a rank without rows."""
    return x.amax(0) if len(x) else x.new_full(x.shape[1:], -torch.inf)
