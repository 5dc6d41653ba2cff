"""Files as dino, dinov2 and dinov3 publish them, with random weights, and what those weights mean, computed plainly.

Written from the papers and the layouts' names alone, straight from named tensors to tokens; shares nothing with our networks.
Axes: B images, N patches, Q tokens, D features, H heads."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

Tensors = dict[str, Tensor]
HEADS, PATCH = 2, 8


def weights(generator_seed: int = 0) -> Callable[..., Tensor]:
    """`draw(*shape)`: numbers of a size that keeps every part of the network audible."""
    generator = torch.Generator().manual_seed(generator_seed)
    return lambda *shape, around=0.0, std=0.2: around + std * torch.randn(*shape, generator=generator)


def dino(dim: int = 32, depth: int = 2, grid: int = 4) -> Tensors:
    """`dino_*_pretrain.pth`"""
    draw = weights()
    t = {
        "cls_token": draw(1, 1, dim),
        "pos_embed": draw(1, 1 + grid**2, dim),
        "patch_embed.proj.weight": draw(dim, 3, PATCH, PATCH, std=0.05),
        "patch_embed.proj.bias": draw(dim),
        "norm.weight": draw(dim, around=1.0),
        "norm.bias": draw(dim),
    }
    for i in range(depth):
        b = f"blocks.{i}."
        for norm in ("norm1", "norm2"):
            t[f"{b}{norm}.weight"], t[f"{b}{norm}.bias"] = draw(dim, around=1.0), draw(dim)
        t[f"{b}attn.qkv.weight"], t[f"{b}attn.qkv.bias"] = draw(3 * dim, dim), draw(3 * dim)
        t[f"{b}attn.proj.weight"], t[f"{b}attn.proj.bias"] = draw(dim, dim), draw(dim)
        t[f"{b}mlp.fc1.weight"], t[f"{b}mlp.fc1.bias"] = draw(4 * dim, dim), draw(4 * dim)
        t[f"{b}mlp.fc2.weight"], t[f"{b}mlp.fc2.bias"] = draw(dim, 4 * dim), draw(dim)
    return t


def dinov2(*, registers: int = 0, swiglu: bool = False, dim: int = 32, depth: int = 2, grid: int = 4) -> Tensors:
    """`dinov2_*_pretrain.pth`, with `_reg4` the registers, in the giant SwiGLU."""
    t, draw = dino(dim, depth, grid), weights(1)
    t["mask_token"] = draw(1, dim)
    if registers:
        t["register_tokens"] = draw(1, registers, dim)
    for i in range(depth):
        b, hidden = f"blocks.{i}.", 88
        t[f"{b}ls1.gamma"], t[f"{b}ls2.gamma"] = draw(dim, around=0.5), draw(dim, around=0.5)
        if swiglu:
            for name in ("fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"):
                del t[f"{b}mlp.{name}"]
            t[f"{b}mlp.w12.weight"], t[f"{b}mlp.w12.bias"] = draw(2 * hidden, dim), draw(2 * hidden)
            t[f"{b}mlp.w3.weight"], t[f"{b}mlp.w3.bias"] = draw(dim, hidden), draw(dim)
    return t


def dinov3(
    *,
    swiglu: bool = False,
    qkv_bias: bool = True,
    local_norm: bool = False,
    storage: int = 4,
    dim: int = 32,
    depth: int = 2,
) -> Tensors:
    """`dinov3_vit*_pretrain_*.pth`; the 7B has SwiGLU, a norm for local crops and no qkv bias."""
    t, draw = dinov2(dim=dim, depth=depth), weights(2)
    del t["pos_embed"]
    if storage:
        t["storage_tokens"] = draw(1, storage, dim)
    d = dim // HEADS
    periods = torch.tensor([100.0 ** (i / (d / 4)) for i in range(d // 4)])
    t["rope_embed.periods"] = periods.bfloat16().float()  # as published
    if local_norm:
        t["local_cls_norm.weight"], t["local_cls_norm.bias"] = draw(dim), draw(dim)
    for i in range(depth):
        b, hidden = f"blocks.{i}.", 48
        if qkv_bias:
            t[f"{b}attn.qkv.bias_mask"] = torch.cat([torch.ones(dim), torch.zeros(dim), torch.ones(dim)])
        else:
            del t[f"{b}attn.qkv.bias"]
        if swiglu:
            for name in ("fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"):
                del t[f"{b}mlp.{name}"]
            for name, shape in (("w1", (hidden, dim)), ("w2", (hidden, dim)), ("w3", (dim, hidden))):
                t[f"{b}mlp.{name}.weight"], t[f"{b}mlp.{name}.bias"] = draw(*shape), draw(shape[0])
    return t


def dinov3_convnext(dims: tuple[int, ...] = (8, 12, 16, 24), depths: tuple[int, ...] = (1, 2, 1, 1)) -> Tensors:
    """`dinov3_convnext_*_pretrain_*.pth`, the last norm twice."""
    draw, t = weights(3), {}

    def pair(name: str, *shape: int, around: float = 0.0) -> None:
        t[f"{name}.weight"], t[f"{name}.bias"] = draw(*shape, around=around), draw(shape[0])

    pair("downsample_layers.0.0", dims[0], 3, 4, 4)
    pair("downsample_layers.0.1", dims[0], around=1.0)
    for s in range(4):
        if s:
            pair(f"downsample_layers.{s}.0", dims[s - 1], around=1.0)
            pair(f"downsample_layers.{s}.1", dims[s], dims[s - 1], 2, 2)
        for b in range(depths[s]):
            name = f"stages.{s}.{b}"
            t[f"{name}.gamma"] = draw(dims[s], around=0.5)
            pair(f"{name}.dwconv", dims[s], 1, 7, 7)
            pair(f"{name}.norm", dims[s], around=1.0)
            pair(f"{name}.pwconv1", 4 * dims[s], dims[s])
            pair(f"{name}.pwconv2", dims[s], 4 * dims[s])
    pair("norm", dims[3], around=1.0)
    return {**t, "norms.3.weight": t["norm.weight"].clone(), "norms.3.bias": t["norm.bias"].clone()}


@dataclass(frozen=True)
class Seen:
    """Tokens after the final norm, class token first, and the attention of every block."""

    tokens: Tensor  # B Q D
    attention: list[Tensor]  # B H Q Q


def vit(t: Tensors, images: Tensor, masks: Tensor | None = None, *, heads: int = HEADS) -> Seen:
    """What a ViT of dino, dinov2 or dinov3 makes of images."""
    third = "pos_embed" not in t
    eps = 1e-5 if third else 1e-6
    size = t["patch_embed.proj.weight"].shape[-1]
    rows, columns = images.shape[-2] // size, images.shape[-1] // size
    x = F.conv2d(images, t["patch_embed.proj.weight"], t["patch_embed.proj.bias"], stride=size)
    x = x.permute(0, 2, 3, 1).reshape(len(images), rows * columns, -1)  # B N D
    if masks is not None:
        x = x.clone()
        x[masks] = t["mask_token"][0]
    x = torch.cat([t["cls_token"].expand(len(x), -1, -1), x], dim=1)
    if not third:
        x = x + positions(t["pos_embed"], rows, columns, registers="register_tokens" in t)
    extra = t.get("storage_tokens", t.get("register_tokens"))
    if extra is not None:
        x = torch.cat([x[:, :1], extra.expand(len(x), -1, -1), x[:, 1:]], dim=1)
    attention = []
    depth = len([key for key in t if key.endswith("norm1.weight")])
    for i in range(depth):
        b = {key.removeprefix(f"blocks.{i}."): tensor for key, tensor in t.items() if key.startswith(f"blocks.{i}.")}
        y, seen = attend(b, norm(b, "norm1", x, eps), heads, t.get("rope_embed.periods"), (rows, columns))
        attention.append(seen)
        x = x + y * b.get("ls1.gamma", torch.ones(()))
        x = x + feed(b, norm(b, "norm2", x, eps)) * b.get("ls2.gamma", torch.ones(()))
    return Seen(norm(t, "norm", x, eps), attention)


def norm(t: Tensors, name: str, x: Tensor, eps: float) -> Tensor:
    mean = x.mean(-1, keepdim=True)
    spread = ((x - mean) ** 2).mean(-1, keepdim=True)
    return (x - mean) / (spread + eps).sqrt() * t[f"{name}.weight"] + t[f"{name}.bias"]


def positions(table: Tensor, rows: int, columns: int, *, registers: bool) -> Tensor:
    """Resampled by a scale with 0.1 added, or with registers to a size, antialiased."""
    side = math.isqrt(table.shape[1] - 1)
    if rows == columns == side:
        return table
    patches = table[:, 1:].reshape(1, side, side, -1).permute(0, 3, 1, 2)
    if registers:
        patches = F.interpolate(patches, size=(rows, columns), mode="bicubic", antialias=True)
    else:
        factors = ((rows + 0.1) / side, (columns + 0.1) / side)
        patches = F.interpolate(patches, scale_factor=factors, mode="bicubic")
    return torch.cat([table[:, :1], patches.permute(0, 2, 3, 1).reshape(1, rows * columns, -1)], dim=1)


def attend(b: Tensors, x: Tensor, heads: int, periods: Tensor | None, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
    bias = b.get("attn.qkv.bias", torch.zeros(3 * x.shape[-1])) * b.get("attn.qkv.bias_mask", torch.ones(()))
    qkv = x @ b["attn.qkv.weight"].T + bias
    dim = x.shape[-1]
    d = dim // heads
    outputs, rows = [], []
    for h in range(heads):
        q, k, v = (qkv[..., part * dim + h * d : part * dim + (h + 1) * d] for part in range(3))
        if periods is not None:
            q, k = turned(q, periods, grid), turned(k, periods, grid)
        seen = (q @ k.transpose(1, 2) / math.sqrt(d)).softmax(-1)
        rows.append(seen)
        outputs.append(seen @ v)
    return torch.cat(outputs, -1) @ b["attn.proj.weight"].T + b["attn.proj.bias"], torch.stack(rows, 1)


def turned(x: Tensor, periods: Tensor, grid: tuple[int, int]) -> Tensor:
    """Pair (i, i + d/2) of every patch by 2π y / period_i, of the second quarter by 2π x / period."""
    rows, columns = grid
    x, quarter, prefix = x.clone(), len(periods), x.shape[1] - rows * columns
    half = 2 * quarter
    for p in range(rows * columns):
        place = (2 * (p // columns + 0.5) / rows - 1, 2 * (p % columns + 0.5) / columns - 1)
        for axis in (0, 1):
            angle = 2 * math.pi * place[axis] / periods
            first, second = slice(axis * quarter, (axis + 1) * quarter), slice(half + axis * quarter, None)
            second = slice(half + axis * quarter, half + (axis + 1) * quarter)
            a, b = x[:, prefix + p, first].clone(), x[:, prefix + p, second].clone()
            x[:, prefix + p, first] = a * angle.cos() - b * angle.sin()
            x[:, prefix + p, second] = b * angle.cos() + a * angle.sin()
    return x


def feed(b: Tensors, x: Tensor) -> Tensor:
    if "mlp.w12.weight" in b:
        gate, value = (x @ b["mlp.w12.weight"].T + b["mlp.w12.bias"]).chunk(2, -1)
    elif "mlp.w1.weight" in b:
        gate, value = (x @ b[f"mlp.{w}.weight"].T + b[f"mlp.{w}.bias"] for w in ("w1", "w2"))
    else:
        hidden = x @ b["mlp.fc1.weight"].T + b["mlp.fc1.bias"]
        hidden = hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2)))
        return hidden @ b["mlp.fc2.weight"].T + b["mlp.fc2.bias"]
    return (gate * gate.sigmoid() * value) @ b["mlp.w3.weight"].T + b["mlp.w3.bias"]


def convnext(t: Tensors, images: Tensor) -> Tensor:
    """Class token (the mean of the last map), then its positions, normalised by the same norm: (B 1+N D)."""

    def normed(name: str, x: Tensor) -> Tensor:
        return norm(t, name, x.permute(0, 2, 3, 1), 1e-6).permute(0, 3, 1, 2)

    def conv(name: str, x: Tensor, stride: int) -> Tensor:
        return F.conv2d(x, t[f"{name}.weight"], t[f"{name}.bias"], stride=stride)

    x = images
    for s in range(4):
        d = f"downsample_layers.{s}"
        x = conv(f"{d}.1", normed(f"{d}.0", x), 2) if s else normed(f"{d}.1", conv(f"{d}.0", x, 4))
        for b in range(len([key for key in t if key.startswith(f"stages.{s}.") and key.endswith("gamma")])):
            n = f"stages.{s}.{b}"
            y = F.conv2d(x, t[f"{n}.dwconv.weight"], t[f"{n}.dwconv.bias"], padding=3, groups=x.shape[1])
            y = norm(t, f"{n}.norm", y.permute(0, 2, 3, 1), 1e-6)
            y = F.gelu(y @ t[f"{n}.pwconv1.weight"].T + t[f"{n}.pwconv1.bias"])
            y = (y @ t[f"{n}.pwconv2.weight"].T + t[f"{n}.pwconv2.bias"]) * t[f"{n}.gamma"]
            x = x + y.permute(0, 3, 1, 2)
    tokens = torch.cat([x.mean((2, 3))[:, None], x.flatten(2).transpose(1, 2)], dim=1)
    return norm(t, "norm", tokens, 1e-6)
