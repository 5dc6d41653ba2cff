"""`load_head`: the projection head of a full checkpoint as published, and what its objective kept beside it."""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from dino_core import config
from dino_core.errors import CheckpointError
from dino_core.model.files import SUFFIXES, open_weights
from dino_core.model.head import Head
from dino_core.model.layouts.reading import Tensors
from dino_core.model.layouts.unwrapping import BOXES, NETWORKS, WRAPPERS

Which = Literal["teacher", "student"]
PREFIXES = ("head.", "dino_head.")
"""Under which DINO, and DINOv2 and DINOv3, keep it in full checkpoints."""
GAINS = {
    "last_layer.parametrizations.weight.original0": "last_layer.weight_g",
    "last_layer.parametrizations.weight.original1": "last_layer.weight_v",
}
"""torch's newer names of weight normalisation."""


@dataclass(frozen=True)
class Published:
    """A head, and what the objective needs beside it; None where the file does not say."""

    head: Head
    centre: Float[Tensor, " K"] | None
    """Taken away from the teacher's logits (`dino_loss.center`)."""
    teacher_temperature: float | None
    student_temperature: float | None
    centre_momentum: float | None
    networks: tuple[str, ...]
    """Which networks the file holds with a head each."""


def load_head(source: str | Path, *, which: Which = "teacher") -> Published:
    """The head of one network of a full checkpoint: facebookresearch/dino's, or a teacher of dinov2 or dinov3 with `dino_head`.

    Frozen, in eval mode and float32.  `CheckpointError` where there is none, saying what would have one."""
    path = Path(source).expanduser()
    if not path.is_file() or path.suffix not in SUFFIXES:
        name = path.name if path.exists() else source
        raise CheckpointError(f"{name} is a backbone alone, which has no prototypes; a full checkpoint of DINO has.")
    found = open_weights(path)
    there = {name: tensors for name in NETWORKS if (tensors := _head_of(found, name))}
    if which not in there:
        kept = f"that of the {' and '.join(there)}" if there else "none"
        raise CheckpointError(
            f"{path.name} keeps no head of the {which} ({kept}), so nothing is known of its prototypes; "
            "a full checkpoint (*_full_checkpoint.pth of DINO) has one."
        )
    try:
        head = _built(there[which])
    except (KeyError, IndexError, RuntimeError, ValueError) as error:
        raise CheckpointError(f"{path.name} has a head that this version can't read: {error}") from error
    centre = _centre(found, len(head.prototypes.directions))
    said = vars(found["args"]) if isinstance(found, dict) and isinstance(found.get("args"), argparse.Namespace) else {}
    return Published(
        head.requires_grad_(False).eval(), centre, _number(said.get("teacher_temp")),
        _number(said.get("student_temp")) or (0.1 if said else None), 0.9 if centre is not None else None, tuple(there),
    )  # fmt: skip


def _head_of(found: Any, which: str) -> Tensors:
    """A network's head under its own names; empty where it has none."""
    if not isinstance(found, dict):
        return {}
    for box in BOXES:
        if isinstance(found.get(box), dict):
            found = found[box]
    networks = [name for name in NETWORKS if isinstance(found.get(name), dict)]
    if networks and which not in networks:
        return {}
    named = found[which] if networks else found
    tensors = {
        WRAPPERS.sub("", key): tensor.detach().float()
        for key, tensor in named.items()
        if isinstance(key, str) and isinstance(tensor, torch.Tensor)
    }
    own = {key.removeprefix(f"{which}."): tensor for key, tensor in tensors.items() if key.startswith(f"{which}.")}
    tensors = own or (tensors if networks or which == "teacher" else {})
    for prefix in PREFIXES:
        inside = {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}
        inside = {GAINS.get(key, key): tensor for key, tensor in inside.items()}
        if any(key.startswith("last_layer.") for key in inside):
            return inside
    return {}


def _built(tensors: Tensors) -> Head:
    """Our head with these weights; its shape is read off them."""
    unit = "last_layer.weight_v" in tensors
    directions = tensors["last_layer.weight_v" if unit else "last_layer.weight"]
    layers = {re.sub(r"^mlp\.(?=weight|bias)", "mlp.0.", key): tensor for key, tensor in tensors.items()}
    linear = [key for key, tensor in layers.items() if re.fullmatch(r"mlp\.\d+\.weight", key) and tensor.ndim == 2]
    weights = [layers[key] for key in sorted(linear, key=lambda key: int(key.split(".")[1]))]
    shape = config.Head(
        prototypes=len(directions), hidden=len(weights[0]) if len(weights) > 1 else 2048, bottleneck=directions.shape[1],
        layers=len(weights), unit_prototypes=unit, frozen_gain=not unit,
        batch_norm=any(key.endswith("running_mean") for key in layers),
    )  # fmt: skip
    head = Head(weights[0].shape[1], shape)
    state = {key: tensor for key, tensor in layers.items() if key.startswith("mlp.")}
    state["prototypes.directions"] = directions
    if unit:
        state["prototypes.gain"] = tensors.get("last_layer.weight_g", torch.ones(len(directions), 1)).reshape(-1, 1)
    missing = head.state_dict().keys() ^ state.keys()
    absent = {key for key in missing if key.endswith(".bias")}  # DINO's layers may be without (use_bias)
    if missing - absent:
        raise ValueError(f"{sorted(missing - absent)[0]} is missing or unknown.")
    head.load_state_dict({**{key: torch.zeros_like(head.state_dict()[key]) for key in absent}, **state})
    return head


def _centre(found: Any, prototypes: int) -> Tensor | None:
    kept = found.get("dino_loss") if isinstance(found, dict) else None
    centre = kept.get("center") if isinstance(kept, dict) else None
    if not isinstance(centre, torch.Tensor) or centre.numel() != prototypes:
        return None
    return centre.detach().float().reshape(-1)


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and value > 0 else None
