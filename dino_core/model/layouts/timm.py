"""timm's state dicts, with or without a classifier.  (Its ResNet has torchvision's names, and so DINO's ResNet-50.)"""

from __future__ import annotations

import torch

from dino_core.errors import CheckpointError
from dino_core.model.layouts import dino, families
from dino_core.model.layouts.reading import Hints, Layout, Reading, Tensors, renamed, without
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
    return {"cls_token", "patch_embed.proj.weight", "blocks.0.gamma_1"} <= tensors.keys() and "pos_embed" not in tensors


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


def _square(n: int) -> bool:
    return n > 0 and round(n**0.5) ** 2 == n


def _packed(tensors: Tensors) -> bool:
    """Whether fc1 gives twice what fc2 takes: a gate beside the values."""
    return tensors["blocks.0.mlp.fc1.weight"].shape[0] == 2 * tensors["blocks.0.mlp.fc2.weight"].shape[1]


VIT = Layout("timm (ViT)", recognise_vit, read_vit)
EVA = Layout("timm (DINOv3 ViT)", recognise_eva, read_eva)
CONVNEXT = Layout("timm (ConvNeXt)", recognise_convnext, read_convnext)
RESNET = Layout("timm or torchvision (ResNet)", recognise_resnet, read_resnet)
