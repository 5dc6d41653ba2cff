"""Activation checkpointing: forget what happens inside blocks, and compute it again when gradients need it."""

from __future__ import annotations

import functools

from torch import nn
from torch.utils.checkpoint import checkpoint

from dino_core.errors import ConfigError
from dino_core.model.backbone import Backbone


def recompute(backbone: Backbone) -> None:
    """Every block keeps its input alone (Chen et al. 2016, arXiv 1604.06174); outputs and gradients stay the same.

    Stochastic depth drops the same paths again.  Names of weights do not change."""
    if not can_recompute(backbone):
        raise ConfigError(
            "machine.checkpointing needs blocks without batch normalisation, which would count each batch twice: use a ViT or "
            "a ConvNeXt, or optim.accumulate."
        )
    for block in backbone.blocks():
        block.forward = functools.partial(checkpoint, block.forward, use_reentrant=False)


def can_recompute(backbone: Backbone) -> bool:
    blocks = backbone.blocks()
    return bool(blocks) and not any(isinstance(part, nn.BatchNorm2d) for block in blocks for part in block.modules())
