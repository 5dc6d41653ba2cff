"""Networks as transformers saves them: names of tensors, and the config.json from which `AutoModel` builds.

`dino_core.model.layouts.transformers` reads what this writes."""

from __future__ import annotations

import re
from typing import Any

from dino_core.errors import CheckpointError
from dino_core.model.architectures import ConvNext, LearnedVit, Residual, RotaryVit
from dino_core.model.layouts import dinov2, dinov3, families
from dino_core.model.layouts.reading import Reading, Tensors, Written, renamed, without
from dino_core.model.positions import ANTIALIASED, PLAIN

EMBEDDINGS = [
    ("^storage_tokens$", "register_tokens"),
    (r"^(cls_token|mask_token|register_tokens)$", r"embeddings.\1"),
    (r"^pos_embed$", "embeddings.position_embeddings"),
    (r"^patch_embed\.proj\.", "embeddings.patch_embeddings.projection."),
    (r"\.ls(\d)\.gamma$", r".layer_scale\1.lambda1"),
    (r"\.attn\.proj\.", ".attention.output.dense."),
]


def write(reading: Reading) -> Written:
    architecture = reading.architecture
    if isinstance(architecture, LearnedVit):
        return _learned(architecture, reading.weights)
    if isinstance(architecture, RotaryVit):
        return _rotary(architecture, reading.weights)
    if isinstance(architecture, ConvNext):
        return _convnext(architecture, reading.weights)
    return _residual(architecture, reading.weights)


def _learned(architecture: LearnedVit, weights: Tensors) -> Written:
    """ViT, as DINO was published there; Dinov2 where there is LayerScale or a mask token; Dinov2WithRegisters."""
    if architecture.pre_norm or architecture.activation != "gelu":
        raise CheckpointError(
            "towers of CLIP are no ViT of transformers that DINO's can be; choose timm or safetensors."
        )
    names = families.learned_names(weights)
    config: dict[str, Any] = {
        "hidden_size": architecture.dim,
        "num_hidden_layers": architecture.depth,
        "num_attention_heads": architecture.heads,
        "image_size": architecture.grid * architecture.patch,
        "patch_size": architecture.patch,
        "qkv_bias": architecture.qkv_bias,
        "layer_norm_eps": architecture.eps,
        "hidden_act": "gelu",
    }
    plain = not (architecture.layer_scale or architecture.mask_token or architecture.registers)
    if plain and architecture.ffn == "mlp":
        config |= {"model_type": "vit", "architectures": ["ViTModel"], "intermediate_size": architecture.hidden}
        rules = [
            (r"\.norm1\.", ".layernorm_before."),
            (r"\.norm2\.", ".layernorm_after."),
            (r"\.mlp\.fc1\.", ".intermediate.dense."),
            (r"\.mlp\.fc2\.", ".output.dense."),
        ]
    else:
        names, rules = dinov2.with_neutral_parts(names, architecture), []
        gated = architecture.ffn == "swiglu"
        registers = architecture.registers > 0
        config |= {
            "model_type": "dinov2_with_registers" if registers else "dinov2",
            "architectures": ["Dinov2WithRegistersModel" if registers else "Dinov2Model"],
            "mlp_ratio": _ratio(architecture.dim, architecture.hidden, gated),
            "use_swiglu_ffn": gated,
            **({"num_register_tokens": architecture.registers} if registers else {}),
        }
        if gated:
            rules = [(r"\.mlp\.fc1\.", ".mlp.weights_in."), (r"\.mlp\.fc2\.", ".mlp.weights_out.")]
    rules = [*EMBEDDINGS, *rules, (r"^blocks\.", "encoder.layer."), (r"^norm\.", "layernorm.")]
    tensors = _apart(renamed(names, rules), ".attn.qkv.", ".attention.attention.", ("query", "key", "value"))
    rule = ANTIALIASED if architecture.registers else PLAIN
    return Written(tensors, config, families.unlike(architecture, rule, architecture.eps))


def _ratio(dim: int, hidden: int, gated: bool) -> int:
    """The whole number from which transformers works out the width of Dinov2's MLP."""
    for ratio in range(1, 65):
        if hidden == ((int(ratio * dim * 2 / 3) + 7) // 8 * 8 if gated else ratio * dim):
            return ratio
    raise CheckpointError(
        f"Dinov2 of transformers can't have {hidden} features in the MLP of a network of {dim}; choose timm or safetensors."
    )


def _rotary(architecture: RotaryVit, weights: Tensors) -> Written:
    if architecture.cls_norm:
        raise CheckpointError("DINOv3ViT of transformers has no norm for the class token alone; choose safetensors.")
    names = families.rotary_names(weights)
    gated, dim = architecture.ffn != "mlp", architecture.dim
    config: dict[str, Any] = {
        "model_type": "dinov3_vit",
        "architectures": ["DINOv3ViTModel"],
        "hidden_size": dim,
        "intermediate_size": architecture.hidden,
        "num_hidden_layers": architecture.depth,
        "num_attention_heads": architecture.heads,
        "patch_size": architecture.patch,
        "image_size": 224,
        "num_register_tokens": architecture.registers,
        "use_gated_mlp": gated,
        "hidden_act": "silu" if architecture.ffn == "swiglu" else "gelu",
        "query_bias": architecture.qkv_bias,
        "key_bias": architecture.qkv_bias and not architecture.masked_key_bias,
        "value_bias": architecture.qkv_bias,
        "layer_norm_eps": architecture.eps,
        "rope_theta": families.base_of(names["rope_embed.periods"]),
        "pos_embed_rescale": architecture.rescale,
    }
    names = without(names, r"rope_embed\.|local_cls_norm\.|.*bias_mask$")
    like = names["cls_token"]
    names["mask_token"] = names["mask_token"].view(1, 1, dim) if architecture.mask_token else like.new_zeros(1, 1, dim)
    if not architecture.layer_scale:
        keys = [f"blocks.{i}.ls{n}.gamma" for i in range(architecture.depth) for n in (1, 2)]
        names |= {key: like.new_ones(dim) for key in keys}
    if not architecture.registers:
        names["register_tokens"] = like.new_zeros(1, 0, dim)
    three = [
        (r"\.mlp\.w1\.", ".mlp.gate_proj."),
        (r"\.mlp\.w2\.", ".mlp.up_proj."),
        (r"\.mlp\.w3\.", ".mlp.down_proj."),
    ]
    two = [(r"\.mlp\.fc1\.", ".mlp.up_proj."), (r"\.mlp\.fc2\.", ".mlp.down_proj.")]
    rules = [
        (r"^patch_embed\.proj\.", "embeddings.patch_embeddings."),
        (r"\.attn\.proj\.", ".attention.o_proj."),
        *(three if gated else two),
        *EMBEDDINGS,
        (r"^blocks\.", "layer."),
    ]
    tensors = _apart(renamed(names, rules), ".attn.qkv.", ".attention.", ("q_proj", "k_proj", "v_proj"))
    if architecture.masked_key_bias:
        tensors = without(tensors, r".*\.k_proj\.bias$")
    said = ("transformers has no norm for local crops; it is left out.",) if architecture.local_cls_norm else ()
    return Written(tensors, config, said)


def _convnext(architecture: ConvNext, weights: Tensors) -> Written:
    if not architecture.layer_scale:
        raise CheckpointError(
            "DINOv3ConvNext of transformers scales each residual, this network does not; choose timm."
        )
    rules = [
        (r"^downsample_layers\.(\d)\.", r"stages.\1.downsample_layers."),
        (r"^stages\.(\d)\.(\d+)\.", r"stages.\1.layers.\2."),
        (r"\.dwconv\.", ".depthwise_conv."),
        (r"\.pwconv(\d)\.", r".pointwise_conv\1."),
        (r"(\.layers\.\d+)\.norm\.", r"\1.layer_norm."),
        (r"^norm\.", "layer_norm."),
    ]
    config = {
        "model_type": "dinov3_convnext",
        "architectures": ["DINOv3ConvNextModel"],
        "hidden_sizes": list(architecture.dims),
        "depths": list(architecture.depths),
        "layer_norm_eps": architecture.eps,
        "hidden_act": "gelu",
    }
    return Written(renamed(without(dinov3.convnext_names(architecture, weights), r"norms\."), rules), config)


def _residual(architecture: Residual, weights: Tensors) -> Written:
    if architecture.groups != 1 or architecture.group_width != 64:
        raise CheckpointError("ResNet of transformers has no groups in its convolutions; choose timm or dino.")
    widths = [c * (4 if architecture.bottleneck else 1) for c in architecture.channels]

    def name(found: re.Match[str]) -> str:
        rest = re.sub(r"^downsample\.0\.", "shortcut.convolution.", found[3])
        rest = re.sub(r"^downsample\.1\.", "shortcut.normalization.", rest)
        rest = re.sub(r"^conv(\d)\.", lambda m: f"layer.{int(m[1]) - 1}.convolution.", rest)
        rest = re.sub(r"^bn(\d)\.", lambda m: f"layer.{int(m[1]) - 1}.normalization.", rest)
        return f"encoder.stages.{int(found[1]) - 1}.layers.{found[2]}.{rest}"

    rules = [
        (r"^model\.", ""),
        (r"^conv1\.", "embedder.embedder.convolution."),
        (r"^bn1\.", "embedder.embedder.normalization."),
    ]
    names = {re.sub(r"^layer(\d)\.(\d+)\.(.*)$", name, k): v for k, v in renamed(weights, rules).items()}
    config = {
        "model_type": "resnet",
        "architectures": ["ResNetModel"],
        "embedding_size": 64,
        "hidden_sizes": widths,
        "depths": list(architecture.depths),
        "layer_type": "bottleneck" if architecture.bottleneck else "basic",
        "hidden_act": "relu",
    }
    return Written(names, config)


def _apart(names: Tensors, fused: str, apart: str, parts: tuple[str, str, str]) -> Tensors:
    """Queries, keys and values each under a name of their own."""
    result: Tensors = {}
    for key, tensor in names.items():
        if fused in key:
            pieces = zip(parts, tensor.chunk(3), strict=True)
            result |= {key.replace(fused, f"{apart}{part}."): piece.clone() for part, piece in pieces}
        else:
            result[key] = tensor
    return result
