"""From one phase to the next, or from a run to its fork: whatever the next networks, objective and optimizer can take over.

Weights, centres and the optimizer's memory go by name.  A table of positions of another grid is resampled.  What is new
(a mask token, a head of the patches, a norm) begins fresh, and so does what the optimizer knew of a weight of another shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from timm.layers import resample_abs_pos_embed
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from dino_core.engine import Engine
from dino_core.errors import RunError
from dino_core.model import Network

MAY_BE_NEW = ("patch_head.", "backbone.mask_token", "backbone.local_cls_norm.", "backbone.cls_norm.")
"""Weights that a phase or fork may add."""


@torch.no_grad()
def hand_over(old: Engine, new: Engine, *, same_phase: bool) -> None:
    """Everything that a step depends on.  The Gram anchor goes along within a phase; a new one begins with its own."""
    if new.student is not old.student:
        for before, after in ((old.student, new.student), (old.teacher, new.teacher)):
            take_over_network(after, before.state_dict(), old.config.image_size, new.config.image_size)
    take_over_objective(new.objective, old.objective.state_dict(), anchor=same_phase)
    memory = old.optimizer_state()
    for name, state in new.optimizer_state().items():
        take_over_state(state, memory.get(name, {}))
    if new.scaler.is_enabled() and old.scaler.is_enabled():
        new.scaler.load_state_dict(old.scaler.state_dict())


@torch.no_grad()
def take_over_network(network: Network, weights: Mapping[str, Tensor], image_size: int, new_size: int) -> None:
    """Fill a network from another's weights; RunError where they are of another backbone or head."""
    own = network.state_dict()
    for name, mine in own.items():
        theirs = weights.get(name)
        if theirs is not None and theirs.shape != mine.shape and name.endswith("pos_embed"):
            patch = network.backbone.patch
            theirs = regridded(theirs, image_size // patch, new_size // patch)
        if theirs is None and name.startswith(MAY_BE_NEW):
            continue
        if theirs is None or theirs.shape != mine.shape:
            raise RunError(f"it does not fit this config: {name} differs. Change backbone and head in a new run.")
        fill(mine, theirs)


def fill(mine: Tensor, theirs: Tensor) -> None:
    """Copy a tensor, whole or sharded alike, into one that may be sharded."""
    if isinstance(mine, DTensor) and not isinstance(theirs, DTensor):
        theirs = distribute_tensor(theirs.to(mine.device), mine.device_mesh, mine.placements)
    mine.copy_(theirs)


def regridded(table: Tensor, grid: int, new_grid: int) -> Tensor:
    """Learned positions (1 N D) of a square grid resampled to another, those of other tokens as they are."""
    others = table.shape[1] - grid**2
    return resample_abs_pos_embed(table, [new_grid, new_grid], [grid, grid], num_prefix_tokens=others)


def take_over_objective(objective: nn.Module, state: Mapping[str, Tensor], *, anchor: bool) -> None:
    """Centres where they have as many prototypes; the anchor where it goes along."""
    for name, mine in objective.state_dict().items():
        theirs = state.get(name)
        if theirs is not None and theirs.shape == mine.shape and (anchor or not name.startswith("anchor.")):
            fill(mine, theirs)


def take_over_state(state: dict[str, Any], memory: Mapping[str, Any]) -> None:
    """What an optimizer knows of one weight, unless that had another shape."""
    if any(key in memory and torch.is_tensor(v) and memory[key].shape != v.shape for key, v in state.items()):
        return
    for key, value in state.items():
        if key in memory and torch.is_tensor(value):
            value.copy_(memory[key])
