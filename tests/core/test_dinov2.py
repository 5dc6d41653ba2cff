"""DINOv2's objective: against loop nests through a real network, and what must not depend on what."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import Tensor

from dino_core import config, parallel
from dino_core.data.masks import BlockMasks
from dino_core.data.views import Batch
from dino_core.errors import ConfigError
from dino_core.model import Head, Network, build_backbone
from dino_core.objective import DinoV2, Losses, build_objective
from dino_core.objective.spread import spread
from dino_core.objective.targets import Centering, sinkhorn
from dino_core.schedules import Weights
from tests import oracles
from tests.core.test_dino import IMAGES, NOW, K, batch
from tests.ranks import run_on_ranks

P = 5
HEAD = config.Head(prototypes=P, hidden=8, bottleneck=4, frozen_gain=False)
IBOT = config.Ibot(weight=0.7, separate_head=True, mask_share=0.7, mask_ratio=(0.2, 0.6))
WAYS = [(separate, way) for separate in (True, False) for way in ("centre", "sinkhorn", "none")]


def networks(separate: bool) -> tuple[Network, Network]:
    torch.manual_seed(0)
    sizes = config.Backbone(patch=4, dim=8, depth=2, heads=2, mlp_ratio=2.0, drop_path=0.0)
    backbone = build_backbone(sizes, 16, mask_token=True)
    head = Head(8, dataclasses.replace(HEAD, prototypes=K))
    student = Network(backbone, head, Head(8, HEAD) if separate else None).double()
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    teacher = student.frozen_copy()
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return student, teacher


def masked(views: Batch, seed: int = 0) -> Batch:
    masks = BlockMasks(IBOT)(len(views.globals), views.images, (4, 4), torch.Generator().manual_seed(seed))
    return dataclasses.replace(views, masks=masks, masked=masks.flatten().nonzero()[:, 0])


def objective(separate: bool, way: str, **changes) -> DinoV2:
    ibot = dataclasses.replace(IBOT, separate_head=separate, centering=way, **changes)
    options = config.Dino(centering=way, koleo_weight=0.1)
    built = build_objective(options, K, ibot=ibot, patch_prototypes=P if separate else K).double()
    assert isinstance(built, DinoV2)
    for centering in (built.centering, built.patch_centering):
        centering.centre.copy_(0.1 * torch.randn(len(centering.centre)))
    return built


def by_hand(built: DinoV2, student: Network, teacher: Network, views: Batch) -> Tensor:
    """One network call a view, one row a hidden patch, then the loop nests."""

    def balanced(logits: Tensor, centering: Centering) -> Tensor:
        if built.options.centering == "sinkhorn":
            return oracles.sinkhorn(logits, NOW.teacher_temperature)
        centre = centering.centre if built.options.centering == "centre" else torch.zeros(logits.shape[1])
        return oracles.centred(logits, centre, NOW.teacher_temperature)

    def scores(net: Network, patches: Tensor) -> Tensor:
        return (net.patch_head or net.head)(patches)

    with torch.no_grad():
        seen = [teacher.backbone(v) for v in views.globals]
        targets = balanced(torch.cat([teacher.head(s.cls) for s in seen]), built.centering).unflatten(0, (2, -1))
        hidden = torch.cat([s.patches[m] for s, m in zip(seen, views.masks, strict=True)])
        patch_targets = balanced(scores(teacher, hidden), built.patch_centering)
    said = [student.backbone(v, m) for v, m in zip(views.globals, views.masks, strict=True)]
    cls = [s.cls for s in said] + [student.backbone(v).cls for v in views.locals]
    loss = oracles.cross_view(torch.stack([student.head(x) for x in cls]), targets, NOW.student_temperature)
    rows = torch.cat([scores(student, s.patches[m]) for s, m in zip(said, views.masks, strict=True)])
    ibot = oracles.masked_patch(rows, patch_targets, views.masks.flatten(0, 1), NOW.student_temperature)
    return loss + built.ibot.weight * ibot + 0.1 * sum(oracles.koleo(x) for x in cls[:2])


@pytest.mark.parametrize(("separate", "way"), WAYS)
def test_loss_and_gradients_are_those_of_the_loop_nest(separate, way):
    (student, teacher), views, built = networks(separate), masked(batch()), objective(separate, way)
    total = built.losses(student, views, built.targets(teacher, views, NOW), NOW).total
    expected = by_hand(built, student, teacher, views)
    torch.testing.assert_close(total, expected, rtol=1e-6, atol=1e-8)
    weights = dict(student.named_parameters())
    ours, theirs = (torch.autograd.grad(loss, list(weights.values())) for loss in (total, expected))
    for key, mine, other in zip(weights, ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-6, atol=1e-8, msg=lambda text, key=key: f"{key}: {text}")
    assert weights["backbone.mask_token"].shape == (8,)


def test_the_student_never_sees_what_is_hidden_and_the_teacher_does():
    (student, teacher), views, built = networks(True), masked(batch()), objective(True, "centre")
    hidden = views.masks.unflatten(-1, (4, 4)).repeat_interleave(4, -2).repeat_interleave(4, -1).unsqueeze(2)
    other = dataclasses.replace(views, globals=torch.where(hidden, 0.0, views.globals))
    said = [student([v.globals], 1, masks=v.masks, chosen=v.masked).patch_logits for v in (views, other)]
    torch.testing.assert_close(*said)
    seen = [built.targets(teacher, v, NOW).patch_logits for v in (views, other)]
    assert not torch.allclose(*seen)


def test_targets_do_not_depend_on_the_masks_but_for_which_patches_they_are_of():
    (_, teacher), built = networks(True), objective(True, "centre")
    ours, theirs = (built.targets(teacher, masked(batch(), seed), NOW) for seed in (0, 1))
    torch.testing.assert_close(ours.logits, theirs.logits)
    torch.testing.assert_close(ours.patches, theirs.patches)
    assert ours.patch_logits.shape == (int(masked(batch(), 0).masks.sum()), P)


def test_a_student_that_cannot_tell_costs_ln_p_for_each_masked_crop_over_all():
    (student, teacher), views, built = networks(True), masked(batch()), objective(True, "centre")
    with torch.no_grad():
        student.patch_head.prototypes.gain.zero_()
    losses = built.losses(student, views, built.targets(teacher, views, NOW), NOW)
    share = float((views.masks.sum(-1) > 0).float().mean())
    assert float(losses.terms["ibot"].value.detach()) == pytest.approx(math.log(P) * share)


def test_a_step_moves_both_centres_and_only_afterwards():
    (student, teacher), views, built = networks(True), masked(batch()), objective(True, "centre")
    before = [c.centre.clone() for c in (built.centering, built.patch_centering)]
    targets = built.targets(teacher, views, NOW)
    built.losses(student, views, targets, NOW)
    assert torch.equal(built.patch_centering.centre, before[1])
    built.after_step(targets, NOW.step)
    for centering, old, logits in zip(
        (built.centering, built.patch_centering),
        before,
        (targets.logits.flatten(0, 1), targets.patch_logits),
        strict=True,
    ):
        torch.testing.assert_close(centering.centre, oracles.moved_centre(old, logits, 0.9))


@pytest.mark.parametrize(("separate", "way"), WAYS)
def test_a_batch_in_parts_has_the_loss_and_gradients_of_the_whole(separate, way):
    (student, teacher), views, built = networks(separate), masked(batch()), objective(separate, way)
    built.options = dataclasses.replace(built.options, koleo_weight=0.0)
    targets = built.targets(teacher, views, NOW)
    whole = built.losses(student, views, targets, NOW)
    whole.total.backward()
    expected = [p.grad.clone() for p in student.parameters()]
    student.zero_grad()
    pieces = []
    for start, stop in ((0, 1), (1, 3)):
        losses = built.losses(student, views.part(start, stop), targets.part(start, stop), NOW)
        (losses.total * (stop - start) / IMAGES).backward()
        pieces.append((losses.detached(), (stop - start) / IMAGES))
    joined = Losses.joined(pieces)
    torch.testing.assert_close(joined.total, whole.total.detach())
    torch.testing.assert_close(joined.student_patches, whole.student_patches.detach())
    for name, figure in whole.figures.items():
        torch.testing.assert_close(joined.figures[name], figure, msg=name)
    for parameter, gradient in zip(student.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-5, atol=1e-8)


def test_weights_of_the_terms_follow_the_step_and_local_pairs_lose_without_others_gaining():
    (student, teacher), views, built = networks(True), masked(batch()), objective(True, "centre")
    targets = built.targets(teacher, views, NOW)
    now = dataclasses.replace(NOW, weights=Weights(dino=0.5, local=0.25, ibot=2.0, koleo=3.0))
    plain, moved = (built.losses(student, views, targets, n) for n in (NOW, now))
    assert {name: term.weight for name, term in moved.terms.items()} == {
        "dino": 0.5, "ibot": pytest.approx(1.4), "koleo": pytest.approx(0.3)
    }  # fmt: skip
    large, small = plain.figures["dino_global"], plain.figures["dino_local"]
    torch.testing.assert_close(plain.terms["dino"].value.detach(), (2 * large + 6 * small) / 8)
    torch.testing.assert_close(moved.terms["dino"].value.detach(), (2 * large + 0.25 * 6 * small) / 8)


def test_koleo_of_more_neighbours_is_the_mean_of_their_terms():
    cls = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    x = torch.nn.functional.normalize(cls, dim=-1)
    apart = (x[:, None] - x).norm(dim=-1).sort(dim=1).values[:, 1:3]
    loss = spread(cls[None], config.Koleo(neighbours=2))
    torch.testing.assert_close(loss, -torch.log(apart + 1e-8).mean())
    with pytest.raises(ValueError, match="6 neighbours among 6 images"):
        spread(cls[None], config.Koleo(neighbours=6))


def koleo_on_ranks(group: int | None) -> tuple[Tensor, Tensor]:
    views = torch.randn(2, 8, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()
    mine = views[:, parallel.rank() * 2 : parallel.rank() * 2 + 2]
    loss = spread(mine, config.Koleo(neighbours=1, over_ranks=True, group=group))
    loss.backward()
    return parallel.global_mean(loss.detach()), parallel.global_mean(views.grad)


def test_koleo_over_ranks_is_that_of_one_process_with_its_gradient():
    views = torch.randn(2, 8, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()
    loss = sum(oracles.koleo(v) for v in views)
    loss.backward()
    for found, gradient in run_on_ranks(koleo_on_ranks, 4, None):
        torch.testing.assert_close(found, loss.detach())
        torch.testing.assert_close(gradient, views.grad)
    halves = [sum(oracles.koleo(v[part]) for v in views.detach()) for part in (slice(0, 4), slice(4, 8))]
    for found, _ in run_on_ranks(koleo_on_ranks, 4, 4):
        torch.testing.assert_close(found, sum(halves) / 2)


def test_groups_within_a_rank_are_those_of_one_rank_each():
    views = torch.randn(2, 8, 4, dtype=torch.float64)
    halves = [sum(oracles.koleo(v[part]) for v in views) for part in (slice(0, 4), slice(4, 8))]
    found = spread(views, config.Koleo(over_ranks=True, group=4))
    torch.testing.assert_close(found, sum(halves) / 2)


def test_a_group_that_cuts_through_a_rank_is_refused():
    with pytest.raises(ConfigError, match=r"koleo.group is 4; it must hold whole ranks of 6 images"):
        spread(torch.randn(1, 6, 3), config.Koleo(over_ranks=True, group=4))


def uneven_rows(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Rank 0 has all rows but one, rank 1 one, rank 2 none."""
    mine = rows.tensor_split([len(rows) - 1, len(rows)])[parallel.rank()]
    centering = Centering(rows.shape[1]).double()
    centering.update(mine)
    return sinkhorn(mine, 0.1), centering.centre


def test_ranks_may_hide_different_numbers_of_patches_or_none():
    rows = torch.randn(7, 5, dtype=torch.float64)
    found = run_on_ranks(uneven_rows, 3, rows)
    torch.testing.assert_close(torch.cat([f[0] for f in found]), sinkhorn(rows, 0.1))
    for _, centre in found:
        torch.testing.assert_close(centre, 0.1 * rows.mean(0))
