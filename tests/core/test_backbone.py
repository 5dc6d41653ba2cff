"""What every backbone promises, held over ViTs and convolutional networks."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from dino_core import config
from dino_core.errors import ConfigError
from dino_core.model import Backbone, Tokens, build_backbone
from dino_core.model.ropevit import RopeVit
from dino_core.model.vit import Vit

TINY = {"patch": 8, "dim": 32, "depth": 3, "heads": 2}
BACKBONES: dict[str, Callable[[], Backbone]] = {
    "vit": lambda: build_backbone(config.Backbone(**TINY), 32),
    "vit with registers": lambda: build_backbone(config.Backbone(**TINY, registers=3), 32),
    "vit with mask token": lambda: build_backbone(config.Backbone(**TINY), 32, mask_token=True),
    "test_vit": lambda: build_backbone(config.Backbone(name="test_vit"), 32),
    "test_resnet": lambda: build_backbone(config.Backbone(name="test_resnet"), 64),
    "rope": lambda: RopeVit(dim=32, depth=3, heads=2, patch=8, hidden=48, ffn="swiglu", layer_scale=0.5, drop_path=0.1),
    "test_convnext": lambda: build_backbone(config.Backbone(name="test_convnext"), 64),
}
VITS = [name for name in BACKBONES if "vit" in name]


@pytest.fixture(params=BACKBONES)
def backbone(request: pytest.FixtureRequest) -> Backbone:
    torch.manual_seed(0)
    return BACKBONES[request.param]().eval()


@pytest.fixture(params=VITS)
def vit(request: pytest.FixtureRequest) -> Vit:
    torch.manual_seed(0)
    return BACKBONES[request.param]().eval()


@pytest.mark.parametrize("size", [(64, 64), (32, 96), (128, 64)])
def test_tokens_have_the_promised_shapes_at_any_size(backbone: Backbone, size: tuple[int, int]) -> None:
    tokens = backbone(torch.randn(2, 3, *size))
    rows, columns = size[0] // backbone.patch, size[1] // backbone.patch
    assert tokens.grid == (rows, columns)
    assert tokens.cls.shape == (2, backbone.dim)
    assert tokens.registers.shape == (2, backbone.registers, backbone.dim)
    assert tokens.patches.shape == (2, rows * columns, backbone.dim)
    assert all(t.isfinite().all() for t in (tokens.cls, tokens.registers, tokens.patches))


def test_images_do_not_see_each_other(backbone: Backbone) -> None:
    images = torch.randn(3, 3, 64, 64)
    together, alone = backbone(images), backbone(images[1:2])
    torch.testing.assert_close(together.cls[1:2], alone.cls, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(together.patches[1:2], alone.patches, rtol=1e-4, atol=1e-5)


def test_patches_are_listed_row_by_row(backbone: Backbone) -> None:
    """Turning the image on its side transposes nothing that is uniform, and a bright corner stays in its corner."""
    images = torch.zeros(1, 3, 128, 128)
    plain = backbone(images).patches
    images[..., :32, 96:] = 3.0
    rows, columns = backbone(images).grid
    change = (backbone(images).patches - plain).norm(dim=-1).view(rows, columns)
    largest = divmod(int(change.argmax()), columns)
    assert largest[0] < rows / 2 <= largest[1]


def test_every_weight_takes_part_in_the_tokens(backbone: Backbone) -> None:
    """DistributedDataParallel waits for each gradient."""
    backbone.train()
    masks = torch.zeros(2, 16, dtype=torch.bool).index_fill(1, torch.arange(4), True) if _masks(backbone) else None
    side = 4 * backbone.patch
    tokens = backbone(torch.randn(2, 3, side, side), masks)
    (tokens.cls.sum() + tokens.patches.square().sum() + tokens.registers.sum()).backward()
    assert [name for name, p in backbone.named_parameters() if p.grad is None] == []


def _masks(backbone: Backbone) -> bool:
    return getattr(backbone, "mask_token", None) is not None


def test_a_vit_gives_what_timm_gives(vit: Vit) -> None:
    images = torch.randn(2, 3, 64, 32)
    expected = vit.model.forward_features(images)
    tokens = vit(images)
    torch.testing.assert_close(torch.cat([tokens.cls.unsqueeze(1), tokens.registers, tokens.patches], 1), expected)


def test_the_class_token_alone_is_the_one_among_all_tokens_and_teaches_the_same(backbone: Backbone) -> None:
    """In training too: the same stochastic depth is drawn."""
    images, gradients = torch.randn(2, 3, 64, 64).double(), []
    backbone.double().train()
    for look in (lambda: backbone(images).cls, lambda: backbone.cls(images)):
        torch.manual_seed(1)
        backbone.zero_grad()
        cls = look()
        cls.square().sum().backward()
        gradients.append([cls, *(p.grad for p in backbone.parameters() if p.grad is not None)])
    for whole, alone in zip(*gradients, strict=True):
        torch.testing.assert_close(alone, whole, rtol=1e-4, atol=1e-5)


def test_the_class_token_alone_is_right_where_attention_has_a_gate() -> None:
    vit = BACKBONES["vit"]().eval()
    attention = vit.model.blocks[-1].attn
    attention.gate = torch.nn.Linear(32, 32)
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(vit.cls(images), vit(images).cls)


@pytest.mark.parametrize("name", ["test_resnet", "test_convnext"])
def test_the_class_token_of_a_feature_map_is_what_timm_pools(name: str) -> None:
    backbone = BACKBONES[name]().eval()
    images = torch.randn(2, 3, 64, 64)
    expected = backbone.model.forward_head(backbone.model.forward_features(images), pre_logits=True)
    torch.testing.assert_close(backbone(images).cls, expected)


@pytest.mark.parametrize("layer", [0, 1, -1])
def test_attention_is_what_the_block_really_used(vit: Vit, layer: int) -> None:
    """timm's unfused path keeps its softmax rows for us to see."""
    images, seen = torch.randn(2, 3, 32, 64), []
    attn = vit.model.blocks[layer].attn
    attn.attn_drop.register_forward_hook(lambda module, inputs, output: seen.append(output))
    attn.fused_attn = False
    vit(images)
    attention = vit.attention(images, layer)
    count = 1 + vit.registers + 32 * 64 // vit.patch**2
    assert attention.shape == (2, vit.heads, count, count)
    torch.testing.assert_close(attention, seen[0])
    torch.testing.assert_close(attention.sum(-1), torch.ones(2, vit.heads, count))


def test_looking_at_attention_leaves_nothing_behind(vit: Vit) -> None:
    vit.attention(torch.randn(1, 3, 32, 32))
    assert not any(module._forward_hooks for module in vit.modules())


def test_negative_layers_count_from_the_end(vit: Vit) -> None:
    images = torch.randn(1, 3, 32, 32)
    assert torch.equal(vit.attention(images, -vit.depth), vit.attention(images, 0))


@pytest.mark.parametrize("layer", [3, -4])
def test_a_layer_that_is_not_there_is_named(layer: int) -> None:
    with pytest.raises(ValueError, match=f"no layer {layer} in 3 blocks; expected -3 to 2"):
        BACKBONES["vit"]().attention(torch.randn(1, 3, 32, 32), layer)


@pytest.mark.parametrize("name", ["test_resnet", "test_convnext"])
def test_convolutions_have_no_attention_and_say_so(name: str) -> None:
    backbone = BACKBONES[name]()
    assert not backbone.has_attention
    with pytest.raises(ValueError, match="has no attention: it is built from convolutions"):
        backbone.attention(torch.randn(1, 3, 64, 64))


def test_a_size_that_patches_do_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="32×36 px can't be cut into patches of 8 px"):
        BACKBONES["vit"]()(torch.randn(1, 3, 32, 36))
    with pytest.raises(ConfigError, match="30 px can't be cut"):
        build_backbone(config.Backbone(**TINY), 30)


def test_a_masked_patch_says_nothing_about_its_pixels() -> None:
    vit = BACKBONES["vit with mask token"]().eval()
    images, masks = torch.randn(2, 3, 32, 32), torch.zeros(2, 16, dtype=torch.bool)
    masks[0, 5] = True
    changed = images.clone()
    changed[0, :, 8:16, 8:16] += 5  # the pixels of patch 5
    torch.testing.assert_close(vit(images, masks).patches, vit(changed, masks).patches)
    assert not torch.allclose(vit(images).patches, vit(changed).patches)
    torch.testing.assert_close(vit(images, masks).patches[1], vit(images).patches[1])


def test_masking_without_a_mask_token_is_refused() -> None:
    masks = torch.zeros(1, 16, dtype=torch.bool)
    with pytest.raises(ValueError, match="build it with mask_token=True"):
        BACKBONES["vit"]()(torch.randn(1, 3, 32, 32), masks)
    with pytest.raises(ValueError, match="has no mask token"):
        BACKBONES["test_resnet"]()(torch.randn(1, 3, 64, 64), torch.zeros(1, 4, dtype=torch.bool))
    with pytest.raises(ConfigError, match="no patches to mask"):
        build_backbone(config.Backbone(name="test_resnet"), 64, mask_token=True)


def test_unknown_backbones_are_refused_with_names_that_exist() -> None:
    with pytest.raises(ConfigError, match=r"no backbone 'resnet5'. Backbones: vit, .*resnet50"):
        build_backbone(config.Backbone(name="resnet5"), 64)


def test_networks_that_are_neither_vit_nor_map_are_refused() -> None:
    with pytest.raises(ConfigError, match="no class token"):
        build_backbone(config.Backbone(name="test_vit4"), 32)
    mixer = build_backbone(config.Backbone(name="mixer_s32_224"), 224)
    with pytest.raises(ConfigError, match=r"expected a map"):
        mixer(torch.randn(1, 3, 224, 224))


SIZES = {  # parameters of the networks released with Caron et al. 2021
    "S/16": (16, 384, 6, 21_665_664),
    "S/8": (8, 384, 6, 21_670_272),
    "B/16": (16, 768, 12, 85_798_656),
    "B/8": (8, 768, 12, 85_807_872),
}


@pytest.mark.parametrize("name", SIZES)
def test_the_papers_vits_have_the_papers_number_of_parameters(name: str) -> None:
    patch, dim, heads, expected = SIZES[name]
    with torch.device("meta"):
        backbone = build_backbone(config.Backbone(patch=patch, dim=dim, heads=heads), 224)
    assert sum(p.numel() for p in backbone.parameters()) == expected


def test_resnet50_has_2048_features_and_the_papers_number_of_parameters() -> None:
    with torch.device("meta"):
        backbone = build_backbone(config.Backbone(name="resnet50", drop_path=0.0), 224)
        tokens = backbone(torch.randn(1, 3, 96, 96))
    assert sum(p.numel() for p in backbone.parameters()) == 23_508_032
    assert (backbone.dim, backbone.patch, tokens.grid) == (2048, 32, (3, 3))


def test_the_vit_starts_as_released() -> None:
    vit = build_backbone(config.Backbone(dim=192, depth=2, heads=3), 224)
    assert float(vit.model.blocks[0].mlp.fc1.weight.detach().std()) == pytest.approx(0.02, rel=0.05)
    assert float(vit.model.cls_token.detach().std()) == pytest.approx(0.02, rel=0.3)
    assert float(vit.model.pos_embed.detach().std()) == pytest.approx(0.02, rel=0.05)
    assert all(
        p.eq(0).all() for name, p in vit.named_parameters() if name.endswith("bias") and "patch_embed" not in name
    )
    assert vit.model.norm.eps == vit.model.blocks[0].norm1.eps == 1e-6


def test_stochastic_depth_rises_to_its_rate_in_the_last_block() -> None:
    vit = build_backbone(config.Backbone(**TINY, drop_path=0.2), 32)
    rates = [getattr(block.drop_path1, "drop_prob", 0.0) for block in vit.model.blocks]
    assert rates == pytest.approx([0.0, 0.1, 0.2])


def test_tokens_keep_double_precision() -> None:
    vit = BACKBONES["vit"]().double()
    tokens: Tokens = vit(torch.randn(1, 3, 32, 32, dtype=torch.float64))
    assert tokens.cls.dtype == torch.float64
