"""Threads that share a batch give what one thread gives."""

from __future__ import annotations

import copy
import threading

import pytest
import torch
from torch import nn

from dino_core import config
from dino_core.model import Head, Network, build_backbone
from dino_core.model.abreast import abreast, can_share
from dino_core.model.architectures import RotaryVit
from dino_core.model.backbone import Backbone


def vit(drop_path: float) -> Backbone:
    return build_backbone(config.Backbone(patch=8, dim=32, depth=3, heads=2, drop_path=drop_path), 16, mask_token=True)


def rotary(drop_path: float) -> Backbone:
    return RotaryVit(dim=32, depth=3, heads=2, patch=8, hidden=64).build(drop_path=drop_path)


def network(backbone: Backbone, threads: int) -> Network:
    head = Head(backbone.dim, config.Head(prototypes=16, hidden=32, bottleneck=8))
    model = Network(copy.deepcopy(backbone), head).double().train()
    model.threads = threads
    return model


def step(model: Network, patches: bool) -> list[torch.Tensor]:
    """Outputs and gradients of one pass over two resolutions."""
    draw = torch.Generator().manual_seed(1)
    views = [torch.randn(v, 5, 3, s, s, generator=draw, dtype=torch.float64) for v, s in ((2, 16), (3, 8))]
    torch.manual_seed(7)
    out = model(views, patches)
    loss = out.logits.square().sum() + (out.patches().cos().sum() if patches else 0)
    loss.backward()
    return [out.logits, out.cls, *(p.grad for p in model.parameters() if p.grad is not None)]


@pytest.mark.parametrize("make", [vit, rotary])
@pytest.mark.parametrize("drop_path", [0.0, 0.5])
@pytest.mark.parametrize("patches", [True, False])
def test_threads_give_the_numbers_gradients_and_draws_of_one(make: type, drop_path: float, patches: bool) -> None:
    torch.manual_seed(0)
    backbone = make(drop_path)
    head = network(backbone, 1).head.state_dict()
    found = []
    for threads in (1, 2, 3):
        model = network(backbone, threads)
        model.head.load_state_dict(head)
        found.append(step(model, patches))
    for other in found[1:]:
        assert len(other) == len(found[0]) > 10
        for mine, plain in zip(other, found[0], strict=True):
            torch.testing.assert_close(mine, plain, rtol=1e-6, atol=1e-7)  # timm resamples positions in float32


def test_threads_give_the_same_bits_every_time() -> None:
    torch.manual_seed(0)
    backbone = vit(0.5).float()
    models = [network(backbone, 3).float() for _ in range(4)]
    images = torch.randn(2, 7, 3, 16, 16)
    seen = []
    for model in models:
        model.head.load_state_dict(models[0].head.state_dict())
        torch.manual_seed(3)
        model([images], False).logits.square().sum().backward()
        seen.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    for other in seen[1:]:
        assert all(torch.equal(a, b) for a, b in zip(other, seen[0], strict=True))


def test_without_gradients_and_in_mixed_precision_the_threads_do_as_the_caller() -> None:
    model = network(vit(0.0), 2).float()
    images = torch.randn(1, 4, 3, 16, 16)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        shared = model([images], False)
        model.threads = 1
        plain = model([images], False)
    assert not shared.cls.requires_grad
    assert shared.cls.dtype == plain.cls.dtype
    torch.testing.assert_close(shared.cls, plain.cls)
    assert torch.get_num_threads() >= 1


@pytest.mark.parametrize("make", [vit, rotary])
def test_attention_of_two_threads_at_once_is_that_of_one(make: type) -> None:
    """Both are inside the network before either reaches the layer that is asked."""
    torch.manual_seed(0)
    backbone = make(0.0).eval()
    images = torch.randn(4, 3, 16, 16)
    with torch.no_grad():
        alone = backbone.attention(images)
        together = threading.Barrier(2, timeout=30)
        backbone.blocks()[0].register_forward_pre_hook(lambda *_: [together.wait(), None][1])
        shared = abreast(backbone, backbone.attention, images, threads=2)
    assert torch.allclose(shared, alone, atol=1e-6)


def test_the_number_of_threads_is_as_before_afterwards() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    network(vit(0.0), 2)([torch.randn(1, 4, 3, 16, 16, dtype=torch.float64)], False)
    assert torch.get_num_threads() == 2
    torch.set_num_threads(before)


def test_an_error_on_a_thread_reaches_the_caller() -> None:
    with pytest.raises(ValueError, match="can't be cut into patches"):
        network(vit(0.0), 2)([torch.randn(1, 4, 3, 15, 15, dtype=torch.float64)], False)


def test_images_that_look_at_each_other_stay_together() -> None:
    assert can_share(vit(0.5))
    assert not can_share(build_backbone(config.Backbone(name="resnet18"), 32))
    assert not can_share(nn.Sequential(nn.Dropout(0.1)))
    assert can_share(nn.Sequential(nn.Dropout(0.1)).eval())
