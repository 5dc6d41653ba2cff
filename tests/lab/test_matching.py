"""Correspondence, label propagation and the probe of a few patches, against their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lab import colours
from lab.analysis import examples, matching, pca
from lab.colours import Fit


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(sum(x * y for x, y in zip(a, b, strict=True)) / (math.sqrt(sum(a**2)) * math.sqrt(sum(b**2))))


def test_nearest_is_the_largest_cosine() -> None:
    patches, others = random(5, 4), random(7, 4, seed=1)
    best, value = matching.nearest(patches, others)
    for n in range(5):
        every = [cosine(patches[n], others[m]) for m in range(7)]
        assert best[n] == every.index(max(every))
        assert value[n] == pytest.approx(max(every))


@pytest.mark.parametrize("ratio", [1.0, 0.9, 0.6])
def test_mutual_pairs_are_each_others_nearest_and_pass_lowes_test(ratio: float) -> None:
    patches, others = random(12, 5), random(9, 5, seed=1)
    pairs, value = matching.mutual(patches, others, ratio)
    expected = []
    for n in range(12):
        forth = [cosine(patches[n], others[m]) for m in range(9)]
        m = forth.index(max(forth))
        back = [cosine(patches[k], others[m]) for k in range(12)]
        nearest, second = sorted(math.sqrt(2 - 2 * c) for c in forth)[:2]
        if back.index(max(back)) == n and (ratio == 1 or nearest <= ratio * second):
            expected.append((max(forth), n, m))
    expected.sort(key=lambda item: -item[0])
    assert pairs.tolist() == [[n, m] for _, n, m in expected]
    assert value == pytest.approx([c for c, _, _ in expected])
    with pytest.raises(ValueError, match=r"ratio is 0\.0"):
        matching.mutual(patches, others, 0.0)


@pytest.mark.parametrize("context", [0, 1, 2])
def test_labels_come_from_the_most_similar_patches_of_the_first_and_the_last_frames(context: int) -> None:
    frames, labels = random(4, 6, 3), np.array([1.0, 0, 0, 1, 0, 0])
    found = matching.propagate(frames, labels, top=2, temperature=0.2, context=context)
    carried = [labels.tolist()]
    for t in range(1, 4):
        sources = [0, *(s for s in range(1, t) if s >= t - context)]
        row = []
        for n in range(6):
            pool = [(cosine(frames[t, n], frames[s, m]), carried[s][m]) for s in sources for m in range(6)]
            best = sorted(pool, key=lambda item: -item[0])[:2]
            weights = [math.exp(c / 0.2) for c, _ in best]
            row.append(sum(w * y for w, (_, y) in zip(weights, best, strict=True)) / sum(weights))
        carried.append(row)
    assert found == pytest.approx(np.array(carried))


def test_a_still_film_keeps_its_mask() -> None:
    frames = np.repeat(random(1, 8, 5), 5, axis=0)
    labels = np.arange(8) % 3 == 0
    assert (matching.propagate(frames, labels.astype(float), top=1) == labels).all()
    with pytest.raises(ValueError, match="top 0"):
        matching.propagate(frames, labels.astype(float), top=0)


def test_a_linear_probe_of_examples_is_the_ridge_solution() -> None:
    patches, chosen = random(2, 6, 4), random(5, 4, seed=1)
    positive = np.array([True, False, True, True, False])
    centre = (chosen[positive].mean(0) + chosen[~positive].mean(0)) / 2
    x, y = chosen - centre, np.where(positive, 1.0, -1.0)
    weights = np.linalg.solve(x.T @ x + 0.3 * np.eye(4), x.T @ y)  # in the primal
    found = examples.linear_probe(patches, chosen, positive, 0.3)
    assert found == pytest.approx((patches - centre) @ weights)
    with pytest.raises(ValueError, match="an example of each"):
        examples.linear_probe(patches, chosen, np.ones(5, bool))


def test_the_angle_of_a_rotation_and_the_change_of_colour() -> None:
    turn = np.deg2rad(30)
    rotation = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    assert pca.rotation_angle(rotation) == pytest.approx(30)
    assert pca.rotation_angle(np.eye(3)) == pytest.approx(0)
    assert pca.rotation_angle(np.diag([1.0, 1, -1])) == pytest.approx(180)
    scores = random(2, 5, 3)
    assert pca.colour_change(scores, scores) == 0
    changes = [abs(1 / (1 + math.exp(-1.3 * a)) - 1 / (1 + math.exp(1.3 * a))) for a in scores.ravel()]
    assert pca.colour_change(scores, -scores) == pytest.approx(sum(changes) / len(changes))


def test_components_of_all_images_of_each_and_of_some() -> None:
    rows = random(3, 16, 10) @ np.diag([4, 3, 2, 1, 1, 1, 1, 1, 1, 1]) + np.linspace(0, 3, 16)[None, :, None]
    together = colours.fit_to(rows, (4, 4), Fit("all"))
    assert together.scores.reshape(-1, 8).std(0) == pytest.approx(1)
    assert np.corrcoef(together.scores[..., 0].ravel(), pca.project(rows, 1).ravel())[0, 1] == pytest.approx(1)
    assert together.explained[:8] == pytest.approx(pca.explained_variance(rows, 8))
    each = colours.fit_to(rows, (4, 4), Fit("each"))
    alone = colours.fit_to(rows[1:2], (4, 4), Fit("all"))
    assert each.scores[1] == pytest.approx(alone.scores[0])
    assert each.first[1] == pytest.approx(alone.first[0])
    some = colours.fit_to(rows, (4, 4), Fit("0,2"))
    pair = colours.fit_to(rows[[0, 2]], (4, 4), Fit("all"))
    assert some.scores[[0, 2]] == pytest.approx(pair.scores)
    kept = colours.fit_to(rows, (4, 4), Fit("all", above=0.0))
    expected = pca.fit(rows, 3, together.first > 0)
    assert kept.bases[0].components[:3] == pytest.approx(expected.components)
    flipped = colours.fit_to(rows, (4, 4), Fit("all", above=0.0, flip=True))
    assert flipped.first == pytest.approx(-together.first)
    assert flipped.bases[0].components[:3] == pytest.approx(pca.fit(rows, 3, together.first < 0).components)
    for wrong, sentence in (("some", "expected all, each"), ("7", "names image 7; there are 3")):
        with pytest.raises(ValueError, match=sentence):
            colours.fit_to(rows, (4, 4), Fit(wrong))
