"""`load_backbone`: every layout that is published gives the features that its own code gives."""

from __future__ import annotations

import argparse
import json
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn

from dino_core.errors import CheckpointError
from dino_core.model import PRESETS, Backbone, Tokens, load_backbone, load_teacher
from dino_core.model import download as download_module
from dino_core.model import load as load_module
from dino_core.rundir.schema import step_name
from tests import published

OFFICIAL: dict[str, Callable[[], published.Tensors]] = {
    "dino": published.dino,
    "dinov2": published.dinov2,
    "dinov2 swiglu": lambda: published.dinov2(swiglu=True),
    "dinov2 registers": lambda: published.dinov2(registers=4),
    "dinov3": published.dinov3,
    "dinov3 swiglu": lambda: published.dinov3(swiglu=True),
    "dinov3 7B": lambda: published.dinov3(swiglu=True, qkv_bias=False, local_norm=True),
    "dinov3 without storage tokens": lambda: published.dinov3(storage=0),
}
SIZES = [(32, 32), (64, 64), (24, 48), (16, 16)]  # the stored grid is that of 32 px


def everything(tokens: Tokens) -> Tensor:
    return torch.cat([tokens.cls.unsqueeze(1), tokens.registers, tokens.patches], dim=1)


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=2e-5)


def saved(tensors: Any, path: Path) -> Path:
    save_file(tensors, path) if path.suffix == ".safetensors" else torch.save(tensors, path)
    return path


def heads(name: str) -> int | None:
    """DINOv3's periods tell it; two heads of 16 features are told of none else."""
    return None if name.startswith("dinov3") else published.HEADS


# --- facebookresearch ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OFFICIAL)
def test_an_official_vit_gives_what_its_weights_mean_at_every_size_with_masks_and_in_every_layer(
    name: str, tmp_path: Path
) -> None:
    tensors = OFFICIAL[name]()
    backbone = load_backbone(saved(tensors, tmp_path / "published.pth"), heads=heads(name))
    torch.manual_seed(0)
    for size in SIZES:
        images = torch.randn(2, 3, *size)
        expected = published.vit(tensors, images)
        close(everything(backbone(images)), expected.tokens)
        close(backbone.cls(images), expected.tokens[:, 0])
        for layer in (0, -1):
            close(backbone.attention(images, layer), expected.attention[layer])
        if "mask_token" in tensors:
            masks = torch.rand(2, size[0] * size[1] // published.PATCH**2) < 0.4
            close(everything(backbone(images, masks)), published.vit(tensors, images, masks).tokens)


def test_an_official_convnext_gives_what_its_weights_mean(tmp_path: Path) -> None:
    tensors = published.dinov3_convnext()
    backbone = load_backbone(saved(tensors, tmp_path / "convnext.safetensors"))
    for size in ((64, 64), (96, 64)):
        images = torch.randn(2, 3, *size)
        close(everything(backbone(images)), published.convnext(tensors, images))
    assert (backbone.dim, backbone.patch, backbone.has_attention) == (24, 32, False)


def test_dinos_resnet_gives_what_torchvision_gives(tmp_path: Path) -> None:
    model = shaken(torchvision.models.ResNet(torchvision.models.resnet.Bottleneck, [1, 2, 1, 1]))
    path = saved({k: v for k, v in model.state_dict().items() if not k.startswith("fc.")}, tmp_path / "resnet.pth")
    model.fc = nn.Identity()
    images = torch.randn(2, 3, 64, 64)
    close(load_backbone(path)(images).cls, model(images))


def test_a_loaded_backbone_is_frozen_in_eval_mode_and_in_float32(tmp_path: Path) -> None:
    halves = {k: v.half() for k, v in published.dinov3().items()}
    backbone = load_backbone(saved(halves, tmp_path / "half.safetensors"))
    assert not backbone.training
    assert not any(p.requires_grad for p in backbone.parameters())
    assert {t.dtype for t in backbone.state_dict().values()} == {torch.float32}
    assert {t.device.type for t in backbone.state_dict().values()} == {"cpu"}


def test_a_full_checkpoint_of_dino_gives_the_network_that_is_asked_for(tmp_path: Path) -> None:
    teacher = published.dino()
    student = {key: tensor + 0.1 for key, tensor in teacher.items()}
    head = {"mlp.0.weight": torch.randn(4, 32), "last_layer.weight_g": torch.ones(8, 1)}
    full = {
        "student": {f"module.backbone.{k}": v for k, v in student.items()}
        | {f"module.head.{k}": v for k, v in head.items()},
        "teacher": {f"backbone.{k}": v for k, v in teacher.items()} | {f"head.{k}": v for k, v in head.items()},
        "optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]},
        "epoch": 100,
        "args": argparse.Namespace(arch="vit_small", patch_size=8, lr=0.0005),
        "dino_loss": {"center": torch.zeros(1, 8)},
    }
    path = saved(full, tmp_path / "full_checkpoint.pth")
    images = torch.randn(1, 3, 32, 32)
    close(everything(load_backbone(path, heads=2)(images)), published.vit(teacher, images).tokens)
    close(everything(load_backbone(path, which="student", heads=2)(images)), published.vit(student, images).tokens)


@pytest.mark.parametrize("which", ["teacher", "student"])
def test_names_that_wrappers_of_training_left_behind_are_read(which: str, tmp_path: Path) -> None:
    """`model` with both networks inside, as a training run of DINOv2 saves it; compiled, checkpointed, sharded."""
    networks = {"teacher": published.dinov2(), "student": {k: v + 0.1 for k, v in published.dinov2().items()}}
    chunks = {"blocks.0.": "blocks.0.0._checkpoint_wrapped_module.", "blocks.1.": "blocks.0.1._orig_mod."}
    wrapped = {
        f"{name}.backbone._fsdp_wrapped_module.{chunks.get(key[:9], key[:9])}{key[9:]}": tensor
        for name, tensors in networks.items()
        for key, tensor in tensors.items()
    }
    path = saved({"model": {f"module.{k}": v for k, v in wrapped.items()}, "iteration": 3}, tmp_path / "run.pth")
    images = torch.randn(1, 3, 32, 32)
    backbone: Backbone = load_backbone(path, which=which, heads=2)
    close(everything(backbone(images)), published.vit(networks[which], images).tokens)


@pytest.mark.parametrize("name", ["dinov2", "dinov2 registers", "dinov3"])
def test_a_teachers_export_of_a_chunked_training_run_is_read(name: str, tmp_path: Path) -> None:
    tensors = OFFICIAL[name]()
    chunked = {k.replace("blocks.1.", "blocks.1.1.").replace("blocks.0.", "blocks.0.0."): v for k, v in tensors.items()}
    heads_of_training = {"dino_head.last_layer.weight": torch.ones(8, 4), "ibot_head.mlp.0.bias": torch.ones(4)}
    path = saved(
        {"teacher": {f"backbone.{k}": v for k, v in chunked.items()} | heads_of_training},
        tmp_path / "teacher_checkpoint.pth",
    )
    images = torch.randn(1, 3, 32, 32)
    close(everything(load_backbone(path, heads=2)(images)), published.vit(tensors, images).tokens)
    with pytest.raises(CheckpointError, match=r"teacher_checkpoint.pth: it has no student, only teacher"):
        load_backbone(path, which="student", heads=2)


def test_a_bias_mask_that_was_never_initialised_hides_the_keys_bias(tmp_path: Path) -> None:
    tensors = published.dinov3()
    unset = {k: torch.full_like(v, torch.nan) if k.endswith("bias_mask") else v for k, v in tensors.items()}
    images = torch.randn(1, 3, 32, 32)
    found = everything(load_backbone(saved(unset, tmp_path / "unset.pth"))(images))
    close(found, published.vit(tensors, images).tokens)


# --- timm -----------------------------------------------------------------------------------------------------------------

TINY_VIT = {"img_size": 32, "patch_size": 8, "embed_dim": 64, "depth": 2, "num_heads": 2, "dynamic_img_size": True}
TINY_CONVNEXT = {"depths": (1, 1, 2, 1), "dims": (8, 16, 24, 32)}
TIMM: dict[str, tuple[str, dict[str, Any]]] = {
    "DINO": ("vit_small_patch16_224", {**TINY_VIT, "num_classes": 0}),
    "supervised": ("vit_small_patch16_224", {**TINY_VIT, "num_classes": 10}),
    "positions for patches alone": ("deit3_small_patch16_224", TINY_VIT),
    "DINOv2": ("vit_small_patch14_dinov2", {**TINY_VIT, "num_classes": 0}),
    "DINOv2 registers": ("vit_small_patch14_reg4_dinov2", {**TINY_VIT, "num_classes": 0}),
    "DINOv2 giant": ("vit_giant_patch14_reg4_dinov2", {**TINY_VIT, "mlp_ratio": 2.75}),
    "registers with positions": ("vit_small_patch16_224", {**TINY_VIT, "reg_tokens": 3}),
    "DINOv3": ("vit_small_patch16_dinov3", {**TINY_VIT, "num_classes": 0}),
    "DINOv3 with biases": ("vit_small_patch16_dinov3_qkvb", TINY_VIT),
    "DINOv3 plus": ("vit_small_plus_patch16_dinov3", {**TINY_VIT, "num_classes": 0}),
    "ConvNeXt": ("convnext_tiny", TINY_CONVNEXT),
    "ConvNeXt of 1×1 convolutions": ("convnext_nano", TINY_CONVNEXT),
    "ConvNeXt V2": ("convnextv2_atto", {**TINY_CONVNEXT, "num_classes": 0}),
    "ResNet": ("resnet18", {"channels": (16, 16, 32, 32), "layers": (1, 1, 1, 1)}),
    "ResNet of bottlenecks": ("resnet50", {"channels": (8, 8, 16, 16), "layers": (1, 2, 1, 1), "num_classes": 0}),
}


def shaken(model: nn.Module) -> Any:
    """Every weight away from its start, where zeros and ones would hide mistakes."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
        for name, buffer in model.named_buffers():
            if "running" in name:
                buffer.add_(0.2 * torch.rand(buffer.shape, generator=generator))
    return model.eval()


@pytest.mark.parametrize("name", TIMM)
def test_timms_state_dicts_give_what_timm_gives(name: str, tmp_path: Path) -> None:
    architecture, options = TIMM[name]
    model = shaken(timm.create_model(architecture, **options))
    path = saved(model.state_dict(), tmp_path / "timm.safetensors")
    backbone = load_backbone(path, heads=2 if "embed_dim" in options else None)
    # a plain ViT without a classifier is DINO's own, whose positions are resampled by DINO's rule
    for size in [(32, 32), *([] if name == "DINO" else [(64, 32)])] if backbone.has_attention else [(64, 64), (96, 64)]:
        images = torch.randn(2, 3, *size)
        features = model.forward_features(images)
        if backbone.has_attention:
            close(everything(backbone(images)), features)
            for layer in (0, -1):
                close(backbone.attention(images, layer), rows_of_timm(model, images, layer))
        else:
            close(backbone(images).cls, model.forward_head(features, pre_logits=True))


def rows_of_timm(model: Any, images: Tensor, layer: int) -> Tensor:
    """What timm's own attention hands to its dropout where no fused kernel hides it."""
    attention, seen = model.blocks[layer].attn, []
    attention.fused_attn = False
    hook = attention.attn_drop.register_forward_hook(lambda module, inputs, output: seen.append(output))
    model.forward_features(images)
    hook.remove()
    return seen[0]


def test_a_folder_of_timm_is_built_by_timm(tmp_path: Path) -> None:
    """What tensors don't tell, its config.json does: here the number of heads, and a norm before the blocks."""
    model = shaken(timm.create_model("test_vit", dynamic_img_size=True))
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "test_vit", "num_classes": 10}))
    backbone = load_backbone(tmp_path)
    for size in ((160, 160), (64, 96)):
        images = torch.randn(1, 3, *size)
        close(everything(backbone(images)), model.forward_features(images))
    assert backbone.heads == model.blocks[0].attn.num_heads


@pytest.mark.parametrize("name", ["test_vit", "test_convnext", "test_resnet"])
def test_a_name_of_timm_is_timms_network_with_its_weights(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is where a download would have put it."""
    model = shaken(timm.create_model(name, **({"dynamic_img_size": True} if name == "test_vit" else {})))
    path = saved(model.state_dict(), tmp_path / "model.safetensors")
    monkeypatch.setattr(load_module, "timm_file", lambda asked: path if asked == name else None)
    backbone = load_backbone(name)
    images = torch.randn(1, 3, 160, 160)
    features = model.forward_features(images)
    if backbone.has_attention:
        close(everything(backbone(images)), features)
    else:
        close(backbone(images).cls, model.forward_head(features, pre_logits=True))


TOWERS: dict[str, tuple[str, dict[str, Any]]] = {
    "CLIP": ("vit_base_patch16_clip_quickgelu_224", TINY_VIT),
    "MAE": ("vit_base_patch16_224", {**TINY_VIT, "num_classes": 0}),
    "average pooling": ("vit_base_patch16_224", {**TINY_VIT, "global_pool": "avg"}),
    "EVA-02": ("eva02_tiny_patch14_224", TINY_VIT),
    "EVA-02 CLIP": ("eva02_base_patch16_clip_224", TINY_VIT),
    "EVA of average pooling": ("eva_giant_patch14_224", {**TINY_VIT, "global_pool": "avg"}),
}


@pytest.mark.parametrize("name", TOWERS)
def test_networks_to_compare_with_keep_what_only_timm_knows(name: str) -> None:
    """Activations, norms before the blocks, rotations; tokens come after the norm that timm has before its classifier."""
    architecture, options = TOWERS[name]
    model = shaken(timm.create_model(architecture, **options))
    images = torch.randn(2, 3, 32, 64)
    expected = model.fc_norm(model.forward_features(images))
    backbone = load_module.adapted(model, name)
    close(everything(backbone(images)), expected)
    rows = backbone.attention(images, 0)
    assert rows.shape == (2, 2, expected.shape[1], expected.shape[1])
    torch.testing.assert_close(rows.sum(-1), torch.ones(rows.shape[:-1]))
    with pytest.raises(ValueError, match="no mask token"):
        backbone(images, torch.zeros(2, 32, dtype=torch.bool))


def test_attention_of_timms_eva_is_what_the_block_really_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """timm's DINOv3 under its name against the same weights read as a file, whose attention is computed by us."""
    model = shaken(timm.create_model("vit_small_patch16_dinov3", **{**TINY_VIT, "num_classes": 0}))
    path = saved(model.state_dict(), tmp_path / "eva.pth")
    ours, theirs = load_backbone(path, heads=2), load_module.adapted(model, "eva")
    images = torch.randn(2, 3, 32, 48)
    for layer in (0, 1, -1):
        close(ours.attention(images, layer), theirs.attention(images, layer))
    close(everything(ours(images)), everything(theirs(images)))
    with pytest.raises(ValueError, match="no layer 2 in 2 blocks"):
        theirs.attention(images, 2)
    assert all(block.attn.fused_attn == model.blocks[0].attn.fused_attn for block in model.blocks)


# --- transformers ---------------------------------------------------------------------------------------------------------

TINY_HF = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 8,
}
GATED = {"use_gated_mlp": True, "query_bias": False, "value_bias": False, "intermediate_size": 48}
STAGES = {"depths": [1, 1, 2, 1]}
TRANSFORMERS: dict[str, tuple[str, dict[str, Any]]] = {
    "ViT": ("ViT", {**TINY_HF, "intermediate_size": 64}),
    "Dinov2": ("Dinov2", {**TINY_HF, "mlp_ratio": 4}),
    "Dinov2 SwiGLU": ("Dinov2", {**TINY_HF, "mlp_ratio": 4, "use_swiglu_ffn": True}),
    "Dinov2WithRegisters": ("Dinov2WithRegisters", {**TINY_HF, "mlp_ratio": 4}),
    "DINOv3ViT": ("DINOv3ViT", {**TINY_HF, "intermediate_size": 64, "num_register_tokens": 4}),
    "DINOv3ViT 7B": ("DINOv3ViT", {**TINY_HF, **GATED, "hidden_act": "silu", "num_register_tokens": 4}),
    "DINOv3ViT GEGLU": ("DINOv3ViT", {**TINY_HF, **GATED, "hidden_act": "gelu"}),
    "DINOv3ConvNext": ("DINOv3ConvNext", {**STAGES, "hidden_sizes": [8, 16, 24, 32]}),
    "ResNet": ("ResNet", {**STAGES, "embedding_size": 64, "hidden_sizes": [32, 64, 64, 128]}),
}


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_files_of_transformers_give_what_transformers_gives(name: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    family, options = TRANSFORMERS[name]
    config = getattr(transformers, f"{family}Config")(**options)
    if "hidden_size" in options:
        config._attn_implementation = "eager"  # fused kernels keep no maps
    model = shaken(getattr(transformers, f"{family}Model")(config))
    model.save_pretrained(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    in_memory = saved(model.state_dict(), tmp_path / "elsewhere" / "memory.pth")
    sources: list[tuple[Path, int | None]] = [(tmp_path, None), (tmp_path / "model.safetensors", None)]
    if "GEGLU" not in name:  # a gate of GELU is told by config.json alone
        sources.append((in_memory, 2 if "hidden_size" in options else None))
    for source, heads in sources:
        backbone = load_backbone(source, heads=heads)
        for size in [(32, 32), (64, 32)] if backbone.has_attention else [(64, 64), (96, 64)]:
            images = torch.randn(2, 3, *size)
            resample = {"interpolate_pos_encoding": True} if family == "ViT" else {}
            watch = {"output_attentions": True} if backbone.has_attention else {}
            said, tokens = model(images, **resample, **watch), backbone(images)
            if family == "ResNet":
                close(tokens.cls, said.pooler_output.flatten(1))
                close(tokens.patches, said.last_hidden_state.flatten(2).mT)
                continue
            close(everything(tokens), said.last_hidden_state)
            for layer in (0, -1) if backbone.has_attention else ():
                close(backbone.attention(images, layer), said.attentions[layer])
            if getattr(backbone, "mask_token", None) is not None:
                masks = torch.rand(2, size[0] * size[1] // 64) < 0.4
                close(everything(backbone(images, masks)), model(images, bool_masked_pos=masks).last_hidden_state)


TRUE_SIZE: dict[str, tuple[str, dict[str, Any]]] = {
    "dinov2_vits14": ("Dinov2", {"hidden_size": 384, "num_attention_heads": 6, "image_size": 518}),
    "dinov3_vits16": ("DINOv3ViT", {"num_register_tokens": 4}),
}


@pytest.mark.parametrize("name", TRUE_SIZE)
def test_a_small_model_of_true_size_is_recognised_by_its_file_alone(name: str, tmp_path: Path) -> None:
    """No config.json, no heads given; the paper's number of weights."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    family, options = TRUE_SIZE[name]
    torch.manual_seed(0)
    model = shaken(getattr(transformers, f"{family}Model")(getattr(transformers, f"{family}Config")(**options)))
    model.save_pretrained(tmp_path)
    (tmp_path / "config.json").unlink()
    backbone = load_backbone(tmp_path / "model.safetensors")
    assert sum(p.numel() for p in backbone.parameters()) == PRESETS[name].parameters
    images = torch.randn(1, 3, 4 * backbone.patch, 6 * backbone.patch)
    expected = model(images).last_hidden_state
    assert float((everything(backbone(images)) - expected).norm() / expected.norm()) < 1e-4


@pytest.mark.parametrize("family", ["ViT", "Dinov2"])
def test_a_classifier_of_transformers_gives_its_backbone(family: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    config = getattr(transformers, f"{family}Config")(**TRANSFORMERS[family][1])
    model = shaken(getattr(transformers, f"{family}ForImageClassification")(config))
    model.save_pretrained(tmp_path)
    images = torch.randn(2, 3, 32, 32)
    close(everything(load_backbone(tmp_path)(images)), getattr(model, family.lower())(images).last_hidden_state)


def test_shards_of_transformers_are_read_together(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    model = shaken(transformers.DINOv3ViTModel(transformers.DINOv3ViTConfig(**TRANSFORMERS["DINOv3ViT"][1])))
    model.save_pretrained(tmp_path, max_shard_size="40KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    images = torch.randn(2, 3, 32, 32)
    close(everything(load_backbone(tmp_path)(images)), model(images).last_hidden_state)


# --- to compare with ----------------------------------------------------------------------------------------------------


def test_maes_encoder_is_read_without_its_decoder(tmp_path: Path) -> None:
    tensors = published.dino()
    decoder = {
        "mask_token": torch.ones(1, 1, 16),
        "decoder_embed.weight": torch.ones(16, 32),
        "decoder_pred.bias": torch.ones(2),
    }
    path = saved({"model": {**tensors, **decoder}}, tmp_path / "mae_pretrain_vit_full.pth")
    images = torch.randn(1, 3, 32, 32)
    backbone = load_backbone(path, heads=2)
    close(everything(backbone(images)), published.vit(tensors, images).tokens)
    with pytest.raises(ValueError, match="no mask token"):
        backbone(images, torch.zeros(1, 16, dtype=torch.bool))


def test_ibots_student_has_its_mask_token(tmp_path: Path) -> None:
    tensors = published.dino()
    hidden = torch.randn(1, 32)
    full = {"student": {f"module.backbone.{k}": v for k, v in {**tensors, "masked_embed": hidden}.items()}}
    full["student"]["module.head.last_layer2.weight_g"] = torch.ones(8, 1)
    backbone: Backbone = load_backbone(saved(full, tmp_path / "ibot.pth"), which="student", heads=2)
    images, masks = torch.randn(2, 3, 32, 32), torch.rand(2, 16) < 0.4
    close(everything(backbone(images, masks)), published.vit({**tensors, "mask_token": hidden}, images, masks).tokens)


def open_clip_names(model: nn.Module) -> published.Tensors:
    """The weights of timm's CLIP tower under OpenCLIP's names."""
    from timm.models.vision_transformer import checkpoint_filter_fn

    found: dict[str, Tensor] = {"visual.proj": torch.ones(64, 8), "logit_scale": torch.ones(())}
    names = {
        "mlp.fc1": "mlp.c_fc",
        "mlp.fc2": "mlp.c_proj",
        "norm1": "ln_1",
        "norm2": "ln_2",
        "attn.proj": "attn.out_proj",
    }
    for key, tensor in model.state_dict().items():
        key = key.replace("blocks.", "transformer.resblocks.").replace("attn.qkv.", "attn.in_proj_")
        for ours, theirs in names.items():
            key = key.replace(f".{ours}.", f".{theirs}.")
        key = key.replace("norm_pre.", "ln_pre.").replace("patch_embed.proj.", "conv1.")
        key = "ln_post." + key.removeprefix("norm.") if key.startswith("norm.") else key
        if key == "cls_token":
            key, tensor = "class_embedding", tensor.flatten()
        elif key == "pos_embed":
            key, tensor = "positional_embedding", tensor[0]
        found[f"visual.{key}"] = tensor
    back = checkpoint_filter_fn(dict(found), model)  # timm reads these names as its own
    assert {key for key in back if not key.startswith("head")} == set(model.state_dict())
    return found


@pytest.mark.parametrize("quick", [False, True])
def test_a_tower_of_open_clip_is_read_with_the_config_beside_it(quick: bool, tmp_path: Path) -> None:
    name = "vit_base_patch16_clip_quickgelu_224" if quick else "vit_base_patch16_clip_224"
    model = shaken(timm.create_model(name, **{**TINY_VIT, "num_classes": 0}))
    tensors = open_clip_names(model)
    path = saved(tensors, tmp_path / "open_clip_model.safetensors")
    with pytest.raises(CheckpointError, match=r"put its open_clip_config.json beside the file, or give timm's name"):
        load_backbone(path)
    config = {"model_cfg": {"quick_gelu": quick, "vision_cfg": {"width": 64, "head_width": 32}}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    for size in ((32, 32), (48, 64)):
        images = torch.randn(2, 3, *size)
        for source in (path, tmp_path):
            close(everything(load_backbone(source)(images)), model.forward_features(images))
    if quick:  # OpenAI's own say so by the sizes they carry
        sizes = {"input_resolution": torch.tensor(32), "context_length": torch.tensor(77)}
        alone = saved(tensors | sizes, tmp_path / "openai.pth")
        (tmp_path / "open_clip_config.json").unlink()
        images = torch.randn(1, 3, 32, 32)
        close(everything(load_backbone(alone, heads=2)(images)), model.forward_features(images))


@pytest.mark.parametrize("whole", [False, True])
def test_a_tower_of_clip_of_transformers_is_read(whole: bool, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    vision = {**TINY_HF, "intermediate_size": 64}
    if whole:
        text = {
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "vocab_size": 9,
        }
        model = shaken(transformers.CLIPModel(transformers.CLIPConfig(vision_config=vision, text_config=text)))
        tower = model.vision_model
    else:
        model = tower = shaken(transformers.CLIPVisionModel(transformers.CLIPVisionConfig(**vision)))
    model.save_pretrained(tmp_path)
    backbone = load_backbone(tmp_path)
    for size in ((32, 32), (48, 48)):
        images = torch.randn(2, 3, *size)
        said = tower(pixel_values=images, interpolate_pos_encoding=True).last_hidden_state
        norm = getattr(tower, "vision_model", tower).post_layernorm  # transformers normalises the class token alone
        close(everything(backbone(images)), norm(said))
    (tmp_path / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"put its config.json beside the file"):
        load_backbone(tmp_path, heads=2)


def test_an_untrained_network_is_always_the_same_one_and_leaves_chance_alone() -> None:
    torch.manual_seed(7)
    expected = torch.randn(3)
    torch.manual_seed(7)
    first, second = load_backbone("random:test_vit"), load_backbone("random:test_vit")
    assert torch.equal(torch.randn(3), expected)
    images = torch.randn(1, 3, 96, 64)
    assert torch.equal(first(images).cls, second(images).cls)
    small = load_backbone("random:dinov3_vits16")
    assert sum(p.numel() for p in small.parameters()) == PRESETS["dinov3_vits16"].parameters
    with pytest.raises(CheckpointError, match=r"random:nonsense is no name of a preset \(dino_resnet50"):
        load_backbone("random:nonsense")


# --- runs -----------------------------------------------------------------------------------------------------------------


def test_a_run_gives_the_teacher_of_its_newest_checkpoint(small_run: Path) -> None:
    newest = small_run / "checkpoints" / step_name(12)
    expected = load_teacher(newest).backbone
    images = torch.randn(1, 3, 32, 32)
    for source in (small_run, str(small_run), newest, newest / "teacher.safetensors"):
        backbone = load_backbone(source)
        assert torch.equal(backbone(images).cls, expected(images).cls)
        assert not any(p.requires_grad for p in backbone.parameters())
    earlier = load_backbone(small_run / "checkpoints" / step_name(4))
    assert not torch.equal(earlier(images).cls, expected(images).cls)
    with pytest.raises(CheckpointError, match="keeps the teacher alone"):
        load_backbone(small_run, which="student")


def test_a_run_without_a_checkpoint_and_a_folder_of_something_else_say_so(small_run: Path, tmp_path: Path) -> None:
    shutil.copy(small_run / "run.json", tmp_path)
    with pytest.raises(CheckpointError, match="has no checkpoint yet"):
        load_backbone(tmp_path)
    (tmp_path / "run.json").rename(tmp_path / "notes.txt")
    with pytest.raises(
        CheckpointError, match=r"no run, no checkpoint and has no file of weights; it contains notes.txt"
    ):
        load_backbone(tmp_path)
    for name in ("a.pth", "b.pth"):
        torch.save({}, tmp_path / name)
    with pytest.raises(CheckpointError, match=r"several files of weights: a.pth, b.pth; give one"):
        load_backbone(tmp_path)


# --- heads ----------------------------------------------------------------------------------------------------------------


def test_heads_are_asked_for_only_where_nothing_tells_them(tmp_path: Path) -> None:
    assert load_backbone(saved(published.dino(dim=128), tmp_path / "128.pth")).heads == 2  # 64 features each
    with pytest.raises(CheckpointError, match=r"32.pth: it does not say how many heads share 32 features"):
        load_backbone(saved(published.dino(), tmp_path / "32.pth"))
    with pytest.raises(CheckpointError, match="5 heads do not divide 32 features"):
        load_backbone(tmp_path / "32.pth", heads=5)
    third = saved(published.dinov3(), tmp_path / "third.pth")
    assert load_backbone(third, heads=2).heads == 2
    with pytest.raises(CheckpointError, match=r"third.pth: it has 2 heads, not 4; leave `heads` out"):
        load_backbone(third, heads=4)


def test_a_published_size_tells_its_heads() -> None:
    """Only DINOv3's 7B has 128 features a head, and transformers' file of it does not say so."""
    from dino_core.model.layouts.families import _published_heads

    seven = PRESETS["dinov3_vit7b16"].architecture
    assert _published_heads(seven.dim, seven.depth, seven.hidden) == 32
    assert _published_heads(64, 2, 128) is None


# --- what can't be read -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors"])
def test_a_missing_file_is_named(suffix: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=f"gone{suffix} does not exist; give a file"):
        load_backbone(tmp_path / f"gone{suffix}")
    with pytest.raises(CheckpointError, match=f"gone{suffix} does not exist"):
        load_backbone(f"some/where/gone{suffix}")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("damage", ["cut", "noise", "stop", "empty", "text"])
def test_a_damaged_file_is_named(suffix: str, damage: str, tmp_path: Path) -> None:
    path = saved(published.dino(), tmp_path / f"damaged{suffix}")
    whole = path.read_bytes()
    damaged = {"cut": whole[: len(whole) // 2], "noise": os.urandom(2000), "empty": b"", "text": b"<html>403</html>"}
    path.write_bytes({**damaged, "stop": b"."}[damage])  # a pickle that ends where it begins
    with pytest.raises(CheckpointError, match=rf"damaged{suffix} is damaged or"):
        load_backbone(path, heads=2)


def test_a_sharded_checkpoint_and_a_program_say_what_to_give_instead(tmp_path: Path) -> None:
    (tmp_path / ".metadata").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"is a sharded checkpoint.*dcp_to_torch"):
        load_backbone(tmp_path)
    with zipfile.ZipFile(tmp_path / "ViT-B-32.pt", "w") as archive:  # as torch.jit.save lays it out
        for name in ("data.pkl", "constants.pkl", "version", "byteorder"):
            archive.writestr(f"ViT-B-32/{name}", b"3\n")
    with pytest.raises(
        CheckpointError, match=r"ViT-B-32.pt is a TorchScript program.*take the same network's state dict"
    ):
        load_backbone(tmp_path / "ViT-B-32.pt")


class Trap:
    """What a pickle may call when it is opened without care."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def test_a_pickle_that_would_run_code_is_refused_and_runs_nothing(tmp_path: Path) -> None:
    sprung = tmp_path / "sprung"
    torch.save({**published.dino(), "args": Trap(sprung)}, tmp_path / "zip.pth")
    (tmp_path / "bare.pth").write_bytes(pickle.dumps(Trap(sprung), protocol=2))
    for name, told in (("zip.pth", r"GLOBAL \w+\.mkdir"), ("bare.pth", r"GLOBAL \w+\.mkdir")):
        with pytest.raises(CheckpointError, match=rf"{name} is damaged or holds more than weights \({told}\)"):
            load_backbone(tmp_path / name, heads=2)
        assert not sprung.exists()


def test_nothing_but_the_arguments_of_a_training_run_may_be_in_a_pickle(tmp_path: Path) -> None:
    torch.save({**published.dino(), "args": tmp_path}, tmp_path / "path.pth")
    with pytest.raises(CheckpointError, match=r"path.pth is damaged or holds more than weights \(GLOBAL pathlib"):
        load_backbone(tmp_path / "path.pth", heads=2)


def test_an_unknown_layout_is_described_beside_those_that_are_known(tmp_path: Path) -> None:
    path = saved({"visual.conv1.weight": torch.ones(2), "logit_scale": torch.ones(1)}, tmp_path / "other.pth")
    with pytest.raises(
        CheckpointError, match=r"other.pth: no known layout begins with visual.conv1.weight, logit_scale"
    ):
        load_backbone(path)
    with pytest.raises(
        CheckpointError, match=r"Layouts: dinov3 \(ViT\), mae, dinov2, .*transformers.*give timm's name"
    ):
        load_backbone(path)
    with pytest.raises(CheckpointError, match=r"list.pth: it holds a list; expected named tensors"):
        load_backbone(saved([1, 2], tmp_path / "list.pth"))
    with pytest.raises(CheckpointError, match=r"empty.pth: no known layout begins with nothing"):
        load_backbone(saved({}, tmp_path / "empty.pth"))


def test_a_file_that_is_almost_a_layout_says_what_is_wrong(tmp_path: Path) -> None:
    tensors = published.dinov2()
    del tensors["blocks.1.norm2.bias"]
    with pytest.raises(CheckpointError, match=r"a.pth: it looks like dinov2, but it has no model.blocks.1.norm2.bias"):
        load_backbone(saved(tensors, tmp_path / "a.pth"), heads=2)
    tensors = published.dino() | {"blocks.0.attn.gate.weight": torch.ones(2)}
    with pytest.raises(CheckpointError, match=r"nothing is known of model.blocks.0.attn.gate.weight"):
        load_backbone(saved(tensors, tmp_path / "b.pth"), heads=2)
    tensors = published.dino() | {"norm.weight": torch.ones(7)}
    with pytest.raises(CheckpointError, match=r"model.norm.weight has the shape \(7,\), not \(32,\)"):
        load_backbone(saved(tensors, tmp_path / "c.pth"), heads=2)
    tensors = published.dino() | {"patch_embed.proj.weight": torch.ones(32, 10, 8, 8)}
    with pytest.raises(CheckpointError, match="its images have 10 channels; expected 3"):
        load_backbone(saved(tensors, tmp_path / "d.pth"), heads=2)
    tensors = published.dino() | {"pos_embed": torch.ones(1, 8, 32)}
    with pytest.raises(CheckpointError, match="its 7 positions are no square grid"):
        load_backbone(saved(tensors, tmp_path / "e.pth"), heads=2)


def test_unknown_names_are_refused_with_what_there_is() -> None:
    with pytest.raises(
        CheckpointError, match=r"nonsense is no file or folder, and no name of a preset \(dino_resnet50"
    ):
        load_backbone("nonsense")
    with pytest.raises(CheckpointError, match=r"dinov3_vitb16 are sent on request.*by hand"):
        load_backbone("dinov3_vitb16")


def test_without_internet_one_sentence_says_where_to_put_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    constants = pytest.importorskip("huggingface_hub").constants
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(download_module, "_reachable", lambda url: False)
    for source in ("vit_small_patch14_dinov2.lvd142m", "hf:facebook/dinov2-small"):
        with pytest.raises(
            CheckpointError, match=r"can't be reached: download .*safetensors .* give the path of the file"
        ):
            load_backbone(source)


def test_what_the_cache_of_the_hub_has_is_not_asked_for_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    constants = pytest.importorskip("huggingface_hub").constants
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(download_module, "_reachable", lambda url: False)
    cached = tmp_path / "models--someone--something"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text("0123abcd")
    (cached / "snapshots" / "0123abcd").mkdir(parents=True)
    tensors = published.dinov2()
    saved(tensors, cached / "snapshots" / "0123abcd" / "model.safetensors")
    images = torch.randn(1, 3, 32, 32)
    close(everything(load_backbone("hf:someone/something", heads=2)(images)), published.vit(tensors, images).tokens)


def test_official_weights_are_taken_from_where_they_were_put_by_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file in torch.hub's cache under its published name is not downloaded again; another's tensors show in the message."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    saved(published.dinov2(dim=64), tmp_path / "checkpoints" / "dinov2_vits14_pretrain.pth")
    backbone: Backbone = load_backbone("dinov2_vits14", heads=2)
    assert (backbone.dim, backbone.heads) == (64, 2)
