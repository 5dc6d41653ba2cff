"""facebookresearch/dinov2 (Oquab et al. 2023): DINO's names plus `mask_token`, `ls1.gamma`, `ls2.gamma`, `mlp.w12`, `mlp.w3`,
and with registers `register_tokens`.

Training with `block_chunks` writes `blocks.{chunk}.{i}.…`, i counting through."""

from __future__ import annotations

import torch

from dino_core.errors import CheckpointError
from dino_core.model.architectures import LearnedVit
from dino_core.model.layouts import dino, families
from dino_core.model.layouts.reading import Hints, Layout, Reading, Tensors, Written, renamed
from dino_core.model.positions import ANTIALIASED, OFFSET

CHUNKED = (r"^blocks\.\d+\.(\d+)\.", r"blocks.\1.")
PACKED = [(r"\.mlp\.fc1\.", ".mlp.w12."), (r"\.mlp\.fc2\.", ".mlp.w3.")]
"""SwiGLU's names, from timm's."""


def recognise(tensors: Tensors) -> bool:
    return dino.recognise(renamed(tensors, [CHUNKED])) and not tensors.keys().isdisjoint(
        {"mask_token", "register_tokens"}
    )


def read(tensors: Tensors, hints: Hints) -> Reading:
    """Positions are resampled antialiased where there are registers, as the released models are built."""
    resampling = ANTIALIASED if "register_tokens" in tensors else OFFSET
    return families.learned(renamed(tensors, [CHUNKED]), hints, resampling)


def write(reading: Reading) -> Written:
    """What its code always has and a network lacks is added where it changes nothing: scales of 1, a mask token of 0."""
    architecture = reading.architecture
    if not isinstance(architecture, LearnedVit):
        raise CheckpointError("the layout of dinov2 has a table of learned positions, this network has none.")
    if architecture.pre_norm or architecture.activation != "gelu":
        raise CheckpointError("the layout of dinov2 has GELU and no norm before its blocks, this network differs.")
    names = renamed(families.learned_names(reading.weights), PACKED if architecture.ffn == "swiglu" else [])
    rule = ANTIALIASED if architecture.registers else OFFSET
    said = (*families.unlike(architecture, rule, 1e-6), *families.heads_to_give(architecture))
    return Written(with_neutral_parts(names, architecture), said=said)


def with_neutral_parts(names: Tensors, architecture: LearnedVit) -> Tensors:
    dim, like = architecture.dim, names["cls_token"]
    if not architecture.mask_token:
        names = {**names, "mask_token": like.new_zeros(1, dim)}
    if not architecture.layer_scale:
        keys = [f"blocks.{i}.ls{n}.gamma" for i in range(architecture.depth) for n in (1, 2)]
        names = {**names, **{key: torch.ones_like(like).view(dim) for key in keys}}
    return names


DINOV2 = Layout("dinov2", recognise, read)
