"""Whole configs by name.  Each docstring gives the paper, what it reached, the hours and the exact command.

`tiny` and its like are ours and leave to the data what should follow from it; the others are the papers' and stay so.  Those of
the papers' distilled students are in `dino_core.distilled`.
Figures are those of the papers and of the released models, on ImageNet-1k: Caron et al. 2021 (arXiv 2104.14294), Oquab et
al. 2023 (2304.07193), Siméoni et al. 2025 (2508.10104).

DINOv2's and DINOv3's released code blurs with the complement of the probability it was given: no first global crop and
nine in ten of the second.  All their released models were trained so, and so are these."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace

from dino_core.config import (
    Backbone,
    Course,
    Crops,
    Data,
    Dino,
    Evaluation,
    Gram,
    Head,
    Ibot,
    Koleo,
    Machine,
    Optim,
    Phase,
    Schedules,
    TrainConfig,
    differences,
)
from dino_core.distilled import BY_TEACHER, TAUGHT_BY
from dino_core.errors import ConfigError


def tiny() -> TrainConfig:
    """A laptop's recipe: five minutes on 2 CPU cores on the built-in shapes.

    DINO as in Caron et al. 2021, with KoLeo against few images.  k-NN of three seeds 66 to 71 % (raw pixels 64), other measures:
    README, "What a learner sees in five minutes"; `dino-lab evaluate RUN` adds the linear probe (96 % for `gallery`).

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


def shapes_gpu() -> TrainConfig:
    """The built-in data for minutes on a GPU: `tiny` three times as deep and twice as wide, larger crops and batches.

    3500 of its 6000 steps took 6.4 minutes on an H200 beside two others, and reached k-NN 97.1, first component 66.1, parts 36.0
    (docs/study.md, "Few images, many epochs, a deeper network").

    dino-lab train shapes_gpu --out runs/shapes_gpu && dino-lab record runs/shapes_gpu runs/recorded --keep 6"""
    base = tiny()
    return replace(
        base,
        recipe="shapes_gpu",
        steps=6000,
        batch_size=128,
        data=replace(base.data, shapes=replace(base.data.shapes, images=4000, size=96), decode_size=96),
        crops=replace(base.crops, global_size=64, local_size=32, local_crops=6),
        backbone=replace(base.backbone, dim=192, depth=12, drop_path=0.1),
        head=replace(base.head, hidden=1024, bottleneck=128, prototypes=1024),
        optim=replace(base.optim, lr=5e-4),
        schedules=replace(base.schedules, lr_shape="constant", momentum=(0.996, 0.996)),
        evaluation=replace(base.evaluation, every=500, size=96),
        output=replace(base.output, checkpoint_every=500, log_every=50, heavy_every=250),
    )


def tiny_student() -> TrainConfig:
    """A student for `tiny`, of a quarter of its weights: distilled, not trained alone.  What it reaches: see LOG.md.

    dino-lab distill --teacher lab/gallery/dino_shapes --students tiny_student tiny_convnext --out runs/distilled"""
    base = tiny()
    return replace(
        base,
        recipe="tiny_student",
        steps=600,
        batch_size=32,
        crops=replace(base.crops, local_crops=2),
        backbone=Backbone(patch=8, dim=48, depth=4, heads=3, registers=4, drop_path=0.0),
        head=replace(base.head, hidden=256),
        objective=Dino(),
        optim=replace(base.optim, lr=3e-3),
        schedules=replace(base.schedules, momentum=(0.98, 0.998), last_layer_frozen=0.0),
        evaluation=replace(base.evaluation, every=60),
    )


def tiny_convnext() -> TrainConfig:
    """A small ConvNeXt beside `tiny_student`: crops four times as large, so that strides of 32 px make as many positions.

    The same command; see there."""
    base = tiny_student()
    crops = replace(base.crops, global_size=192, local_size=96, blur_sigma=(0.4, 4.0))
    backbone = Backbone(name="test_convnext", patch=32, drop_path=0.0)
    return replace(
        base,
        recipe="tiny_convnext",
        crops=crops,
        backbone=backbone,
        optim=replace(base.optim, lr=1e-3),
        evaluation=replace(base.evaluation, size=256),
    )


def vits16_dino() -> TrainConfig:
    """ViT-S/16 as in the released code's first example: 100 epochs, batch 512, 8 GPUs.  k-NN 69.3 %, linear 74.0 % (README).

    Caron et al. 2021 (arXiv 2104.14294); 1.75 days on 8 V100s.  The published weights (k-NN 74.5, linear 77.0) trained longer.

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


def vits16_dino_boost() -> TrainConfig:
    """ViT-S/16, 300 epochs, batch 1024, trainable gains, temperature to 0.07 (README).  k-NN 73.3 %, linear 76.0 %.

    Caron et al. 2021; 2.6 days on 16 V100s.

    torchrun --nnodes=2 --nproc-per-node=8 -m dino_core.train vits16_dino_boost --data.source IMAGENET/train"""
    base = _longer(vits16_dino(), "vits16_dino_boost", 300.0)
    return replace(base, head=replace(base.head, frozen_gain=False))


def vits8_dino() -> TrainConfig:
    """ViT-S/8, 300 epochs, batch 1024.  Published weights: k-NN 78.3 %, linear 79.7 % (trained longer).

    Caron et al. 2021.  Patches of 8 are 4 times as many as patches of 16; expect about 4 times the 2.6 days on 16 V100s that 300
    epochs of S/16 took.

    torchrun --nnodes=2 --nproc-per-node=8 -m dino_core.train vits8_dino --data.source IMAGENET/train"""
    base = _longer(vits16_dino(), "vits8_dino", 300.0)
    return replace(base, backbone=replace(base.backbone, patch=8), head=replace(base.head, frozen_gain=False))


def vitb16_dino() -> TrainConfig:
    """ViT-B/16, 400 epochs, batch 1024, prototypes of unit length.  Published weights: k-NN 76.1 %, linear 78.2 %.

    Caron et al. 2021.  Hours were not published; 21 on 32 A100s, at 35 % of their peak in bf16
    (`dino-lab plan vitb16_dino --gpus 32 --device a100`).  fp16 was unstable upstream: use bf16 or fp32.

    torchrun --nnodes=4 --nproc-per-node=8 -m dino_core.train vitb16_dino --data.source IMAGENET/train"""
    base = _longer(vits16_dino(), "vitb16_dino", 400.0)
    return replace(base, backbone=replace(base.backbone, dim=768, heads=12))


def vitb8_dino() -> TrainConfig:
    """ViT-B/8, 300 epochs, batch 1024.  Published weights: k-NN 77.4 %, linear 80.1 %.

    Caron et al. 2021.  Hours were not published; 33 on 64 A100s, at 35 % of their peak in bf16
    (`dino-lab plan vitb8_dino --gpus 64 --device a100`).

    torchrun --nnodes=8 --nproc-per-node=8 -m dino_core.train vitb8_dino --data.source IMAGENET/train"""
    base = _longer(vits16_dino(), "vitb8_dino", 300.0)
    return replace(base, backbone=replace(base.backbone, dim=768, heads=12, patch=8))


def resnet50_dino() -> TrainConfig:
    """ResNet-50 with SGD, 100 epochs, batch 512 (released code's example).  Published weights: k-NN 67.5 %, linear 75.3 % (longer).

    Caron et al. 2021.  Hours were not published; 4 on 8 A100s, at 35 % of their peak in bf16, which convolutions hardly reach
    (`dino-lab plan resnet50_dino --gpus 8 --device a100`).

    torchrun --nproc-per-node=8 -m dino_core.train resnet50_dino --data.source IMAGENET/train"""
    base = vits16_dino()
    return replace(
        base,
        recipe="resnet50_dino",
        crops=replace(base.crops, global_scale=(0.14, 1.0), local_scale=(0.05, 0.14)),
        backbone=Backbone(name="resnet50", drop_path=0.0),
        optim=Optim(algorithm="sgd", lr=0.03, lr_rule="linear", final_lr=1e-6, weight_decay=(1e-4, 1e-4), clip=3.0),
    )


def _phase(name: str, share: float, before: TrainConfig, after: TrainConfig) -> Phase:
    """A phase whose changes lead from one whole config to another."""
    return Phase(name=name, share=share, changes={path: new for path, (_, new) in differences(before, after).items()})


def vitl16_dinov2_short() -> TrainConfig:
    """DINOv2's short recipe: ViT-L/16 on ImageNet-1k, batch 2048, 125 000 steps.  k-NN 81.6 %, linear 82.9 % (README).

    About a day on 32 A100s.  The heads are shared and targets centred, unlike in its larger recipes.

    torchrun --nnodes=4 --nproc-per-node=8 -m dino_core.train vitl16_dinov2_short --machine.parallel fsdp \\
             --data.source IMAGENET/train"""
    return TrainConfig(
        recipe="vitl16_dinov2_short",
        steps=125_000,
        batch_size=2048,
        data=Data(source=""),
        crops=Crops(
            global_scale=(0.32, 1.0),
            local_scale=(0.05, 0.32),
            global_blur=(0.0, 0.9),
            local_blur=0.5,
            solarize=(0.0, 0.2),
        ),
        backbone=Backbone(
            patch=16,
            dim=1024,
            depth=24,
            heads=16,
            layer_scale=1e-5,
            drop_path=0.3,
            drop_path_uniform=True,
            drop_path_subset=True,
        ),
        head=Head(prototypes=65536, hidden=2048, bottleneck=256, frozen_gain=False),
        objective=Dino(koleo_weight=0.1),
        ibot=Ibot(weight=1.0, mask_share=0.5, mask_ratio=(0.1, 0.5)),
        optim=Optim(
            lr=4e-3,
            lr_rule="sqrt",
            lr_reference_batch=1024,
            final_lr=1e-6,
            weight_decay=(0.04, 0.4),
            decay_rule="name",
            layer_decay=0.9,
            patch_embed_lr=0.2,
            clip=3.0,
            clip_over="part",
        ),
        schedules=Schedules(
            lr_warmup=12_500 / 125_000,
            momentum=(0.992, 1.0),
            teacher_temperature=(0.04, 0.07),
            teacher_temperature_warmup=37_500 / 125_000,
            last_layer_frozen=1250 / 125_000,
        ),
        machine=Machine(parallel="fsdp", precision="bf16"),
    )


def vitl14_dinov2() -> TrainConfig:
    """DINOv2's ViT-L/14 from scratch on ImageNet-22k, batch 3072, 625 000 steps.  k-NN 82.0 %, linear 84.5 % (README).

    3.3 days on 96 A100s.  The last 10 000 steps at 518 px are the paper's (Sec. 4) but were not published; what the
    learning rate does in them (a tenth, on a cosine) is ours.  For their sake blocks are computed twice (`dino-lab plan`).

    torchrun --nnodes=12 --nproc-per-node=8 -m dino_core.train vitl14_dinov2 --data.source IMAGENET22K"""
    base = vitl16_dinov2_short()
    steps, large = 625_000, 10_000
    first = steps - large
    base = replace(
        base,
        recipe="vitl14_dinov2",
        steps=steps,
        batch_size=3072,
        crops=replace(base.crops, local_size=98),
        backbone=replace(base.backbone, patch=14, ffn="swiglu", drop_path=0.4),
        head=replace(base.head, prototypes=131_072, bottleneck=384),
        objective=Dino(centering="sinkhorn", koleo_weight=0.1),
        ibot=Ibot(
            weight=1.0,
            separate_head=True,
            head=Head(prototypes=131_072, bottleneck=256, frozen_gain=False),
            centering="sinkhorn",
        ),
        optim=replace(base.optim, lr=2e-4, weight_decay=(0.04, 0.2), layer_decay=1.0),
        schedules=Schedules(
            lr_warmup=100_000 / first,
            momentum=(0.994, 1.0),
            teacher_temperature=(0.04, 0.07),
            teacher_temperature_warmup=37_500 / first,
            last_layer_frozen=1250 / first,
        ),
        machine=replace(base.machine, checkpointing=True),
    )
    after = replace(
        base,
        crops=replace(base.crops, global_size=518),
        optim=replace(base.optim, lr=2e-5, weight_decay=(0.2, 0.2)),
        schedules=replace(_onward(base.schedules), lr_warmup=0.0, momentum=(0.9999, 1.0)),
    )
    return replace(base, phases=(_phase("518 px", large / steps, base, after),))


def vitg14_dinov2() -> TrainConfig:
    """DINOv2's ViT-g/14 (1.1 billion weights) on LVD-142M, batch 3072, 625 000 steps and 518 px.  k-NN 83.5 %, linear 86.5 %.

    22 000 A100 hours.  LVD-142M is not published.

    torchrun --nnodes=32 --nproc-per-node=8 -m dino_core.train vitg14_dinov2 --data.source IMAGES"""
    base = vitl14_dinov2()
    giant = replace(base.backbone, name="dinov2_vitg14", dim=1536, depth=40, heads=24)
    return replace(base, recipe="vitg14_dinov2", backbone=giant)


def vitl16_dinov3_im1k() -> TrainConfig:
    """DINOv3's recipe for ImageNet-1k: ViT-L/16, batch 2048, 125 000 steps.  k-NN 82.0 %, linear 83.5 % (README).

    14 hours on 32 H100s.

    torchrun --nnodes=4 --nproc-per-node=8 -m dino_core.train vitl16_dinov3_im1k --data.source IMAGENET/train"""
    base = vitl16_dinov2_short()
    return replace(
        base,
        recipe="vitl16_dinov3_im1k",
        backbone=replace(base.backbone, name="rope", masked_key_bias=False),
        head=replace(base.head, unit_prototypes=False),
        objective=Dino(centering="sinkhorn", koleo_weight=0.1),
        ibot=Ibot(
            weight=1.0,
            separate_head=True,
            head=Head(prototypes=65536, hidden=2048, bottleneck=256, unit_prototypes=False),
            centering="sinkhorn",
        ),
        optim=replace(base.optim, lr=1e-3, lr_reference_batch=64),
    )


def vit7b16_dinov3() -> TrainConfig:
    """DINOv3's 7B in its three phases: a million steps, 200 000 with Gram anchoring, 30 000 at mixed high resolutions.

    61 440 H100 hours; ReaL 90.4 %, ADE20k 55.9 (linear).  LVD-1689M is not published.  Upstream, each phase is a run of its
    own, and the last begins with a fresh optimizer; here the optimizer goes along.  Its local crops of 168 px are 160 px
    here: 168 is no whole number of patches, and the released code leaves out what is over.  Blocks are computed twice, as
    there, and the last phase takes its batch in two parts, which 80 GB ask for (`dino-lab plan`).

    torchrun --nnodes=32 --nproc-per-node=8 -m dino_core.train vit7b16_dinov3 --data.source IMAGES"""
    one, two, three = 1_000_000, 200_000, 30_000
    total = one + two + three
    base = vitl16_dinov3_im1k()
    base = replace(
        base,
        recipe="vit7b16_dinov3",
        steps=total,
        batch_size=4096,
        crops=replace(base.crops, global_size=256, local_size=112, flip=0.0),
        backbone=Backbone(
            name="dinov3_vit7b16", patch=16, dim=4096, depth=40, heads=32, drop_path=0.4, drop_path_subset=True
        ),
        head=Head(prototypes=262_144, hidden=8192, bottleneck=512, unit_prototypes=False),
        ibot=replace(base.ibot, head=Head(prototypes=98_304, hidden=4096, bottleneck=384, unit_prototypes=False)),
        optim=replace(base.optim, lr=5e-5, weight_decay=(0.04, 0.04), betas=(0.9, 0.99), layer_decay=0.98, clip=30.0),
        schedules=Schedules(
            lr_warmup=100_000 / one,
            lr_shape="constant",
            momentum=(0.994, 0.994),
            teacher_temperature=(0.04, 0.07),
            teacher_temperature_warmup=100_000 / one,
            last_layer_frozen=5000 / one,
        ),
        machine=replace(base.machine, checkpointing=True),
    )
    rise = Course(start=0.0, peak=0.0, end=1.0, fall=1000 / two)
    anchored = replace(
        base,
        gram=Gram(
            weight=2.0,
            anchor="200000",
            size=512,
            refresh_first=10_000 / two,
            refresh_every=10_000 / two,
            refreshes=3,
        ),
        optim=replace(base.optim, lr=3e-5),
        schedules=replace(
            _onward(base.schedules),
            lr_warmup=0.0,
            momentum=(0.999, 0.999),
            gram_weight=rise,
            local_weight=Course(end=0.5, fall=1000 / two),
        ),
    )
    large = replace(
        anchored,
        batch_size=2048,
        crops=replace(
            base.crops,
            global_size=768,
            mixed=(
                (512, 112, 768, 0.3),
                (768, 112, 1152, 0.3),
                (768, 160, 1152, 0.3),
                (768, 224, 1152, 0.05),
                (768, 336, 1152, 0.05),
            ),
        ),
        objective=replace(base.objective, local_weight=0.5),
        koleo=Koleo(over_ranks=True, group=16),
        gram=Gram(weight=1.5, anchor="phase", size=1152),
        optim=replace(base.optim, lr=1.25e-5, accumulate=2),
        schedules=replace(
            anchored.schedules,
            lr_warmup=10_000 / three,
            lr_warmup_shape="cosine",
            gram_weight=Course(),
            local_weight=Course(),
        ),
    )
    phases = (_phase("gram", two / total, base, anchored), _phase("high_res", three / total, anchored, large))
    return replace(base, phases=phases)


def _onward(schedules: Schedules) -> Schedules:
    """What a later phase does not begin again: the warm-up of the temperature, the frozen prototypes."""
    warm = schedules.teacher_temperature[1] if schedules.teacher_temperature else 0.07
    return replace(schedules, teacher_temperature=(warm, warm), teacher_temperature_warmup=0.0, last_layer_frozen=0.0)


def tiny_dinov2() -> TrainConfig:
    """A laptop's DINOv2: `tiny` with iBOT, Sinkhorn-Knopp for views and patches, and stronger KoLeo.

    LayerScale begins at 1: where it begins at 0.1, the network has hardly begun after a laptop's few hundred steps
    (docs/study.md).

    dino-lab train tiny_dinov2"""
    base = tiny()
    return replace(
        base,
        recipe="tiny_dinov2",
        steps=1000,
        batch_size=32,
        backbone=replace(base.backbone, layer_scale=1.0),
        objective=Dino(centering="sinkhorn", koleo_weight=0.1),
        ibot=Ibot(
            weight=0.5, separate_head=True, head=Head(hidden=256, bottleneck=64, prototypes=256), centering="sinkhorn"
        ),
        optim=replace(base.optim, decay_rule="name", clip_over="part"),
    )


def tiny_dinov3_gram() -> TrainConfig:
    """A laptop's DINOv3: rotary positions, DINO and iBOT, then Gram anchoring to the first phase's end, then larger crops.

    1200 steps in three phases, on shapes or a folder of photographs.

    dino-lab train tiny_dinov3_gram
    dino-lab train tiny_dinov3_gram --data.source PHOTOS"""
    base = tiny_dinov2()
    base = replace(
        base,
        recipe="tiny_dinov3_gram",
        steps=1000,
        backbone=replace(
            base.backbone, name="rope", ffn="swiglu", heads=4, rope_rescale=1.3, drop_path_uniform=True, norm_eps=1e-5
        ),
        schedules=replace(
            base.schedules,
            momentum=(0.99, 0.998),
            teacher_temperature=(0.03, 0.04),
            lr_warmup=0.07,
            lr_shape="constant",
        ),
    )
    anchored = replace(
        base,
        gram=Gram(weight=4.0, anchor="30%", size=64, refresh_first=0.5, refresh_every=0.5, refreshes=1),
        optim=replace(base.optim, lr=5e-4),
        schedules=replace(
            _onward(base.schedules),
            lr_warmup=0.0,
            momentum=(0.998, 0.999),
            gram_weight=Course(start=0.0, peak=0.0, end=1.0, fall=0.1),
            local_weight=Course(end=0.5, fall=0.1),
        ),
    )
    large = replace(
        anchored,
        batch_size=24,
        crops=replace(base.crops, global_size=64, mixed=((64, 24, 96, 0.5), (64, 32, 96, 0.3), (48, 24, 64, 0.2))),
        objective=replace(base.objective, local_weight=0.5),
        gram=Gram(weight=3.0, anchor="phase", size=96),
        optim=replace(base.optim, lr=3e-4),
        schedules=replace(
            anchored.schedules,
            lr_warmup=0.1,
            lr_shape="cosine",
            momentum=(0.999, 0.9995),
            gram_weight=Course(),
            local_weight=Course(),
        ),
    )
    phases = (_phase("gram", 0.25, base, anchored), _phase("high_res", 0.15, anchored, large))
    return replace(base, phases=phases)


def gallery_dinov3() -> TrainConfig:
    """The second recorded run: `tiny_dinov3_gram` for 3000 steps, its three phases at 1, 1800 and 2550.

    dino-lab train gallery_dinov3 --out runs/gallery_dinov3
    dino-lab record runs/gallery_dinov3 lab/gallery/dinov3_shapes --keep 6"""
    base = tiny_dinov3_gram()
    return replace(
        base,
        recipe="gallery_dinov3",
        steps=3000,
        evaluation=replace(base.evaluation, every=150),
        output=replace(base.output, checkpoint_every=300),
        machine=Machine(threads=1),
    )


RECIPES: dict[str, Callable[[], TrainConfig]] = {
    recipe.__name__: recipe
    for recipe in (
        *(
            tiny,
            gallery,
            shapes_gpu,
            vits16_dino,
            vits16_dino_boost,
            vits8_dino,
            vitb16_dino,
            vitb8_dino,
            resnet50_dino,
        ),
        *(
            tiny_dinov2,
            tiny_dinov3_gram,
            gallery_dinov3,
            vitl16_dinov2_short,
            vitl14_dinov2,
            vitg14_dinov2,
            vitl16_dinov3_im1k,
            vit7b16_dinov3,
        ),
        *(tiny_student, tiny_convnext, *itertools.chain(*BY_TEACHER.values())),
    )
}


STUDENTS = ("tiny_student", "tiny_convnext", *TAUGHT_BY)
"""Those that are for `dino-lab distill`."""


def recipe(name: str) -> TrainConfig:
    if name not in RECIPES:
        raise ConfigError(f"no recipe {name!r}. Recipes: {', '.join(RECIPES)}.")
    return RECIPES[name]()
