"""Rollout, distances and high-norm tokens against the loop nests of their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lab.analysis import artifacts, attention, rollout


def rows(*shape: int, seed: int = 0) -> np.ndarray:
    weights = np.exp(np.random.default_rng(seed).normal(size=shape))
    return weights / weights.sum(-1, keepdims=True)


def test_rollout_adds_up_every_path_through_the_layers() -> None:
    layers, stays = rows(3, 4, 4), 0.3
    found = rollout.rollout(layers, stays)
    for top in range(4):
        for bottom in range(4):
            total = 0.0
            for middle in range(4):  # the token after layer 1
                for upper in range(4):  # the token after layer 2
                    path = 1.0
                    for layer, (above, below) in enumerate([(middle, bottom), (upper, middle), (top, upper)]):
                        path *= 0.7 * layers[layer, above, below] + (stays if above == below else 0)
                    total += path
            assert found[top, bottom] == pytest.approx(total)
    assert found.sum(-1) == pytest.approx(1)
    assert rollout.row(layers, 2, stays) == pytest.approx(found[2])
    with pytest.raises(ValueError, match=r"residual is 1\.5; expected"):
        rollout.rollout(layers, 1.5)


def test_distances_are_means_over_where_attention_goes() -> None:
    grid, maps = (2, 3), rows(2, 6, 6) * 0.8
    found = attention.mean_distance(maps, grid)
    for head in range(2):
        for asks in range(6):
            total = 0.0
            for n in range(6):
                total += maps[head, asks, n] * math.hypot(asks // 3 - n // 3, asks % 3 - n % 3)
            assert found[head, asks] == pytest.approx(total / 0.8)
            assert attention.distance_from(maps[head, asks], grid, asks) == pytest.approx(found[head, asks])


def test_spread_is_the_distance_from_the_maps_own_centre() -> None:
    grid, weights = (2, 3), rows(6)
    y = sum(weights[n] * (n // 3) for n in range(6))
    x = sum(weights[n] * (n % 3) for n in range(6))
    expected = sum(weights[n] * math.hypot(n // 3 - y, n % 3 - x) for n in range(6))
    assert attention.spread(weights, grid) == pytest.approx(expected)
    assert attention.spread(np.eye(6)[4], grid) == pytest.approx(0)


def test_a_row_of_attention_is_the_softmax_of_one_query_with_every_key() -> None:
    random = np.random.default_rng(1)
    queries, keys = random.normal(size=(2, 5, 3)), random.normal(size=(2, 5, 3))
    found = attention.row(queries, keys, 4)
    for head in range(2):
        weights = [math.exp(sum(queries[head, 4, d] * keys[head, n, d] for d in range(3))) for n in range(5)]
        assert found[head] == pytest.approx([weight / sum(weights) for weight in weights])


def test_high_norms_are_those_beyond_a_multiple_of_the_median_of_their_own_image() -> None:
    norms = np.array([[1.0, 1.1, 0.9, 2.3, 1.0], [10.0, 12.0, 9.0, 11.0, 50.0]])
    assert artifacts.high_norm(norms).tolist() == [[False, False, False, True, False], [False] * 4 + [True]]
    assert not artifacts.high_norm(norms, 6.0).any()
    with pytest.raises(ValueError, match=r"ratio is 0\.0"):
        artifacts.high_norm(norms, 0.0)


def test_change_is_the_share_of_attention_that_went_elsewhere() -> None:
    now, then = rows(2, 3, 5), rows(2, 3, 5, seed=1) * 0.7
    found = attention.changed(now, then)
    for one in np.ndindex(2, 3):
        p, q = now[one] / now[one].sum(), then[one] / then[one].sum()
        assert found[one] == pytest.approx(sum(max(a - b, 0.0) for a, b in zip(p, q)))
    assert attention.changed(now, now) == pytest.approx(0)
    apart = np.eye(5)[:1], np.eye(5)[1:2]
    assert attention.changed(*apart) == pytest.approx(1)
