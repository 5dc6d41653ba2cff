"""What every backbone promises, and how one is built from its config.

Axes: B images, h w pixels, R registers, N patches, D features, H heads."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

import timm
import torch
from jaxtyping import Bool, Float
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from dino_core import config
from dino_core.errors import ConfigError
from dino_core.model.tokens import Tokens


class Backbone(nn.Module):
    """Images in, tokens out.

    `images` are normalised floats of any size the network can cut into patches; `masks` says which patches are hidden
    (only for backbones built with a mask token).  All tokens come after the final norm.  Nothing but the tokens depends
    on the training objective, so every backbone serves every objective, monitor and view."""

    dim: int
    """Features of a token."""
    patch: int
    """Side of a patch in pixels."""
    registers: int = 0
    depth: int = 0
    """Blocks that have attention; 0 without."""
    heads: int = 0
    has_attention: bool = False

    def forward(self, images: Float[Tensor, "B 3 h w"], masks: Bool[Tensor, "B N"] | None = None) -> Tokens:
        raise ConfigError(f"{type(self).__name__} does not say how images become tokens.")

    def blocks(self) -> list[nn.Module]:
        """Large parts, called one after another, that may be sharded one by one."""
        return []

    def cls(self, images: Float[Tensor, "B 3 h w"]) -> Float[Tensor, "B D"]:
        """The class token alone, the same numbers as `self(images).cls`; a ViT then spares most of its last block."""
        return self(images).cls

    def attention(self, images: Float[Tensor, "B 3 h w"], layer: int = -1) -> Float[Tensor, "B H Q Q"]:
        """Softmax rows of one layer, Q = 1+R+N tokens in the order cls, registers, patches.

        Raises `ValueError` for backbones without attention."""
        raise ValueError(f"{type(self).__name__} has no attention: it is built from convolutions. Use a ViT.")


def build_backbone(backbone: config.Backbone, image_size: int, *, mask_token: bool = False) -> Backbone:
    """The network a config describes, with random weights; `image_size` (pixels) sets the grid of positions."""
    from dino_core.model.featuremap import FeatureMap
    from dino_core.model.presets import PRESETS
    from dino_core.model.vit import Vit, plain_vit

    if backbone.name == "vit":
        return Vit(plain_vit(backbone, image_size), mask_token=mask_token)
    if backbone.name in PRESETS:
        preset = PRESETS[backbone.name].build(drop_path=backbone.drop_path)
        if not mask_token:
            preset.register_parameter("mask_token", None)
        return preset
    if not timm.is_model(backbone.name):
        raise ConfigError(
            f"no backbone {backbone.name!r}. Backbones: vit, {', '.join(PRESETS)}, {_similar(backbone.name)}."
        )
    with torch.device("meta"):
        is_vit = isinstance(timm.create_model(backbone.name, num_classes=0), VisionTransformer)
    sizes: dict[str, Any] = {"img_size": image_size, "dynamic_img_size": True} if is_vit else {}
    model = timm.create_model(backbone.name, num_classes=0, drop_path_rate=backbone.drop_path, **sizes)
    if isinstance(model, VisionTransformer):
        return Vit(model, mask_token=mask_token)
    if mask_token:
        raise ConfigError(f"{backbone.name!r} has no patches to mask; choose a ViT.")
    return FeatureMap(model, backbone.name)


def layer_of(layer: int, depth: int) -> int:
    """The block that is meant, counted from the first; negative layers count from the end."""
    if not -depth <= layer < depth:
        raise ValueError(f"no layer {layer} in {depth} blocks; expected {-depth} to {depth - 1}.")
    return layer % depth


def patch_grid(images: Float[Tensor, "B 3 h w"], patch: int) -> tuple[int, int]:
    """Rows and columns of patches."""
    height, width = images.shape[-2:]
    if height % patch or width % patch:
        raise ValueError(
            f"images of {height}×{width} px can't be cut into patches of {patch} px; resize to a multiple."
        )
    return height // patch, width // patch


def _similar(name: str) -> str:
    """A few names of timm that look alike."""
    return ", ".join([*get_close_matches(name, timm.list_models(), n=6, cutoff=0.3), "… (timm.list_models())"])
