"""The models of the three papers' tables have the papers' sizes."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from dino_core.model import PRESETS, Backbone

TABLE = {  # parameters, features, blocks, heads, patch, registers
    "dino_resnet50": (23_508_032, 2048, 0, 0, 32, 0),
    "dino_vits16": (21_665_664, 384, 12, 6, 16, 0),
    "dino_vits8": (21_670_272, 384, 12, 6, 8, 0),
    "dino_vitb16": (85_798_656, 768, 12, 12, 16, 0),
    "dino_vitb8": (85_807_872, 768, 12, 12, 8, 0),
    "dinov2_vits14": (22_056_576, 384, 12, 6, 14, 0),
    "dinov2_vitb14": (86_580_480, 768, 12, 12, 14, 0),
    "dinov2_vitl14": (304_368_640, 1024, 24, 16, 14, 0),
    "dinov2_vitg14": (1_136_480_768, 1536, 40, 24, 14, 0),
    "dinov2_vits14_reg4": (22_056_576 + 4 * 384, 384, 12, 6, 14, 4),
    "dinov2_vitb14_reg4": (86_580_480 + 4 * 768, 768, 12, 12, 14, 4),
    "dinov2_vitl14_reg4": (304_368_640 + 4 * 1024, 1024, 24, 16, 14, 4),
    "dinov2_vitg14_reg4": (1_136_480_768 + 4 * 1536, 1536, 40, 24, 14, 4),
    "dinov3_vits16": (21_601_152, 384, 12, 6, 16, 4),
    "dinov3_vits16plus": (28_697_472, 384, 12, 6, 16, 4),
    "dinov3_vitb16": (85_669_632, 768, 12, 12, 16, 4),
    "dinov3_vitl16": (303_154_176, 1024, 24, 16, 16, 4),
    "dinov3_vith16plus": (840_633_600, 1280, 32, 20, 16, 4),
    "dinov3_vit7b16": (6_716_043_264, 4096, 40, 32, 16, 4),
    "dinov3_convnext_tiny": (27_820_128, 768, 0, 0, 32, 0),
    "dinov3_convnext_small": (49_454_688, 768, 0, 0, 32, 0),
    "dinov3_convnext_base": (87_566_464, 1024, 0, 0, 32, 0),
    "dinov3_convnext_large": (196_230_336, 1536, 0, 0, 32, 0),
}


def test_every_model_of_the_tables_has_a_preset() -> None:
    assert PRESETS.keys() == TABLE.keys()


@pytest.mark.parametrize("name", TABLE)
def test_a_preset_has_its_papers_sizes_and_takes_no_memory_on_meta(name: str) -> None:
    preset = PRESETS[name]
    with torch.device("meta"):
        backbone = preset.build()
    found = sum(p.numel() for p in backbone.parameters())
    assert isinstance(backbone, Backbone)
    assert all(t.is_meta for t in [*backbone.parameters(), *backbone.buffers()])
    assert found == preset.parameters
    assert (
        found,
        backbone.dim,
        backbone.depth,
        backbone.heads,
        backbone.patch,
        backbone.registers,
    ) == TABLE[name]


@pytest.mark.parametrize("name", TABLE)
def test_a_preset_says_where_it_comes_from(name: str) -> None:
    preset = PRESETS[name]
    assert preset.name == name
    assert "arXiv" in preset.paper
    assert (preset.url is None) == name.startswith("dinov3")


@pytest.mark.parametrize("name", ["dino_vits16", "dinov2_vits14_reg4", "dinov3_vits16", "dinov3_convnext_tiny"])
def test_shapes_of_tokens_can_be_told_without_computing(name: str) -> None:
    with torch.device("meta"):
        backbone = PRESETS[name].build().eval()
        side = 4 * backbone.patch
        tokens = backbone(torch.empty(2, 3, side, side))
    assert tokens.cls.shape == (2, backbone.dim)
    assert tokens.registers.shape == (2, backbone.registers, backbone.dim)
    assert tokens.patches.shape == (2, 16, backbone.dim)


SMALL = {
    "dino_vits16": {"dim": 32, "depth": 2, "heads": 2, "hidden": 64, "grid": 2},
    "dinov2_vitg14_reg4": {"dim": 32, "depth": 2, "heads": 2, "hidden": 64, "grid": 2},
    "dinov3_vits16": {"dim": 32, "depth": 2, "heads": 2, "hidden": 64},
    "dinov3_vit7b16": {"dim": 32, "depth": 2, "heads": 2, "hidden": 64},
    "dinov3_convnext_tiny": {"dims": (8, 8, 16, 16), "depths": (1, 1, 1, 1)},
    "dino_resnet50": {"channels": (8, 8, 8, 8), "depths": (1, 1, 1, 1)},
}


@pytest.mark.parametrize("name", SMALL)
def test_what_a_preset_builds_starts_finite_and_can_be_trained(name: str) -> None:
    """The same kinds of network, small."""
    torch.manual_seed(0)
    preset = dataclasses.replace(
        PRESETS[name], architecture=dataclasses.replace(PRESETS[name].architecture, **SMALL[name])
    )
    backbone = preset.build(drop_path=0.1).train()
    side = 2 * backbone.patch
    tokens = backbone(torch.randn(2, 3, side, side))
    (tokens.cls.square().sum() + tokens.patches.square().sum() + tokens.registers.square().sum()).backward()
    idle = {n for n, p in backbone.named_parameters() if p.grad is None or not p.grad.isfinite().all()}
    assert idle <= {"mask_token", "local_cls_norm.weight", "local_cls_norm.bias"}


def test_dinov3_starts_as_the_paper_says() -> None:
    preset = PRESETS["dinov3_vits16"]
    small = dataclasses.replace(preset.architecture, dim=128, depth=2, heads=2)
    backbone = small.build()
    weights = dict(backbone.named_parameters())
    assert float(weights["cls_token"].detach().std()) == pytest.approx(0.02, rel=0.3)
    assert float(weights["layers.0.attn.qkv.weight"].detach().std()) == pytest.approx(0.02, rel=0.1)
    assert weights["layers.1.ls2.gamma"].eq(1e-5).all()
    assert weights["mask_token"].eq(0).all()
    assert all(weights[f"layers.0.{name}.bias"].eq(0).all() for name in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2"))
