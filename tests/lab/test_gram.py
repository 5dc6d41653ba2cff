"""Gram matrices for pictures, against loops; what the page is told of a run's."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from dino_core.errors import RunError
from lab.analysis import gram
from lab.answers import House
from lab.local import find, name_of
from lab.run import Run
from lab.shelf import Shelf
from lab.views.gram import dense_against_global
from lab.worker import Worker

GOLDEN = Path(__file__).parents[1] / "data" / "run_v1"


def features(count: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, width))


@pytest.mark.parametrize("count", [12, 40])
def test_distance_is_that_of_the_matrices_whichever_is_smaller(count: int) -> None:
    ours, theirs = features(count, 9), features(count, 14, 1)
    total = 0.0
    for i in range(count):
        for j in range(count):
            a = ours[i] @ ours[j] / np.linalg.norm(ours[i]) / np.linalg.norm(ours[j])
            b = theirs[i] @ theirs[j] / np.linalg.norm(theirs[i]) / np.linalg.norm(theirs[j])
            total += (a - b) ** 2
    assert gram.distance(ours, theirs) == pytest.approx((total / count**2) ** 0.5)
    both = gram.distance(np.stack([ours, ours]), np.stack([ours[::-1], ours]))
    assert both[0] > 0.1
    assert both[1] == pytest.approx(0, abs=1e-7)


def test_the_order_puts_alike_patches_together() -> None:
    random = np.random.default_rng(4)
    of = random.integers(0, 3, 60)
    patches = np.eye(3)[of] + 0.05 * random.normal(size=(60, 3))
    found = gram.order(patches, groups=3)
    assert sorted(found) == list(range(60))
    assert (np.diff(of[found]) != 0).sum() == 2, "three groups, each in one piece"
    assert of[found][0] == np.bincount(of).argmax(), "the largest first"


def test_a_picture_of_a_matrix_holds_the_means_of_its_blocks() -> None:
    patches = features(11, 6)
    order = np.random.default_rng(1).permutation(11)
    whole = gram.matrix(patches)[np.ix_(order, order)]
    found = gram.binned(patches, order, 4)
    of = [p * 4 // 11 for p in range(11)]
    for a in range(4):
        for b in range(4):
            block = [whole[i, j] for i in range(11) for j in range(11) if of[i] == a and of[j] == b]
            assert found[a, b] == pytest.approx(np.mean(block))
    assert gram.binned(patches, order, 99) == pytest.approx(whole)


def test_how_much_each_patch_changed_is_its_row_of_the_difference() -> None:
    ours, theirs = features(10, 6), features(10, 5, 1)
    rows = gram.changed(ours, theirs)
    assert (rows**2).mean() ** 0.5 == pytest.approx(gram.distance(ours, theirs))
    assert rows[3] == pytest.approx(np.sqrt(np.mean((gram.matrix(ours)[3] - gram.matrix(theirs)[3]) ** 2)))


def test_contrast_counts_pairs_of_one_side_against_pairs_across() -> None:
    patches, inside = features(9, 5), np.arange(9) < 4
    cosines = gram.matrix(patches)
    within = [cosines[i, j] for i in range(9) for j in range(9) if i != j and inside[i] == inside[j]]
    across = [cosines[i, j] for i in range(9) for j in range(9) if inside[i] != inside[j]]
    assert gram.contrast(patches, inside) == pytest.approx(np.mean(within) - np.mean(across))
    assert np.isnan(gram.contrast(patches, np.ones(9, bool)))


def test_a_patch_is_on_the_object_where_half_of_its_pixels_are() -> None:
    mask = np.zeros((8, 8), bool)
    mask[:4, :2] = True  # all of one patch of a 2 × 2 grid's left half: 8 of 16 pixels
    mask[0, 4:7] = True
    assert gram.on_patches(mask, (2, 2)).tolist() == [True, False, False, False]


@pytest.fixture
def house(tmp_path: Path) -> House:
    shutil.copytree(GOLDEN, tmp_path / "run_v1")
    return House(Shelf([tmp_path]), Worker())


def test_the_page_is_told_the_distance_from_the_anchor_at_every_stop(house: House) -> None:
    (found,) = house.shelf.listing()
    said = house.ask(f"run/{found['id']}/gram", {"anchor": "200"}).make()
    run = house.shelf.run(found["id"])
    assert said["steps"] == run.probes == [0, 200, 500]
    for step, distance, contrast in zip(said["steps"], said["distance"], said["contrast"], strict=True):
        probe = run.probe(step)
        expected = gram.distance(probe.patches.astype(float), run.probe(200).patches.astype(float)).mean()
        assert distance == pytest.approx(expected, abs=1e-7)
        masks = run.probe_images.masks
        each = [
            gram.contrast(p.astype(float), gram.on_patches(m > 0, probe.grid))
            for p, m in zip(probe.patches, masks, strict=True)
        ]
        assert contrast == pytest.approx(np.nanmean(each))
    assert said["distance"][1] == 0


def test_dense_is_drawn_against_global_with_named_axes() -> None:
    run = Run(GOLDEN)
    drawn = dense_against_global(run)
    table = run.metrics()[["knn/teacher", "pca_iou"]].dropna()
    assert np.asarray(drawn.data[0].x, float) == pytest.approx(table["knn/teacher"].to_numpy())
    assert np.asarray(drawn.data[0].y, float) == pytest.approx(table["pca_iou"].to_numpy())
    assert "k-NN" in drawn.layout.xaxis.title.text
    assert "IoU" in drawn.layout.yaxis.title.text
    assert [trace.name for trace in drawn.data] == [run.name], "nothing is laid over, and nothing was anchored"
    for axis in (drawn.layout.xaxis, drawn.layout.yaxis):
        assert (axis.autorangeoptions.clipmin, axis.autorangeoptions.clipmax) == (0, 1), "shares, also of one dot"


def test_runs_laid_over_are_drawn_too_and_what_was_anchored_has_a_rim() -> None:
    anchored, plain = find("dinov3_shapes"), find("dino_shapes")
    house = House(Shelf([anchored.path.parent]), Worker())
    said = house.ask(
        f"figure/dense_against_global/{name_of(anchored)}/3000", {"controls": "{}", "beside": name_of(plain)}
    ).make()
    first, second, legend = said["data"]
    assert [trace["name"] for trace in (first, second, legend)] == [anchored.name, plain.name, "Gram anchoring"]
    rows = anchored.metrics()[["step", "knn/teacher", "pca_iou"]].dropna()
    rims = [step for step, width in zip(rows["step"], first["marker"]["line"]["width"], strict=True) if width == 2]
    assert rims == [step for step in rows["step"] if step > 1800], "the Gram phase begins at 1800 and lasts"
    assert set(second["marker"]["line"]["width"]) == {1}
    assert first["marker"]["symbol"] != second["marker"]["symbol"]
    alone = house.ask(f"figure/dense_against_global/{name_of(plain)}/6000", {}).make()
    assert [trace["name"] for trace in alone["data"]] == [plain.name]
    with pytest.raises(RunError):
        house.ask(f"figure/dense_against_global/{name_of(anchored)}/3000", {"beside": "0" * 8}).make()
