"""Continue from published weights: the backbone of a run as some file has it, at the run's own size."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from dino_core.config import Phase, TrainConfig
from dino_core.errors import CheckpointError, ConfigError, RunError
from dino_core.fit import check_crops
from dino_core.model.architectures import LearnedVit, RotaryVit
from dino_core.model.backbone import Backbone, build_backbone, for_training
from dino_core.model.describing import described
from dino_core.model.layouts import own
from dino_core.model.layouts.reading import Tensors
from dino_core.model.load import load_backbone


def continued(config: TrainConfig, *, mask_token: bool = False) -> tuple[TrainConfig, Tensors, str]:
    """`config` with the sizes of the network in `init.backbone`, that network's weights, and a sentence on them.

    Learned positions stay those of the stored grid and are resampled in every forward, as where they were published.
    Parts that this run would not train are left out: a mask token without masks, a norm for local crops."""
    source = config.init.backbone
    assert source is not None
    backbone = load_backbone(source, heads=config.init.heads)
    reading = described(backbone)
    weights, architecture = dict(reading.weights), reading.architecture
    if isinstance(architecture, RotaryVit):
        weights = {key: tensor for key, tensor in weights.items() if not key.startswith("local_cls_norm.")}
        architecture = replace(architecture, local_cls_norm=False)
    if isinstance(architecture, LearnedVit | RotaryVit):
        token = weights.pop("mask_token", torch.zeros(architecture.dim))
        weights |= {"mask_token": token} if mask_token else {}
        architecture = replace(architecture, mask_token=mask_token)
        check_crops(replace(config, phases=()), architecture.patch, source)
        config = replace(config, phases=tuple(in_patches(phase, architecture.patch) for phase in config.phases))
    elif mask_token:
        raise ConfigError(f"{source} has no patches to mask; continue from a ViT, or without iBOT.")
    sizes: dict[str, Any] = {"patch": backbone.patch}
    if backbone.has_attention:
        sizes |= {name: getattr(backbone, name) for name in ("dim", "depth", "heads", "registers")}
    config = replace(
        config,
        backbone=replace(config.backbone, **sizes),
        init=replace(config.init, architecture=own.as_text(architecture)),
    )
    alone = round(config.init.frozen * (config.steps or 0))
    millions = sum(p.numel() for p in backbone.parameters()) / 1e6
    return (
        config,
        weights,
        f"continues from {source} ({millions:.3g} M weights); its heads learn alone for {alone} steps",
    )


def in_patches(phase: Phase, patch: int) -> Phase:
    """A later phase whose crops are whole numbers of these patches: a recipe's sides are for the patches of the recipe."""

    def near(side: int | None) -> int | None:
        return max(1, round(side / patch)) * patch if side else side

    changes = dict(phase.changes)
    for path in ("crops.global_size", "crops.local_size", "gram.size"):
        if path in changes:
            changes[path] = near(changes[path])
    if "crops.mixed" in changes:
        changes["crops.mixed"] = [[*(near(side) for side in sides), share] for *sides, share in changes["crops.mixed"]]
    return replace(phase, changes=changes)


def first_weights_again(config: TrainConfig) -> Tensors:
    """The weights in `init.backbone` once more, for a run that died before its first checkpoint held them.

    Raises `RunError`, saying what to do, where the source is gone or has become another network."""
    source = config.init.backbone
    try:
        again, weights, _ = continued(config, mask_token=config.hides_patches)
    except (CheckpointError, ConfigError) as error:
        raise RunError(
            f"the run died before its first checkpoint and has to begin again from {source}, which no longer serves: {error} "
            "Put that file back and resume, or train a new run with another --init.backbone."
        ) from error
    if again.init.architecture != config.init.architecture:
        raise RunError(
            f"the run died before its first checkpoint, and {source} has become another network since. "
            "Put the file back that it began with and resume, or train a new run."
        )
    return weights


def first_backbone(config: TrainConfig) -> Backbone:
    """The network of a run, with random weights: that of the weights it continues from, else that of its config."""
    if config.init.architecture is None:
        return build_backbone(config.backbone, config.image_size, mask_token=config.hides_patches)
    return for_training(own.as_architecture(config.init.architecture), config.backbone, mask_token=config.hides_patches)
