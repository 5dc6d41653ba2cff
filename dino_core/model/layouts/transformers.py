"""Hugging Face transformers: ViT, Dinov2, Dinov2WithRegisters, DINOv3ViT, DINOv3ConvNext, ResNet.

Files have the names under which the models were published; models in memory have had others since transformers 5.
Both are read, with or without the classifier's prefix (`vit.`, `dinov2.`, …)."""

from __future__ import annotations

import re

import torch

from dino_core.errors import CheckpointError
from dino_core.model.layouts import families
from dino_core.model.layouts.reading import Hints, Layout, Reading, Tensors, renamed, without
from dino_core.model.positions import ANTIALIASED, PLAIN
from dino_core.model.ropevit import FeedForward, key_bias_mask

TOKENS = [
    (r"^embeddings\.cls_token$", "cls_token"),
    (r"^embeddings\.mask_token$", "mask_token"),
    (r"^embeddings\.register_tokens$", "register_tokens"),
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^embeddings\.patch_embeddings\.(projection\.)?", "patch_embed.proj."),
]
BLOCKS = [
    (r"^(encoder\.|model\.)?layers?\.(\d+)\.", r"blocks.\2."),
    (r"\.attention\.attention\.query\.", ".attention.q_proj."),
    (r"\.attention\.attention\.key\.", ".attention.k_proj."),
    (r"\.attention\.attention\.value\.", ".attention.v_proj."),
    (r"\.attention\.(output\.dense|o_proj)\.", ".attn.proj."),
    (r"\.(intermediate\.dense|mlp\.up_proj)\.", ".mlp.fc1."),
    (r"\.(output\.dense|mlp\.down_proj)\.", ".mlp.fc2."),
    (r"\.mlp\.weights_in\.", ".mlp.w12."),
    (r"\.mlp\.weights_out\.", ".mlp.w3."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"\.layer_scale(\d)\.lambda1$", r".ls\1.gamma"),
    (r"^layernorm\.", "norm."),
]


def recognise_vit(tensors: Tensors) -> bool:
    return _has(tensors, "embeddings.cls_token") and _has(tensors, "embeddings.position_embeddings")


def read_vit(tensors: Tensors, hints: Hints) -> Reading:
    """ViT, and with LayerScale Dinov2; positions are resampled as transformers does, without an offset."""
    tensors = _blocks(tensors)
    gates = [key for key in tensors if key.endswith(".mlp.gate_proj.weight")]
    if "blocks.0.mlp.w12.weight" not in tensors and not gates:
        _activation(hints, "gelu")
    for key in gates:  # SwiGLU apart, as in memory: packed, the gate first
        name = key.removesuffix("gate_proj.weight")
        for kind in ("weight", "bias"):
            gate, value = tensors.pop(f"{name}gate_proj.{kind}"), tensors.pop(f"{name}fc1.{kind}")
            tensors[f"{name}w12.{kind}"] = torch.cat([gate, value])
            tensors[f"{name}w3.{kind}"] = tensors.pop(f"{name}fc2.{kind}")
    scaled = "blocks.0.ls1.gamma" in tensors
    eps = float(hints.config.get("layer_norm_eps", 1e-6 if scaled else 1e-12))
    return families.learned(tensors, hints, ANTIALIASED if "register_tokens" in tensors else PLAIN, eps)


def recognise_dinov3(tensors: Tensors) -> bool:
    return _has(tensors, "embeddings.cls_token") and _has(tensors, "embeddings.patch_embeddings.weight")


def read_dinov3(tensors: Tensors, hints: Hints) -> Reading:
    """The gate is SiLU in what DINOv3 publishes; transformers' own default is GELU."""
    tensors = _blocks(tensors)
    gate: FeedForward = "swiglu"
    if "blocks.0.mlp.gate_proj.weight" in tensors:
        gate = "geglu" if _activation(hints, "silu", "gelu") == "gelu" else "swiglu"
        gated = [(r"\.mlp\.gate_proj\.", ".mlp.w1."), (r"\.mlp\.fc1\.", ".mlp.w2."), (r"\.mlp\.fc2\.", ".mlp.w3.")]
        tensors = renamed(tensors, gated)
    else:
        _activation(hints, "gelu")
    tensors = renamed(tensors, [("^register_tokens$", "storage_tokens")])
    rope = hints.config.get("rope_parameters") or hints.config
    base = float(rope.get("rope_theta", 100.0))
    return families.rotary(tensors, hints, float(hints.config.get("layer_norm_eps", 1e-5)), base, gate)


def recognise_convnext(tensors: Tensors) -> bool:
    return _has(tensors, "stages.0.layers.0.depthwise_conv.weight")


def read_convnext(tensors: Tensors, hints: Hints) -> Reading:
    _activation(hints, "gelu")
    rules = [
        (r"^.*?stages\.", "stages."),
        (r"^stages\.0\.downsample_layers\.", "stem."),
        (r"\.downsample_layers\.", ".downsample."),
        (r"\.layers\.(\d+)\.", r".blocks.\1."),
        (r"\.depthwise_conv\.", ".conv_dw."),
        (r"\.pointwise_conv(\d)\.", r".mlp.fc\1."),
        (r"(\.blocks\.\d+)\.layer_norm\.", r"\1.norm."),
        (r"^((?!stages).*\.)?layer_norm\.", "head.norm."),
    ]
    tensors = renamed(without(tensors, r"classifier\."), rules)
    return families.convnext(tensors, hints, float(hints.config.get("layer_norm_eps", 1e-6)))


def recognise_resnet(tensors: Tensors) -> bool:
    return _has(tensors, "embedder.embedder.convolution.weight")


def read_resnet(tensors: Tensors, hints: Hints) -> Reading:
    _activation(hints, "relu")
    if hints.config.get("downsample_in_bottleneck") or hints.config.get("downsample_in_first_stage"):
        raise CheckpointError("its strides are elsewhere than in the ResNets of torchvision and DINO.")

    def name(found: re.Match[str]) -> str:
        stage, block, rest = int(found[1]) + 1, found[2], found[3]
        rest = re.sub(r"^shortcut\.convolution", "downsample.0", rest)
        rest = re.sub(r"^shortcut\.normalization", "downsample.1", rest)
        rest = re.sub(r"^layer\.(\d)\.convolution", lambda m: f"conv{int(m[1]) + 1}", rest)
        rest = re.sub(r"^layer\.(\d)\.normalization", lambda m: f"bn{int(m[1]) + 1}", rest)
        return f"layer{stage}.{block}.{rest}"

    rules = [
        (r"^.*?embedder\.embedder\.convolution\.", "conv1."),
        (r"^.*?embedder\.embedder\.normalization\.", "bn1."),
    ]
    stages = r"^.*?encoder\.stages\.(\d)\.layers\.(\d+)\.(.*)$"
    tensors = {re.sub(stages, name, key): tensor for key, tensor in renamed(tensors, rules).items()}
    return families.residual(without(tensors, r"classifier\."), hints)


def _blocks(tensors: Tensors) -> Tensors:
    """The names of DINOv2, queries, keys and values fused; missing biases are zero."""
    prefix = next(k for k in tensors if k.endswith("embeddings.cls_token")).removesuffix("embeddings.cls_token")
    tensors = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    tensors = renamed(without(tensors, r"pooler\.|classifier\."), [*TOKENS, *BLOCKS])
    result = without(tensors, r".*\.attention\.[qkv]_proj\.")
    for key in tensors:
        if not key.endswith(".attention.q_proj.weight"):
            continue
        source = key.removesuffix("q_proj.weight")
        target = source.replace(".attention.", ".attn.qkv.")
        weights = [tensors[f"{source}{part}_proj.weight"] for part in "qkv"]
        biases = [tensors.get(f"{source}{part}_proj.bias") for part in "qkv"]
        result[f"{target}weight"] = torch.cat(weights)
        if any(bias is not None for bias in biases):
            result[f"{target}bias"] = torch.cat(
                [w.new_zeros(len(w)) if b is None else b for w, b in zip(weights, biases, strict=True)]
            )
            if biases[1] is None:
                result[f"{target}bias_mask"] = key_bias_mask(len(weights[1]))
    return result


def _has(tensors: Tensors, ending: str) -> bool:
    return any(key == ending or key.endswith("." + ending) for key in tensors)


def _activation(hints: Hints, *expected: str) -> str:
    """What config.json says stands between linear maps; the first of `expected` where it says nothing."""
    found = hints.config.get("hidden_act", expected[0])
    if found not in expected:
        raise CheckpointError(f"its config.json says {found!r} between linear maps; expected {' or '.join(expected)}.")
    return found


VIT = Layout("transformers (ViT, Dinov2, Dinov2WithRegisters)", recognise_vit, read_vit)
DINOV3 = Layout("transformers (DINOv3ViT)", recognise_dinov3, read_dinov3)
CONVNEXT = Layout("transformers (DINOv3ConvNext)", recognise_convnext, read_convnext)
RESNET = Layout("transformers (ResNet)", recognise_resnet, read_resnet)
