"""What a run is made of: one frozen dataclass a part, and `TrainConfig`, which holds them all.

Nothing here imports torch, so the command line answers at once and the lab can read any run.
A field whose default is `None` is *fitted to the data* when a run starts (`dino_core.fit`): the derived value is said
aloud and stored, so that the saved config is exactly what ran.  A paper's recipe leaves none of them open.

Durations are shares of the run (0.1 = the paper's 10 epochs of 100), so a shorter run keeps its shape.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from dino_core.errors import ConfigError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True, kw_only=True)
class Shapes:
    """The built-in data: scenes of objects made of parts, drawn by code (`dino_core.data.shapes`)."""

    images: int = 8000
    """How many training images the endless set is cut to."""
    size: int = 64
    """Side of an image in pixels."""
    background: Literal["plain", "textured", "identifying"] = "plain"
    """`plain`: one family of grey noise.  `textured`: coloured textures.  `identifying`: a texture that tells each image apart."""
    palette: Literal["class", "free"] = "class"
    """`class`: colours typical of the class, as in nature.  `free`: any colour for any part."""
    pose: float = 1.0
    """How far objects move, turn and scale between images; 0 is upright, centred and of one size."""
    distractors: int = 0
    """Small meaningless objects strewn over the background."""
    seed: int = 0
    """Another seed draws another set."""


@dataclass(frozen=True, kw_only=True)
class Data:
    """Where the images come from and how they are read."""

    source: str = "shapes"
    """`shapes`, a folder of images, `torchvision:CIFAR10`, or `hf:NAME` (a Hugging Face data set)."""
    validation: str | None = None
    """Labelled images for the evaluations; by default the source's own test half, or one image in eight held out."""
    shapes: Shapes = field(default_factory=Shapes)
    decode_size: int | None = None
    """Larger images are reduced so that their shorter side is this many pixels; by default twice the global crop."""
    cache: int = 2048
    """Decoded images are kept in memory up to this many MiB."""
    workers: int = 0
    """Threads that decode ahead of training; 0 lets the machine decide."""


@dataclass(frozen=True, kw_only=True)
class Crops:
    """Multi-crop and the distortions of BYOL (Caron et al. 2021, Sec. 3.2 and Appendix)."""

    global_size: int = 224
    global_crops: int = 2
    global_scale: tuple[float, float] = (0.4, 1.0)
    """Share of the image's area that a global crop covers."""
    local_size: int = 96
    local_crops: int = 8
    local_scale: tuple[float, float] = (0.05, 0.4)
    local_within_global: bool = False
    """Local crops are windows of the global ones, equally many of each, at whole numbers of patches (an option of DINOv3's
    code); `local_scale` then says nothing."""
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    """Width over height of a crop before it is resized to a square."""
    flip: float = 0.5
    jitter: float = 0.8
    """Probability of the colour jitter."""
    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.2
    hue: float = 0.1
    grey: float = 0.2
    """Probability of greyscale."""
    shared_colours: bool = False
    """All crops of an image have the same jitter and grey (an option of DINOv3's code)."""
    global_blur: tuple[float, float] = (1.0, 0.1)
    """Probability of a Gaussian blur on the first global crop, and on the others."""
    local_blur: float = 0.5
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    """Standard deviation of the blur in pixels of the crop."""
    solarize: tuple[float, float] = (0.0, 0.2)
    """Probability of solarization on the first global crop, and on the others."""
    mixed: tuple[tuple[int, int, int, float], ...] = ()
    """Several resolutions: sides in pixels of global, local and anchor crops, and the share of the steps that have them
    (DINOv3's high-resolution phase).  Empty: always the sides above.  Position embeddings are made for `global_size`."""
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def __post_init__(self) -> None:
        if self.global_crops < 1:
            raise ConfigError(f"global_crops is {self.global_crops}; the teacher needs at least 1.")
        if self.local_crops and self.local_size > self.global_size:
            raise ConfigError(
                f"local crops ({self.local_size} px) must not be larger than global crops ({self.global_size} px)."
            )
        if self.local_within_global and self.local_crops % self.global_crops:
            raise ConfigError(
                f"{self.local_crops} local crops can't be shared out to {self.global_crops} global crops; ask for a multiple."
            )
        if self.global_crops + self.local_crops < 2:
            raise ConfigError("one view has no other to agree with: ask for a second global crop or for local crops.")
        for large, small, anchor, share in self.mixed:
            if not 0 < small <= large or anchor < 0 or share <= 0:
                raise ConfigError(
                    f"mixed has {(large, small, anchor, share)}; expected 0 < local <= global, and a share above 0."
                )
        for name in ("global_scale", "local_scale"):
            low, high = getattr(self, name)
            if not 0 < low <= high <= 1:
                raise ConfigError(f"{name} is {(low, high)}; expected 0 < low <= high <= 1.")


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """The network that turns images into tokens, behind `dino_core.model.Backbone`."""

    name: str = "vit"
    """`vit` for a Vision Transformer of the sizes below, `rope` for one with rotary positions (DINOv3), a row of the papers'
    tables such as `dinov2_vitl14` (`dino_core.model.PRESETS`), or any timm model that gives tokens or a feature map."""
    patch: int = 16
    dim: int = 384
    depth: int = 12
    heads: int = 6
    mlp_ratio: float = 4.0
    registers: int = 0
    """Register tokens (Darcet et al. 2023, arXiv 2309.16588); the 2021 paper has none."""
    drop_path: float = 0.1
    """Stochastic depth of the student, rising linearly to this rate in the last block."""
    drop_path_uniform: bool = False
    """The same rate in all blocks instead, as in DINOv2 and DINOv3; `rope` never has another."""
    drop_path_subset: bool = False
    """Leaves whole images out of a block's work, as DINOv2 and DINOv3 do, rather than their results."""
    ffn: Literal["mlp", "swiglu"] = "mlp"
    """Between attentions: GELU between two linear maps, or a gate (Shazeer 2020) with two thirds of the features."""
    layer_scale: float | None = None
    """Each residual times a learned vector that starts here; 1e-5 in DINOv2 and DINOv3, none in the 2021 paper."""
    qkv_bias: bool = True
    norm_eps: float = 1e-6
    """1e-5 in DINOv3."""
    masked_key_bias: bool = True
    """`rope`: the keys' part of the bias is multiplied by zero."""
    cls_norm: bool = False
    """`rope`: class token and registers end in a norm of their own."""
    local_cls_norm: bool = False
    """`rope`: those of local crops do, in training (DINOv3's 7B)."""
    rope_base: float = 100.0
    rope_shift: float | None = None
    rope_jitter: float | None = None
    rope_rescale: float | None = None
    """`rope`: in training all positions are multiplied or divided by up to so much (2 in DINOv3)."""

    def __post_init__(self) -> None:
        if self.name in ("vit", "rope") and self.dim % self.heads:
            raise ConfigError(f"{self.heads} heads do not divide {self.dim} features; choose heads that do.")

    @property
    def hidden(self) -> int:
        """Features inside the MLP; of the gated half in SwiGLU, where two thirds are rounded up to a multiple of 8."""
        hidden = int(self.dim * self.mlp_ratio)
        return hidden if self.ffn == "mlp" else (int(hidden * 2 / 3) + 7) // 8 * 8


@dataclass(frozen=True, kw_only=True)
class Init:
    """The weights that a run begins with; by default they are random."""

    backbone: str | None = None
    """Continue from these weights: anything `load_backbone` reads.  The network's sizes are theirs, the heads begin anew."""
    heads: int | None = None
    """Attention heads, where the source does not tell them."""
    frozen: float = 0.1
    """Share of the run in which the heads learn alone, on the backbone as it came; 1 gives it heads that it can teach with."""
    architecture: str | None = None
    """What the source turned out to be; written when the run starts, so that going on needs the source no more."""

    def __post_init__(self) -> None:
        if not 0 <= self.frozen <= 1:
            raise ConfigError(f"init.frozen is {self.frozen}; expected a share of the run, 0 <= frozen <= 1.")


@dataclass(frozen=True, kw_only=True)
class Head:
    """The projection head: an MLP, a unit-norm bottleneck, and prototypes (Caron et al. 2021, Appendix C)."""

    prototypes: int | None = None
    """Width of the output, K.  65536 in the paper; fitted to the number of images by default."""
    hidden: int = 2048
    bottleneck: int = 256
    layers: int = 3
    unit_prototypes: bool = True
    """Prototypes have unit length, times a gain (weight normalisation); DINOv3's are plain weights."""
    frozen_gain: bool = True
    """Prototypes keep unit length (`norm_last_layer` in the released code)."""
    batch_norm: bool = False
    """Batch normalisation in the MLP (the ResNet-50 recipe has none either)."""


@dataclass(frozen=True, kw_only=True)
class Dino:
    """The 2021 objective: cross-entropy between views, centred and sharpened targets."""

    centering: Literal["centre", "sinkhorn", "none"] = "centre"
    """What keeps one prototype from taking all: the moving centre, Sinkhorn-Knopp, or nothing (a lesson in collapse)."""
    centre_momentum: float = 0.9
    student_temperature: float = 0.1
    koleo_weight: float = 0.0
    """Weight of KoLeo on the student's global class tokens (DINOv2); 0 in the 2021 paper."""
    weight: float = 1.0
    """Of the cross-entropy between views."""
    local_weight: float = 1.0
    """Of its pairs with a local crop; what they lose, the others do not gain (DINOv3: 0.5 from its Gram phase on)."""


@dataclass(frozen=True, kw_only=True)
class Ibot:
    """Predict what the teacher says about patches that are hidden from the student (Zhou et al. 2022; DINOv2, Sec. 4)."""

    weight: float = 0.0
    """0 leaves it out; 1 in DINOv2 and DINOv3."""
    separate_head: bool = False
    """Patches have a head and prototypes of their own (DINOv2's largest models, DINOv3)."""
    head: Head = field(default_factory=Head)
    """The separate head; its prototypes are as many as the other head's where left open."""
    mask_share: float = 0.5
    """Share of the global crops that are masked."""
    mask_ratio: tuple[float, float] = (0.1, 0.5)
    """Share of hidden patches, from the least masked crop to the most."""
    hide: bool = True
    """Hide them; in distillation the student sees whole crops, and masks say where the loss is taken (DINOv2, Sec. 5)."""
    shift: bool = False
    """Masks are rolled around the edges by a random offset."""
    centering: Literal["centre", "sinkhorn", "none"] = "centre"
    """As in `Dino`, over the hidden patches of all ranks; the centre is one of its own."""
    centre_momentum: float = 0.9

    def __post_init__(self) -> None:
        low, high = self.mask_ratio
        if not 0 <= low <= high < 1 or not 0 < self.mask_share <= 1:
            raise ConfigError(
                f"mask_ratio is {self.mask_ratio} and mask_share {self.mask_share}; "
                "expected 0 <= low <= high < 1 and 0 < share <= 1."
            )


@dataclass(frozen=True, kw_only=True)
class Koleo:
    """Among whom KoLeo looks for neighbours; its weight is `objective.koleo_weight`."""

    neighbours: int = 1
    """How many of the nearest are pushed away; the mean of their terms counts."""
    over_ranks: bool = False
    """Among the images of all ranks rather than each rank's own."""
    group: int | None = None
    """Only among so many images, of neighbouring ranks (16 in DINOv3's high-resolution phase); None is all of them."""


@dataclass(frozen=True, kw_only=True)
class Gram:
    """Keep the similarities between patches that an earlier teacher had: Gram anchoring (DINOv3, Sec. 4.2)."""

    weight: float = 0.0
    """0 leaves it out; 2 in DINOv3's Gram phase."""
    anchor: str = "phase"
    """Whose similarities.  `phase`: those of the EMA teacher when this phase began, or a fork within it that finds no anchor
    in its parent.  `teacher`: of the EMA teacher at every
    step.  A step such as `4000`, or a share of the run such as `20%`: of the newest checkpoint of this run up to there.
    Else anything `load_backbone` reads: another run, one of its checkpoints, a published file, a name."""
    size: int | None = None
    """Side in pixels of the anchor's crops; their patches are resampled to the student's grid.  None: the student's own crops."""
    distorted: bool = False
    """Crops of that size get the student's colours and blurs too."""
    negatives: Literal["keep", "clamp", "clamp_anchor"] = "keep"
    """What becomes of negative similarities (`dino_core.objective.terms.gram`)."""
    across_batch: bool = False
    """Similarities between all patches of a rank's batch rather than of each image."""
    tokens: Literal["all", "masked", "unmasked"] = "all"
    """Which patches, by whether iBOT hides them from the student; but for `all` they are those of the whole batch."""
    refresh_first: float = 0.0
    """The anchor becomes the EMA teacher of that moment, first after this share of the phase,"""
    refresh_every: float = 0.0
    """then after each such share again,"""
    refreshes: int = 0
    """so many times in all."""

    def __post_init__(self) -> None:
        if self.tokens != "all" and not self.across_batch:
            raise ConfigError(
                f"gram.tokens {self.tokens} are not as many in each image; give --gram.across-batch as well."
            )

    def refresh_steps(self, start: int, end: int) -> set[int]:
        """After which steps of a phase the anchor is renewed."""
        length = end - start
        first, every = round(self.refresh_first * length), max(1, round(self.refresh_every * length))
        return {start + max(1, first) + k * every for k in range(self.refreshes)}


@dataclass(frozen=True, kw_only=True)
class Optim:
    """AdamW with the linear rule, clipping per tensor (Caron et al. 2021, Sec. 3.2).

    DINOv2's square-root rule 4·lr·√(batch/1024) is `sqrt` with a reference batch of 1024 and 4·lr, or of 64 and lr."""

    algorithm: Literal["adamw", "sgd", "lars"] = "adamw"
    lr: float = 5e-4
    """Peak learning rate at the reference batch; multiplied by the rule below."""
    lr_rule: Literal["linear", "sqrt", "none"] = "linear"
    lr_reference_batch: int = 256
    final_lr: float = 1e-6
    weight_decay: tuple[float, float] = (0.04, 0.4)
    """At the start and at the end of the run; biases and norms have none."""
    decay_rule: Literal["shape", "name"] = "shape"
    """Spared are biases and one-dimensional weights (2021), or biases, norms and LayerScale by name (DINOv2, DINOv3)."""
    head_decay: float = 1.0
    """Multiplies the weight decay of the class token's head (an option of DINOv3's code, which there does nothing)."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Of AdamW; (0.9, 0.99) for DINOv3's 7B."""
    layer_decay: float = 1.0
    """Learning rates fall by this factor from each layer to the one before (0.9 in DINOv2's short recipe)."""
    patch_embed_lr: float = 1.0
    """Multiplies the learning rate of the cut into patches besides (0.2 in DINOv2 and DINOv3)."""
    clip: float | None = 3.0
    """Largest norm of a gradient; None does not clip."""
    clip_over: Literal["tensor", "part"] = "tensor"
    """What the norm is of: each tensor (2021), or the backbone and each head as a whole (DINOv2, DINOv3)."""
    accumulate: int = 1
    """Split each rank's batch in this many parts; centre and loss are those of the whole batch, but KoLeo looks for
    neighbours within a part."""

    def peak_lr(self, batch_size: int) -> float:
        """Learning rate after warm-up for a global batch of this many images."""
        share = batch_size / self.lr_reference_batch
        return self.lr * {"linear": share, "sqrt": share**0.5, "none": 1.0}[self.lr_rule]


@dataclass(frozen=True, kw_only=True)
class Course:
    """What multiplies a weight: a line from `start` to `peak`, half a cosine to `end`, then `end`; by default always 1."""

    start: float = 1.0
    peak: float = 1.0
    end: float = 1.0
    warmup: float = 0.0
    """Share of the run that the line takes."""
    fall: float = 1.0
    """Share of the run that the half cosine takes, at most what the line leaves; it may rise too."""


@dataclass(frozen=True, kw_only=True)
class Schedules:
    """How constants move over the run; durations are shares of it."""

    lr_warmup: float | None = None
    """Linear warm-up of the learning rate (10 of 100 epochs in the paper: 0.1)."""
    lr_warmup_shape: Literal["linear", "cosine"] = "linear"
    """Half a cosine in DINOv3's high-resolution phase."""
    lr_shape: Literal["cosine", "constant", "decay"] = "cosine"
    """After the warm-up: half a cosine to `optim.final_lr`, no change, or none until a last line to it (`lr_decay`)."""
    lr_decay: float = 0.2
    """Share of the run that the last line of `decay` takes (warm-up, constant, decay: Hägele et al. 2024)."""
    weight_decay_shape: Literal["cosine", "linear"] = "cosine"
    """How weight decay goes from its start to its end."""
    momentum: tuple[float, float] | None = None
    """EMA momentum of the teacher at the start and at the end ((0.996, 1) in the paper),"""
    momentum_shape: Literal["cosine", "linear"] = "cosine"
    """and how it goes from one to the other (a line in DINOv3's distillation of ConvNeXts)."""
    teacher_temperature: tuple[float, float] | None = None
    """Sharpening at the start and after its warm-up ((0.04, 0.04) in the paper's default, (0.04, 0.07) in its longest runs)."""
    teacher_temperature_warmup: float = 0.3
    last_layer_frozen: float = 0.01
    """The prototypes do not move at first (1 of 100 epochs in the paper)."""
    dino_weight: Course = field(default_factory=Course)
    """Multiplies `objective.weight`."""
    local_weight: Course = field(default_factory=Course)
    """Multiplies `objective.local_weight`."""
    ibot_weight: Course = field(default_factory=Course)
    """Multiplies `ibot.weight`."""
    koleo_weight: Course = field(default_factory=Course)
    """Multiplies `objective.koleo_weight`."""
    gram_weight: Course = field(default_factory=Course)
    """Multiplies `gram.weight`."""


def at_least_one(part: str, **counts: int) -> None:
    """Raises `ConfigError` for a count below 1."""
    for name, count in counts.items():
        if count < 1:
            raise ConfigError(f"{part}.{name} is {count}; expected at least 1.")


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What is measured while training, on labelled images where there are any."""

    every: int | None = None
    """Steps between evaluations; by default a twentieth of the run.  0: at its beginning and its end alone."""
    train_images: int = 2000
    """Images whose labels k-NN may look at."""
    test_images: int = 500
    neighbours: int = 20
    size: int | None = None
    """Side of the square images that are measured on; by default that of a global crop."""

    def __post_init__(self) -> None:
        at_least_one("evaluation", test_images=self.test_images, neighbours=self.neighbours)


@dataclass(frozen=True, kw_only=True)
class Output:
    """What a run writes and how often."""

    log_every: int = 10
    """Steps between lines of `metrics.jsonl`."""
    heavy_every: int = 50
    """Steps between the monitors that cost more (spectra, attention, LiDAR)."""
    probe_images: int = 16
    """The same images are shown to the networks at every checkpoint."""
    checkpoint_every: int | None = None
    """Steps between checkpoints after the log-spaced first ones; by default a twentieth of the run."""
    checkpoint_minutes: float = 5.0
    """And at least this often, so that little is lost when the run dies."""
    keep_states: int = 2
    """How many checkpoints keep what resuming needs; the teacher of every one is kept."""
    mirrors: tuple[Literal["tensorboard", "wandb", "trackio"], ...] = ()
    """Other places to write the metrics to."""

    def __post_init__(self) -> None:
        every = {"log_every": self.log_every, "heavy_every": self.heavy_every}
        at_least_one("output", **every, probe_images=self.probe_images)


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Where and how the arithmetic is done; none of it should change what is learnt."""

    device: str | None = None
    """`cpu`, `cuda`, `cuda:1`, `mps`; by default the best there is."""
    precision: Literal["fp32", "bf16", "fp16"] | None = None
    """By default bf16 where the hardware is fast at it, else fp32."""
    threads: int | None = None
    """CPU threads; by default chosen so that the lab can run beside the training."""
    compile: bool = False
    """Compile the networks with torch.compile."""
    parallel: Literal["ddp", "fsdp"] = "ddp"
    """How several GPUs share the work under torchrun."""
    reshard: bool = True
    """With fsdp: give gathered weights back after each forward pass (ZeRO-3), else keep them until the backward pass (ZeRO-2)."""
    checkpointing: bool = False
    """Keep only what enters each block of the student and compute the rest again for the gradients: less memory, more work."""


CHANGEABLE = (
    "batch_size", "crops", "backbone", "objective", "ibot", "koleo", "gram", "optim", "schedules", "evaluation", "output",
)  # fmt: skip
"""What a phase may change."""


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A later part of a run that goes on with some things changed."""

    name: str
    share: float
    """Of all steps of the run."""
    changes: dict[str, Any] = field(default_factory=dict)
    """New values by dotted name, such as `{"gram.weight": 2.0}`; all else is as in the phase before."""

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise ConfigError(f"phase {self.name!r} has a share of {self.share}; expected one between 0 and 1.")
        for path in self.changes:
            if path.split(".")[0] not in CHANGEABLE:
                raise ConfigError(f"phase {self.name!r} changes {path}; phases may change {', '.join(CHANGEABLE)}.")
        object.__setattr__(self, "changes", json.loads(json.dumps(self.changes)))  # as a file has it: lists, no tuples


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """A whole run: one phase, or several on one clock of steps."""

    recipe: str = ""
    """The recipe this config began as."""
    seed: int = 0
    steps: int | None = None
    """Length of the run in optimizer steps, all phases together; wins over `epochs`."""
    epochs: float | None = None
    """Length of the run in passes over the images."""
    batch_size: int = 64
    """Images a step, over all ranks."""
    data: Data = field(default_factory=Data)
    crops: Crops = field(default_factory=Crops)
    backbone: Backbone = field(default_factory=Backbone)
    init: Init = field(default_factory=Init)
    head: Head = field(default_factory=Head)
    objective: Dino = field(default_factory=Dino)
    ibot: Ibot = field(default_factory=Ibot)
    koleo: Koleo = field(default_factory=Koleo)
    gram: Gram = field(default_factory=Gram)
    optim: Optim = field(default_factory=Optim)
    schedules: Schedules = field(default_factory=Schedules)
    evaluation: Evaluation = field(default_factory=Evaluation)
    output: Output = field(default_factory=Output)
    machine: Machine = field(default_factory=Machine)
    start: int = 0
    """The step of the clock at which this run, or phase, begins; schedules count from here."""
    phase_name: str = "pretraining"
    """What the first phase is called."""
    phases: tuple[Phase, ...] = ()
    """What comes after it."""

    def __post_init__(self) -> None:
        if self.batch_size < 1 or (self.steps is not None and self.steps < 1):
            raise ConfigError(f"batch_size {self.batch_size} and steps {self.steps} must be at least 1.")
        if self.steps is not None and not 0 <= self.start < self.steps:
            raise ConfigError(f"a run from step {self.start} to step {self.steps} has no steps; give a larger --steps.")
        if self.gram.weight and self.gram.tokens != "all" and not self.masks_patches:
            raise ConfigError(f"gram.tokens {self.gram.tokens} needs iBOT's masks; give --ibot.weight, or tokens all.")
        names = [self.phase_name, *(phase.name for phase in self.phases)]
        if len(set(names)) < len(names):
            raise ConfigError(f"phases are called {', '.join(names)}; give each a name of its own.")
        if sum(phase.share for phase in self.phases) >= 1:
            raise ConfigError("the later phases take the whole run; leave a share to the first.")
        for place in range(1, len(names)):
            self.phase(place)  # refuses changes that can't be

    def bounds(self) -> list[int]:
        """The step at which each phase begins, and the end of the run; for a config whose length is known."""
        if self.steps is None:
            raise ConfigError("how long is the run? Fit the config to the data first (dino_core.fit).")
        first = 1 - sum(phase.share for phase in self.phases)
        done = itertools.accumulate([first, *(phase.share for phase in self.phases[:-1])] if self.phases else [])
        length = self.steps - self.start
        return [self.start, *(self.start + round(share * length) for share in done), self.steps]

    def phase(self, index: int) -> TrainConfig:
        """The whole config of one phase, itself without phases: from `start` to `steps` on the run's clock."""
        config = replace(self, phases=())
        for phase in self.phases[:index]:
            config = with_changes(replace(config, phase_name=phase.name), phase.changes)
        if index:  # heads learn alone once
            config = replace(config, init=replace(config.init, frozen=0.0))
        if self.steps is None:
            return config
        start, stop = self.bounds()[index : index + 2]
        return replace(
            config, start=start, steps=stop, gram=replace(config.gram, anchor=self._step(config.gram.anchor))
        )

    def _step(self, anchor: str) -> str:
        """A share of the run, such as `20%`, as a step; anything else as it is."""
        if not anchor.endswith("%") or not anchor[:-1].replace(".", "", 1).isdigit():
            return anchor
        return str(self.start + round(float(anchor[:-1]) / 100 * ((self.steps or 0) - self.start)))

    def phase_at(self, step: int) -> int:
        """The phase that trains on from a step."""
        return max(i for i, start in enumerate(self.bounds()[:-1]) if start <= step or i == 0)

    def phase_before(self, step: int) -> int:
        """The phase whose training a checkpoint of a step ends with."""
        return max(i for i, start in enumerate(self.bounds()[:-1]) if start < step or i == 0)

    def from_phase(self, index: int) -> TrainConfig:
        """What is left of the run from one phase on: its config first, the others after."""
        bounds = self.bounds()
        left, end = bounds[-1] - bounds[index], bounds[-1]
        later = tuple(
            replace(
                phase,
                share=(bounds[i + 1] - bounds[i]) / left,
                changes={k: self._step(v) if k == "gram.anchor" else v for k, v in phase.changes.items()},
            )
            for i, phase in enumerate(self.phases, 1)
            if i > index
        )
        return replace(self.phase(index), phases=later, steps=end)

    def images_at(self, step: int) -> int:
        """How many images have been seen by then; phases may differ in their batch."""
        spans = itertools.pairwise(self.bounds())
        sizes = (self.phase(i).batch_size for i in range(len(self.phases) + 1))
        seen = sum(max(0, min(step, end) - start) * size for (start, end), size in zip(spans, sizes, strict=True))
        return self.start * self.batch_size + seen

    def phase_called(self, name: str) -> int:
        names = [self.phase_name, *(phase.name for phase in self.phases)]
        if name not in names:
            raise ConfigError(f"no phase {name!r}. Phases: {', '.join(names)}.")
        return names.index(name)

    def moved_to(self, start: int) -> TrainConfig:
        """The same run on a clock that begins at another step."""
        if self.steps is None:
            return replace(self, start=start)
        return replace(self, start=start, steps=self.steps - self.start + start)

    @property
    def masks_patches(self) -> bool:
        """Whether patches are chosen for iBOT."""
        return self.ibot.weight != 0

    @property
    def hides_patches(self) -> bool:
        """Whether they are hidden from the student."""
        return self.masks_patches and self.ibot.hide

    @property
    def patch_head(self) -> Head | None:
        """The head of patches alone, where they have one."""
        return self.ibot.head if self.masks_patches and self.ibot.separate_head else None

    @property
    def image_size(self) -> int:
        """Side of the images that are measured on and that position embeddings are made for, a multiple of the patch."""
        patch = self.backbone.patch
        return max(1, round((self.evaluation.size or self.crops.global_size) / patch)) * patch


def differences(old: TrainConfig, new: TrainConfig) -> dict[str, list[Any]]:
    """What differs, by dotted name: [before, after], in what JSON can hold."""

    def plain(value: Any) -> Any:
        phases = isinstance(value, tuple) and any(isinstance(part, Phase) for part in value)
        return [dataclasses.asdict(phase) for phase in value] if phases else value

    def walk(a: Any, b: Any, path: str) -> dict[str, list[Any]]:
        if not dataclasses.is_dataclass(a):
            return {} if a == b else {path: [plain(a), plain(b)]}
        found: dict[str, list[Any]] = {}
        for part in dataclasses.fields(a):
            inner = f"{path}.{part.name}" if path else part.name
            found |= walk(getattr(a, part.name), getattr(b, part.name), inner)
        return found

    return walk(old, new, "")


def with_changes(config: TrainConfig, changes: Mapping[str, Any]) -> TrainConfig:
    """`config` with new values by dotted name; what is no option, or of the wrong kind, is refused with its name."""
    plain = dataclasses.asdict(config)
    for path, value in changes.items():
        *above, last = path.split(".")
        place: Any = plain
        for part in above:
            place = place.get(part) if isinstance(place, dict) else None
        if not isinstance(place, dict) or last not in place:
            raise ConfigError(f"{path} is not an option of a run.")
        place[last] = value
    return _read(TrainConfig, plain, "config")


def to_json(config: TrainConfig) -> str:
    return json.dumps(dataclasses.asdict(config), indent=2) + "\n"


def from_json(text: str) -> TrainConfig:
    """The config that `to_json` wrote; an unknown key or a value of the wrong kind is refused with its path."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"this is not JSON: {error}.") from error
    return _read(TrainConfig, value, "config")


def _read(kind: Any, value: Any, path: str) -> Any:
    """`value`, as JSON has it, read as `kind` (a dataclass, a tuple, a union, a literal or a plain type)."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind):
        return _read_dataclass(kind, value, path)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        return _read(next(a for a in arguments if a is not type(None)), value, path)
    if origin is Literal:
        if value in arguments:
            return value
        raise ConfigError(f"{path} is {value!r}; expected one of {', '.join(map(repr, arguments))}.")
    if origin is dict:
        if isinstance(value, dict) and all(isinstance(key, str) for key in value):
            return value
        raise ConfigError(f"{path} is {value!r}; expected an object.")
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise ConfigError(f"{path} is {value!r}; expected a list.")
        kinds = arguments[:1] * len(value) if arguments[1:] == (...,) else arguments
        if len(kinds) != len(value):
            raise ConfigError(f"{path} has {len(value)} entries; expected {len(kinds)}.")
        return tuple(_read(k, v, f"{path}[{i}]") for i, (k, v) in enumerate(zip(kinds, value, strict=True)))
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
        return value
    raise ConfigError(f"{path} is {value!r}; expected {kind.__name__}.")


def _read_dataclass(kind: Any, value: Any, path: str) -> Any:
    if not isinstance(value, dict):
        raise ConfigError(f"{path} is {value!r}; expected an object.")
    hints = typing.get_type_hints(kind)
    unknown = sorted(set(value) - set(hints))
    if unknown:
        raise ConfigError(f"{path}.{unknown[0]} is not an option. Options: {', '.join(hints)}.")
    return kind(**{name: _read(hints[name], item, f"{path}.{name}") for name, item in value.items()})
