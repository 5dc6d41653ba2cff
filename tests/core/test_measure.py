"""Measures against loops and numpy, and the traps in which single numbers fall."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dino_core.measure import attention, collapse, features, spectrum

DOUBLE = torch.float64


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


# Collapse


def test_entropy_is_the_sum_of_its_definition_and_knows_zeros():
    p = random(3, 5).softmax(-1)
    expected = [-sum(q * math.log(q) for q in row) for row in p.tolist()]
    assert collapse.entropy(p).tolist() == pytest.approx(expected)
    sure, even = torch.eye(4)[0], torch.full((4,), 0.25)
    assert collapse.entropy(torch.stack([sure, even])).tolist() == pytest.approx([0, math.log(4)], abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_entropy_is_measured_in_at_least_single_precision(dtype):
    assert collapse.entropy(random(2, 8).softmax(-1).to(dtype)).dtype == torch.promote_types(dtype, torch.float32)


def kl_by_loops(student, targets, temperature):
    total, pairs = 0.0, 0
    for s in range(len(student)):
        for t in range(len(targets)):
            if s == t:
                continue
            for b in range(student.shape[1]):
                z = [x / temperature for x in student[s, b].tolist()]
                norm = math.log(sum(math.exp(x) for x in z))
                total += sum(q * (math.log(q) - (x - norm)) for q, x in zip(targets[t, b].tolist(), z) if q > 0)
                pairs += 1
    return total / pairs


@pytest.mark.parametrize(("views", "seen"), [(4, 2), (2, 2), (3, 1), (6, 2)])
def test_kl_is_its_own_definition_over_the_pairs_of_the_loss(views, seen):
    student, targets = random(views, 3, 7), (4 * random(seen, 3, 7, seed=1)).softmax(-1)
    assert collapse.kl(student, targets, 0.1).item() == pytest.approx(kl_by_loops(student, targets, 0.1))


@settings(deadline=None, max_examples=20)
@given(st.integers(2, 5), st.integers(1, 2), st.integers(0, 1000))
def test_entropy_and_kl_make_up_the_loss(views, seen, seed):
    from dino_core.objective.terms import cross_view

    student, targets = random(views, 4, 9, seed=seed), (3 * random(seen, 4, 9, seed=seed + 1)).softmax(-1)
    parts = collapse.kl(student, targets, 0.1) + collapse.entropy(targets).mean()
    assert parts.item() == pytest.approx(cross_view(student, targets, 0.1).item())
    assert collapse.kl(student, targets, 0.1) > 0


def test_kl_is_zero_for_a_student_that_says_what_the_teacher_says():
    logits = random(1, 3, 8).expand(4, 3, 8)
    assert collapse.kl(logits, (logits[:2] / 0.1).softmax(-1), 0.1).item() == pytest.approx(0, abs=1e-12)


def test_information_is_that_of_the_joint_table():
    """I = sum p(image, k) log p(image, k) / (p(image) p(k)) with images equally likely."""
    p = (3 * random(6, 5)).softmax(-1)
    joint = (p / 6).numpy()
    expected = (joint * np.log(joint / (joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)))).sum()
    assert collapse.information(p.mean(0), collapse.entropy(p).mean()).item() == pytest.approx(expected)
    same = p[:1].expand(6, 5)
    assert collapse.information(same.mean(0), collapse.entropy(same).mean()).item() == pytest.approx(0, abs=1e-12)


def test_perplexity_counts_prototypes_that_share_evenly():
    mean = torch.tensor([0.25, 0.25, 0.25, 0.25, 0, 0])
    assert collapse.perplexity(mean).item() == pytest.approx(4)
    assert collapse.largest_share(mean).item() == 0.25


def test_choices_count_first_choices():
    p = torch.eye(4)[torch.tensor([[0, 1], [1, 1]])]
    assert collapse.choices(p).tolist() == [1, 3, 0, 0]


# Spectrum


def test_rankme_is_the_papers_formula():
    x = random(40, 12) @ torch.diag(torch.arange(1, 13, dtype=DOUBLE))
    sigma = np.linalg.svd(x.numpy(), compute_uv=False)
    p = sigma / sigma.sum() + 1e-7
    assert spectrum.rankme(x).item() == pytest.approx(math.exp(-(p * np.log(p)).sum()), rel=1e-6)
    assert spectrum.rankme(x.T).item() == pytest.approx(spectrum.rankme(x).item(), rel=1e-6)


def test_rankme_counts_directions_up_to_the_number_of_rows():
    basis = torch.linalg.qr(random(64, 64)).Q
    assert spectrum.rankme(basis).item() == pytest.approx(64, rel=1e-3)
    assert spectrum.rankme(random(500, 10) @ basis[:10]).item() == pytest.approx(10, rel=0.02)
    assert spectrum.rankme(random(8, 1000)).item() <= 8.01


def test_total_collapse_is_seen_by_rankme_and_std_but_not_by_alpha_or_a_centred_rank():
    """The trap of the study: constant features with a little noise (peers.md, Sec. 3)."""
    collapsed = random(1, 192).expand(1024, 192) + 1e-3 * random(1024, 192, seed=1)
    assert spectrum.rankme(collapsed).item() < 1.5
    assert features.feature_std(collapsed).item() < 0.01
    assert spectrum.rankme(collapsed - collapsed.mean(0)).item() > 150
    assert 0 < spectrum.alpha_req(collapsed).item() < 0.5


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0])
def test_alpha_is_the_slope_of_a_power_law(alpha):
    ranks = torch.arange(1, 65, dtype=DOUBLE)
    q = torch.linalg.qr(random(400, 64) - random(400, 64).mean(0)).Q
    x = q @ torch.diag(ranks ** (-alpha / 2)) @ torch.linalg.qr(random(64, 64, seed=2)).Q
    assert spectrum.alpha_req(x).item() == pytest.approx(alpha, rel=0.02)


def lidar_by_numpy(views, delta):
    groups = views.permute(1, 0, 2).numpy()
    images, count, dim = groups.shape
    means = groups.mean(1)
    within = sum((g - m).T @ (g - m) for g, m in zip(groups, means)) / (images * (count - 1)) + delta * np.eye(dim)
    between = np.cov(means.T)
    values, vectors = np.linalg.eigh(within)
    root = vectors @ np.diag(values**-0.5) @ vectors.T
    lam = np.linalg.eigvalsh(root @ between @ root).clip(0)
    p = lam / lam.sum() + 1e-8
    return math.exp(-(p * np.log(p)).sum())


@pytest.mark.parametrize(("count", "images", "dim"), [(4, 10, 6), (6, 8, 20), (2, 30, 5)])
def test_lidar_is_the_entropy_of_whitened_between_image_variance(count, images, dim):
    views = random(1, images, dim) + 0.3 * random(count, images, dim, seed=1)
    assert spectrum.lidar(views).item() == pytest.approx(lidar_by_numpy(views, 1e-4), rel=1e-4)


def test_lidar_counts_directions_of_images_not_of_crops():
    images = torch.zeros(1, 100, 16, dtype=DOUBLE)
    images[..., :3] = 10 * random(1, 100, 3)
    crops = random(6, 100, 16, seed=1)
    assert spectrum.lidar(images + crops).item() < 5
    assert spectrum.rankme((images + crops).flatten(0, 1)).item() > 8


@pytest.mark.parametrize("x", [torch.zeros(10, 5), torch.ones(10, 5), torch.zeros(2, 3)])
def test_spectra_of_constant_features_are_finite(x):
    numbers = [spectrum.rankme(x), spectrum.alpha_req(x), spectrum.lidar(x[None].expand(3, -1, -1))]
    assert all(math.isfinite(number.item()) for number in numbers)


def test_features_that_are_not_finite_give_nan_and_no_exception():
    x = random(10, 5)
    x[3, 2] = math.nan
    for number in (spectrum.rankme(x), spectrum.alpha_req(x), spectrum.lidar(x[None].expand(3, -1, -1))):
        assert math.isnan(number.item())


# Features


def test_feature_std_is_one_on_the_sphere_and_nought_at_a_point():
    assert features.feature_std(random(4000, 32)).item() == pytest.approx(1, abs=0.02)
    assert features.feature_std(5 * random(1, 32).expand(100, 32)).item() == pytest.approx(0, abs=1e-6)
    x = random(20, 4)
    unit = x.numpy() / np.linalg.norm(x.numpy(), axis=1, keepdims=True)
    assert features.feature_std(x).item() == pytest.approx(unit.std(0).mean() * 2)


def test_mean_patch_cosine_is_that_of_all_pairs():
    patches = random(2, 5, 3)
    total = []
    for image in torch.nn.functional.normalize(patches, dim=-1):
        total += [float(image[i] @ image[j]) for i in range(5) for j in range(5) if i != j]
    assert features.mean_patch_cosine(patches).item() == pytest.approx(np.mean(total))
    assert features.mean_patch_cosine(patches[:, :1].expand(2, 5, 3)).item() == pytest.approx(1)
    assert features.mean_patch_cosine(patches[:, :1]).item() == pytest.approx(0, abs=1e-9)


def test_cls_patch_cosine_is_the_mean_over_patches():
    cls, patches = random(2, 3), random(2, 4, 3, seed=1)
    expected = torch.nn.functional.cosine_similarity(cls[:, None], patches, dim=-1).mean()
    assert features.cls_patch_cosine(cls, patches).item() == pytest.approx(expected.item())


def test_high_norm_share_counts_outliers_at_any_scale():
    patches = torch.nn.functional.normalize(random(2, 50, 8), dim=-1)
    patches[0, :5] *= 10
    for scale in (1.0, 1e3):
        assert features.high_norm_share(scale * patches).item() == pytest.approx(0.05)


# Attention


def test_head_entropy_is_over_patches_alone():
    even, sure = torch.full((8,), 0.1), torch.eye(8)[2] * 0.3
    found = attention.head_entropy(torch.stack([even, sure])[None])
    assert found.tolist() == pytest.approx([math.log(8), 0], abs=1e-5)


def mask_by_trying(row, mass):
    """The fewest patches: take the largest until they hold the share."""
    order = sorted(range(len(row)), key=lambda i: -row[i])
    kept, held = set(), 0.0
    for i in order:
        if held >= mass * sum(row) - 1e-12:
            break
        kept.add(i)
        held += row[i]
    return [i in kept for i in range(len(row))]


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(0.01, 1), min_size=1, max_size=12, unique=True), st.sampled_from([0.1, 0.6, 0.95]))
def test_mass_mask_is_the_fewest_patches_that_hold_the_share(row, mass):
    mask = attention.mass_mask(torch.tensor([row], dtype=DOUBLE), mass)[0]
    assert mask.tolist() == mask_by_trying(row, mass)


def test_mass_mask_keeps_leading_axes():
    maps = random(2, 3, 7).softmax(-1)
    whole = attention.mass_mask(maps)
    assert torch.equal(whole[1, 2], attention.mass_mask(maps[1, 2]))


def test_jaccard_is_intersection_over_union():
    a = torch.tensor([[1, 1, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0]], dtype=torch.bool)
    b = torch.tensor([[1, 0, 1, 0], [0, 0, 0, 0], [0, 1, 0, 0]], dtype=torch.bool)
    assert attention.jaccard(a, b).tolist() == pytest.approx([1 / 3, 1, 0])
