"""A teacher out of any backbone: with heads that nobody trained, which divide its features at random."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from dino_core.config import Backbone, Init, TrainConfig
from dino_core.fit import fit
from dino_core.model import Head, Network, load_backbone, save_teacher
from dino_core.model.backbone import for_training
from dino_core.model.describing import described
from dino_core.model.layouts import own
from dino_core.seeds import seed_of


def with_fresh_heads(source: str | Path, student: TrainConfig, images: int, folder: Path) -> None:
    """Write the backbone of `source`, anything `load_backbone` reads, with random heads of the student's sizes into `folder`.

    It becomes a checkpoint that teaches.  Prototypes that nobody trained cut the space of features at random: what they
    say is still about the image, less so than after `dino-lab train RECIPE --init.backbone SOURCE --init.frozen 1`."""
    reading = described(load_backbone(source, heads=student.init.heads))
    backbone = for_training(reading.architecture, Backbone(drop_path=0.0), mask_token="mask_token" in reading.weights)
    backbone.load_state_dict(reading.weights)
    config, _ = fit(replace(student, backbone=replace(student.backbone, patch=backbone.patch)), images)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(config.seed, "heads of the teacher"))
        patch_head = None if config.patch_head is None else Head(backbone.dim, config.patch_head)
        network = Network(backbone, Head(backbone.dim, config.head), patch_head)
    folder.mkdir(parents=True, exist_ok=True)
    init = Init(architecture=own.as_text(reading.architecture))
    save_teacher(folder, network, nn.Module(), step=0, config=replace(config, init=init))
