"""timm's state dicts, with or without a classifier.  (Its ResNet has torchvision's names, and so DINO's ResNet-50.)"""

from __future__ import annotations

from typing import Any

import torch

from dino_core.errors import CheckpointError
from dino_core.model.architectures import ConvNext, LearnedVit, Residual, RotaryVit
from dino_core.model.layouts import dino, families
from dino_core.model.layouts.reading import Hints, Layout, Reading, Tensors, Written, renamed, without
from dino_core.model.positions import ANTIALIASED
from dino_core.model.ropevit import key_bias_mask

CLASSIFIER = r"head\.(weight|bias)$|head\.fc\.|head_drop|head_dist\.|fc\."


def recognise_vit(tensors: Tensors) -> bool:
    """What DINO's own layout never has: a classifier, LayerScale without a mask token, registers, a norm after pooling."""
    tells = {"head.weight", "reg_token", "fc_norm.weight", "norm_pre.weight", "blocks.0.ls1.gamma"}
    return dino.recognise(tensors) and not tensors.keys().isdisjoint(tells) and "mask_token" not in tensors


def read_vit(tensors: Tensors, hints: Hints) -> Reading:
    """Registers' positions, where there are any, go into the registers."""
    if "norm_pre.weight" in tensors:
        raise CheckpointError("towers of CLIP differ in ways their tensors do not tell; give timm's name instead.")
    tensors = renamed(
        without(tensors, CLASSIFIER),
        [("^reg_token$", "register_tokens"), (r"^fc_norm\.", "norm.")],
    )
    table, cls, registers = tensors["pos_embed"], tensors["cls_token"], tensors.get("register_tokens")
    count = 0 if registers is None else registers.shape[1]
    length = table.shape[1]
    if _square(length - 1):
        pass
    elif _square(length):  # none for the class token
        table = torch.cat([torch.zeros_like(cls), table], dim=1)
    elif registers is not None and _square(length - 1 - count):
        tensors["register_tokens"] = registers + table[:, 1 : 1 + count]
        table = torch.cat([table[:, :1], table[:, 1 + count :]], dim=1)
    if "blocks.0.mlp.fc1.weight" in tensors and _packed(tensors):
        tensors = renamed(tensors, [(r"\.mlp\.fc1\.", ".mlp.w12."), (r"\.mlp\.fc2\.", ".mlp.w3.")])
    return families.learned({**tensors, "pos_embed": table}, hints, ANTIALIASED)


def recognise_eva(tensors: Tensors) -> bool:
    """Registers tell it from timm's other rotary ViTs, whose angles are others."""
    needed = {"cls_token", "reg_token", "patch_embed.proj.weight", "blocks.0.gamma_1"}
    return needed <= tensors.keys() and "pos_embed" not in tensors


def read_eva(tensors: Tensors, hints: Hints) -> Reading:
    """timm's DINOv3.  Its periods are not stored, its keys have no bias, and its SwiGLU is (gate, value, out)."""
    tensors = renamed(
        without(tensors, CLASSIFIER),
        [
            (r"\.gamma_(\d)$", r".ls\1.gamma"),
            ("^reg_token$", "storage_tokens"),
            *([(r"\.mlp\.fc2\.", ".mlp.w3.")] if "blocks.0.mlp.fc1_g.weight" in tensors else []),
            (r"\.mlp\.fc1_g\.", ".mlp.w1."),
            (r"\.mlp\.fc1_x\.", ".mlp.w2."),
        ],
    )
    return families.rotary(_with_fused_bias(tensors), hints)


def _with_fused_bias(tensors: Tensors) -> Tensors:
    """`q_bias` and `v_bias` as one `qkv.bias` whose keys' part is masked."""
    result = without(tensors, r".*\.attn\.[qv]_bias$")
    for key, q in tensors.items():
        if key.endswith(".attn.q_bias"):
            name = key.removesuffix("q_bias")
            result[f"{name}qkv.bias"] = torch.cat([q, torch.zeros_like(q), tensors[f"{name}v_bias"]])
            result[f"{name}qkv.bias_mask"] = key_bias_mask(len(q))
    return result


def recognise_convnext(tensors: Tensors) -> bool:
    return {"stem.0.weight", "stages.0.blocks.0.conv_dw.weight"} <= tensors.keys()


def read_convnext(tensors: Tensors, hints: Hints) -> Reading:
    return families.convnext(without(tensors, CLASSIFIER), hints)


def recognise_resnet(tensors: Tensors) -> bool:
    return {"conv1.weight", "bn1.running_mean", "layer1.0.conv1.weight"} <= tensors.keys()


def read_resnet(tensors: Tensors, hints: Hints) -> Reading:
    return families.residual(without(tensors, CLASSIFIER), hints)


def write(reading: Reading) -> Written:
    """With the name and arguments for `timm.create_model` in the config."""
    architecture = reading.architecture
    if isinstance(architecture, LearnedVit):
        return _learned(architecture, reading.weights)
    if isinstance(architecture, RotaryVit):
        return _rotary(architecture, reading.weights)
    names = renamed(reading.weights, [(r"^model\.", "")])
    if isinstance(architecture, ConvNext):
        if not architecture.layer_scale:
            stages = zip(architecture.depths, architecture.dims, strict=True)
            scales = {f"stages.{s}.blocks.{b}.gamma": dim for s, (n, dim) in enumerate(stages) for b in range(n)}
            names |= {key: torch.ones(dim) for key, dim in scales.items()}
        sizes: dict[str, Any] = {
            "depths": architecture.depths,
            "dims": architecture.dims,
            "norm_eps": architecture.eps,
            "conv_mlp": architecture.convolutional_mlp,
            "use_grn": architecture.response_norm,
        }
        return Written(names, {"architecture": "convnext_tiny", "model_args": sizes})
    assert isinstance(architecture, Residual)
    sizes = {
        "layers": architecture.depths,
        "channels": architecture.channels,
        "cardinality": architecture.groups,
        "base_width": architecture.group_width,
    }
    return Written(names, {"architecture": "resnet50" if architecture.bottleneck else "resnet18", "model_args": sizes})


def _learned(architecture: LearnedVit, weights: Tensors) -> Written:
    gated, clip = architecture.ffn == "swiglu", architecture.pre_norm
    if architecture.activation != "gelu" and not clip:
        raise CheckpointError("timm has no ViT with QuickGELU but without a norm before its blocks.")
    names = renamed(without(families.learned_names(weights), "mask_token$"), [("^register_tokens$", "reg_token")])
    if architecture.registers:  # timm's registers have a table of patches alone
        table = names["pos_embed"]
        names |= {"cls_token": names["cls_token"] + table[:, :1], "pos_embed": table[:, 1:]}
    plain = "vit_base_patch16_clip_quickgelu_224" if architecture.activation != "gelu" else "vit_base_patch16_clip_224"
    name = plain if clip else "vit_giant_patch14_dinov2" if gated else "vit_small_patch16_224"
    if gated and not architecture.layer_scale:
        names = _with_scales(names, ("ls1.gamma", "ls2.gamma"), architecture)
    sizes: dict[str, Any] = {
        "img_size": architecture.grid * architecture.patch,
        "patch_size": architecture.patch,
        "embed_dim": architecture.dim,
        "depth": architecture.depth,
        "num_heads": architecture.heads,
        "mlp_ratio": ((2 if gated else 1) * architecture.hidden + 0.5) / architecture.dim,  # timm rounds down
        "qkv_bias": architecture.qkv_bias,
        **({"init_values": 1e-5} if architecture.layer_scale else {}),
        "reg_tokens": architecture.registers,
        "no_embed_class": bool(architecture.registers),
    }
    said = (*_no_mask_token(architecture), *families.unlike(architecture, ANTIALIASED, 1e-5 if clip else 1e-6))
    return Written(names, {"architecture": name, "model_args": sizes}, said)


def _rotary(architecture: RotaryVit, weights: Tensors) -> Written:
    biased = architecture.qkv_bias
    refused = {
        "gates of GELU": architecture.ffn == "geglu",
        "a bias on its keys": biased and not architecture.masked_key_bias,
        "a final norm of its own for the class token": architecture.cls_norm,
    }
    has = [what for what, there in refused.items() if there]
    if has:
        raise CheckpointError(
            f"timm's DINOv3 has no {has[0].removeprefix('a ')}, this network does; choose safetensors."
        )
    names = families.rotary_names(weights)
    temperature = families.base_of(names["rope_embed.periods"])
    names = renamed(
        without(names, r"mask_token$|rope_embed\.|local_cls_norm\."),
        [
            ("^storage_tokens$", "reg_token"),
            (r"\.ls(\d)\.gamma$", r".gamma_\1"),
            (r"\.mlp\.w1\.", ".mlp.fc1_g."),
            (r"\.mlp\.w2\.", ".mlp.fc1_x."),
            (r"\.mlp\.w3\.", ".mlp.fc2."),
        ],
    )
    for key in [key for key in names if key.endswith(".attn.qkv.bias")]:
        query, _, value = names.pop(key).chunk(3)
        names |= {key.replace("qkv.bias", "q_bias"): query.clone(), key.replace("qkv.bias", "v_bias"): value.clone()}
        names.pop(f"{key}_mask")
    if not architecture.layer_scale:
        names = _with_scales(names, ("gamma_1", "gamma_2"), architecture)
    gated = architecture.ffn == "swiglu"
    sizes: dict[str, Any] = {
        "patch_size": architecture.patch,
        "embed_dim": architecture.dim,
        "depth": architecture.depth,
        "num_heads": architecture.heads,
        "mlp_ratio": (architecture.hidden + 0.5) / architecture.dim,
        "num_reg_tokens": architecture.registers,
        "rope_temperature": temperature,
        "global_pool": "token",
        **({"swiglu_align_to": 1} if gated else {}),
    }
    name = f"vit_small{'_plus' if gated else ''}_patch16_dinov3{'_qkvb' if biased else ''}"
    said = (*_no_mask_token(architecture), *families.other_eps(architecture.eps, 1e-5))
    return Written(names, {"architecture": name, "model_args": sizes}, said)


def _with_scales(names: Tensors, ends: tuple[str, ...], architecture: LearnedVit | RotaryVit) -> Tensors:
    """LayerScale of ones, which changes nothing, for networks of timm that always have it."""
    keys = [f"blocks.{i}.{end}" for i in range(architecture.depth) for end in ends]
    return {**names, **{key: torch.ones(architecture.dim) for key in keys}}


def _no_mask_token(architecture: LearnedVit | RotaryVit) -> tuple[str, ...]:
    return ("timm has no mask token; it is left out.",) if architecture.mask_token else ()


def _square(n: int) -> bool:
    return n > 0 and round(n**0.5) ** 2 == n


def _packed(tensors: Tensors) -> bool:
    """Whether fc1 gives twice what fc2 takes: a gate beside the values."""
    return tensors["blocks.0.mlp.fc1.weight"].shape[0] == 2 * tensors["blocks.0.mlp.fc2.weight"].shape[1]


VIT = Layout("timm (ViT)", recognise_vit, read_vit)
EVA = Layout("timm (DINOv3 ViT)", recognise_eva, read_eva)
CONVNEXT = Layout("timm (ConvNeXt)", recognise_convnext, read_convnext)
RESNET = Layout("timm or torchvision (ResNet)", recognise_resnet, read_resnet)
