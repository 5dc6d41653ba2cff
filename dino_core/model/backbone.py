"""What every backbone promises, and how one is built from its config.

Axes: B images, h w pixels, R registers, N patches, D features, H heads."""

from __future__ import annotations

from dataclasses import replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import timm
import torch
from jaxtyping import Bool, Float
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from dino_core import config
from dino_core.errors import ConfigError
from dino_core.model.tokens import Tokens

if TYPE_CHECKING:
    from dino_core.model.architectures import Architecture


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
    tells_local_crops: bool = False
    """Whether `forward` and `cls` want to be told `local=True` of local crops."""

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
    """The network a config describes, with random weights; `image_size` (pixels) sets the grid of learned positions."""
    from dino_core.model.featuremap import FeatureMap
    from dino_core.model.presets import PRESETS
    from dino_core.model.vit import Vit, plain_vit

    if backbone.name == "vit":
        return Vit(plain_vit(backbone, image_size), mask_token=mask_token)
    if backbone.name == "rope":
        return _rope(backbone, mask_token)
    if backbone.name in PRESETS:
        return _preset(backbone, PRESETS[backbone.name].architecture, image_size, mask_token)
    if not timm.is_model(backbone.name):
        raise ConfigError(
            f"no backbone {backbone.name!r}. Backbones: vit, rope, {', '.join(PRESETS)}, {_similar(backbone.name)}."
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


def _rope(sizes: config.Backbone, mask_token: bool) -> Backbone:
    """A ViT with rotary positions, of the sizes of a config."""
    from dino_core.model.ropevit import RopeVit

    return RopeVit(
        dim=sizes.dim,
        depth=sizes.depth,
        heads=sizes.heads,
        patch=sizes.patch,
        hidden=sizes.hidden,
        ffn=sizes.ffn,
        registers=sizes.registers,
        qkv_bias=sizes.qkv_bias,
        masked_key_bias=sizes.masked_key_bias,
        layer_scale=sizes.layer_scale,
        mask_token=mask_token,
        cls_norm=sizes.cls_norm,
        local_cls_norm=sizes.local_cls_norm,
        eps=sizes.norm_eps,
        drop_path=sizes.drop_path,
        subset=sizes.drop_path_subset,
        base=sizes.rope_base,
        shift=sizes.rope_shift,
        jitter=sizes.rope_jitter,
        rescale=sizes.rope_rescale,
    )


def _preset(sizes: config.Backbone, architecture: Architecture, image_size: int, mask_token: bool) -> Backbone:
    """A row of the papers' tables, with positions for the run's crops."""
    from dino_core.model.architectures import LearnedVit, RotaryVit

    if isinstance(architecture, LearnedVit | RotaryVit) and architecture.patch != sizes.patch:
        patch = architecture.patch
        raise ConfigError(f"{sizes.name} has patches of {patch} px, not {sizes.patch}; set backbone.patch to {patch}.")
    if isinstance(architecture, LearnedVit):
        architecture = replace(architecture, grid=image_size // architecture.patch)
    return for_training(architecture, sizes, mask_token=mask_token)


def for_training(architecture: Architecture, sizes: config.Backbone, *, mask_token: bool) -> Backbone:
    """A network with random weights: with a mask token where patches are hidden, with the stochastic depth of a config."""
    from dino_core.model.architectures import LearnedVit, RotaryVit

    if isinstance(architecture, LearnedVit | RotaryVit):
        depth: dict[str, Any] = {"uniform": sizes.drop_path_uniform, "subset": sizes.drop_path_subset}
        return replace(architecture, mask_token=mask_token).build(drop_path=sizes.drop_path, **depth)
    if mask_token:
        raise ConfigError("this network has no patches to mask; choose a ViT, or train without iBOT.")
    return architecture.build(drop_path=sizes.drop_path)


def layer_of(layer: int, depth: int) -> int:
    """The block that is meant, counted from the first; negative layers count from the end."""
    if not -depth <= layer < depth:
        raise ValueError(f"no layer {layer} in {depth} blocks; expected {-depth} to {depth - 1}.")
    return layer % depth


def patch_grid(images: Float[Tensor, "B 3 h w"], patch: int) -> tuple[int, int]:
    """Rows and columns of patches."""
    height, width = images.shape[-2:]
    if height % patch or width % patch:
        raise ConfigError(
            f"images of {height}×{width} px can't be cut into patches of {patch} px; resize to a multiple."
        )
    return height // patch, width // patch


def _similar(name: str) -> str:
    """A few names of timm that look alike."""
    return ", ".join([*get_close_matches(name, timm.list_models(), n=6, cutoff=0.3), "… (timm.list_models())"])
