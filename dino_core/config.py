"""What a run is made of: one frozen dataclass a part, and `TrainConfig`, which holds them all.

Nothing here imports torch, so the command line answers at once and the lab can read any run.
A field whose default is `None` is *fitted to the data* when a run starts (`dino_core.fit`): the derived value is said
aloud and stored, so that the saved config is exactly what ran.  A paper's recipe leaves none of them open.

Durations are shares of the run (0.1 = the paper's 10 epochs of 100), so a shorter run keeps its shape.
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from dataclasses import dataclass, field
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
    global_blur: tuple[float, float] = (1.0, 0.1)
    """Probability of a Gaussian blur on the first global crop, and on the others."""
    local_blur: float = 0.5
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    """Standard deviation of the blur in pixels of the crop."""
    solarize: tuple[float, float] = (0.0, 0.2)
    """Probability of solarization on the first global crop, and on the others."""
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def __post_init__(self) -> None:
        if self.global_crops < 1:
            raise ConfigError(f"global_crops is {self.global_crops}; the teacher needs at least 1.")
        if self.local_crops and self.local_size > self.global_size:
            raise ConfigError(
                f"local crops ({self.local_size} px) must not be larger than global crops ({self.global_size} px)."
            )
        if self.global_crops + self.local_crops < 2:
            raise ConfigError("one view has no other to agree with: ask for a second global crop or for local crops.")
        for name in ("global_scale", "local_scale"):
            low, high = getattr(self, name)
            if not 0 < low <= high <= 1:
                raise ConfigError(f"{name} is {(low, high)}; expected 0 < low <= high <= 1.")


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """The network that turns images into tokens, built by timm behind `dino_core.model.Backbone`."""

    name: str = "vit"
    """`vit` for a Vision Transformer of the sizes below, a name of `PRESETS` (`patch` then has to be its), or of any timm model
    that gives tokens or a feature map."""
    patch: int = 16
    dim: int = 384
    depth: int = 12
    heads: int = 6
    mlp_ratio: float = 4.0
    registers: int = 0
    """Register tokens (Darcet et al. 2023, arXiv 2309.16588); the 2021 paper has none."""
    drop_path: float = 0.1
    """Stochastic depth of the student, rising linearly to this rate in the last block."""

    def __post_init__(self) -> None:
        if self.name == "vit" and self.dim % self.heads:
            raise ConfigError(f"{self.heads} heads do not divide {self.dim} features; choose heads that do.")


@dataclass(frozen=True, kw_only=True)
class Init:
    """The weights that a run begins with; by default they are random."""

    backbone: str | None = None
    """Continue from these weights: anything `load_backbone` reads.  The network's sizes are theirs, the heads begin anew."""
    heads: int | None = None
    """Attention heads, where the source does not tell them."""
    frozen: float = 0.1
    """Share of the run in which the heads learn alone, on the backbone as it came."""
    architecture: str | None = None
    """What the source turned out to be; written when the run starts, so that going on needs the source no more."""

    def __post_init__(self) -> None:
        if not 0 <= self.frozen < 1:
            raise ConfigError(f"init.frozen is {self.frozen}; expected a share of the run, 0 <= frozen < 1.")


@dataclass(frozen=True, kw_only=True)
class Head:
    """The projection head: an MLP, a unit-norm bottleneck, and prototypes (Caron et al. 2021, Appendix C)."""

    prototypes: int | None = None
    """Width of the output, K.  65536 in the paper; fitted to the number of images by default."""
    hidden: int = 2048
    bottleneck: int = 256
    layers: int = 3
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


@dataclass(frozen=True, kw_only=True)
class Optim:
    """AdamW with the linear rule, clipping per tensor (Caron et al. 2021, Sec. 3.2)."""

    algorithm: Literal["adamw", "sgd", "lars"] = "adamw"
    lr: float = 5e-4
    """Peak learning rate at the reference batch; multiplied by the rule below."""
    lr_rule: Literal["linear", "sqrt", "none"] = "linear"
    lr_reference_batch: int = 256
    final_lr: float = 1e-6
    weight_decay: tuple[float, float] = (0.04, 0.4)
    """At the start and at the end of the run; biases and norms have none."""
    clip: float | None = 3.0
    """Largest norm of each tensor's gradient; None does not clip."""
    accumulate: int = 1
    """Split each rank's batch in this many parts; centre and loss are those of the whole batch."""

    def peak_lr(self, batch_size: int) -> float:
        """Learning rate after warm-up for a global batch of this many images."""
        share = batch_size / self.lr_reference_batch
        return self.lr * {"linear": share, "sqrt": share**0.5, "none": 1.0}[self.lr_rule]


@dataclass(frozen=True, kw_only=True)
class Schedules:
    """How constants move over the run; durations are shares of it."""

    lr_warmup: float | None = None
    """Linear warm-up of the learning rate (10 of 100 epochs in the paper: 0.1)."""
    momentum: tuple[float, float] | None = None
    """EMA momentum of the teacher at the start and at the end, on a cosine ((0.996, 1) in the paper)."""
    teacher_temperature: tuple[float, float] | None = None
    """Sharpening at the start and after its warm-up ((0.04, 0.04) in the paper's default, (0.04, 0.07) in its longest runs)."""
    teacher_temperature_warmup: float = 0.3
    last_layer_frozen: float = 0.01
    """The prototypes do not move at first (1 of 100 epochs in the paper)."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What is measured while training, on labelled images where there are any."""

    every: int | None = None
    """Steps between evaluations; by default about 20 in a run, more often at first."""
    train_images: int = 2000
    """Images whose labels k-NN may look at."""
    test_images: int = 500
    neighbours: int = 20
    size: int | None = None
    """Side of the square images that are measured on; by default that of a global crop."""


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


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """A whole run."""

    recipe: str = ""
    """The recipe this config began as."""
    seed: int = 0
    steps: int | None = None
    """Length of the run in optimizer steps; wins over `epochs`."""
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
    optim: Optim = field(default_factory=Optim)
    schedules: Schedules = field(default_factory=Schedules)
    evaluation: Evaluation = field(default_factory=Evaluation)
    output: Output = field(default_factory=Output)
    machine: Machine = field(default_factory=Machine)

    def __post_init__(self) -> None:
        if self.batch_size < 1 or (self.steps is not None and self.steps < 1):
            raise ConfigError(f"batch_size {self.batch_size} and steps {self.steps} must be at least 1.")

    @property
    def image_size(self) -> int:
        """Side of the images that are measured on and that position embeddings are made for, a multiple of the patch."""
        patch = self.backbone.patch
        return max(1, round((self.evaluation.size or self.crops.global_size) / patch)) * patch


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
