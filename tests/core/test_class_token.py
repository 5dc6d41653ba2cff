"""The class token alone is the same number as among all tokens, with the same gradients."""

from __future__ import annotations

import pytest
import torch

from dino_core.config import Backbone
from dino_core.model import build_backbone


@pytest.mark.parametrize("registers", [0, 3])
@pytest.mark.parametrize("training", [False, True])
def test_the_class_token_alone_agrees_with_all_tokens(registers, training):
    backbone = build_backbone(Backbone(patch=8, dim=32, depth=3, heads=2, registers=registers, drop_path=0.5), 32)
    backbone.double().train(training)
    images = torch.randn(5, 3, 32, 24, dtype=torch.float64)
    found = []
    for way in (lambda: backbone(images).cls, lambda: backbone.cls(images)):
        torch.manual_seed(7)  # the same images take the same stochastic depth
        cls = way()
        gradients = torch.autograd.grad(
            cls.square().sum(), [p for n, p in backbone.named_parameters() if "norm.weight" not in n]
        )
        found.append([cls, *gradients])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_backbones_without_a_class_token_of_their_own_give_theirs():
    backbone = build_backbone(Backbone(name="test_convnext", drop_path=0.0), 32).eval()
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(backbone.cls(images), backbone(images).cls)
