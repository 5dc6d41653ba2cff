"""What the worker sees is what the networks compute: every layer, every kind of backbone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from timm.models.eva import Eva
from torch import Tensor

from dino_core.config import Backbone as Sizes
from dino_core.errors import RunError
from dino_core.model import Backbone
from dino_core.model.backbone import build_backbone
from dino_core.model.eva import EvaVit
from dino_core.model.unfused import attend_in_products
from lab import eyes
from lab.analysis import attention, rollout

SIZES = Sizes(patch=8, dim=32, depth=3, heads=4, registers=2)


def eva() -> Backbone:
    return EvaVit(
        Eva(
            img_size=32, patch_size=8, embed_dim=32, depth=3, num_heads=4, use_rot_pos_emb=True, num_classes=0,
            dynamic_img_size=True,
        )
    )  # fmt: skip


KINDS: dict[str, Any] = {
    "vit": lambda: build_backbone(SIZES, 32),
    "rope": lambda: build_backbone(replace(SIZES, name="rope"), 32),
    "eva": eva,
}


@pytest.fixture(params=KINDS)
def backbone(request: pytest.FixtureRequest) -> Backbone:
    torch.manual_seed(0)
    return KINDS[request.param]().eval().requires_grad_(False)


@pytest.fixture
def image() -> Tensor:
    return torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def test_queries_and_keys_give_the_attention_of_every_layer(backbone: Backbone, image: Tensor) -> None:
    seen = eyes.inside(backbone, image)
    assert len(seen.queries) == backbone.depth == 3
    for layer in range(backbone.depth):
        expected = backbone.attention(image, layer)[0]
        assert (seen.queries[layer] @ seen.keys[layer].mT).softmax(-1).numpy() == pytest.approx(
            expected.numpy(), abs=1e-6
        )


def test_the_stream_ends_in_the_tokens_before_their_norm(image: Tensor) -> None:
    backbone = build_backbone(SIZES, 32).eval().requires_grad_(False)
    attend_in_products(backbone)  # what the kernel does not see is heard all the same, and left as it was
    seen = eyes.inside(backbone, image)
    model: Any = backbone.model
    assert not model.blocks[0].attn.fused_attn
    assert model.norm(seen.stream[-1])[None, 3:].numpy() == pytest.approx(backbone(image).patches.numpy(), abs=1e-5)
    assert seen.stream.shape == (4, 1 + 2 + 16, 32)


def test_what_is_sent_is_eight_bits_and_the_numbers_agree(backbone: Backbone) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (1, 50, 50, 3)).astype(np.uint8)
    eye = eyes.Eye(backbone, *eyes.IMAGENET, 32)
    tensors, said = eyes.heads(eye, pixels, 0, None)
    prefix = 1 + said["registers"]
    assert (said["rows"], said["size"], said["layers"]) == (4, 32, [0, 1, 2])
    whole = np.stack([backbone.attention(eye.sees(pixels, 0), layer)[0].numpy() for layer in range(3)])  # L H Q Q
    assert tensors["attention"] == pytest.approx(whole[:, :, 0], abs=1e-6)
    rows = {
        name: tensors[name].astype(np.float64) * tensors[f"{name}_scale"][..., None] for name in ("queries", "keys")
    }
    assert attention.row(rows["queries"], rows["keys"], prefix + 5) == pytest.approx(whole[:, :, prefix + 5], abs=0.02)
    patches = whole[:, :, prefix:, prefix:]
    assert tensors["distance"] == pytest.approx(attention.mean_distance(patches, (4, 4)).mean(-1), rel=1e-5)
    assert tensors["entropy"] == pytest.approx(attention.head_entropy(patches).mean(-1), rel=1e-5)
    assert tensors["rollout"] == pytest.approx(rollout.rollout(whole.mean(1)), abs=1e-6)
    assert tensors["norms"].shape == (4, prefix + 16)


def test_one_layers_queries_come_alone_when_asked_and_strange_layers_are_refused() -> None:
    eye = eyes.Eye(KINDS["vit"]().eval(), *eyes.IMAGENET, 32)
    pixels = np.zeros((1, 32, 32, 3), np.uint8)
    tensors, said = eyes.heads(eye, pixels, 0, -1)
    assert said["layers"] == [2]
    assert tensors["queries"].shape[0] == 1
    with pytest.raises(RunError, match=r"there is no layer 7; this network has 3, 0 to 2"):
        eyes.heads(eye, pixels, 0, 7)


def test_resolutions_are_rounded_to_patches_and_bounded() -> None:
    eye = eyes.Eye(KINDS["vit"]().eval(), *eyes.IMAGENET, 32)
    pixels = np.full((2, 20, 20, 3), 200, np.uint8)
    tensors, said = eyes.features(eye, pixels, 45)
    assert (said["size"], said["rows"]) == (48, 6)
    assert tensors["patches"].shape == (2, 36, 32)
    assert tensors["cls"].shape == (2, 32)
    with pytest.raises(RunError, match=r"5776 patches of 8 px; the lab shows up to 4200"):
        eyes.features(eye, pixels, 608)


def test_a_network_without_attention_says_so() -> None:
    eye = eyes.opened("random:resnet10t", "")
    with pytest.raises(RunError, match="built from convolutions"):
        eyes.heads(eye, np.zeros((1, 64, 64, 3), np.uint8), 64, None)
    tensors, said = eyes.features(eye, np.zeros((1, 64, 64, 3), np.uint8), 64)
    assert said["rows"] == 2
    assert tensors["patches"].shape == (1, 4, 512)
