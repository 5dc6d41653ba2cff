"""DINOv3's ViT: rotary positions, and what training adds to them."""

from __future__ import annotations

import math

import pytest
import torch

from dino_core import config
from dino_core.errors import ConfigError
from dino_core.model import Head, Network
from dino_core.model.ropevit import RopeVit
from dino_core.model.rotary import Rotary, periods, rotated


def small(**changes: object) -> RopeVit:
    torch.manual_seed(0)
    sizes = {"dim": 32, "depth": 2, "heads": 2, "patch": 8, "hidden": 48, "registers": 2, "layer_scale": 0.5}
    return RopeVit(**{**sizes, **changes})


def test_periods_grow_from_one_turn_a_half_image_towards_the_base() -> None:
    found = periods(64).tolist()
    assert len(found) == 16
    assert found[:3] == pytest.approx([1.0, 1.3335, 1.7783], rel=1e-4)
    assert found[-1] == pytest.approx(100 ** (15 / 16))


def test_vertical_angles_come_first_and_both_halves_agree() -> None:
    table = Rotary(16)(3, 5)
    assert table.shape == (2, 15, 16)
    assert torch.equal(table[..., :8], table[..., 8:])
    rows = table.view(2, 3, 5, 16)
    assert torch.equal(rows[:, :, 0, :4], rows[:, :, 4, :4])  # the same row, another column
    assert torch.equal(rows[:, 0, :, 4:8], rows[:, 2, :, 4:8])


def test_the_patch_in_the_middle_is_not_turned() -> None:
    sin, cos = Rotary(16)(3, 3)[:, 4]
    assert sin.eq(0).all()
    assert cos.eq(1).all()


def test_angles_are_those_of_the_formula() -> None:
    sin = Rotary(8)(2, 4)[0]
    for p in range(8):
        y, x = (p // 4 + 0.5) / 2 * 2 - 1, (p % 4 + 0.5) / 4 * 2 - 1
        expected = [math.sin(2 * math.pi * place / period) for place in (y, x) for period in (1.0, 10.0)]
        assert sin[p, :4].tolist() == pytest.approx(expected, abs=1e-6)


def test_turning_keeps_lengths_and_leaves_the_first_tokens_alone() -> None:
    x = torch.randn(2, 3, 1 + 2 + 6, 16)
    y = rotated(x, Rotary(16)(2, 3))
    assert torch.equal(y[..., :3, :], x[..., :3, :])
    assert not torch.allclose(y, x)
    torch.testing.assert_close(y.norm(dim=-1), x.norm(dim=-1))


def test_scores_depend_on_where_patches_lie_to_each_other() -> None:
    """Moving query and key alike changes nothing (in a box that is not rescaled)."""
    rotary = Rotary(16)
    q, k = torch.randn(16), torch.randn(16)
    table = rotary(6, 6)
    scores = rotated(q.expand(1, 1, 36, 16), table)[0, 0] @ rotated(k.expand(1, 1, 36, 16), table)[0, 0].T
    scores = scores.view(6, 6, 6, 6)
    torch.testing.assert_close(scores[0, 0, 2, 3], scores[3, 2, 5, 5], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(scores[5, 5, 0, 1], scores[5, 4, 0, 0], rtol=1e-4, atol=1e-5)


def test_heads_that_cannot_be_turned_are_refused() -> None:
    with pytest.raises(ConfigError, match="6 features a head are no multiple of 4"):
        Rotary(6)
    with pytest.raises(ConfigError, match="3 heads do not divide 32 features"):
        small(heads=3)


@pytest.mark.parametrize("how", ["shift", "jitter", "rescale"])
def test_positions_are_moved_in_training_only_and_within_their_range(how: str) -> None:
    torch.manual_seed(0)
    rotary = Rotary(8, **{how: 2.0})
    still = rotary.eval()(3, 3)
    assert torch.equal(still, rotary(3, 3))
    rotary.train()
    assert not torch.equal(rotary(3, 3), still)
    position = torch.tensor([[0.5, -0.25]])
    draws = [rotary.draw() for _ in range(200)]
    moved = torch.cat([(position + shift) * stretch for shift, stretch in draws])
    if how == "shift":
        change = moved - position
        assert -2 <= change.min() < -1.5 < 1.5 < change.max() <= 2
    else:
        change = (moved / position).log() / math.log(2)
        assert -1 <= change.min() < -0.8 < 0.8 < change.max() <= 1
    apart = (change[:, 0] - change[:, 1]).abs().max()
    assert (apart < 1e-5) == (how == "rescale")  # both axes together


def test_a_teacher_holds_still_in_training_mode() -> None:
    network = Network(small(rescale=2.0), Head(32, config.Head(prototypes=8, hidden=16, bottleneck=8)))
    teacher = network.frozen_copy().train()
    views = [torch.randn(2, 1, 3, 32, 32)]
    assert torch.equal(teacher(views).cls, teacher(views).cls)
    assert not torch.equal(network.train()(views).cls, network(views).cls)


def test_the_keys_bias_is_hidden_and_learns_nothing() -> None:
    backbone = small()
    attention = backbone.layers[0].attn
    with torch.no_grad():
        attention.qkv.bias.normal_()
    images = torch.randn(1, 3, 32, 32)
    before = backbone(images).cls
    (before * torch.randn_like(before)).sum().backward()  # their plain sum is that of a norm: always the same
    assert attention.qkv.bias.grad[32:64].eq(0).all()
    assert attention.qkv.bias.grad[:32].ne(0).any()
    with torch.no_grad():
        attention.qkv.bias[32:64] += 5
    assert torch.equal(backbone(images).cls, before)


def test_local_crops_end_in_a_norm_of_their_own() -> None:
    backbone = small(local_cls_norm=True).eval()
    with torch.no_grad():
        backbone.local_cls_norm.weight.mul_(3)
    images = torch.randn(2, 3, 16, 16)
    usual, local = backbone(images), backbone(images, local=True)
    torch.testing.assert_close(local.cls, 3 * usual.cls)
    torch.testing.assert_close(local.registers, 3 * usual.registers)
    assert torch.equal(local.patches, usual.patches)
    torch.testing.assert_close(backbone.cls(images, local=True), local.cls)


def test_class_token_and_patches_may_end_in_norms_of_their_own() -> None:
    backbone = small(cls_norm=True).eval()
    with torch.no_grad():
        backbone.cls_norm.bias.add_(1)
    plain = small().eval()
    plain.load_state_dict({k: v for k, v in backbone.state_dict().items() if not k.startswith("cls_norm")})
    images = torch.randn(1, 3, 16, 16)
    torch.testing.assert_close(backbone(images).cls, plain(images).cls + 1)
    assert torch.equal(backbone(images).patches, plain(images).patches)


def test_a_masked_patch_says_nothing_about_its_pixels() -> None:
    backbone, images = small().eval(), torch.randn(1, 3, 16, 16)
    masks = torch.tensor([[False, True, False, False]])
    changed = images.clone()
    changed[..., :8, 8:] += 1
    assert torch.equal(backbone(images, masks).patches, backbone(changed, masks).patches)
    assert not torch.equal(backbone(images).patches, backbone(changed).patches)
    with pytest.raises(ValueError, match="no mask token"):
        small(mask_token=False)(images, masks)


def test_half_precision_turns_in_full_precision() -> None:
    backbone = small().eval()
    images = torch.randn(1, 3, 32, 32)
    half = backbone.bfloat16()(images.bfloat16())
    assert half.cls.dtype == torch.bfloat16
    assert backbone.rotary(2, 2).dtype == torch.float32
    double = small().eval().double()
    assert double(images.double()).cls.dtype == torch.float64
