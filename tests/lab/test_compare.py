"""Networks compared: centred kernel alignment against the loop nests of its definition, and what the page asks."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load as read_tensors

from lab import eyes
from lab.analysis import cka
from lab.answers import House
from lab.shelf import Shelf
from lab.sight import Given
from lab.views.compare import spread
from lab.worker import Worker, _answered

GOLDEN = Path(__file__).parents[1] / "data" / "run_v1"


def hsic(x: np.ndarray, y: np.ndarray) -> float:
    """Σ_ij of both centred kernels, as in Kornblith et al. 2019, Eq. 3."""
    n = len(x)
    k = [[float(x[i] @ x[j]) for j in range(n)] for i in range(n)]
    m = [[float(y[i] @ y[j]) for j in range(n)] for i in range(n)]

    def centred(a: list[list[float]]) -> list[list[float]]:
        rows = [sum(a[i]) / n for i in range(n)]
        whole = sum(rows) / n
        return [[a[i][j] - rows[i] - rows[j] + whole for j in range(n)] for i in range(n)]

    kc, mc = centred(k), centred(m)
    return sum(kc[i][j] * mc[i][j] for i in range(n) for j in range(n))


@pytest.mark.parametrize(("rows", "p", "q"), [(12, 3, 5), (6, 9, 2), (5, 8, 8)])
def test_cka_is_the_normalised_sum_over_centred_kernels(rows: int, p: int, q: int) -> None:
    random = np.random.default_rng(rows)
    x, y = random.normal(size=(rows, p)) + 3, random.normal(size=(rows, q))
    assert cka.linear(x, y) == pytest.approx(hsic(x, y) / math.sqrt(hsic(x, x) * hsic(y, y)))


@given(st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_cka_knows_no_axes_no_place_and_no_size(seed: int) -> None:
    random = np.random.default_rng(seed)
    x = random.normal(size=(20, 6))
    turned = np.linalg.qr(random.normal(size=(6, 6)))[0]
    y = random.normal(size=(20, 4))
    assert cka.linear(x, 7 * x @ turned + random.normal(size=6)) == pytest.approx(1)
    assert cka.linear(x @ turned - 5, y) == pytest.approx(cka.linear(x, y)) == pytest.approx(cka.linear(y, x))
    assert 0 <= cka.linear(x, y) <= 1


def test_what_says_the_same_of_everything_has_no_alignment() -> None:
    assert math.isnan(cka.linear(np.ones((5, 3)), np.random.default_rng(0).normal(size=(5, 3))))


@pytest.mark.parametrize("grid", [(4, 4), (6, 5), (8, 12), (3, 2)])
def test_pooling_averages_the_patches_whose_middles_lie_in_a_cell(grid: tuple[int, int]) -> None:
    patches = np.random.default_rng(1).normal(size=(2, grid[0] * grid[1], 3))
    found = cka.pooled(patches, grid, 4).reshape(2, 4, 4, 3)
    for row in range(4):
        for column in range(4):
            inside = [
                patches[:, r * grid[1] + c]
                for r in range(grid[0])
                for c in range(grid[1])
                if int(4 * (r + 0.5) / grid[0]) == row and int(4 * (c + 0.5) / grid[1]) == column
            ]
            if inside:
                assert found[:, row, column] == pytest.approx(np.mean(inside, 0))
            else:
                assert np.isfinite(found[:, row, column]).all()


def test_steps_are_spread_and_keep_their_ends() -> None:
    assert spread([0, 1, 2], 5) == [0, 1, 2]
    found = spread(list(range(0, 1000, 10)), 7)
    assert (len(found), found[0], found[-1]) == (7, 0, 990)


# ---- what the page asks


class Here(Worker):
    """Answers in this process."""

    def ask(self, question: dict[str, Any]) -> dict[str, Any]:
        answer = _answered(question)
        assert "error" not in answer, answer
        return answer


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    monkeypatch.setenv("DINO_LAB_CACHE", str(tmp_path / "cache"))
    shutil.copytree(GOLDEN, tmp_path / "runs" / "run_v1")
    return House(Shelf([tmp_path / "runs"]), Here(), more={"sight": Given()})


def test_checkpoints_are_compared_by_what_their_probes_kept(house: House) -> None:
    run = house.shelf.listing()[0]["id"]
    found = house.ask(f"run/{run}/cka").make()
    assert found["rows"] == found["columns"] == ["0", "200", "500"]
    probes = [house.shelf.run(run).probe(step) for step in (0, 500)]
    one, other = (cka.pooled(probe.patches.astype(np.float32), probe.grid) for probe in probes)
    assert found["matrix"][0][2] == pytest.approx(cka.linear(one, other), abs=1e-4)
    assert [found["matrix"][i][i] for i in range(3)] == pytest.approx([1, 1, 1])


def test_layers_of_two_checkpoints_are_compared_from_their_own_tokens(house: House) -> None:
    run = house.shelf.listing()[0]["id"]
    asked = {"source": f"run:{run}:200:teacher", "against": f"run:{run}:500:teacher", "images": f"probe:{run}"}
    found = house.ask("compare/layers", asked).make()
    depth = house.shelf.run(run).config.backbone.depth
    assert found["rows"] == ["input", *map(str, range(1, depth + 1))]
    folder = house.shelf.run(run).checkpoint_folder
    images = house.shelf.run(run).probe_images.images.transpose(0, 2, 3, 1)
    streams = []
    for step in (200, 500):
        eye = eyes.opened(str(folder(step)), "now")
        pixels = eye.sees(images, 0)
        side = pixels.shape[-1] // eye.backbone.patch
        per_image = [eyes.inside(eye.backbone, one).stream[:, 1 + eye.backbone.registers :] for one in pixels.split(1)]
        streams.append(cka.pooled(np.stack([s[-1].numpy() for s in per_image]), (side, side)))
    assert found["matrix"][-1][-1] == pytest.approx(cka.linear(*streams), abs=1e-3)


def test_components_are_in_units_of_their_spread_with_the_border_low(house: House) -> None:
    run = house.shelf.listing()[0]["id"]
    content = house.ask(
        "compare/pca", {"source": f"run:{run}:500:teacher", "images": f"probe:{run}", "image": "1"}
    ).make()
    scores = read_tensors(content)["scores"]
    said = json.loads(json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]["said"])
    assert scores.std(0) == pytest.approx([1, 1, 1], rel=1e-3)
    side = said["rows"]
    ring = np.ones((side, side), bool)
    ring[1:-1, 1:-1] = False
    assert scores[ring.reshape(-1), 0].mean() <= scores[:, 0].mean() + 1e-6
