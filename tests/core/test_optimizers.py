"""Which weights decay, clipping, freezing, and LARS against its loop."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
from torch import Tensor, nn

from dino_core import config
from dino_core.model import Head, Network, build_backbone
from dino_core.optimizers import Lars, build_optimizer, clip_per_part, clip_per_tensor, drop_frozen, set_schedule
from dino_core.schedules import Now
from tests import oracles

NOW = Now(
    step=0,
    learning_rate=0.1,
    weight_decay=0.3,
    momentum=0.99,
    teacher_temperature=0.04,
    student_temperature=0.1,
    last_layer_frozen=True,
)


def network(*, frozen_gain: bool = True) -> Network:
    backbone = build_backbone(config.Backbone(patch=8, dim=16, depth=2, heads=2, registers=1), 16)
    head = config.Head(prototypes=12, hidden=16, bottleneck=8, frozen_gain=frozen_gain)
    return Network(backbone, Head(backbone.dim, head))


def names_that_decay(net: Network, optimizer: torch.optim.Optimizer) -> set[str]:
    decayed = {id(p) for group in optimizer.param_groups if group["decay_factor"] for p in group["params"]}
    return {name for name, p in net.named_parameters() if id(p) in decayed}


@pytest.mark.parametrize("algorithm", ["adamw", "sgd", "lars"])
def test_biases_and_norms_do_not_decay_and_all_else_does(algorithm: str) -> None:
    net = network(frozen_gain=False)
    optimizer = build_optimizer(config.Optim(algorithm=algorithm), net)
    spared = {name for name, p in net.named_parameters() if name.endswith("bias") or ".norm" in name}
    assert names_that_decay(net, optimizer) == {name for name, _ in net.named_parameters()} - spared
    assert {"head.prototypes.gain", "backbone.model.cls_token"} <= names_that_decay(net, optimizer)
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(net.parameters()))


def test_weights_without_gradient_are_left_out() -> None:
    net = network()
    net.head.requires_grad_(False)
    optimizer = build_optimizer(config.Optim(), net)
    assert sum(len(g["params"]) for g in optimizer.param_groups) == len(list(net.backbone.parameters()))


def test_the_schedule_reaches_every_group() -> None:
    optimizer = build_optimizer(config.Optim(), network())
    set_schedule(optimizer, NOW)
    assert [(g["lr"], g["weight_decay"]) for g in optimizer.param_groups] == [(0.1, 0.3), (0.1, 0.0)]


def test_clipping_is_per_tensor_as_in_the_loop() -> None:
    net = network()
    for i, parameter in enumerate(net.parameters()):
        parameter.grad = torch.randn_like(parameter) * (10.0 if i % 2 else 1e-3)
    other = copy.deepcopy(net)
    for mine, theirs in zip(net.parameters(), other.parameters(), strict=True):
        theirs.grad = mine.grad.clone()
        nn.utils.clip_grad_norm_([theirs], 3.0)
    clip_per_tensor(net.parameters(), 3.0)
    norms = [float(p.grad.norm()) for p in net.parameters()]
    assert max(norms) <= 3.0 + 1e-5
    assert sum(norm > 2.99 for norm in norms) > 3  # their joint norm is far beyond
    for mine, theirs in zip(net.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad)


def test_clipping_passes_over_weights_without_gradient() -> None:
    net = network()
    clip_per_tensor(net.parameters(), 3.0)
    assert all(p.grad is None for p in net.parameters())


@pytest.mark.parametrize("algorithm", ["adamw", "sgd", "lars"])
def test_frozen_prototypes_do_not_move_not_even_by_decay(algorithm: str) -> None:
    net = network(frozen_gain=False)
    optimizer = build_optimizer(config.Optim(algorithm=algorithm), net)
    before = copy.deepcopy(net)
    for parameter in net.parameters():
        parameter.grad = torch.randn_like(parameter)
    set_schedule(optimizer, NOW)
    drop_frozen(net)
    optimizer.step()
    moved = {name: not torch.equal(p, before.get_parameter(name)) for name, p in net.named_parameters()}
    assert {name for name, move in moved.items() if not move} == {"head.prototypes.directions", "head.prototypes.gain"}


def test_adamw_is_the_papers() -> None:
    """Betas 0.9 and 0.999, eps 1e-8, decoupled decay: one step by hand."""
    layer = nn.Linear(3, 2)
    optimizer = build_optimizer(config.Optim(), layer)
    set_schedule(optimizer, NOW)
    before, gradient = layer.weight.detach().clone(), torch.randn(2, 3)
    layer.weight.grad = gradient.clone()
    optimizer.step()
    expected = before * (1 - 0.1 * 0.3) - 0.1 * gradient / (gradient.abs() + 1e-8)
    torch.testing.assert_close(layer.weight.detach(), expected)


def test_lars_is_its_loop() -> None:
    weights = [torch.randn(4, 3, dtype=torch.float64), torch.randn(4, dtype=torch.float64), torch.zeros(2, 2).double()]
    parameters = [nn.Parameter(w.clone()) for w in weights]
    optimizer = Lars([{"params": parameters, "weight_decay": 0.2}], lr=0.5)
    velocities: list[Tensor] = [torch.zeros_like(w) for w in weights]
    for _ in range(3):
        for i, parameter in enumerate(parameters):
            parameter.grad = torch.randn_like(parameter)
            weights[i], velocities[i] = oracles.lars_step(weights[i], parameter.grad, velocities[i], 0.5, 0.2)
        optimizer.step()
        for parameter, weight in zip(parameters, weights, strict=True):
            torch.testing.assert_close(parameter.detach(), weight)


def test_lars_goes_on_from_its_saved_state() -> None:
    def fresh() -> tuple[nn.Parameter, Lars]:
        weight = nn.Parameter(torch.arange(6.0).reshape(2, 3))
        return weight, Lars([weight], lr=0.1)

    gradients = torch.randn(4, 2, 3)
    weight, optimizer = fresh()
    for gradient in gradients[:2]:
        weight.grad = gradient
        optimizer.step()
    other, resumed = fresh()
    other.data.copy_(weight.data)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for gradient in gradients[2:]:
        weight.grad = other.grad = gradient
        optimizer.step()
        resumed.step()
    assert torch.equal(weight, other)


def test_lars_evaluates_a_closure() -> None:
    weight = nn.Parameter(torch.ones(2, 2))

    def closure() -> Tensor:
        loss = weight.square().sum()
        loss.backward()
        return loss

    loss = Lars([weight], lr=0.1).step(closure)
    assert float(loss.detach()) == 4.0
    assert (weight < 1).all()


def test_the_peak_learning_rate_is_the_rule_of_the_config() -> None:
    assert dataclasses.replace(config.Optim(), lr_rule="sqrt").peak_lr(1024) == pytest.approx(1e-3)
    assert config.Optim().peak_lr(512) == pytest.approx(1e-3)


def names_by_factor(net: Network, optimizer: torch.optim.Optimizer) -> dict[str, float]:
    factors = {id(p): group["lr_factor"] for group in optimizer.param_groups for p in group["params"]}
    return {name: factors[id(p)] for name, p in net.named_parameters()}


@pytest.mark.parametrize("name", ["vit", "rope"])
def test_learning_rates_fall_layer_by_layer_towards_the_patches(name: str) -> None:
    """DINOv2: 0.9 a layer; of 24 blocks the projection of patches has 0.2 x 0.9^25, the last block 0.9, norm and heads 1."""
    backbone = build_backbone(
        config.Backbone(name=name, patch=8, dim=8, depth=24, heads=2, registers=1), 16, mask_token=True
    )
    net = Network(backbone, Head(8, config.Head(prototypes=4, hidden=8, bottleneck=4)))
    found = names_by_factor(net, build_optimizer(config.Optim(layer_decay=0.9, patch_embed_lr=0.2), net))
    for weight, factor in found.items():
        block = next((int(part) for part in weight.split(".") if part.isdigit() and "head" not in weight), None)
        if weight.startswith("head") or weight.split(".")[-2] == "norm":
            expected = 1.0
        elif block is None:
            expected = 0.9**25 * (0.2 if "patch_embed" in weight else 1)
        else:
            expected = 0.9 ** (24 - block)
        assert factor == pytest.approx(expected), weight
    assert {"backbone.mask_token"} <= found.keys()


def test_the_schedule_reaches_each_group_with_its_factor() -> None:
    net = network()
    optimizer = build_optimizer(config.Optim(layer_decay=0.5), net)
    set_schedule(optimizer, NOW)
    assert {group["lr"] for group in optimizer.param_groups} == {0.1 * 0.5**k for k in range(4)}


def test_by_name_norms_and_layer_scale_are_spared_and_the_mask_token_is_not() -> None:
    sizes = config.Backbone(patch=8, dim=16, depth=2, heads=2, layer_scale=1e-5)
    backbone = build_backbone(sizes, 16, mask_token=True)
    net = Network(backbone, Head(16, config.Head(prototypes=4, hidden=8, bottleneck=4)))
    decayed = names_that_decay(net, build_optimizer(config.Optim(decay_rule="name"), net))
    spared = {n for n, _ in net.named_parameters() if n.endswith("bias") or "norm" in n or "gamma" in n}
    assert decayed == {n for n, _ in net.named_parameters()} - spared
    assert {"backbone.mask_token", "backbone.model.cls_token"} <= decayed
    assert any("gamma" in name for name in spared)


@pytest.mark.parametrize("separate", [False, True])
def test_the_decay_of_the_class_tokens_head_has_a_factor_of_its_own(separate: bool) -> None:
    net = network(frozen_gain=False)
    net.patch_head = copy.deepcopy(net.head) if separate else None
    optimizer = build_optimizer(config.Optim(head_decay=0.25), net)
    set_schedule(optimizer, NOW)
    found = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    for name, parameter in net.named_parameters():
        spared = name.endswith("bias") or parameter.ndim == 1
        expected = 0.0 if spared else 0.3 * (0.25 if name.startswith("head.") else 1.0)
        assert found[id(parameter)] == pytest.approx(expected), name


def test_clipping_by_part_scales_a_part_as_a_whole() -> None:
    net = network()
    for parameter in net.parameters():
        parameter.grad = torch.randn_like(parameter)
    for parameter in net.head.parameters():
        parameter.grad *= 1e-3
    other = copy.deepcopy(net)
    for mine, theirs in zip(net.parameters(), other.parameters(), strict=True):
        theirs.grad = mine.grad.clone()
    for part in (other.backbone, other.head):
        nn.utils.clip_grad_norm_(part.parameters(), 3.0)
    clip_per_part([net.backbone.parameters(), net.head.parameters()], 3.0)
    for mine, theirs in zip(net.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad)


def test_the_square_root_rule_of_dinov2_and_dinov3() -> None:
    """Base 4e-3 with reference 1024, or 1e-3 with 4·√(b/1024) = √(b/64): 5.66e-3 at a batch of 2048 in both."""
    two = config.Optim(lr=4e-3, lr_rule="sqrt", lr_reference_batch=1024)
    three = config.Optim(lr=1e-3, lr_rule="sqrt", lr_reference_batch=64)
    assert two.peak_lr(2048) == pytest.approx(three.peak_lr(2048)) == pytest.approx(5.657e-3, rel=1e-3)
