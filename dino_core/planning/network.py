"""What one image costs a backbone, read off its modules, which may be in meta memory.

Axes of the formulas: Q tokens, N patches, D features, H heads, W weights of matrices, h features inside the MLP."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import astuple, dataclass
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from dino_core.model import Backbone
from dino_core.model.head import Head
from dino_core.model.residual import BatchSubset
from dino_core.model.vit import Vit, is_plain

WIDE = 4
"""Bytes of a float32."""
TWO = 2
"""Images of a pass in meta memory: batch normalisation refuses one."""


@dataclass(frozen=True)
class Flops:
    """Multiplications plus additions of one forward pass."""

    embedding: float = 0.0
    """What meets the images: they need no gradient, so its backward pass costs once, not twice."""
    matrices: float = 0.0
    attention: float = 0.0
    """Scores and mixing."""

    def __add__(self, other: Flops) -> Flops:
        return Flops(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    def __mul__(self, times: float | int) -> Flops:
        return Flops(*(float(times * part) for part in astuple(self)))

    @property
    def forward(self) -> float:
        return self.embedding + self.matrices + self.attention

    @property
    def backward(self) -> float:
        """Gradients of weights and of inputs cost a forward pass each."""
        return self.embedding + 2 * (self.matrices + self.attention)


@dataclass(frozen=True)
class Saved:
    """Bytes that wait for the backward pass."""

    outside: float | int
    """Of what is in no block: embedding and final norms."""
    blocks: float | int
    largest_block: float | int
    inputs: float | int
    """Of the blocks' inputs alone, which is what checkpointing keeps."""
    working: float | int
    """Of the gradients inside a block while they are worked out."""


class Cost(ABC):
    """Of one image of `size` pixels a side.  `patches` says whether patch tokens are asked for, or the class token alone."""

    @abstractmethod
    def flops(self, size: int, patches: bool, *, learning: bool = False) -> Flops:
        """Of a forward pass; of one that is `learning`, stochastic depth leaves images out (`BatchSubset`)."""

    @abstractmethod
    def saved(self, size: int, patches: bool, narrow: int) -> Saved:
        """`narrow` are the bytes of a number that matrix products take or give."""

    @abstractmethod
    def recomputed(self, size: int, patches: bool) -> float:
        """FLOPs of the blocks that checkpointing computes twice."""


def cost_of(backbone: Backbone) -> Cost:
    return Transformer(backbone) if backbone.has_attention else Convolutional(backbone)


class Transformer(Cost):
    """Each weight of a matrix meets each token once; each token meets each.

        forward = 2 N 3p² D + depth · (2 Q W + 4 Q² D)

    Where the class token alone is asked for, the last block works for one token (`Vit.cls`, `RopeVit.cls`)."""

    def __init__(self, backbone: Any) -> None:
        self.dim, self.depth, self.heads, self.patch = backbone.dim, backbone.depth, backbone.heads, backbone.patch
        self.prefix = 1 + backbone.registers
        block = backbone.blocks()[-1]
        self.projection, self.mlp = matrices(block.attn) - 3 * self.dim**2, matrices(block.mlp)
        # names are timm's: fc2 takes what is inside an MLP of either kind
        self.inside = block.mlp.fc2.in_features
        self.gated = self.mlp > 2 * self.dim * self.inside
        self.scaled = not isinstance(block.ls1, nn.Identity)
        self.rotary = not isinstance(backbone, Vit)
        self.short = self.rotary or is_plain(block)
        self.shares = [taking_part(block) for block in backbone.blocks()]

    def tokens(self, size: int) -> int:
        return self.prefix + (size // self.patch) ** 2

    def flops(self, size: int, patches: bool, *, learning: bool = False) -> Flops:
        q, d = self.tokens(size), self.dim
        embedding = 2.0 * (size // self.patch) ** 2 * 3 * self.patch**2 * d
        whole = last = self.block(q)
        if not patches and self.rotary:  # keys and values of all tokens, the rest of one
            last = Flops(0.0, 2.0 * (d**2 + 2 * q * d**2 + self.projection + self.mlp), 4.0 * q * d)
        elif not patches and self.short:  # `class_token_of`: not even those, but every head mixes whole tokens
            last = Flops(0.0, 2.0 * (3 * d**2 + self.projection + self.mlp), 4.0 * self.heads * q * d)
        *first, end = self.shares if learning else [1.0] * self.depth
        return Flops(embedding) + whole * sum(first) + last * end

    def block(self, tokens: int) -> Flops:
        each = 3 * self.dim**2 + self.projection + self.mlp
        return Flops(0.0, 2.0 * tokens * each, 4.0 * tokens**2 * self.dim)

    def recomputed(self, size: int, patches: bool) -> float:
        """A last block that works for the class token alone is not among them, unless it is called as a block."""
        whole = patches or self.rotary
        return self.block(self.tokens(size)).forward * sum(self.shares[: None if whole else -1])

    def saved(self, size: int, patches: bool, narrow: int) -> Saved:
        """A block keeps, a token: the inputs of its norms (float32); what the five matrix products take or give.

        8 D + narrow (6 D + 2 h)    + narrow (2 D with LayerScale, 3 D with rotary positions, 2 h more with a gate)
        + 16 + 4 H                                                    statistics of norms and of softmax rows
        + 8 D where stochastic depth leaves images out                what both branches add"""
        q, d, h = self.tokens(size), self.dim, self.inside
        wide = (4 if min(self.shares) < 1 else 2) * WIDE
        narrowly = (6 + 2 * self.scaled + 3 * self.rotary) * d + (4 if self.gated else 2) * h
        block = q * (wide * d + narrow * narrowly + 16 + WIDE * self.heads)
        pixels = 3 * size**2 * (narrow if narrow < WIDE else 0)  # the images themselves are counted elsewhere
        final = (q if patches else 1) * (WIDE * d + 8)
        working, most = 2 * q * h * narrow * max(self.shares), block * max(self.shares)
        if patches or not self.short:
            return Saved(pixels + final, sum(self.shares) * block, most, self.depth * q * d * WIDE, working)
        last = q * (WIDE * d + narrow * (4 if self.rotary else 1) * d) * self.shares[-1]
        inputs = (self.depth - 1) * q * d * WIDE
        return Saved(pixels + final + last, sum(self.shares[:-1]) * block, most, inputs, working)


class Convolutional(Cost):
    """Counted on a forward pass in meta memory, one for each size: every convolution and linear map, and what autograd keeps."""

    def __init__(self, backbone: Backbone) -> None:
        self.backbone = backbone
        self.counted, self.held = cache(self._counted), cache(self._held)

    def flops(self, size: int, patches: bool, *, learning: bool = False) -> Flops:
        return self.counted(size)

    def saved(self, size: int, patches: bool, narrow: int) -> Saved:
        """All of it is counted as `narrow`; what norms take is wider, so below float32 this is some 10 % too little."""
        outside, inside, inputs = self.held(size)
        share, most = narrow / WIDE / TWO, max(inside, default=0.0)
        return Saved(share * outside, share * sum(inside), share * most, share * inputs, share * most / 2)

    def _counted(self, size: int) -> Flops:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            self.backbone(self._image(size))
        stem = next(module for module in self.backbone.modules() if isinstance(module, nn.Conv2d))
        with FlopCounterMode(display=False) as first, torch.no_grad():
            stem(self._image(size))
        embedding = float(first.get_total_flops())
        return Flops(embedding, counter.get_total_flops() - embedding) * (1 / TWO)

    def _held(self, size: int) -> tuple[float, list[float], float]:
        """Bytes of float32 that are kept of `TWO` images: outside blocks, in each block, of the blocks' inputs."""
        image, blocks = self._image(size), self.backbone.blocks()
        taken = inputs_of(self.backbone, blocks, image)
        whole = kept(lambda: self.backbone(image), self.backbone) - image.numel() * WIDE
        inside = [kept(partial(block, torch.empty_like(x).requires_grad_()), block) for block, x in taken.items()]
        return max(whole - sum(inside), 0.0), inside, float(WIDE * sum(x.numel() for x in taken.values()))

    def recomputed(self, size: int, patches: bool) -> float:
        """All but the stem, to which little more belongs."""
        return self.flops(size, patches).matrices

    def _image(self, size: int) -> Tensor:
        return torch.empty(TWO, 3, size, size, device=next(self.backbone.parameters()).device)


def matrices(module: nn.Module) -> int:
    """Weights with two axes or more: each meets each token, or position, once."""
    return sum(p.numel() for p in module.parameters() if p.ndim > 1)


def taking_part(block: Any) -> float:
    """The share of the images that a block works for while it learns."""
    depth = getattr(block, "drop_path1", None)
    return 1 - float(depth.drop_prob or 0.0) if isinstance(depth, BatchSubset) else 1.0


def head_flops(head: Head, rows: float | int) -> Flops:
    """2 W for each token that goes through the head."""
    return Flops(matrices=2.0 * rows * matrices(head))


def head_saved(head: Head, rows: float | int, narrow: int) -> float:
    """Between the head's layers: what each linear map takes, what each GELU takes, the bottleneck; and unit prototypes."""
    widths = [layer.in_features for layer in head.mlp if isinstance(layer, nn.Linear)]
    bottleneck = head.prototypes.directions.shape[1]
    once = 2 * WIDE * head.prototypes.directions.numel()
    return once + rows * (narrow * (widths[0] + 2 * sum(widths[1:])) + 2 * WIDE * bottleneck)


def kept(forward: Callable[[], Any], module: nn.Module) -> float:
    """Bytes that autograd keeps of a forward pass, each storage once, weights left out."""
    weights = {p.untyped_storage()._cdata for p in module.parameters()}
    seen: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()._cdata
        if storage not in weights:
            seen[storage] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = forward()
    found = float(sum(tensor.untyped_storage().nbytes() for tensor in seen.values()))
    del result
    return found


def inputs_of(network: nn.Module, blocks: list[nn.Module], image: Tensor) -> dict[nn.Module, Tensor]:
    """What each block takes when the network sees the image."""
    found: dict[nn.Module, Tensor] = {}
    hooks = [block.register_forward_pre_hook(lambda m, given: found.__setitem__(m, given[0])) for block in blocks]
    with torch.no_grad():
        network(image)
    for hook in hooks:
        hook.remove()
    return found
