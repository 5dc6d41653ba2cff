"""facebookresearch/dinov3 (Siméoni et al. 2025).

ViT: `storage_tokens`, `rope_embed.periods`, `attn.qkv.bias_mask`, `mlp.w1|w2|w3`, `local_cls_norm`, no `pos_embed`.
ConvNeXt: `downsample_layers.{s}.{0,1}`, `stages.{s}.{b}.{dwconv,norm,pwconv1,pwconv2}`, `norm`, again as `norms.3`."""

from __future__ import annotations

from dino_core.errors import CheckpointError
from dino_core.model.architectures import ConvNext, RotaryVit
from dino_core.model.layouts import families
from dino_core.model.layouts.dinov2 import CHUNKED
from dino_core.model.layouts.reading import Hints, Layout, Reading, Tensors, Written, renamed, without
from dino_core.model.ropevit import key_bias_mask


def recognise_vit(tensors: Tensors) -> bool:
    return "patch_embed.proj.weight" in tensors and not tensors.keys().isdisjoint(
        {"rope_embed.periods", "storage_tokens"}
    )


def read_vit(tensors: Tensors, hints: Hints) -> Reading:
    """A mask that was never initialised (NaN in the released code) hides the keys' bias."""
    tensors = {
        key: key_bias_mask(len(t) // 3) if key.endswith("bias_mask") and not t.isfinite().all() else t
        for key, t in tensors.items()
    }
    return families.rotary(renamed(tensors, [CHUNKED]), hints)


def recognise_convnext(tensors: Tensors) -> bool:
    return {"downsample_layers.0.0.weight", "stages.0.0.dwconv.weight"} <= tensors.keys()


def read_convnext(tensors: Tensors, hints: Hints) -> Reading:
    rules = [
        (r"^downsample_layers\.0\.", "stem."),
        (r"^downsample_layers\.(\d)\.", r"stages.\1.downsample."),
        (r"^(stages\.\d+)\.(\d+)\.", r"\1.blocks.\2."),
        (r"\.dwconv\.", ".conv_dw."),
        (r"\.pwconv(\d)\.", r".mlp.fc\1."),
        (r"^norm\.", "head.norm."),
    ]
    return families.convnext(renamed(without(tensors, r"norms\.|head\."), rules), hints)


def write(reading: Reading) -> Written:
    architecture = reading.architecture
    if isinstance(architecture, RotaryVit):
        if architecture.ffn == "geglu":
            raise CheckpointError("the layout of dinov3 gates with SiLU, this network with GELU.")
        names = families.rotary_names(reading.weights)
        if not architecture.mask_token:  # its code always has one
            names["mask_token"] = names["cls_token"].new_zeros(1, architecture.dim)
        return Written(names, said=families.other_eps(architecture.eps, 1e-5))
    if isinstance(architecture, ConvNext):
        return Written(convnext_names(architecture, reading.weights), said=families.other_eps(architecture.eps, 1e-6))
    raise CheckpointError("the layout of dinov3 has rotary positions or is a ConvNeXt, this network is neither.")


def convnext_names(architecture: ConvNext, weights: Tensors) -> Tensors:
    if architecture.response_norm:
        raise CheckpointError(
            "a ConvNeXt of DINOv3 has no response norm, this network does; choose timm or safetensors."
        )
    rules = [
        (r"^model\.", ""),
        (r"^stem\.", "downsample_layers.0."),
        (r"^stages\.(\d)\.downsample\.", r"downsample_layers.\1."),
        (r"^(stages\.\d+)\.blocks\.(\d+)\.", r"\1.\2."),
        (r"\.conv_dw\.", ".dwconv."),
        (r"\.mlp\.fc(\d)\.", r".pwconv\1."),
        (r"^head\.norm\.", "norm."),
    ]
    names = renamed(weights, rules)
    names = {k: v.flatten(1) if ".pwconv" in k and v.ndim == 4 else v for k, v in names.items()}
    return {**names, "norms.3.weight": names["norm.weight"].clone(), "norms.3.bias": names["norm.bias"].clone()}


VIT = Layout("dinov3 (ViT)", recognise_vit, read_vit)
CONVNEXT = Layout("dinov3 (ConvNeXt)", recognise_convnext, read_convnext)
