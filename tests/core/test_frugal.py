"""An MLP that makes its activation again: the same gradients, and less that is kept."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from timm.layers import Mlp
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef

from dino_core.model.frugal import keep_less
from dino_core.train import build_networks
from tests.small import small_config


def step(network: nn.Module, x: Tensor, mixed: bool) -> list[Tensor]:
    with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
        loss = network(x).float().square().sum()
    return [loss.detach(), *torch.autograd.grad(loss, [x, *network.parameters()])]


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("shape", [(3, 5, 8), (4, 8)])
def test_gradients_are_the_same_to_the_bit(shape: tuple[int, ...], mixed: bool) -> None:
    torch.manual_seed(0)
    plain = nn.Sequential(Mlp(8, 32), Mlp(8, 32))
    frugal = copy.deepcopy(plain)
    keep_less(frugal)
    x = torch.randn(*shape, requires_grad=True)
    assert list(frugal.state_dict()) == list(plain.state_dict())
    for ours, theirs in zip(step(frugal, x, mixed), step(plain, x, mixed), strict=True):
        assert torch.equal(ours, theirs)


def test_gradients_of_gradients_too() -> None:
    torch.manual_seed(0)
    plain = Mlp(4, 6).double()
    frugal = copy.deepcopy(plain)
    keep_less(frugal)
    x = torch.randn(2, 4, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradgradcheck(frugal, (x,))


def kept(network: nn.Sequential, x: Tensor) -> list[bool]:
    """Whether the result of each activation is still there when the pass has ended and gradients may be asked for."""
    seen: list[StorageWeakRef] = []
    for mlp in network:
        assert isinstance(mlp, Mlp)
        mlp.act.register_forward_hook(lambda module, given, out: seen.append(StorageWeakRef(out.untyped_storage())))
    loss = network(x).sum()
    there = [not each.expired() for each in seen]
    loss.backward()
    return there


def test_what_the_activation_gives_is_forgotten_and_a_copy_forgets_its_own() -> None:
    plain = nn.Sequential(Mlp(8, 32), Mlp(8, 32))
    frugal = copy.deepcopy(plain)
    keep_less(frugal)
    x = torch.randn(4, 8)
    assert kept(plain, x) == [True, True]
    assert kept(frugal, x) == [False, False]
    again = copy.deepcopy(frugal)
    with torch.no_grad():
        again[0].fc1.weight.add_(1.0)
    assert not torch.equal(again(x), frugal(x)), "the copy runs through weights of its own"


def test_dropout_which_draws_is_left_alone() -> None:
    network = nn.Sequential(Mlp(8, 32, drop=0.5))
    keep_less(network)
    assert "forward" not in vars(network[0])


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_students_are_frugal_in_bf16(precision: str) -> None:
    config = small_config()
    machine = replace(config.machine, precision=precision)
    student, _, teacher = build_networks(replace(config, machine=machine), torch.device("cpu"))
    mlps = [[m for m in network.modules() if isinstance(m, Mlp)] for network in (student, teacher)]
    assert {"forward" in vars(mlp) for mlp in mlps[0]} == {precision == "bf16"}
    assert {"forward" in vars(mlp) for mlp in mlps[1]} == {False}, "a teacher keeps nothing"
