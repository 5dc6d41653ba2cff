"""The 2021 objective as a whole: against its loop nest through a real network, and its contract."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import Tensor

from dino_core import config
from dino_core.data.views import Batch, Boxes
from dino_core.model import Head, Network, build_backbone
from dino_core.objective import Dino, Losses, Targets, build_objective
from dino_core.schedules import Now
from tests import oracles

K, IMAGES = 6, 3
NOW = Now(
    step=5,
    learning_rate=1e-3,
    weight_decay=0.04,
    momentum=0.9,
    teacher_temperature=0.05,
    student_temperature=0.1,
    last_layer_frozen=False,
)
OPTIONS = {
    "centre": config.Dino(),
    "sinkhorn": config.Dino(centering="sinkhorn"),
    "none": config.Dino(centering="none"),
    "koleo": config.Dino(koleo_weight=0.1),
}


@pytest.fixture
def networks() -> tuple[Network, Network]:
    """A student and a teacher that differ, in double precision and without stochastic depth."""
    torch.manual_seed(0)
    backbone = build_backbone(config.Backbone(patch=8, dim=8, depth=1, heads=2, mlp_ratio=2.0, drop_path=0.0), 16)
    student = Network(backbone, Head(8, config.Head(prototypes=K, hidden=8, bottleneck=4, frozen_gain=False))).double()
    with torch.no_grad():  # far enough from the start for views to differ
        for parameter in student.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    teacher = student.frozen_copy()
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return student, teacher


def batch(locals_: int = 3) -> Batch:
    torch.manual_seed(1)
    boxes = [Boxes(torch.zeros(v, IMAGES, 4), torch.zeros(v, IMAGES, dtype=torch.bool)) for v in (2, locals_)]
    views = [torch.randn(v, IMAGES, 3, size, size, dtype=torch.float64) for v, size in ((2, 16), (locals_, 8))]
    numbers = torch.arange(IMAGES)
    return Batch(*views, *boxes, numbers, numbers)


def objective(options: config.Dino) -> Dino:
    built = build_objective(options, K).double()
    built.centering.centre.copy_(0.1 * torch.randn(K, generator=torch.Generator().manual_seed(2)))
    return built


def by_hand(options: config.Dino, dino: Dino, student: Network, teacher: Network, views: Batch) -> Tensor:
    """One network call a view, then the loop nests."""
    with torch.no_grad():
        logits = torch.cat([teacher.head(teacher.backbone(v).cls) for v in views.globals])
    if options.centering == "sinkhorn":
        targets = oracles.sinkhorn(logits, NOW.teacher_temperature)
    else:
        centre = dino.centering.centre if options.centering == "centre" else torch.zeros(K)
        targets = oracles.centred(logits, centre, NOW.teacher_temperature)
    cls = [student.backbone(v).cls for v in (*views.globals, *views.locals)]
    scores = torch.stack([student.head(x) for x in cls])
    loss = oracles.cross_view(scores, targets.unflatten(0, (2, -1)), NOW.student_temperature)
    return loss + options.koleo_weight * sum(oracles.koleo(x) for x in cls[:2])


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("locals_", [3, 0])
def test_loss_and_gradients_are_those_of_the_loop_nest(
    networks: tuple[Network, Network], name: str, locals_: int
) -> None:
    (student, teacher), views, dino = networks, batch(locals_), objective(OPTIONS[name])
    total = dino.losses(student, views, dino.targets(teacher, views, NOW), NOW).total
    expected = by_hand(OPTIONS[name], dino, student, teacher, views)
    torch.testing.assert_close(total, expected, rtol=1e-6, atol=1e-8)  # timm resizes positions in single precision
    weights = dict(student.named_parameters())
    ours = torch.autograd.grad(total, list(weights.values()))
    theirs = torch.autograd.grad(expected, list(weights.values()))
    for key, mine, other in zip(weights, ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-6, atol=1e-8, msg=lambda text, key=key: f"{key}: {text}")


def test_a_step_reads_computes_and_writes_in_this_order(networks: tuple[Network, Network]) -> None:
    (student, teacher), views, dino = networks, batch(), objective(config.Dino(centre_momentum=0.8))
    before = dino.centre.clone()
    targets = dino.targets(teacher, views, NOW)
    dino.losses(student, views, targets, NOW)
    assert torch.equal(dino.centre, before)
    dino.after_step(targets, NOW.step)
    torch.testing.assert_close(dino.centre, oracles.moved_centre(before, targets.logits.flatten(0, 1), 0.8))


@pytest.mark.parametrize("name", ["sinkhorn", "none"])
def test_without_centering_there_is_a_centre_to_come_back_to_but_none_in_use(
    networks: tuple[Network, Network], name: str
) -> None:
    """So that a run may be forked with centering switched on or off."""
    dino, with_centre = objective(OPTIONS[name]), objective(OPTIONS["centre"])
    dino.load_state_dict(with_centre.state_dict())
    assert dino.centre is None
    before = dino.centering.centre.clone()
    dino.after_step(dino.targets(networks[1], batch(), NOW), NOW.step)
    assert torch.equal(dino.centering.centre, before)


def test_targets_carry_no_gradient_and_nothing_of_the_objective_is_trained(networks: tuple[Network, Network]) -> None:
    dino = objective(config.Dino())
    targets = dino.targets(networks[0], batch(), NOW)
    assert not any(t.requires_grad for t in (targets.logits, targets.probabilities, targets.cls, targets.patches))
    assert not list(dino.parameters())
    assert targets.patches.shape == (2, IMAGES, 4, 8)
    lean = dino.targets(networks[0], batch(), NOW, patches=False)
    assert lean.patches is None
    torch.testing.assert_close(lean.probabilities, targets.probabilities)
    assert lean.part(0, 2).cls.shape == (2, 2, 8)


@pytest.mark.parametrize("name", OPTIONS)
def test_the_order_of_images_does_not_matter(networks: tuple[Network, Network], name: str) -> None:
    (student, teacher), views, dino = networks, batch(), objective(OPTIONS[name])
    order = torch.tensor([2, 0, 1])
    shuffled = dataclasses.replace(views, globals=views.globals[:, order], locals=views.locals[:, order])
    losses = [dino.losses(student, v, dino.targets(teacher, v, NOW), NOW).total for v in (views, shuffled)]
    torch.testing.assert_close(*losses)


def test_a_student_that_cannot_tell_costs_the_logarithm_of_the_number_of_prototypes(
    networks: tuple[Network, Network],
) -> None:
    (student, teacher), views, dino = networks, batch(), objective(config.Dino())
    with torch.no_grad():
        student.head.prototypes.gain.zero_()
    losses = dino.losses(student, views, dino.targets(teacher, views, NOW), NOW)
    assert float(losses.total.detach()) == pytest.approx(math.log(K))


@pytest.mark.parametrize("name", ["centre", "sinkhorn", "none"])
def test_a_batch_in_parts_has_the_loss_and_gradients_of_the_whole(networks: tuple[Network, Network], name: str) -> None:
    (student, teacher), views, dino = networks, batch(), objective(OPTIONS[name])
    targets = dino.targets(teacher, views, NOW)
    whole = dino.losses(student, views, targets, NOW)
    whole.total.backward()
    expected = [p.grad.clone() for p in student.parameters()]
    student.zero_grad()
    pieces = []
    for start, stop in ((0, 1), (1, 3)):
        share = (stop - start) / IMAGES
        losses = dino.losses(student, views.part(start, stop), targets.part(start, stop), NOW)
        (losses.total * share).backward()
        pieces.append((losses.detached(), share))
    joined = Losses.joined(pieces)
    torch.testing.assert_close(joined.total, whole.total.detach())
    torch.testing.assert_close(joined.student_logits, whole.student_logits.detach())
    torch.testing.assert_close(joined.student_cls, whole.student_cls.detach())
    for parameter, gradient in zip(student.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-6, atol=1e-9)


def test_losses_name_their_terms_and_weigh_them(networks: tuple[Network, Network]) -> None:
    (student, teacher), views, dino = networks, batch(), objective(OPTIONS["koleo"])
    losses = dino.losses(student, views, dino.targets(teacher, views, NOW), NOW)
    assert {name: term.weight for name, term in losses.terms.items()} == {"dino": 1.0, "koleo": 0.1}
    torch.testing.assert_close(losses.total, losses.terms["dino"].value + 0.1 * losses.terms["koleo"].value)
    assert losses.student_logits.shape == (5, IMAGES, K)
    assert not losses.detached().total.requires_grad


def test_half_precision_networks_give_losses_in_single_precision(networks: tuple[Network, Network]) -> None:
    student, teacher = (net.float() for net in networks)
    views, dino = batch(), objective(OPTIONS["koleo"]).float()
    views = dataclasses.replace(views, globals=views.globals.float(), locals=views.locals.float())
    exact = dino.losses(student, views, dino.targets(teacher, views, NOW), NOW).total
    with torch.autocast("cpu", torch.bfloat16):
        targets = dino.targets(teacher, views, NOW)
        rough = dino.losses(student, views, targets, NOW).total
    assert isinstance(targets, Targets)
    assert targets.probabilities.dtype == rough.dtype == torch.float32
    assert float(rough.detach()) == pytest.approx(float(exact.detach()), rel=0.05)
