"""Recipes of the students that were published with DINOv2 and DINOv3, each distilled from a frozen teacher.

What all share (Oquab et al. 2023, Sec. 5; Siméoni et al. 2025, Sec. 6): targets from the frozen teacher, an EMA of the
student as the result, iBOT on crops of which nothing is hidden, no stochastic depth, the teacher's prototypes.  The teachers'
heads were not published: learn from a run's own teacher, or train heads for a published backbone first (`dino-lab train
vit7b16_dinov3 --init.backbone FILE --init.frozen 1`).  Figures, on ImageNet-1k, are those of the models' cards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from dino_core.config import Backbone, Crops, Data, Dino, Head, Ibot, Machine, Optim, Schedules, TrainConfig

EPOCH = 1250
"""Steps of what the released configs call an epoch, whatever the data."""


def vits14_dinov2_distilled() -> TrainConfig:
    """DINOv2's ViT-S/14, distilled from its ViT-g: batch 2048, 625 000 steps.  k-NN 79.0 %, linear 81.1 %.

    4500 A100 hours.

    torchrun --nnodes=4 --nproc-per-node=8 -m dino_core.commands.distill --teacher RUN \\
             --students vits14_dinov2_distilled --data.source IMAGES --out runs/distilled"""
    return _dinov2("vits14_dinov2_distilled", Backbone(name="dinov2_vits14", patch=14, dim=384, depth=12, heads=6))


def vitb14_dinov2_distilled() -> TrainConfig:
    """DINOv2's ViT-B/14, distilled from its ViT-g: batch 2048, 625 000 steps.  k-NN 82.1 %, linear 84.5 %.

    5300 A100 hours.  The same command; see `vits14_dinov2_distilled`."""
    return _dinov2("vitb14_dinov2_distilled", Backbone(name="dinov2_vitb14", patch=14, dim=768, depth=12, heads=12))


def vitl14_dinov2_distilled() -> TrainConfig:
    """DINOv2's ViT-L/14, distilled from its ViT-g: batch 2048, 625 000 steps.  k-NN 83.5 %, linear 86.3 %.

    8000 A100 hours.  The same command; see `vits14_dinov2_distilled`.  Blocks are computed twice, or 32 GPUs of 80 GB are too
    small."""
    config = _dinov2("vitl14_dinov2_distilled", Backbone(name="dinov2_vitl14", patch=14, dim=1024, depth=24, heads=16))
    return replace(config, machine=replace(config.machine, checkpointing=True))


def vits16_dinov3_distilled() -> TrainConfig:
    """DINOv3's ViT-S/16, distilled from its 7B: batch 1920, 25 000 steps of the last stage.  ReaL 87.0 %, ADE20k 47.0.

    That stage's config is all that was published of the ViT students; upstream it goes on from an earlier stage of them,
    here the student begins with random weights: ask for more --steps.  Several learn at once from one pass of the teacher:

    torchrun --nnodes=40 --nproc-per-node=8 -m dino_core.commands.distill --teacher RUN --ranks 48 48 96 128 \\
             --students vits16_dinov3_distilled vits16plus_dinov3_distilled vitb16_dinov3_distilled \\
             vitl16_dinov3_distilled --data.source IMAGES --out runs/distilled"""
    return _dinov3("vits16_dinov3_distilled", Backbone(name="dinov3_vits16", dim=384, depth=12, heads=6))


def vits16plus_dinov3_distilled() -> TrainConfig:
    """DINOv3's ViT-S+/16, distilled from its 7B: batch 1920, 25 000 steps of the last stage.  ReaL 88.0 %, ADE20k 48.8.

    The same command; see `vits16_dinov3_distilled`."""
    return _dinov3("vits16plus_dinov3_distilled", Backbone(name="dinov3_vits16plus", dim=384, depth=12, heads=6))


def vitb16_dinov3_distilled() -> TrainConfig:
    """DINOv3's ViT-B/16, distilled from its 7B: batch 1920, 25 000 steps of the last stage.  ReaL 89.3 %, ADE20k 51.8.

    The same command; see `vits16_dinov3_distilled`."""
    return _dinov3("vitb16_dinov3_distilled", Backbone(name="dinov3_vitb16", dim=768, depth=12, heads=12))


def vitl16_dinov3_distilled() -> TrainConfig:
    """DINOv3's ViT-L/16, distilled from its 7B: batch 1920, 25 000 steps of the last stage.  ReaL 90.2 %, ADE20k 54.9.

    The same command; see `vits16_dinov3_distilled`."""
    return _dinov3("vitl16_dinov3_distilled", Backbone(name="dinov3_vitl16", dim=1024, depth=24, heads=16))


def vith16plus_dinov3_distilled() -> TrainConfig:
    """DINOv3's ViT-H+/16, distilled from its 7B: batch 1920, 25 000 steps of the last stage.  ReaL 90.3 %, ADE20k 54.8.

    The same command; see `vits16_dinov3_distilled`."""
    return _dinov3("vith16plus_dinov3_distilled", Backbone(name="dinov3_vith16plus", dim=1280, depth=32, heads=20))


def convnext_tiny_dinov3_distilled() -> TrainConfig:
    """DINOv3's ConvNeXt-T, distilled from its 7B: batch 4096, 625 000 steps at 512 px.  ReaL 86.6 %, at 512 px 87.7 %.

    The teacher sees the same crops at 256 px, where 16 by 16 patches are as many as the student's positions.  The released
    code means to do so, but shows the teacher 512 px and takes its patches from other places.

    torchrun --nnodes=64 --nproc-per-node=8 -m dino_core.commands.distill --teacher RUN \\
             --students convnext_tiny_dinov3_distilled --data.source IMAGES --out runs/distilled"""
    return _convnext("tiny", lr=2e-4)


def convnext_small_dinov3_distilled() -> TrainConfig:
    """DINOv3's ConvNeXt-S, distilled from its 7B: batch 4096, 625 000 steps at 512 px.  ReaL 87.9 %, at 512 px 88.7 %.

    The same command; see `convnext_tiny_dinov3_distilled`."""
    return _convnext("small", lr=2e-4)


def convnext_base_dinov3_distilled() -> TrainConfig:
    """DINOv3's ConvNeXt-B, distilled from its 7B: batch 4096, 625 000 steps at 512 px.  ReaL 88.5 %, at 512 px 89.2 %.

    The same command; see `convnext_tiny_dinov3_distilled`."""
    return _convnext("base", lr=1e-4, first_decay=0.02)


def convnext_large_dinov3_distilled() -> TrainConfig:
    """DINOv3's ConvNeXt-L, distilled from its 7B: batch 4096, 625 000 steps at 512 px.  ReaL 88.9 %, at 512 px 89.4 %.

    The same command; see `convnext_tiny_dinov3_distilled`."""
    return _convnext("large", lr=1e-4)


BY_TEACHER: dict[str, tuple[Callable[[], TrainConfig], ...]] = {
    "vitg14_dinov2": (vits14_dinov2_distilled, vitb14_dinov2_distilled, vitl14_dinov2_distilled),
    "vit7b16_dinov3": (
        vits16_dinov3_distilled,
        vits16plus_dinov3_distilled,
        vitb16_dinov3_distilled,
        vitl16_dinov3_distilled,
        vith16plus_dinov3_distilled,
        convnext_tiny_dinov3_distilled,
        convnext_small_dinov3_distilled,
        convnext_base_dinov3_distilled,
        convnext_large_dinov3_distilled,
    ),
}
"""By the recipe of their teacher."""
TAUGHT_BY: dict[str, str] = {student.__name__: teacher for teacher, group in BY_TEACHER.items() for student in group}
"""The recipe of each student's teacher."""


def _crops(large: int, small: int, flip: float) -> Crops:
    """Scales and distortions of DINOv2 and DINOv3."""
    return Crops(
        global_size=large, local_size=small, global_scale=(0.32, 1.0), local_scale=(0.05, 0.32), flip=flip,
        global_blur=(0.0, 0.9), local_blur=0.5, solarize=(0.0, 0.2),
    )  # fmt: skip


def _dinov2(name: str, backbone: Backbone) -> TrainConfig:
    """Batch and learning rate are of the paper's table of hyperparameters (Appendix B), the rest as its ViT-g has it.

    The loss on patches is taken on both global crops; on which of their patches is not said, here on those of a mask.  The
    last steps at 518 px, which the paper gives its students too, are left out: a student has one phase."""
    steps = 625_000
    return TrainConfig(
        recipe=name,
        steps=steps,
        batch_size=2048,
        data=Data(source=""),
        crops=_crops(224, 98, flip=0.5),
        backbone=replace(backbone, drop_path=0.0),
        head=Head(prototypes=131_072, hidden=2048, bottleneck=384, frozen_gain=False),
        objective=Dino(centering="sinkhorn", koleo_weight=0.1),
        ibot=Ibot(
            weight=1.0, separate_head=True, mask_share=1.0, hide=False, centering="sinkhorn",
            head=Head(prototypes=131_072, hidden=2048, bottleneck=256, frozen_gain=False),
        ),
        optim=Optim(
            lr=1e-3, lr_rule="none", final_lr=1e-6, weight_decay=(0.04, 0.2), decay_rule="name", patch_embed_lr=0.2,
            clip=3.0, clip_over="part",
        ),
        schedules=Schedules(
            lr_warmup=100_000 / steps,
            momentum=(0.994, 1.0),
            teacher_temperature=(0.04, 0.07),
            teacher_temperature_warmup=37_500 / steps,
            last_layer_frozen=EPOCH / steps,
        ),
        machine=Machine(precision="bf16"),
    )  # fmt: skip


def _dinov3(name: str, backbone: Backbone) -> TrainConfig:
    """The released config of the last stage.  5e-5 √(1920/64) is 2.74e-4; upstream a rounded batch makes it 2.63e-4."""
    steps = 20 * EPOCH
    return TrainConfig(
        recipe=name,
        steps=steps,
        batch_size=1920,
        data=Data(source=""),
        crops=_crops(256, 112, flip=0.0),
        backbone=replace(backbone, drop_path=0.0),
        head=_DINO_HEAD,
        objective=Dino(centering="sinkhorn", koleo_weight=0.1),
        ibot=_IBOT,
        optim=Optim(
            lr=5e-5, lr_rule="sqrt", lr_reference_batch=64, weight_decay=(0.04, 0.04), decay_rule="name",
            layer_decay=0.99, patch_embed_lr=0.2, clip=3.0, clip_over="part",
        ),
        schedules=Schedules(
            lr_warmup=10 * EPOCH / steps,
            lr_warmup_shape="cosine",
            lr_shape="constant",
            momentum=(0.994, 1.0),
            teacher_temperature=(0.07, 0.07),
            teacher_temperature_warmup=0.0,
            last_layer_frozen=0.0,
        ),
        machine=Machine(precision="bf16"),
    )  # fmt: skip


def _convnext(size: str, lr: float, first_decay: float = 0.04) -> TrainConfig:
    """The released configs; `lr` is read as the rate itself, at the batch they suggest.  They warm up from 1e-6, here from 0."""
    steps = 500 * EPOCH
    return TrainConfig(
        recipe=f"convnext_{size}_dinov3_distilled",
        steps=steps,
        batch_size=4096,
        data=Data(source=""),
        crops=_crops(512, 224, flip=0.0),
        backbone=Backbone(name=f"dinov3_convnext_{size}", patch=32, drop_path=0.0),
        head=_DINO_HEAD,
        objective=Dino(centering="sinkhorn", koleo_weight=0.1),
        ibot=_IBOT,
        optim=Optim(
            lr=lr, lr_rule="none", final_lr=1e-6, weight_decay=(first_decay, 0.2), decay_rule="name", clip=3.0,
            clip_over="part",
        ),
        schedules=Schedules(
            lr_warmup=80 * EPOCH / steps,
            weight_decay_shape="linear",
            momentum=(0.994, 1.0),
            momentum_shape="linear",
            teacher_temperature=(0.04, 0.07),
            teacher_temperature_warmup=120 * EPOCH / steps,
            last_layer_frozen=0.0,
        ),
        machine=Machine(precision="bf16"),
    )  # fmt: skip


_DINO_HEAD = Head(prototypes=262_144, hidden=8192, bottleneck=512, unit_prototypes=False)
_IBOT = Ibot(
    weight=1.0,
    separate_head=True,
    head=Head(prototypes=98_304, hidden=4096, bottleneck=384, unit_prototypes=False),
    hide=False,
    centering="sinkhorn",
)
"""As the 7B has them: a student's prototypes are its teacher's in number."""
