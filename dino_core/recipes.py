"""Whole configs by name.  Each docstring gives the paper, what it reached, the hours and the exact command.

`tiny` is ours and leaves to the data what should follow from it; the others are the 2021 paper's and stay the paper's.
Figures of the paper's recipes are those of Caron et al. 2021 (arXiv 2104.14294) and its released models, on ImageNet-1k."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from dino_core.config import Backbone, Crops, Data, Dino, Evaluation, Head, Machine, Optim, Schedules, TrainConfig
from dino_core.errors import ConfigError


def tiny() -> TrainConfig:
    """A laptop's recipe: five minutes on 2 CPU cores on the built-in shapes.  What it reaches: see README, "What tiny reaches".

    dino-lab train tiny"""
    return TrainConfig(
        recipe="tiny",
        steps=700,
        batch_size=48,
        crops=Crops(
            global_size=48,
            local_size=24,
            local_crops=4,
            local_scale=(0.12, 0.4),
            brightness=0.24,
            contrast=0.24,
            saturation=0.12,
            hue=0.025,
            grey=0.1,
            global_blur=(0.5, 0.1),
            local_blur=0.2,
            blur_sigma=(0.1, 1.0),
            solarize=(0.0, 0.0),
        ),
        backbone=Backbone(patch=8, dim=96, depth=4, heads=6, registers=4, drop_path=0.05),
        head=Head(hidden=512, bottleneck=64),
        objective=Dino(koleo_weight=0.05),
        optim=Optim(lr=1e-3, lr_rule="none", final_lr=1e-5),
        schedules=Schedules(last_layer_frozen=0.015),
        evaluation=Evaluation(every=70, size=64, train_images=1000, test_images=400),
    )


def gallery() -> TrainConfig:
    """The recorded run that ships with the lab: `tiny` for 6000 steps, about an hour on one CPU core.

    dino-lab train gallery --out runs/gallery && dino-lab record runs/gallery lab/gallery/dino_shapes --keep 9"""
    base = tiny()
    return replace(
        base,
        recipe="gallery",
        steps=6000,
        evaluation=replace(base.evaluation, every=250),
        output=replace(base.output, checkpoint_every=500),
        machine=Machine(threads=1),
    )


def vits16_dino() -> TrainConfig:
    """ViT-S/16 as in the released code's first example: 100 epochs, batch 512, 8 GPUs.  k-NN 69.3 %, linear 74.0 % (README).

    1.75 days on 8 V100s.  The published weights (k-NN 74.5, linear 77.0) trained longer.

    torchrun --nproc-per-node=8 -m dino_core.train vits16_dino --data.source IMAGENET/train"""
    return TrainConfig(
        recipe="vits16_dino",
        epochs=100.0,
        batch_size=512,
        data=Data(source=""),
        crops=Crops(),
        backbone=Backbone(patch=16, dim=384, depth=12, heads=6, drop_path=0.1),
        head=Head(prototypes=65536, hidden=2048, bottleneck=256),
        objective=Dino(),
        optim=Optim(lr=5e-4, lr_rule="linear", final_lr=1e-6, weight_decay=(0.04, 0.4), clip=3.0),
        schedules=Schedules(
            lr_warmup=10 / 100,
            momentum=(0.996, 1.0),
            teacher_temperature=(0.04, 0.04),
            teacher_temperature_warmup=0.0,
            last_layer_frozen=1 / 100,
        ),
    )


def _longer(base: TrainConfig, recipe: str, epochs: float) -> TrainConfig:
    """The released code's longer example: batch 1024 on 16 GPUs, teacher temperature 0.04 to 0.07 over 30 epochs."""
    schedules = replace(
        base.schedules,
        lr_warmup=10 / epochs,
        teacher_temperature=(0.04, 0.07),
        teacher_temperature_warmup=30 / epochs,
        last_layer_frozen=1 / epochs,
    )
    return replace(base, recipe=recipe, epochs=epochs, batch_size=1024, schedules=schedules)


def vits8_dino() -> TrainConfig:
    """ViT-S/8, 300 epochs, batch 1024.  Published weights: k-NN 78.3 %, linear 79.7 % (trained longer).

    Patches of 8 are 4 times as many as patches of 16; expect about 4 times the 2.6 days that 300 epochs of S/16 took on 16 V100s.

    torchrun --nnodes=2 --nproc-per-node=8 -m dino_core.train vits8_dino --data.source IMAGENET/train"""
    base = _longer(vits16_dino(), "vits8_dino", 300.0)
    return replace(base, backbone=replace(base.backbone, patch=8), head=replace(base.head, frozen_gain=False))


def vitb16_dino() -> TrainConfig:
    """ViT-B/16, 400 epochs, batch 1024, prototypes of unit length.  Published weights: k-NN 76.1 %, linear 78.2 %.

    Hours: not published for this model; 4 times the parameters of S/16.  fp16 was unstable upstream: use bf16 or fp32.

    torchrun --nnodes=4 --nproc-per-node=8 -m dino_core.train vitb16_dino --data.source IMAGENET/train"""
    base = _longer(vits16_dino(), "vitb16_dino", 400.0)
    return replace(base, backbone=replace(base.backbone, dim=768, heads=12))


def vitb8_dino() -> TrainConfig:
    """ViT-B/8, 300 epochs, batch 1024.  Published weights: k-NN 77.4 %, linear 80.1 %.

    Hours: not published.

    torchrun --nnodes=8 --nproc-per-node=8 -m dino_core.train vitb8_dino --data.source IMAGENET/train"""
    base = _longer(vits16_dino(), "vitb8_dino", 300.0)
    return replace(base, backbone=replace(base.backbone, dim=768, heads=12, patch=8))


def resnet50_dino() -> TrainConfig:
    """ResNet-50 with SGD, 100 epochs, batch 512 (released code's example).  Published weights: k-NN 67.5 %, linear 75.3 % (longer).

    Hours: not published for this example.

    torchrun --nproc-per-node=8 -m dino_core.train resnet50_dino --data.source IMAGENET/train"""
    base = vits16_dino()
    return replace(
        base,
        recipe="resnet50_dino",
        crops=replace(base.crops, global_scale=(0.14, 1.0), local_scale=(0.05, 0.14)),
        backbone=Backbone(name="resnet50", drop_path=0.0),
        optim=Optim(algorithm="sgd", lr=0.03, lr_rule="linear", final_lr=1e-6, weight_decay=(1e-4, 1e-4), clip=3.0),
    )


RECIPES: dict[str, Callable[[], TrainConfig]] = {
    recipe.__name__: recipe
    for recipe in (tiny, gallery, vits16_dino, vits8_dino, vitb16_dino, vitb8_dino, resnet50_dino)
}


def recipe(name: str) -> TrainConfig:
    if name not in RECIPES:
        raise ConfigError(f"no recipe {name!r}. Recipes: {', '.join(RECIPES)}.")
    return RECIPES[name]()
