"""The projection head: from a token to the scores of K prototypes."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dino_core import config
from dino_core.errors import ConfigError


class Prototypes(nn.Module):
    """K directions in the bottleneck; inputs come with unit length, so logits are cosines times a gain.

        logits_k = g_k <x, v_k> / ||v_k||        (weight normalisation, Salimans & Kingma 2016)

    The gain stays 1 unless `trainable_gain` (`norm_last_layer=False` in the released code).  Without `unit` length they are
    plain weights from a normal of std 0.02, <x, v_k> (DINOv3)."""

    def __init__(self, dim: int, count: int, *, trainable_gain: bool, unit: bool = True) -> None:
        super().__init__()
        self.unit = unit
        self.directions = nn.Parameter(torch.empty(count, dim).uniform_(-(dim**-0.5), dim**-0.5))
        if not unit:
            nn.init.trunc_normal_(self.directions, std=0.02)
        self.gain = nn.Parameter(torch.ones(count, 1)) if trainable_gain and unit else None

    def forward(self, x: Float[Tensor, "... D"]) -> Float[Tensor, "... K"]:
        if not self.unit:
            return F.linear(x, self.directions)
        weight = F.normalize(self.directions, dim=-1)
        return F.linear(x, weight if self.gain is None else weight * self.gain)


class Head(nn.Module):
    """MLP, unit length, prototypes (Caron et al. 2021, Sec. 3.1 and Appendix C)."""

    def __init__(self, dim: int, head: config.Head) -> None:
        super().__init__()
        if head.prototypes is None:
            raise ConfigError("the number of prototypes is open; fit the config to the data or set head.prototypes.")
        widths = [dim, *[head.hidden] * (head.layers - 1), head.bottleneck]
        layers: list[nn.Module] = []
        for i, (before, after) in enumerate(pairwise(widths)):
            linear = nn.Linear(before, after)
            nn.init.trunc_normal_(linear.weight, std=0.02)
            nn.init.zeros_(linear.bias)
            layers.append(linear)
            if i < head.layers - 1:
                layers += [nn.BatchNorm1d(after)] if head.batch_norm else []
                layers.append(nn.GELU())
        self.mlp = nn.Sequential(*layers)
        self.prototypes = Prototypes(
            head.bottleneck, head.prototypes, trainable_gain=not head.frozen_gain, unit=head.unit_prototypes
        )

    def forward(self, x: Float[Tensor, "... D"]) -> Float[Tensor, "... K"]:
        z = self.mlp(x.flatten(0, -2))
        z = F.normalize(z, dim=-1, eps=1e-6 if z.dtype == torch.float16 else 1e-12)
        return self.prototypes(z).unflatten(0, x.shape[:-1])
