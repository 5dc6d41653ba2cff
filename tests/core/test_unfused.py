"""Attention in products says what the fused kernel says."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from dino_core.config import Machine
from dino_core.model.unfused import attend_in_products, fused_is_slower, in_products
from dino_core.train import build_networks
from tests.small import small_config


def test_in_products_is_the_loop_nest():
    q, k, v = torch.randn(3, 2, 2, 5, 4, dtype=torch.float64).unbind(0)
    found = in_products(q, k, v)
    for b in range(2):
        for h in range(2):
            for i in range(5):
                scores = torch.tensor([sum(q[b, h, i, d] * k[b, h, j, d] for d in range(4)) / 2 for j in range(5)])
                weights = scores.double().exp() / scores.double().exp().sum()
                expected = sum(weights[j] * v[b, h, j] for j in range(5))
                assert found[b, h, i] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("rope", [False, True])
def test_a_network_says_the_same_either_way(rope: bool) -> None:
    config = small_config()
    if rope:
        config = replace(config, backbone=replace(config.backbone, name="rope"))
    student, _, _ = build_networks(config, torch.device("cpu"))
    student.eval()
    images = torch.randn(2, 3, 32, 32)
    fused = student.backbone(images).patches
    attend_in_products(student)
    assert not any(getattr(m, "fused_attn", False) for m in student.modules())
    assert any(getattr(m, "fused_attn", None) is False for m in student.modules())
    torch.testing.assert_close(student.backbone(images).patches, fused, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("precision", "fused"), [("fp32", True), ("bf16", False)])
def test_only_bf16_on_a_cpu_is_computed_in_products(precision: str, fused: bool) -> None:
    assert fused_is_slower(torch.device("cpu"), precision) is not fused
    assert not fused_is_slower(torch.device("cuda"), precision)
    config = small_config(machine=Machine(device="cpu", precision=precision))
    student, _, teacher = build_networks(config, torch.device("cpu"))
    for network in (student, teacher):
        assert {m.fused_attn for m in network.modules() if hasattr(m, "fused_attn")} == {fused}
