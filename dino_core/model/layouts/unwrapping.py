"""From what a file holds to the tensors of one backbone: choose the network, drop heads and the wrappers' prefixes."""

from __future__ import annotations

import re
from typing import Any, Literal

import torch

from dino_core.errors import CheckpointError
from dino_core.model.layouts.reading import Tensors

NETWORKS = ("teacher", "student")
BOXES = ("state_dict", "model", "module")
"""Keys under which training code of others keeps the network."""
WRAPPERS = re.compile(r"(?<![^.])(module|_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
"""What DistributedDataParallel, torch.compile, FSDP and activation checkpointing write into names."""


def unwrapped(found: Any, which: Literal["teacher", "student"]) -> Tensors:
    """The backbone's tensors under its own names.

    A full checkpoint of DINO has `student` (as `module.backbone.*`), `teacher` (`backbone.*`) and the optimizer; a
    teacher's export of DINOv2 and DINOv3 has `teacher` alone, with `backbone.*`, `dino_head.*` and `ibot_head.*`."""
    if not isinstance(found, dict):
        raise CheckpointError(f"it holds a {type(found).__name__}; expected named tensors.")
    for box in BOXES:
        if isinstance(found.get(box), dict):
            found = found[box]
    networks = [name for name in NETWORKS if isinstance(found.get(name), dict)]
    if networks:
        if which not in networks:
            raise CheckpointError(f"it has no {which}, only {' and '.join(networks)}; choose with `which`.")
        found = found[which]
    tensors = {
        WRAPPERS.sub("", key): tensor.detach()
        for key, tensor in found.items()
        if isinstance(key, str) and isinstance(tensor, torch.Tensor)
    }
    for prefix in (f"{which}.", "backbone."):
        inside = {
            WRAPPERS.sub("", key.removeprefix(prefix)): tensor
            for key, tensor in tensors.items()
            if key.startswith(prefix)
        }
        tensors = inside or tensors
    return tensors
