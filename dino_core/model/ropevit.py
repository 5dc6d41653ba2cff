"""DINOv3's Vision Transformer as a `Backbone`: rotary positions, registers, LayerScale, SwiGLU, norms of their own.

timm builds the same network for inference (`timm.models.eva`); this one can also be trained as in the paper.
Axes: B images, h w pixels, Q tokens, R registers, N patches, D features, H heads, d features of a head."""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from timm.layers import LayerScale, Mlp, SwiGLU
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from dino_core.errors import ConfigError
from dino_core.model.backbone import Backbone, layer_of, patch_grid
from dino_core.model.listening import listening
from dino_core.model.residual import added, depth_of
from dino_core.model.rotary import Rotary, rotated
from dino_core.model.tokens import Tokens
from dino_core.model.unfused import in_products

FeedForward = Literal["mlp", "swiglu", "geglu"]


class Attention(nn.Module):
    """Self-attention whose queries and keys are rotated.

    A bias on the keys would add one number to a whole softmax row, and so nothing; rotated it would depend on the
    position.  DINOv3 keeps it in `qkv` and multiplies it by zero (`masked_key_bias`)."""

    bias_mask: Tensor | None

    def __init__(self, dim: int, heads: int, *, qkv_bias: bool, masked_key_bias: bool) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)
        self.fused_attn = True
        """By one kernel; else in products (`dino_core.model.unfused`)."""
        self.register_buffer("bias_mask", key_bias_mask(dim) if qkv_bias and masked_key_bias else None)

    def forward(
        self, x: Float[Tensor, "B Q D"], table: Float[Tensor, "2 N d"], asking: int | None = None
    ) -> Float[Tensor, "B _ D"]:
        """What the first `asking` tokens get, by default all of them."""
        q, k, v = self.queries_keys_values(x, table, asking)
        attend = F.scaled_dot_product_attention if self.fused_attn else in_products
        return self.proj(attend(q, k, v).transpose(1, 2).flatten(2))

    def rows(self, x: Float[Tensor, "B Q D"], table: Float[Tensor, "2 N d"]) -> Float[Tensor, "B H Q Q"]:
        """softmax(q kᵀ / √d)"""
        q, k, _ = self.queries_keys_values(x, table)
        return (q * q.shape[-1] ** -0.5 @ k.mT).softmax(-1)

    def queries_keys_values(
        self, x: Float[Tensor, "B Q D"], table: Float[Tensor, "2 N d"], asking: int | None = None
    ) -> tuple[Float[Tensor, "B H _ d"], Float[Tensor, "B H Q d"], Float[Tensor, "B H Q d"]]:
        weight, dim = self.qkv.weight, x.shape[-1]
        bias = self.qkv.bias if self.bias_mask is None else self.qkv.bias * self.bias_mask
        if asking is None:
            q, k, v = F.linear(x, weight, bias).chunk(3, dim=-1)
        else:
            q = F.linear(x[:, :asking], weight[:dim], None if bias is None else bias[:dim])
            k, v = F.linear(x, weight[dim:], None if bias is None else bias[dim:]).chunk(2, dim=-1)
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in (q, k, v))  # B H Q d
        return (rotated(q, table) if asking is None else q), rotated(k, table), v


def key_bias_mask(dim: int) -> Float[Tensor, "_"]:
    """1 for queries, 0 for keys, 1 for values."""
    return torch.tensor([1.0, 0.0, 1.0]).repeat_interleave(dim)


def feed_forward(kind: FeedForward, dim: int, hidden: int) -> nn.Module:
    """Two linear maps with GELU between, or three: (gate(x W₁) ∘ x W₂) W₃, the gate SiLU or GELU (Shazeer 2020)."""
    if kind == "mlp":
        return Mlp(dim, hidden)
    return SwiGLU(dim, hidden, act_layer=nn.SiLU if kind == "swiglu" else nn.GELU)


class Block(nn.Module):
    """x + scale · attention(norm(x)), then the same with the MLP."""

    def __init__(
        self,
        dim: int,
        heads: int,
        hidden: int,
        *,
        ffn: FeedForward,
        qkv_bias: bool,
        masked_key_bias: bool,
        layer_scale: float | None,
        eps: float,
        drop_path: float,
        subset: bool,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=eps)
        self.attn = Attention(dim, heads, qkv_bias=qkv_bias, masked_key_bias=masked_key_bias)
        self.norm2 = nn.LayerNorm(dim, eps=eps)
        self.mlp = feed_forward(ffn, dim, hidden)
        self.ls1, self.ls2 = (nn.Identity() if layer_scale is None else LayerScale(dim, layer_scale) for _ in range(2))
        self.drop_path1, self.drop_path2 = (depth_of(drop_path, subset) for _ in range(2))

    def forward(
        self, x: Float[Tensor, "B Q D"], table: Float[Tensor, "2 N d"], asking: int | None = None
    ) -> Float[Tensor, "B _ D"]:
        """The first `asking` tokens alone, by default all."""
        y = added(self.drop_path1, x[:, :asking], lambda z: self.ls1(self.attn(self.norm1(z), table, asking)), x)
        return added(self.drop_path2, y, lambda z: self.ls2(self.mlp(self.norm2(z))))


class RopeVit(Backbone):
    """DINOv3 (Siméoni et al. 2025, Sec. 3.2).  Stochastic depth has one rate in all blocks."""

    has_attention = True

    def __init__(
        self,
        *,
        dim: int,
        depth: int,
        heads: int,
        patch: int,
        hidden: int,
        ffn: FeedForward = "mlp",
        registers: int = 4,
        qkv_bias: bool = True,
        masked_key_bias: bool = True,
        layer_scale: float | None = 1e-5,
        mask_token: bool = True,
        cls_norm: bool = False,
        local_cls_norm: bool = False,
        eps: float = 1e-5,
        drop_path: float = 0.0,
        subset: bool = False,
        base: float = 100.0,
        shift: float | None = None,
        jitter: float | None = None,
        rescale: float | None = None,
    ) -> None:
        """`cls_norm`: the class token and registers end in a norm of their own.  `local_cls_norm`: those of local crops
        do, in training.  `subset`: stochastic depth leaves images out of the work (`BatchSubset`).  `base`, `shift`, `jitter`
        and `rescale` are of `Rotary`."""
        super().__init__()
        if dim % heads:
            raise ConfigError(f"{heads} heads do not divide {dim} features; choose heads that do.")
        self.dim, self.depth, self.heads, self.patch, self.registers = dim, depth, heads, patch, registers
        self.patch_embed = nn.Conv2d(3, dim, kernel_size=patch, stride=patch)
        self.cls_token = nn.Parameter(torch.empty(1, 1, dim))
        self.register_tokens = nn.Parameter(torch.empty(1, registers, dim)) if registers else None
        self.mask_token = nn.Parameter(torch.zeros(dim)) if mask_token else None
        self.rotary = Rotary(dim // heads, base=base, shift=shift, jitter=jitter, rescale=rescale)
        self.layers = nn.ModuleList(
            Block(
                dim,
                heads,
                hidden,
                ffn=ffn,
                qkv_bias=qkv_bias,
                masked_key_bias=masked_key_bias,
                layer_scale=layer_scale,
                eps=eps,
                drop_path=drop_path,
                subset=subset,
            )
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(dim, eps=eps)
        self.cls_norm = nn.LayerNorm(dim, eps=eps) if cls_norm else None
        self.local_cls_norm = nn.LayerNorm(dim, eps=eps) if local_cls_norm else None
        self.tells_local_crops = local_cls_norm
        self._initialise()

    def _initialise(self) -> None:
        """Tokens and linear maps from a normal of std 0.02; biases zero; the patch convolution as torch has it."""
        for token in (self.cls_token, self.register_tokens):
            if token is not None:
                nn.init.trunc_normal_(token, std=0.02)
        for module in self.layers.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(
        self, images: Float[Tensor, "B 3 h w"], masks: Bool[Tensor, "B N"] | None = None, *, local: bool = False
    ) -> Tokens:
        """`local` says that these are local crops, whose class token may have a norm of its own."""
        x, table, grid = self._embed(images, masks)
        for block in self.layers:
            x = block(x, table)
        prefix, patches = x.split([1 + self.registers, x.shape[1] - 1 - self.registers], dim=1)
        prefix = self._prefix_norm(local)(prefix)
        return Tokens(prefix[:, 0], prefix[:, 1:], self.norm(patches), grid)

    def cls(self, images: Float[Tensor, "B 3 h w"], *, local: bool = False) -> Float[Tensor, "B D"]:
        """The class token alone: in the last block nothing else is asked, looks anywhere or goes through the MLP."""
        if isinstance(self.patch_embed.weight, DTensor):  # sharded parts gather as a whole
            return self(images, local=local).cls
        x, table, _ = self._embed(images, None)
        *blocks, last = self.layers
        for block in blocks:
            x = block(x, table)
        return self._prefix_norm(local)(last(x, table, 1))[:, 0]

    def attention(self, images: Float[Tensor, "B 3 h w"], layer: int = -1) -> Float[Tensor, "B H Q Q"]:
        layer = layer_of(layer, self.depth)
        x, table, _ = self._embed(images, None)
        asked: Any = self.layers[layer]
        with listening([asked.attn], lambda attn, given, _: attn.rows(given[0], table)) as seen:
            for block in self.layers[: layer + 1]:  # rows are asked for inside, where sharded weights are whole
                x = block(x, table)
        return seen[0]

    def blocks(self) -> list[nn.Module]:
        return list(self.layers)

    def _prefix_norm(self, local: bool) -> nn.Module:
        if local and self.local_cls_norm is not None:
            return self.local_cls_norm
        return self.norm if self.cls_norm is None else self.cls_norm

    def _embed(
        self, images: Float[Tensor, "B 3 h w"], masks: Bool[Tensor, "B N"] | None
    ) -> tuple[Float[Tensor, "B Q D"], Float[Tensor, "2 N d"], tuple[int, int]]:
        """Tokens before the first block, the angles of their positions, and their grid."""
        grid = patch_grid(images, self.patch)
        x = self.patch_embed(images).flatten(2).mT  # B N D
        if masks is not None:
            if self.mask_token is None:
                raise ValueError("this backbone has no mask token; build it with mask_token=True.")
            x = torch.where(masks.unsqueeze(-1), self.mask_token.to(x.dtype), x)
        prefix = [t.expand(x.shape[0], -1, -1) for t in (self.cls_token, self.register_tokens) if t is not None]
        return torch.cat([*prefix, x], dim=1), self.rotary(*grid), grid
