"""The same images shown to the networks at every checkpoint, so that any view can be scrubbed through training."""

from __future__ import annotations

from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from safetensors.torch import save_file
from torch import Tensor

from dino_core.config import TrainConfig
from dino_core.evaluation.images import LabelledImages, normalised
from dino_core.model import Backbone, Network, Tokens
from dino_core.model.abreast import abreast

CHUNK = 128
"""Images in one forward, to bound memory."""
ROOM = 2**26
"""Weights of attention that may be held at once: a quarter of a gigabyte.  784 patches of 12 heads take 9 images."""


def look(
    network: Network, images: LabelledImages, config: TrainConfig, device: torch.device, *, attend: bool = True
) -> tuple[Tokens, Float[Tensor, "I H N"] | None]:
    """What a network's backbone says about images, in eval mode; afterwards it is in the mode it was in."""
    was_training = network.training
    network.eval()
    mean, std = config.crops.mean, config.crops.std
    seen = tokens_of(network.backbone, images.images, mean, std, device, attend=attend, threads=network.threads)
    network.train(was_training)
    return seen


@torch.no_grad()
def tokens_of(
    backbone: Backbone,
    images: UInt8[Tensor, "I 3 S S"],
    mean: tuple[float, ...],
    std: tuple[float, ...],
    device: torch.device,
    *,
    attend: bool = True,
    threads: int = 1,
) -> tuple[Tokens, Float[Tensor, "I H N"] | None]:
    """Tokens of all the images, and the last layer's class-token attention over patches where the backbone has any."""
    parts: list[Tokens] = []
    attention: list[Tensor] = []
    for chunk in images.split(CHUNK):
        pixels = normalised(chunk, mean, std, device)
        parts.append(abreast(backbone, backbone, pixels, threads=threads))
        if attend and backbone.has_attention:
            first = 1 + backbone.registers
            few = max(1, ROOM // (max(1, backbone.heads) * (first + parts[-1].patches.shape[1]) ** 2))
            for piece in pixels.split(few):
                attention.append(abreast(backbone, backbone.attention, piece, threads=threads)[:, :, 0, first:].clone())
    cls, registers, patches = (torch.cat([getattr(p, name) for p in parts]) for name in ("cls", "registers", "patches"))
    return Tokens(cls, registers, patches, parts[0].grid), torch.cat(attention) if attention else None


def save_images(path: Path, images: LabelledImages) -> None:
    tensors = {"images": images.images.contiguous(), "labels": images.labels}
    if images.masks is not None:
        tensors["masks"] = images.masks.to(torch.uint8)
    save_file(tensors, path)


def save_probe(
    path: Path | None,
    networks: dict[str, Network],
    images: LabelledImages,
    config: TrainConfig,
    device: torch.device,
    step: int,
) -> None:
    """What each network (`teacher`, `student`) says about the images, in half precision (rundir/FORMAT.md, probes).

    Every rank looks, for sharded networks need all of them; the one with a `path` writes."""
    tensors: dict[str, Tensor] = {}
    grid = (0, 0)
    for name, network in networks.items():
        tokens, attention = look(network, images, config, device)
        grid = tokens.grid
        tensors[f"{name}.cls"], tensors[f"{name}.patches"] = tokens.cls, tokens.patches
        with torch.no_grad():
            tensors[f"{name}.logits"] = network.head(tokens.cls)
        if attention is not None:
            tensors[f"{name}.attention"] = attention
    if path is None:
        return
    halves = {name: t.detach().to("cpu", torch.float16).contiguous() for name, t in tensors.items()}
    save_file(halves, path, metadata={"grid": f"{grid[0]} {grid[1]}", "step": str(step)})
