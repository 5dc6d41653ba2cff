"""DINOv3's objective: Gram anchoring against its loop nest, whose similarities are kept, and when the anchor changes."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dino_core import config
from dino_core.data.multicrop import MultiCrop
from dino_core.data.views import Batch
from dino_core.model import Network, build_backbone
from dino_core.objective import DinoV3, Losses, build_objective
from dino_core.objective.dinov3 import on_grid
from dino_core.schedules import Weights
from tests import oracles
from tests.core.test_dino import IMAGES, NOW, K, batch
from tests.core.test_dinov2 import IBOT, P, masked, networks
from tests.core.test_multicrop import PLAIN, decoded, pictures, seeded

GRAM = config.Gram(weight=2.0)


def an_anchor(dim: int = 8):
    torch.manual_seed(5)
    sizes = config.Backbone(patch=4, dim=dim, depth=1, heads=2, drop_path=0.0)
    backbone = build_backbone(sizes, 16, mask_token=True).double().requires_grad_(False).eval()
    for parameter in backbone.parameters():
        parameter.add_(0.3 * torch.randn_like(parameter))
    return backbone


def objective(gram: config.Gram = GRAM, anchor=None, refresh=frozenset()) -> DinoV3:
    given = {"ibot": IBOT, "patch_prototypes": P, "gram": gram, "anchor": anchor, "refresh": refresh}
    built = build_objective(config.Dino(), K, **given).double()
    assert isinstance(built, DinoV3)
    return built


def with_anchors(views: Batch, side: int) -> Batch:
    crops = torch.randn(2, IMAGES, 3, side, side, dtype=torch.float64)
    return dataclasses.replace(views, anchors=crops)


def anchored_by_hand(student: Network, anchor, views: Batch, gram: config.Gram) -> Tensor:
    """The Gram loss from one network call a view and a resampling channel by channel."""
    ours, theirs = [], []
    for view, mask, crops in zip(views.globals, views.masks, views.anchors, strict=True):
        ours.append(student.backbone(view, mask).patches)
        tokens = anchor(crops)
        maps = tokens.patches.mT.unflatten(2, tokens.grid)
        maps = torch.stack([F.interpolate(m[None, None], (4, 4), mode="bicubic")[0, 0] for m in maps.flatten(0, 1)])
        theirs.append(maps.view(IMAGES, -1, 16).mT)
    return oracles.gram(torch.cat(ours), torch.cat(theirs), gram.negatives, gram.across_batch)


@pytest.mark.parametrize("negatives", ["keep", "clamp", "clamp_anchor"])
@pytest.mark.parametrize("across", [False, True])
def test_the_gram_loss_and_its_gradients_are_those_of_the_loop_nest(negatives, across):
    gram = dataclasses.replace(GRAM, negatives=negatives, across_batch=across)
    (student, teacher), anchor = networks(True), an_anchor(dim=12)
    built, views = objective(gram, anchor), with_anchors(masked(batch()), 24)
    losses = built.losses(student, views, built.targets(teacher, views, NOW), NOW)
    expected = anchored_by_hand(student, anchor, views, gram)
    torch.testing.assert_close(losses.terms["gram"].value, expected, rtol=1e-6, atol=1e-9)
    weights = list(student.backbone.parameters())
    ours, theirs = (
        torch.autograd.grad(loss, weights, allow_unused=True, retain_graph=True)
        for loss in (losses.terms["gram"].value, expected)
    )
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-9)
    rest = sum(t.value * t.weight for name, t in losses.terms.items() if name != "gram")
    torch.testing.assert_close(losses.total, rest + 2.0 * expected, rtol=1e-6, atol=1e-9)
    assert set(losses.terms) == {"dino", "ibot", "gram"}


@pytest.mark.parametrize("tokens", ["masked", "unmasked"])
def test_hidden_or_seen_patches_alone_may_be_compared(tokens):
    gram = dataclasses.replace(GRAM, across_batch=True, tokens=tokens)
    (student, teacher), views = networks(True), masked(batch())
    built, anchor = objective(gram, an_anchor(dim=12)), an_anchor(dim=12)
    losses = built.losses(student, views, built.targets(teacher, views, NOW), NOW)
    chosen = views.masks if tokens == "masked" else ~views.masks
    ours = [student.backbone(v, m).patches[c] for v, m, c in zip(views.globals, views.masks, chosen, strict=True)]
    theirs = [anchor(v).patches[c] for v, c in zip(views.globals, chosen, strict=True)]
    expected = oracles.gram(torch.cat(ours)[None], torch.cat(theirs)[None], across_batch=True)
    torch.testing.assert_close(losses.terms["gram"].value, expected, rtol=1e-6, atol=1e-9)
    none = dataclasses.replace(views, masks=views.masks & False, masked=views.masked[:0])
    empty = built.losses(student, none, built.targets(teacher, none, NOW), NOW).terms["gram"].value
    assert (float(empty.detach()) == 0) == (tokens == "masked")


def test_patches_that_nothing_hides_cannot_be_asked_for():
    with pytest.raises(config.ConfigError, match=r"gram.tokens masked are not as many in each image"):
        config.Gram(weight=1.0, tokens="masked")
    with pytest.raises(config.ConfigError, match=r"gram.tokens unmasked needs iBOT's masks; give --ibot.weight"):
        config.TrainConfig(gram=config.Gram(weight=1.0, tokens="unmasked", across_batch=True))


def test_without_an_anchor_of_its_own_the_teacher_of_the_step_is_it():
    (_, teacher), views = networks(True), masked(batch())
    targets = objective().targets(teacher, views, NOW)
    assert targets.anchor is targets.patches
    larger = with_anchors(views, 16)
    seen = objective().targets(teacher, larger, NOW).anchor
    torch.testing.assert_close(seen[0], teacher.backbone(larger.anchors[0]).patches)


def test_the_anchor_sees_the_students_crops_whole_where_it_has_none_of_its_own():
    (_, teacher), views, anchor = networks(True), masked(batch()), an_anchor()
    seen = objective(anchor=anchor).targets(teacher, views, NOW).anchor
    torch.testing.assert_close(seen[1], anchor(views.globals[1]).patches)


def test_the_anchor_begins_as_the_teacher_and_is_renewed_when_it_is_time():
    student, teacher = networks(True)
    anchor = build_backbone(
        config.Backbone(patch=4, dim=8, depth=2, heads=2, mlp_ratio=2.0), 16, mask_token=True
    ).double()
    built, views = objective(anchor=anchor, refresh={8}), masked(batch())

    def is_the_teacher() -> bool:
        return all(torch.equal(a, t) for a, t in zip(anchor.parameters(), teacher.backbone.parameters(), strict=True))

    assert not is_the_teacher()
    built.begin(teacher)
    assert is_the_teacher()
    targets = built.targets(teacher, views, NOW)
    teacher.follow(student, 0.5)
    built.after_step(targets, 6, teacher)
    assert not is_the_teacher()
    built.after_step(targets, 7, teacher)  # eight steps are finished
    assert is_the_teacher()


@pytest.mark.parametrize("anchor", ["run", "4000"])
def test_an_anchor_from_elsewhere_does_not_begin_as_the_teacher(anchor):
    built = objective(dataclasses.replace(GRAM, anchor=anchor), an_anchor())
    before = [p.clone() for p in built.anchor.parameters()]
    built.begin(networks(True)[1])
    assert all(torch.equal(a, b) for a, b in zip(before, built.anchor.parameters(), strict=True))


def test_the_7b_renews_its_anchor_three_times():
    gram = config.Gram(weight=2.0, refresh_first=10_000 / 200_000, refresh_every=10_000 / 200_000, refreshes=3)
    assert gram.refresh_steps(1_000_000, 1_200_000) == {1_010_000, 1_020_000, 1_030_000}
    assert config.Gram(weight=2.0).refresh_steps(0, 100) == set()


def test_readers_of_checkpoints_get_the_centres_and_a_resumed_run_the_anchor_too():
    built = objective(anchor=an_anchor())
    assert set(built.kept_for_readers()) == {"centering.centre", "patch_centering.centre"}
    assert any(name.startswith("anchor.") for name in built.state_dict())
    assert not any(p.requires_grad for p in built.parameters())


def test_a_batch_in_parts_has_the_loss_of_the_whole():
    (student, teacher), anchor = networks(True), an_anchor()
    built, views = objective(anchor=anchor), with_anchors(masked(batch()), 24)
    targets = built.targets(teacher, views, NOW)
    whole = built.losses(student, views, targets, NOW)
    pieces = [
        (built.losses(student, views.part(a, b), targets.part(a, b), NOW).detached(), (b - a) / IMAGES)
        for a, b in ((0, 1), (1, 3))
    ]
    torch.testing.assert_close(Losses.joined(pieces).total, whole.total.detach())


def test_the_weight_of_the_gram_loss_follows_the_step():
    (student, teacher), views, built = networks(True), masked(batch()), objective()
    now = dataclasses.replace(NOW, weights=Weights(gram=0.25))
    losses = built.losses(student, views, built.targets(teacher, views, now), now)
    assert losses.terms["gram"].weight == 0.5


def test_patches_on_the_same_grid_stay_and_others_are_resampled():
    patches = torch.randn(2, 16, 3)
    assert on_grid(patches, (4, 4), (4, 4)) is patches
    flat = torch.ones(1, 24, 1) * 7
    torch.testing.assert_close(on_grid(flat, (4, 6), (3, 3)), torch.ones(1, 9, 1) * 7)
    steep = torch.arange(8.0).repeat_interleave(8).view(1, 64, 1)  # rises down the image
    found = on_grid(steep, (8, 8), (4, 4)).view(4, 4)
    torch.testing.assert_close(found, torch.tensor([0.5, 2.5, 4.5, 6.5])[:, None].expand(4, 4), atol=0.1, rtol=0)


# ------------------------------------------------------------------------------------------------ anchor crops


def crops_with(gram: config.Gram | None, **changes) -> Batch:
    crops = config.Crops(global_size=32, local_size=16, local_crops=2, **changes)
    return MultiCrop(crops, gram=gram, patch=8)(decoded(pictures(3, 60, 80)), seeded())


def test_anchor_crops_are_the_students_before_its_distortions():
    plain = crops_with(None, **PLAIN)
    anchored = crops_with(dataclasses.replace(GRAM, size=32))
    torch.testing.assert_close(anchored.anchors, plain.globals)
    assert torch.equal(anchored.globals, crops_with(None).globals)
    assert not torch.allclose(anchored.anchors, anchored.globals)


def test_anchor_crops_may_be_larger_and_show_the_same():
    batch_ = crops_with(dataclasses.replace(GRAM, size=64), **PLAIN)
    assert batch_.anchors.shape == (2, 3, 3, 64, 64)
    smaller = F.avg_pool2d(batch_.anchors.flatten(0, 1), 2).view_as(batch_.globals)
    assert float((smaller - batch_.globals).abs().mean()) < 0.05
    assert torch.equal(batch_.part(1, 2).anchors, batch_.anchors[:, 1:2])


def test_anchor_crops_may_have_the_students_distortions():
    batch_ = crops_with(dataclasses.replace(GRAM, size=32, distorted=True))
    torch.testing.assert_close(batch_.anchors, batch_.globals)


def test_resolutions_are_drawn_for_all_ranks_alike_and_as_often_as_asked():
    mixed = ((32, 16, 64, 0.75), (48, 24, 48, 0.25))
    ranks = [MultiCrop(config.Crops(global_size=48, local_size=16, mixed=mixed), r, 2, gram=GRAM) for r in (0, 1)]
    drawn = [[crop.sides(seeded(step)) for step in range(400)] for crop in ranks]
    assert drawn[0] == drawn[1]
    assert set(drawn[0]) == {(32, 16, 64), (48, 24, 48)}
    assert drawn[0].count((32, 16, 64)) == pytest.approx(300, abs=35)
    views = ranks[0](decoded(pictures(2, 60, 80)), seeded(0))
    assert (views.globals.shape[-1], views.locals.shape[-1], views.anchors.shape[-1]) == drawn[0][0]
