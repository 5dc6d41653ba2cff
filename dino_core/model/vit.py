"""timm's Vision Transformer as a `Backbone`.

Axes: B images, h w pixels, r c rows and columns of patches, R registers, N patches, D features, H heads."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from timm.layers import Attention, LayerNorm, SwiGLUPacked
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from dino_core import config
from dino_core.errors import ConfigError
from dino_core.model.abreast import replace_drop_path
from dino_core.model.backbone import Backbone, layer_of, patch_grid
from dino_core.model.listening import listening
from dino_core.model.residual import SubsetBlock, added, set_stochastic_depth
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
        reg_tokens=sizes.registers,
        no_embed_class=False,
        drop_path_rate=sizes.drop_path,
        norm_layer=partial(LayerNorm, eps=sizes.norm_eps),
        qkv_bias=sizes.qkv_bias,
        init_values=sizes.layer_scale,
        dynamic_img_size=True,
        num_classes=0,
        block_fn=SubsetBlock if sizes.drop_path_subset else Block,
        **gated(sizes.hidden, sizes.dim, sizes.ffn),
    )
    if sizes.drop_path_subset or sizes.drop_path_uniform:
        subset = sizes.drop_path_subset
        set_stochastic_depth(list(model.blocks), sizes.drop_path, uniform=sizes.drop_path_uniform, subset=subset)
    if model.cls_token is not None:
        nn.init.trunc_normal_(model.cls_token, std=0.02)
    return model


def gated(hidden: int, dim: int, ffn: str) -> dict[str, Any]:
    """timm's options for an MLP with so many features inside, or a SwiGLU with so many behind the gate."""
    if ffn == "mlp":
        return {"mlp_ratio": (hidden + 0.5) / dim}  # timm rounds down
    return {"mlp_ratio": (2 * hidden + 0.5) / dim, "mlp_layer": SwiGLUPacked, "act_layer": nn.SiLU}


class Vit(Backbone):
    """A ViT with a class token; images of any size that its patches divide."""

    has_attention = True
    model: Any

    def __init__(self, model: VisionTransformer, *, mask_token: bool = False) -> None:
        super().__init__()
        if model.cls_token is None:
            raise ConfigError("this ViT has no class token, which DINO trains; choose another.")
        replace_drop_path(model)
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
        """The class token alone: in the last block nothing else asks, is asked for key and value, or goes through the MLP."""
        *blocks, last = self.model.blocks
        if not is_plain(last) or isinstance(last.attn.qkv.weight, DTensor):  # sharded blocks gather as a whole
            return self(images).cls
        x = self._embed(images, None)
        for block in blocks:
            x = block(x)
        return self.model.norm(class_token_of(last, x))

    def attention(self, images: Float[Tensor, "B 3 h w"], layer: int = -1) -> Float[Tensor, "B H Q Q"]:
        """softmax(q kᵀ / √d) of one layer, from the q and k its block computes, since fused kernels keep no map."""
        layer = layer_of(layer, self.depth)
        x = self._embed(images, None)
        attention = self.model.blocks[layer].attn
        norms = (attention.q_norm, attention.k_norm)  # identities in most ViTs
        with listening(norms, lambda module, inputs, output: output) as seen:
            self.model.blocks[: layer + 1](x)
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
    """Whether a block is timm's own, attends without gate or norms of q and k, and so does what `class_token_of` repeats."""
    if (
        type(block) not in (Block, SubsetBlock)
        or type(block.attn) is not Attention
        or getattr(block.attn, "gate", None) is not None
    ):
        return False
    return isinstance(block.attn.q_norm, nn.Identity) and isinstance(block.attn.k_norm, nn.Identity)


def class_token_of(block: Any, x: Float[Tensor, "B Q D"]) -> Float[Tensor, "B D"]:
    """What a block makes of the first token.

    With one query q a head, keys and values of the other tokens y need not be formed:

        <q, W_k y + b_k> = <W_kᵀ q, y> + constant;    sum_n a_n (W_v y_n + b_v) = W_v sum_n a_n y_n + b_v

    and softmax takes no notice of a constant."""
    token = added(block.drop_path1, x[:, :1], lambda given: block.ls1(seen_by_first(block, given)), x)
    return added(block.drop_path2, token, lambda given: block.ls2(block.mlp(block.norm2(given))))[:, 0]


def seen_by_first(block: Any, x: Float[Tensor, "B Q D"]) -> Float[Tensor, "B 1 D"]:
    """What attention gives the first token."""
    attn, y = block.attn, block.norm1(x)
    to_query, to_key, to_value = attn.qkv.weight.chunk(3)
    query_bias, _, value_bias = (None,) * 3 if attn.qkv.bias is None else attn.qkv.bias.chunk(3)
    q = attn.scale * F.linear(y[:, 0], to_query, query_bias).unflatten(-1, (attn.num_heads, -1))  # B H d
    q = torch.einsum("bhd,hdf->bhf", q, to_key.unflatten(0, (attn.num_heads, -1)))  # B H D
    mixed = (q @ y.mT).softmax(-1) @ y  # B H D
    seen = torch.einsum("bhf,hdf->bhd", mixed, to_value.unflatten(0, (attn.num_heads, -1))).flatten(1)
    seen = seen if value_bias is None else seen + value_bias
    return attn.proj(attn.norm(seen)).unsqueeze(1)
