"""Stochastic depth that leaves images out of a block's work, and what every objective promises on every backbone."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from dino_core import config
from dino_core.data.masks import BlockMasks
from dino_core.data.views import Batch, Boxes
from dino_core.model import Head, Network, build_backbone
from dino_core.model.residual import BatchSubset, added
from dino_core.objective import build_objective
from tests.core.test_dino import NOW

SIZES = {"patch": 8, "dim": 16, "depth": 2, "heads": 2, "mlp_ratio": 2.0, "registers": 1, "drop_path": 0.0}


def test_a_subset_of_the_images_is_worked_on_and_counts_for_all():
    torch.manual_seed(0)
    depth, x, seen = BatchSubset(0.4).train(), torch.randn(10, 3, 4), []

    def branch(part):
        seen.append(len(part))
        return torch.ones_like(part)

    change = added(depth, x, branch) - x
    assert seen == [6]
    moved = change.flatten(1).abs().sum(1) > 0
    assert int(moved.sum()) == 6
    torch.testing.assert_close(change[moved], torch.full((6, 3, 4), 10 / 6))


def test_on_the_average_nothing_changes():
    torch.manual_seed(0)
    depth, x = BatchSubset(0.5).train(), torch.randn(4, 2, 3)
    mean = torch.stack([added(depth, x, torch.tanh) for _ in range(4000)]).mean(0)
    torch.testing.assert_close(mean, x + torch.tanh(x), rtol=0, atol=0.06)


@pytest.mark.parametrize(("images", "training"), [(1, True), (10, False)])
def test_a_single_image_and_an_evaluation_are_never_left_out(images, training):
    depth, x = BatchSubset(0.9).train(training), torch.randn(images, 2, 3)
    torch.testing.assert_close(added(depth, x, torch.tanh), x + torch.tanh(x))


@pytest.mark.parametrize("name", ["vit", "rope"])
def test_the_class_token_alone_is_left_out_with_the_same_images(name):
    sizes = config.Backbone(name=name, **{**SIZES, "drop_path": 0.5}, drop_path_subset=True, drop_path_uniform=True)
    backbone = build_backbone(sizes, 16).double().train()
    images, found = torch.randn(6, 3, 16, 16, dtype=torch.float64), []
    for way in (lambda: backbone(images).cls, lambda: backbone.cls(images)):
        torch.manual_seed(3)
        found.append(way())
    torch.testing.assert_close(*found)
    assert any(isinstance(m, BatchSubset) for m in backbone.modules())


BACKBONES = {
    "vit": config.Backbone(**SIZES),
    "vit, swiglu and layer scale": config.Backbone(**SIZES, ffn="swiglu", layer_scale=0.1),
    "rope": config.Backbone(name="rope", **SIZES, local_cls_norm=True, rope_rescale=2.0),
    "convnext": config.Backbone(name="test_convnext", drop_path=0.0),
    "resnet": config.Backbone(name="test_resnet", drop_path=0.0),
}
OBJECTIVES = {
    "dino": {},
    "dinov2": {"ibot": config.Ibot(weight=1.0)},
    "dinov2, apart": {"ibot": config.Ibot(weight=1.0, separate_head=True, centering="sinkhorn")},
    "dinov3": {"ibot": config.Ibot(weight=1.0, separate_head=True), "gram": config.Gram(weight=1.0)},
    "gram alone": {"gram": config.Gram(weight=1.0)},
}
PAIRS = [
    (backbone, objective)
    for backbone in BACKBONES
    for objective in OBJECTIVES
    if "ibot" not in OBJECTIVES[objective] or BACKBONES[backbone].name in ("vit", "rope")
]


@pytest.mark.parametrize(("backbone", "objective"), PAIRS)
def test_every_objective_trains_every_backbone(backbone, objective):
    """Finite losses named and weighed, a gradient for every weight, none for the teacher, state written only afterwards."""
    torch.manual_seed(0)
    sizes, options = BACKBONES[backbone], OBJECTIVES[objective]
    hides = "ibot" in options
    body = build_backbone(sizes, 64, mask_token=hides)
    head = config.Head(prototypes=8, hidden=16, bottleneck=8)
    apart = hides and options["ibot"].separate_head
    student = Network(body, Head(body.dim, head), Head(body.dim, head) if apart else None)
    teacher = student.frozen_copy()
    large, small = torch.randn(2, 3, 3, 64, 64), torch.randn(2, 3, 3, 32, 32)
    boxes = Boxes(torch.zeros(2, 3, 4), torch.zeros(2, 3, dtype=torch.bool))
    batch = Batch(large, small, boxes, boxes, torch.arange(3), torch.arange(3))
    if hides:
        masks = BlockMasks(options["ibot"])(2, 3, (8, 8), torch.Generator().manual_seed(0))
        batch = dataclasses.replace(batch, masks=masks, masked=masks.flatten().nonzero()[:, 0])
    built = build_objective(config.Dino(koleo_weight=0.1), 8, **options)
    before = {name: tensor.clone() for name, tensor in built.state_dict().items()}
    targets = built.targets(teacher, batch, NOW)
    losses = built.losses(student, batch, targets, NOW)
    losses.total.backward()
    assert losses.total.isfinite()
    expected = {"dino", "koleo"} | ({"ibot"} if hides else set()) | ({"gram"} if "gram" in options else set())
    assert set(losses.terms) == expected
    missing = {name for name, p in student.named_parameters() if p.grad is None}
    assert not missing
    assert all(p.grad is None for p in teacher.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in built.state_dict().items())
    built.after_step(targets, 0, teacher)
    assert any(not torch.equal(tensor, before[name]) for name, tensor in built.state_dict().items())
