"""What a network sees in images, layer by layer: the torch end of `lab.sight`, called in the worker's process.

Axes: I images, S side in pixels, L layers, H heads, Q tokens (cls, registers, patches), N patches, D features, d of a head."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from PIL import Image
from safetensors.numpy import save
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from dino_core.errors import RunError
from dino_core.model import Backbone, load_backbone
from lab import stages
from lab.analysis import attention, cka, rollout, similarity
from lab.resumable import load_student

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and deviation of colours, where a network does not say which it was trained with."""
MOST_TOKENS = 4200
"""64 × 64 patches and some: beyond, one attention matrix takes 70 MB a head."""
MOST_FEATURES = 64 * 2**20
"""Numbers in the patch features of one set of images: what a page can hold."""
MOST_KEYS = 12 * 2**20
"""Bytes of all layers' queries and keys together; beyond, they are given for one layer at a time."""
MOST_ROLLOUT = 1300
"""Tokens up to which the rollout of every one is given; beyond, that of the class token alone."""
MOST_WEIGHTS = 150_000_000
"""Weights of all networks that stay open: half a dozen of the size of ViT-S, one of the size of ViT-L."""
USUAL = 224
"""Pixels, where neither the asker nor the network says how many."""


@dataclass(frozen=True)
class Eye:
    """A network and how it wants its images."""

    backbone: Backbone
    mean: tuple[float, ...]
    std: tuple[float, ...]
    size: int

    def sees(self, pixels: UInt8[np.ndarray, "I S S 3"], size: int) -> Float[Tensor, "I 3 s s"]:
        """Images at `size` pixels (0: as it was trained), rounded to whole patches and normalised."""
        patch = self.backbone.patch
        side = max(1, round((size or self.size) / patch)) * patch
        tokens = (side // patch) ** 2
        if tokens > MOST_TOKENS:
            raise RunError(
                f"{side} px are {tokens} patches of {patch} px; the lab shows up to {MOST_TOKENS}. Choose fewer pixels."
            )
        resized = [
            np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC)) for image in pixels
        ]
        images = torch.from_numpy(np.stack(resized)).permute(0, 3, 1, 2).float() / 255
        mean, std = (torch.tensor(value).view(1, 3, 1, 1) for value in (self.mean, self.std))
        return (images - mean) / std


def opened(source: str, stamp: str, network: str = "teacher") -> Eye:
    """The network of a checkpoint folder, a file or a name; `stamp` says which version of the file.

    The `student` of a checkpoint is read from its training state (`lab.resumable`).  Those last asked for stay open: side by
    side, several are asked by turns."""
    asked = (source, stamp, network)
    eye = _open.pop(asked, None) or _opened(source, network)
    _open[asked] = eye
    while len(_open) > 1 and sum(_weights(one) for one in _open.values()) > MOST_WEIGHTS:
        del _open[next(iter(_open))]
    return eye


_open: dict[tuple[str, str, str], Eye] = {}


def _weights(eye: Eye) -> int:
    return sum(weight.numel() for weight in eye.backbone.parameters())


def _opened(source: str, network: str) -> Eye:
    backbone = load_backbone(source) if network == "teacher" else _student(source)
    described = Path(source) / "model.json"
    if described.is_file():
        said = json.loads(described.read_text("utf-8"))
        return Eye(backbone, tuple(said["mean"]), tuple(said["std"]), int(said["image_size"]))
    timm_says = getattr(getattr(backbone, "model", None), "pretrained_cfg", None) or {}
    mean, std = (tuple(timm_says.get(name) or usual) for name, usual in zip(("mean", "std"), IMAGENET, strict=True))
    return Eye(backbone, mean, std, USUAL)


def _student(folder: str) -> Backbone:
    network = load_student(Path(folder))
    if network is None:
        raise RunError("this checkpoint kept the teacher alone.")
    return network.backbone


class Listening(TorchFunctionMode):
    """Keeps the queries and keys of every attention that goes through PyTorch's kernel, in the order of layers."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[tuple[Tensor, Tensor]] = []

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is F.scaled_dot_product_attention:
            scale = (kwargs or {}).get("scale") or args[0].shape[-1] ** -0.5
            self.heard.append((args[0] * scale, args[1]))
        return function(*args, **(kwargs or {}))


@dataclass(frozen=True)
class Inside:
    """All layers of one image's forward pass."""

    queries: Float[Tensor, "L H Q d"]
    """Over √d already: the softmax of queries · keys is the attention."""
    keys: Float[Tensor, "L H Q d"]
    stream: Float[Tensor, "M Q D"]
    """Tokens before the first block and after each: M = L + 1, before the final norm."""


@contextmanager
def fused(backbone: nn.Module) -> Iterator[None]:
    """Let every attention go through PyTorch's kernel, where `Listening` hears it."""
    layers = [layer for layer in backbone.modules() if getattr(layer, "fused_attn", None) is False]
    for layer in layers:
        setattr(layer, "fused_attn", True)  # noqa: B010 (timm declares it Final)
    try:
        yield
    finally:
        for layer in layers:
            setattr(layer, "fused_attn", False)  # noqa: B010


def inside(backbone: Backbone, image: Float[Tensor, "1 3 s s"]) -> Inside:
    """Queries, keys and tokens of every layer, from one forward pass."""
    if not backbone.has_attention:
        raise RunError("this network has no attention: it is built from convolutions. Its patches can be looked at.")
    stream: list[Tensor] = []
    blocks = backbone.blocks()
    hooks = [blocks[0].register_forward_pre_hook(lambda block, given: stream.append(given[0][0]))]
    hooks += [block.register_forward_hook(lambda block, given, out: stream.append(out[0])) for block in blocks]
    try:
        with torch.inference_mode(), fused(backbone), Listening() as listening:
            backbone(image)
    finally:
        for hook in hooks:
            hook.remove()
    if len(listening.heard) != len(blocks):
        raise RunError(
            f"{len(listening.heard)} attentions were heard in {len(blocks)} blocks; this network can't be shown."
        )
    queries, keys = (torch.stack([pair[i][0] for pair in listening.heard]) for i in (0, 1))
    return Inside(queries, keys, torch.stack(stream))


def features(eye: Eye, pixels: UInt8[np.ndarray, "I S S 3"], size: int) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Patch features and class tokens after the final norm (`lab.analysis.similarity.sent`)."""
    images = eye.sees(pixels, size)
    side = images.shape[-1] // eye.backbone.patch
    wanted = len(images) * side * side * eye.backbone.dim
    if wanted > MOST_FEATURES:
        raise RunError(
            f"{len(images)} images of {side}×{side} patches with {eye.backbone.dim} features are {wanted >> 20} MB; "
            f"a page holds {MOST_FEATURES >> 20}. Choose fewer images or fewer pixels."
        )
    with torch.inference_mode():
        seen = [eye.backbone(part) for part in images.split(4)]
    patches, cls = torch.cat([s.patches for s in seen]).float(), torch.cat([s.cls for s in seen]).float()
    return similarity.sent(patches.numpy(), cls.numpy()), _about(eye, images, seen[0].grid)


def heads(
    eye: Eye, pixels: UInt8[np.ndarray, "1 S S 3"], size: int, layer: int | None
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """What all heads of all layers do with one image.

    `attention` (L H Q): rows of the class token; `entropy`, `distance` (L H): means over the patches as queries; `norms` (M Q)
    of the tokens before the final norm; `rollout` (Q Q), or its first row; `queries`, `keys` (L H Q d) in eight bits, of all
    layers where they are small, else of `layer`."""
    images = eye.sees(pixels, size)
    seen = inside(eye.backbone, images)
    side = images.shape[-1] // eye.backbone.patch
    prefix, depth = 1 + eye.backbone.registers, len(seen.queries)
    small = 2 * seen.keys.numel() <= MOST_KEYS
    if layer is not None and not -depth <= layer < depth:
        raise RunError(f"there is no layer {layer}; this network has {depth}, 0 to {depth - 1}.")
    layers = list(range(depth)) if small and layer is None else [(depth - 1 if layer is None else layer) % depth]
    tensors = _summary(seen, (side, side), prefix)
    tensors["norms"] = seen.stream.norm(dim=-1).numpy()
    for name, rows in (("queries", seen.queries[layers]), ("keys", seen.keys[layers])):
        tensors[name], tensors[f"{name}_scale"] = similarity.shortened(rows.numpy())
    return tensors, {**_about(eye, images, (side, side)), "layers": layers}


def layers(eye: Eye, pixels: UInt8[np.ndarray, "I S S 3"], size: int) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """`layers` (M R D): patches before the first block and after each, as means over 4 × 4 cells of every image."""
    if not eye.backbone.has_attention:
        raise RunError(
            "this network is built from convolutions, whose layers have grids of their own; only ViTs are aligned layer by layer."
        )
    images, parts = eye.sees(pixels, size), []
    side = images.shape[-1] // eye.backbone.patch
    for image in images.split(1):
        patches = inside(eye.backbone, image).stream[:, 1 + eye.backbone.registers :].float().numpy()  # M N D
        parts.append(np.stack([cka.pooled(layer[None], (side, side)) for layer in patches]))
    return {"layers": np.concatenate(parts, 1).astype(np.float32)}, _about(eye, images, (side, side))


def _summary(seen: Inside, grid: tuple[int, int], prefix: int) -> dict[str, np.ndarray]:
    """Of every layer's attention matrix, one at a time."""
    first, entropy, distance, means = [], [], [], []
    for q, k in zip(seen.queries, seen.keys, strict=True):
        rows = (q @ k.mT).softmax(-1).numpy()  # H Q Q
        first.append(rows[:, 0])
        patches = rows[:, prefix:, prefix:]
        entropy.append(attention.head_entropy(patches).mean(-1))
        distance.append(attention.mean_distance(patches, grid).mean(-1))
        means.append(rows.mean(0))
    whole = len(means[0]) <= MOST_ROLLOUT
    rolled = rollout.rollout(np.stack(means)) if whole else rollout.row(np.stack(means), 0)[None]
    found = {"attention": first, "entropy": entropy, "distance": distance}
    return {**{k: np.stack(v).astype(np.float32) for k, v in found.items()}, "rollout": rolled.astype(np.float32)}


def _about(eye: Eye, images: Tensor, grid: tuple[int, int]) -> dict[str, Any]:
    backbone = eye.backbone
    return {
        "rows": grid[0], "columns": grid[1], "size": images.shape[-1], "patch": backbone.patch, "dim": backbone.dim,
        "registers": backbone.registers, "depth": backbone.depth, "heads": backbone.heads,
    }  # fmt: skip


def look(question: dict[str, Any]) -> dict[str, Any]:
    """The worker's answer: `want` is `features`, `layers`, `heads` or `stages`; pixels come and tensors go as base64."""
    pixels = np.frombuffer(base64.b64decode(question["pixels"]), np.uint8).reshape(question["shape"])
    if question["want"] == "stages":
        return _sent(*stages.published(question["source"], pixels, question["seed"]))
    eye = opened(question["source"], question["stamp"], question.get("network", "teacher"))
    if question["want"] == "features":
        tensors, said = features(eye, pixels, question["size"])
    elif question["want"] == "layers":
        tensors, said = layers(eye, pixels, question["size"])
    else:
        tensors, said = heads(eye, pixels, question["size"], question["layer"])
    return _sent(tensors, said)


def _sent(tensors: dict[str, np.ndarray], said: dict[str, Any]) -> dict[str, Any]:
    content = save({name: np.ascontiguousarray(value) for name, value in tensors.items()}, {"said": json.dumps(said)})
    return {"tensors": base64.b64encode(content).decode("ascii")}
