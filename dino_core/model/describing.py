"""From a backbone back to what it is and its weights, so that it can be written in any layout."""

from __future__ import annotations

from typing import Any

import torch
from timm.layers import GluMlp, LayerNorm, Mlp, QuickGELU, RotaryEmbeddingDinoV3
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from dino_core.errors import CheckpointError
from dino_core.model.architectures import Activation, LearnedVit, RotaryVit
from dino_core.model.backbone import Backbone
from dino_core.model.eva import EvaVit
from dino_core.model.featuremap import FeatureMap
from dino_core.model.layouts import timm
from dino_core.model.layouts.reading import Hints, Reading, Tensors
from dino_core.model.positions import ANTIALIASED, PositionedVit
from dino_core.model.ropevit import RopeVit
from dino_core.model.vit import Vit, is_plain

TOLERANCE = 1e-4
"""Relative difference of tokens up to which two networks are the same."""


def described(backbone: Backbone) -> Reading:
    """The architecture and its weights; raises `CheckpointError` for a network that none of ours can be."""
    reading = _described(backbone)
    with torch.device("meta"):
        same = reading.architecture.build()
    same.load_state_dict(reading.weights, assign=True)
    if difference(backbone, same.eval(), 2 * backbone.patch) > TOLERANCE:
        raise CheckpointError("it computes something that its weights do not tell; it can be used, but not converted.")
    return reading


@torch.no_grad()
def difference(first: Backbone, second: Backbone, size: int) -> float:
    """Of all tokens for a random image of `size` pixels, relative to their length."""
    images = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(0))
    a, b = (torch.cat([t.cls.unsqueeze(1), t.registers, t.patches], 1) for t in (first(images), second(images)))
    return float((a - b).norm() / a.norm()) if a.shape == b.shape else float("inf")


def _described(backbone: Backbone) -> Reading:
    if isinstance(backbone, RopeVit):
        return Reading(_rotary(backbone), backbone.state_dict())
    if isinstance(backbone, Vit):
        return _learned(backbone)
    assert isinstance(backbone, EvaVit | FeatureMap)
    model: nn.Module = backbone.model
    tensors = model.state_dict()
    if isinstance(backbone, EvaVit) and isinstance(model.rope, RotaryEmbeddingDinoV3):
        return timm.read_eva(tensors, Hints(backbone.heads))
    if isinstance(backbone, FeatureMap) and timm.recognise_convnext(tensors):
        return timm.read_convnext(tensors, Hints())
    if isinstance(backbone, FeatureMap) and timm.recognise_resnet(tensors):
        return timm.read_resnet(tensors, Hints())
    raise CheckpointError(f"a {type(model).__name__} is in no layout but timm's own; use it under timm's name.")


def _rotary(backbone: RopeVit) -> RotaryVit:
    block: Any = backbone.layers[0]
    gated = not isinstance(block.mlp, Mlp)
    return RotaryVit(
        dim=backbone.dim,
        depth=backbone.depth,
        heads=backbone.heads,
        patch=backbone.patch,
        hidden=block.mlp.fc2.in_features,
        ffn=("swiglu" if isinstance(block.mlp.act, nn.SiLU) else "geglu") if gated else "mlp",
        registers=backbone.registers,
        qkv_bias=block.attn.qkv.bias is not None,
        masked_key_bias=block.attn.bias_mask is not None,
        layer_scale=not isinstance(block.ls1, nn.Identity),
        mask_token=backbone.mask_token is not None,
        cls_norm=backbone.cls_norm is not None,
        local_cls_norm=backbone.local_cls_norm is not None,
        eps=backbone.norm.eps,
        rescale=backbone.rotary.rescale,
    )


def _learned(backbone: Vit) -> Reading:
    """timm adds positions to registers too; here they are part of the registers."""
    model, block = backbone.model, backbone.model.blocks[0]
    rows, columns = model.patch_embed.grid_size
    plain = all(is_plain(block) for block in model.blocks) and isinstance(model.norm, LayerNorm | nn.LayerNorm)
    if not plain or model.pos_embed is None or rows != columns:
        raise CheckpointError("its blocks or positions are not those of DINO's ViTs; use it under timm's name.")
    ffn, activation = _feed_forward(block.mlp)
    weights: Tensors = backbone.state_dict()
    if not isinstance(model, PositionedVit):
        weights |= _positions(model, backbone.registers)
    architecture = LearnedVit(
        dim=backbone.dim,
        depth=backbone.depth,
        heads=backbone.heads,
        patch=backbone.patch,
        hidden=block.mlp.fc2.in_features,
        grid=rows,
        resampling=model.resampling if isinstance(model, PositionedVit) else ANTIALIASED,
        ffn="swiglu" if ffn == "swiglu" else "mlp",
        activation=activation,
        pre_norm=not isinstance(model.norm_pre, nn.Identity),
        registers=backbone.registers,
        qkv_bias=block.attn.qkv.bias is not None,
        layer_scale=not isinstance(block.ls1, nn.Identity),
        mask_token=backbone.mask_token is not None,
        eps=model.norm.eps,
    )
    return Reading(architecture, weights)


def _feed_forward(mlp: nn.Module) -> tuple[str, Activation]:
    if isinstance(mlp, GluMlp) and not mlp.gate_last and isinstance(mlp.act, nn.SiLU):
        return "swiglu", "gelu"
    if isinstance(mlp, Mlp) and isinstance(mlp.act, nn.GELU | QuickGELU):
        return "mlp", "gelu" if isinstance(mlp.act, nn.GELU) else "quick_gelu"
    raise CheckpointError("its MLPs are not those of DINO's ViTs; use it under timm's name.")


def _positions(model: VisionTransformer, registers: int) -> Tensors:
    """timm's tokens and positions as DINOv2 has them: a row for the class token, one a patch, none for registers."""
    table, cls, extra = (None if t is None else t.detach() for t in (model.pos_embed, model.cls_token, model.reg_token))
    assert table is not None
    assert cls is not None
    if model.no_embed_class:
        return {"model.pos_embed": torch.cat([torch.zeros_like(cls), table], 1)}
    found = {"model.pos_embed": torch.cat([table[:, :1], table[:, 1 + registers :]], 1)}
    if extra is not None:
        found["model.reg_token"] = extra + table[:, 1 : 1 + registers]
    return found
