"""timm's Vision Transformer as a `Backbone`.

Axes: B images, h w pixels, r c rows and columns of patches, R registers, N patches, D features, H heads."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from timm.layers import Attention, LayerNorm
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from dino_core import config
from dino_core.errors import ConfigError
from dino_core.model.backbone import Backbone, layer_of, patch_grid
from dino_core.model.tokens import Tokens


def plain_vit(sizes: config.Backbone, image_size: int) -> VisionTransformer:
    """The ViT of the DINO papers (Caron et al. 2021, Sec. 3.2), with random weights.

    Pre-norm blocks, LayerNorm eps 1e-6, biased qkv, weights and tokens from a normal of std 0.02 cut at ±2."""
    if image_size % sizes.patch:
        raise ConfigError(f"images of {image_size} px can't be cut into patches of {sizes.patch} px; use a multiple.")
    model = VisionTransformer(
        img_size=image_size,
        patch_size=sizes.patch,
        embed_dim=sizes.dim,
        depth=sizes.depth,
        num_heads=sizes.heads,
        mlp_ratio=sizes.mlp_ratio,
        reg_tokens=sizes.registers,
        no_embed_class=False,
        drop_path_rate=sizes.drop_path,
        norm_layer=LayerNorm,
        dynamic_img_size=True,
        num_classes=0,
    )
    if model.cls_token is not None:
        nn.init.trunc_normal_(model.cls_token, std=0.02)
    return model


class Vit(Backbone):
    """A ViT with a class token; images of any size that its patches divide."""

    has_attention = True
    model: Any

    def __init__(self, model: VisionTransformer, *, mask_token: bool = False) -> None:
        super().__init__()
        if model.cls_token is None:
            raise ConfigError("this ViT has no class token, which DINO trains; choose another.")
        self.model = model
        self.mask_token = nn.Parameter(torch.zeros(model.embed_dim)) if mask_token else None
        self.dim = model.embed_dim
        self.patch = model.patch_embed.patch_size[0]
        self.registers = model.num_prefix_tokens - 1
        self.depth = len(model.blocks)
        self.heads = self.model.blocks[0].attn.num_heads

    def forward(self, images: Float[Tensor, "B 3 h w"], masks: Bool[Tensor, "B N"] | None = None) -> Tokens:
        x = self.model.norm(self.model.blocks(self._embed(images, masks)))
        cls, registers, patches = x.split([1, self.registers, x.shape[1] - 1 - self.registers], dim=1)
        return Tokens(cls[:, 0], registers, patches, self.grid(images))

    def cls(self, images: Float[Tensor, "B 3 h w"]) -> Float[Tensor, "B D"]:
        """The class token alone: in the last block nothing else is asked, looks anywhere or goes through the MLP."""
        *blocks, last = self.model.blocks
        if not is_plain(last) or isinstance(last.attn.qkv.weight, DTensor):  # sharded blocks gather as a whole
            return self(images).cls
        x = self._embed(images, None)
        for block in blocks:
            x = block(x)
        return self.model.norm(class_token_of(last, x))[:, 0]

    def attention(self, images: Float[Tensor, "B 3 h w"], layer: int = -1) -> Float[Tensor, "B H Q Q"]:
        """softmax(q kᵀ / √d) of one layer, from the q and k its block computes, since fused kernels keep no map."""
        layer = layer_of(layer, self.depth)
        x = self._embed(images, None)
        attention = self.model.blocks[layer].attn
        seen: list[Tensor] = []
        hooks = [
            norm.register_forward_hook(lambda module, inputs, output: seen.append(output))
            for norm in (attention.q_norm, attention.k_norm)  # identities in most ViTs
        ]
        try:
            self.model.blocks[: layer + 1](x)
        finally:
            for hook in hooks:
                hook.remove()
        q, k = seen  # B H Q d
        return (q * attention.scale @ k.mT).softmax(-1)

    def blocks(self) -> list[nn.Module]:
        return list(self.model.blocks)

    def grid(self, images: Float[Tensor, "B 3 h w"]) -> tuple[int, int]:
        """Rows and columns of patches."""
        return images.shape[-2] // self.patch, images.shape[-1] // self.patch

    def _embed(self, images: Float[Tensor, "B 3 h w"], masks: Bool[Tensor, "B N"] | None) -> Float[Tensor, "B Q D"]:
        """Tokens before the first block: patches (or the mask token) plus positions, behind cls and registers."""
        patch_grid(images, self.patch)
        x = self.model.patch_embed(images)  # B r c D
        if masks is not None:
            if self.mask_token is None:
                raise ValueError("this backbone has no mask token; build it with mask_token=True.")
            hidden = masks.unflatten(1, x.shape[1:3]).unsqueeze(-1)
            x = torch.where(hidden, self.mask_token.to(x.dtype), x)
        return self.model.norm_pre(self.model.patch_drop(self.model._pos_embed(x)))


def is_plain(block: nn.Module) -> bool:
    """Whether a block is timm's own, attends without a gate, and so does what `class_token_of` repeats."""
    return type(block) is Block and type(block.attn) is Attention and getattr(block.attn, "gate", None) is None


def class_token_of(block: Any, x: Float[Tensor, "B Q D"]) -> Float[Tensor, "B 1 D"]:
    """What a block makes of the first token; keys and values come from all of them."""
    attn, y = block.attn, block.norm1(x)
    weight, bias = attn.qkv.weight, attn.qkv.bias
    dim = weight.shape[0] // 3
    q = F.linear(y[:, :1], weight[:dim], None if bias is None else bias[:dim])
    k, v = F.linear(y, weight[dim:], None if bias is None else bias[dim:]).chunk(2, dim=-1)
    q, k, v = (t.unflatten(-1, (attn.num_heads, -1)).transpose(1, 2) for t in (q, k, v))  # B H Q d
    seen = F.scaled_dot_product_attention(attn.q_norm(q), attn.k_norm(k), v, scale=attn.scale)
    token = x[:, :1] + block.drop_path1(block.ls1(attn.proj(attn.norm(seen.transpose(1, 2).flatten(2)))))
    return token + block.drop_path2(block.ls2(block.mlp(block.norm2(token))))
