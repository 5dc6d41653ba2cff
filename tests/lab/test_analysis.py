"""Analysis against the loop nests of its definitions."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.analysis import attention, baselines, curves, gram, pca, similarity


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def softmax_rows(*shape: int, seed: int = 0) -> np.ndarray:
    weights = np.exp(2 * random(*shape, seed=seed))
    return weights / weights.sum(-1, keepdims=True)


# ---- attention


def fewest_patches(weights: np.ndarray, mass: float) -> int:
    """By trying every subset."""
    for size in range(len(weights) + 1):
        if any(sum(chosen) >= mass * weights.sum() * (1 - 1e-12) for chosen in itertools.combinations(weights, size)):
            return size
    return len(weights)


@given(st.lists(st.floats(0.001, 1), min_size=1, max_size=7), st.floats(0.05, 1))
@settings(max_examples=60, deadline=None)
def test_mass_mask_takes_the_fewest_patches_that_hold_the_share(values: list[float], mass: float) -> None:
    weights = np.array(values)
    mask = attention.mass_mask(weights, mass)
    assert mask.sum() == fewest_patches(weights, mass)
    assert weights[mask].min() >= weights[~mask].max(initial=0)


def test_mass_mask_is_the_rule_of_the_papers_figure() -> None:
    maps = softmax_rows(3, 6, 49)
    for weights, mask in zip(maps.reshape(-1, 49), attention.mass_mask(maps, 0.6).reshape(-1, 49), strict=True):
        order = np.argsort(weights)
        kept = np.zeros(49, dtype=bool)
        kept[order] = np.cumsum(weights[order]) > 1 - 0.6  # visualize_attention.py, with ours
        assert (mask == kept).all()


def test_mass_mask_keeps_leading_axes_and_works_on_what_is_not_normalised() -> None:
    maps = softmax_rows(2, 3, 4, 16)
    assert attention.mass_mask(maps).shape == (2, 3, 4, 16)
    assert (attention.mass_mask(maps) == attention.mass_mask(7.5 * maps)).all()
    assert attention.mass_mask(maps[0, 0, 0]).shape == (16,)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_mass_mask_of_equal_patches_takes_the_first_six_of_ten(dtype: type) -> None:
    mask = attention.mass_mask(np.full(10, 0.1, dtype=dtype), 0.6)
    assert mask.tolist() == [True] * 6 + [False] * 4


def test_mass_mask_of_the_whole_takes_every_patch_that_has_any() -> None:
    assert attention.mass_mask(np.array([0.5, 0.0, 0.5]), 1.0).tolist() == [True, False, True]


def test_mass_mask_of_nothing_is_empty() -> None:
    assert not attention.mass_mask(np.zeros((2, 5))).any()
    assert not attention.mass_mask(np.full(5, np.nan)).any()


@pytest.mark.parametrize("mass", [0.0, -1.0, 1.5, float("nan")])
def test_mass_mask_says_what_a_mass_is(mass: float) -> None:
    with pytest.raises(ValueError, match="above 0 and at most 1"):
        attention.mass_mask(np.ones(4), mass)


def test_head_entropy_goes_from_one_patch_to_all() -> None:
    maps = np.stack([np.eye(8)[3], np.full(8, 0.02)])
    assert attention.head_entropy(maps) == pytest.approx([0, math.log(8)])


def test_jaccard_counts_patches() -> None:
    first, second = random(5, 30) > 0, random(5, 30, seed=1) > 0.5
    for a, b, value in zip(first, second, attention.jaccard(first, second), strict=True):
        shared = sum(x and y for x, y in zip(a, b, strict=True))
        either = sum(x or y for x, y in zip(a, b, strict=True))
        assert value == pytest.approx(shared / either)
    assert np.isnan(attention.jaccard(np.zeros(4, bool), np.zeros(4, bool)))


def test_a_mask_on_pixels_asks_each_pixels_own_patch() -> None:
    mask = np.array([True, False, False, False, True, True])
    pixels = attention.on_pixels(mask, (2, 3), 6).reshape(6, 6)
    for y, x in itertools.product(range(6), range(6)):
        assert pixels[y, x] == mask[(y // 3) * 3 + x // 2]


# ---- principal components


def test_components_are_those_of_the_singular_value_decomposition() -> None:
    for shape in ((40, 7), (5, 30)):
        patches = random(*shape)
        centred = patches - patches.mean(0)
        _, lengths, right = np.linalg.svd(centred, full_matrices=False)
        basis = pca.fit(patches, 3)
        assert np.abs(np.sum(basis.components * right[:3], axis=1)) == pytest.approx(np.ones(3))
        assert basis.explained == pytest.approx((lengths**2 / (lengths**2).sum())[:3])
        assert pca.explained_variance(patches) == pytest.approx(basis.explained)


def test_projecting_is_the_scores_of_each_patch_by_itself() -> None:
    patches = random(3, 10, 6)
    basis = pca.fit(patches, 2)
    scores = pca.project(patches, 2)
    for image, patch, component in itertools.product(range(3), range(10), range(2)):
        by_hand = sum((patches[image, patch] - basis.mean) * basis.components[component])
        assert scores[image, patch, component] == pytest.approx(by_hand)


def test_a_fixed_basis_is_used_as_it_is() -> None:
    basis = pca.fit(random(2, 20, 5), 3)
    other = random(4, 20, 5, seed=3)
    assert pca.project(other, 3, basis) == pytest.approx((other - basis.mean) @ basis.components.T)


def test_per_image_components_know_nothing_of_other_images() -> None:
    patches = random(3, 16, 8)
    scores = pca.project(patches, 3, per_image=True)
    assert scores[1] == pytest.approx(pca.project(patches[1], 3))
    assert scores.shape == (3, 16, 3)


def test_the_fit_can_be_kept_to_some_patches() -> None:
    patches = random(2, 12, 5)
    keep = random(2, 12, seed=4) > 0
    assert pca.project(patches, 2, keep=keep) == pytest.approx(pca.project(patches, 2, pca.fit(patches[keep], 2)))


def test_signs_do_not_depend_on_the_order_of_patches() -> None:
    patches = random(30, 6)
    assert pca.fit(patches[::-1]).components == pytest.approx(pca.fit(patches).components)


def test_patches_without_variance_give_zeros_not_noise() -> None:
    basis = pca.fit(np.ones((4, 9, 5)), 3)
    assert (basis.components == 0).all()
    assert (basis.explained == 0).all()
    assert (pca.project(np.ones((4, 9, 5)), 3) == 0).all()
    assert pca.project(random(1, 1, 5), 3).shape == (1, 1, 3)


def test_otsu_splits_where_the_variance_between_is_largest() -> None:
    values = np.concatenate([random(200) * 0.3 - 2, random(100, seed=1) * 0.3 + 3])

    def between(threshold: float) -> float:
        low, high = values[values <= threshold], values[values > threshold]
        return len(low) * len(high) * (low.mean() - high.mean()) ** 2 if len(low) and len(high) else 0

    found = pca.otsu(values)
    assert between(found) >= 0.999 * max(between(t) for t in np.linspace(values.min(), values.max(), 500))
    assert pca.otsu(np.full(5, 2.0)) == 2.0


@pytest.mark.parametrize("sign", [1, -1])
def test_foreground_is_what_the_border_is_not(sign: int) -> None:
    scene = np.zeros((8, 8))
    scene[2:6, 3:6] = 1
    first = sign * (scene.reshape(-1) + 0.05 * random(64))
    mask, above = pca.foreground(np.stack([first, first]), (8, 8))
    assert (mask == (scene.reshape(-1) > 0)).all()
    assert ((above > 0) == mask).all()
    alone, _ = pca.foreground(np.stack([first, -first]), (8, 8), per_image=True)
    assert (alone == mask).all()


def test_alignment_undoes_a_rotation_and_keeps_distances() -> None:
    reference = random(2, 30, 3)
    turn, _ = np.linalg.qr(random(3, 3, seed=5))
    aligned, rotation = pca.align(reference @ turn, reference)
    assert aligned == pytest.approx(reference)
    assert rotation @ rotation.T == pytest.approx(np.eye(3))
    noisy = random(2, 30, 3, seed=6)
    turned, _ = pca.align(noisy, reference)
    assert np.linalg.norm(turned - turned[0, 0], axis=-1) == pytest.approx(np.linalg.norm(noisy - noisy[0, 0], axis=-1))
    assert np.linalg.norm(turned - reference) <= np.linalg.norm(noisy - reference)


# ---- similarity and Gram


def test_similarity_to_a_patch_is_the_cosine() -> None:
    patches = random(2, 6, 5)
    found = similarity.to_patch(patches, 4, image=1)
    for image, patch in itertools.product(range(2), range(6)):
        a, b = patches[image, patch], patches[1, 4]
        assert found[image, patch] == pytest.approx(a @ b / math.sqrt(a @ a) / math.sqrt(b @ b))
    assert similarity.to_patch(patches[0], 2) == pytest.approx(similarity.to_patch(patches[:1], 2)[0])


def test_a_patch_of_zeros_is_similar_to_nothing() -> None:
    assert (similarity.to_patch(np.zeros((3, 4)), 0) == 0).all()


def test_eight_bits_keep_the_cosine_to_a_hundredth() -> None:
    patches = random(3, 20, 96)
    integers, scale = similarity.quantised(patches)
    assert integers.dtype == np.int8
    rough = integers * scale[..., None].astype(np.float64)
    assert similarity.to_patch(rough, 3) == pytest.approx(similarity.to_patch(patches, 3), abs=0.01)


def test_the_gram_matrix_is_all_similarities() -> None:
    patches = random(2, 5, 4)
    for image in range(2):
        for patch in range(5):
            assert gram.matrix(patches)[image, patch] == pytest.approx(similarity.to_patch(patches[image], patch))
    assert gram.distance(patches, 3 * patches) == pytest.approx([0, 0], abs=1e-7)


# ---- curves and baselines


@given(st.lists(st.one_of(st.floats(-1e6, 1e6), st.just(math.nan)), min_size=1, max_size=400), st.integers(5, 60))
@settings(max_examples=80, deadline=None)
def test_decimation_drops_no_extreme_no_end_and_no_gap(values: list[float], limit: int) -> None:
    array = np.array(values)
    for places in (None, np.cumsum(np.arange(len(array)) % 5 + 1)):
        kept = curves.decimate(array, limit, places)
        assert len(kept) <= max(limit, 2)
        assert (np.diff(kept) > 0).all()
        assert kept[0] == 0
        assert kept[-1] == len(array) - 1
        if not np.isnan(array).all():
            assert np.nanmax(array[kept]) == np.nanmax(array)
            assert np.nanmin(array[kept]) == np.nanmin(array)
        assert np.isnan(array[kept]).any() == np.isnan(array).any()


def test_decimation_along_places_leaves_no_stretch_empty() -> None:
    places = np.concatenate([np.arange(1000), 1000 + 50 * np.arange(1000)])
    kept = places[curves.decimate(np.sin(np.arange(2000.0)), 302, places)]
    assert np.diff(kept).max() <= 2 * places[-1] / 100


def test_few_points_are_all_kept_and_too_few_refused() -> None:
    assert curves.decimate(np.arange(5.0), 10).tolist() == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="at least 5"):
        curves.decimate(np.arange(50.0), 3)


def test_log_spaced_stops_are_dense_at_first_and_keep_both_ends() -> None:
    stops = np.arange(0, 1000, 10)
    chosen = curves.log_spaced(stops, 12)
    assert chosen[0] == 0
    assert chosen[-1] == 99
    assert len(chosen) <= 14
    gaps = np.diff(stops[chosen])
    assert gaps[-1] > 5 * gaps[0]


def test_the_centred_box_is_the_best_of_all_centred_boxes() -> None:
    masks = np.zeros((3, 20, 20), bool)
    masks[0, 5:15, 5:15] = masks[1, 7:13, 7:13] = True
    score, share = baselines.centred_box(masks)
    by_hand = []
    for half in range(1, 11):
        box = np.zeros((20, 20), bool)
        box[10 - half : 10 + half, 10 - half : 10 + half] = True
        by_hand.append(np.mean([(m & box).sum() / (m | box).sum() for m in masks[:2]]))
    assert score == pytest.approx(max(by_hand))
    assert 0 < share <= 1
    assert math.isnan(baselines.centred_box(np.zeros((2, 4, 4), bool))[0])


def test_a_curve_finds_its_own_baselines() -> None:
    known = {"knn_raw_pixels": 0.6, "knn_untrained": None, "jaccard_centred_box": 0.31, "pca_untrained": 0.2}
    assert baselines.of_metric("knn/teacher", known) == {"knn_raw_pixels": 0.6}
    assert baselines.of_metric("jaccard/best_head", known) == {"jaccard_centred_box": 0.31}
    assert baselines.of_metric("pca_iou", known) == {"pca_untrained": 0.2}
    assert baselines.chance(np.array([0, 0, 1, -1])) == pytest.approx(2 / 3)
    assert baselines.uniform_loss(512) == pytest.approx(math.log(512))
