"""The teacher as a checkpoint holds it: `teacher.safetensors` and `model.json` (see `dino_core/rundir/FORMAT.md`)."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from dino_core import config
from dino_core.errors import CheckpointError
from dino_core.model.backbone import Backbone, build_backbone, for_training
from dino_core.model.head import Head
from dino_core.model.layouts import own
from dino_core.model.network import Network
from dino_core.parallel import is_writer

FORMAT = 1


def save_teacher(
    folder: Path,
    network: Network,
    objective: nn.Module,
    *,
    step: int,
    config: config.TrainConfig,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write the network and the objective's state (the centre) into an existing folder.

    Sharded weights are gathered, so every rank calls this; one writes.  `dtype` is that of floating-point tensors."""
    kept = getattr(objective, "kept_for_readers", objective.state_dict)()
    tensors = {
        f"{prefix}{name}": _whole(tensor, dtype)
        for prefix, state in (("", network.state_dict()), ("objective.", kept))
        for name, tensor in state.items()
    }
    if not is_writer():
        return
    description = {
        "format": FORMAT,
        "step": step,
        "backbone": dataclasses.asdict(config.backbone),
        "architecture": config.init.architecture,
        "head": dataclasses.asdict(config.head),
        "patch_head": None if config.patch_head is None else dataclasses.asdict(config.patch_head),
        "prototypes": config.head.prototypes,
        "image_size": config.image_size,
        "mean": list(config.crops.mean),
        "std": list(config.crops.std),
    }
    save_file(tensors, folder / "teacher.safetensors", metadata={"step": str(step)})
    (folder / "model.json").write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")


def load_teacher(folder: Path | str) -> Network:
    """The network of one checkpoint folder, in float32 on the CPU, frozen and in eval mode.

    Raises `CheckpointError` where the folder's two files are missing, damaged or don't belong together."""
    folder = Path(folder)
    tensors, description = _read(folder)
    weights = {
        name: tensor.float() if tensor.is_floating_point() else tensor
        for name, tensor in tensors.items()
        if not name.startswith("objective.")
    }
    try:
        with torch.random.fork_rng(devices=[]):
            backbone = _backbone(description, "backbone.mask_token" in weights)
            patches = description.get("patch_head")
            network = Network(
                backbone,
                Head(backbone.dim, config.Head(**description["head"])),
                Head(backbone.dim, config.Head(**patches)) if patches else None,
            )
        network.load_state_dict(weights)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{folder}: model.json does not describe teacher.safetensors: {error}") from error
    return network.frozen_copy().eval()


def _backbone(description: dict[str, Any], mask_token: bool) -> Backbone:
    """With random weights; a run that continued from published ones says in full what they were."""
    if description.get("architecture"):
        architecture = own.as_architecture(description["architecture"])
        return for_training(architecture, config.Backbone(drop_path=0.0), mask_token=mask_token)
    return build_backbone(config.Backbone(**description["backbone"]), description["image_size"], mask_token=mask_token)


def _read(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    for name in ("teacher.safetensors", "model.json"):
        if not (folder / name).is_file():
            raise CheckpointError(f"{folder} has no {name}; expected the folder of a checkpoint (checkpoints/step_*).")
    try:
        description = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        version = description["format"]
        tensors = load_file(folder / "teacher.safetensors")
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise CheckpointError(f"{folder} is damaged ({error}); take another checkpoint of the run.") from error
    if version != FORMAT:
        raise CheckpointError(f"{folder} has format {version}; this version reads {FORMAT}. Update DINO lab.")
    return tensors, description


def _whole(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """All of a tensor, on the CPU."""
    tensor = tensor.detach()
    tensor = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
    return tensor.to("cpu", dtype if tensor.is_floating_point() else None).contiguous()
