"""Many images of a run: prototypes and layouts against loops, a worker on a tiny checkpoint, what the pages are answered."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import load

from dino_core.errors import DataError, RunError
from dino_core.model.teacher import load_teacher
from lab import cache, crowd, layouts, seeing
from lab.analysis import layout, prototypes
from lab.answers import House
from lab.background import Waiting, background
from lab.run import Run
from lab.shelf import Shelf
from lab.worker import Worker

GOLDEN = Path(__file__).parents[1] / "data" / "run_v1"


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    monkeypatch.setenv("DINO_LAB_CACHE", str(tmp_path / "cache"))
    shutil.copytree(GOLDEN, tmp_path / "runs" / "run_v1")
    house = House(Shelf([tmp_path / "runs"]), Worker())
    yield house
    house.close()


def ask(house: House, path: str, **values: Any) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The answer of a run, once it is there."""
    (run,) = house.shelf.listing()
    until = time.monotonic() + 240
    while time.monotonic() < until:
        made = house.ask(f"run/{run['id']}/{path}", {name: str(value) for name, value in values.items()}).make()
        if isinstance(made, bytes):
            length = int.from_bytes(made[:8], "little")
            return load(made), json.loads(json.loads(made[8 : 8 + length])["__metadata__"]["said"])
        assert "waiting" in made
        assert 0 <= made["share"] <= 1
        time.sleep(0.05)
    raise AssertionError("it never came")


# ---- mathematics


def test_answers_are_a_centred_and_sharpened_softmax() -> None:
    random = np.random.default_rng(0)
    logits, centre = random.normal(size=(3, 5)), random.normal(size=5)
    found = prototypes.answers(logits, 0.1, centre)
    for i in range(3):
        weights = [np.exp((logits[i, k] - centre[k]) / 0.1) for k in range(5)]
        assert found[i] == pytest.approx(np.array(weights) / sum(weights))
    assert prototypes.answers(1e4 * logits, 0.01).sum(-1) == pytest.approx(1), "nothing overflows"
    assert prototypes.entropy(np.full((1, 8), 1 / 8))[0] == pytest.approx(np.log(8))
    assert prototypes.entropy(np.eye(4))[2] == 0
    with pytest.raises(ValueError, match="temperature is 0"):
        prototypes.answers(logits, 0.0)


def test_births_and_deaths_are_counted_from_stop_to_stop() -> None:
    alive = np.array([[1, 1, 0, 0], [1, 0, 1, 1], [0, 0, 1, 1]], bool)
    born, died = prototypes.changes(alive)
    assert born.tolist() == [0, 2, 0]
    assert died.tolist() == [0, 1, 1]
    assert prototypes.used(np.array([3, 3, 0]), 5).tolist() == [1, 0, 0, 2, 0]


def test_duplicates_are_the_pairs_of_the_largest_cosines() -> None:
    directions = np.random.default_rng(2).normal(size=(9, 4))
    directions[7] = 3 * directions[2]
    pairs, cosines = prototypes.duplicates(directions, most=5, least=0.2)
    expected = []
    for i in range(9):
        for j in range(i + 1, 9):
            cosine = directions[i] @ directions[j] / np.linalg.norm(directions[i]) / np.linalg.norm(directions[j])
            if cosine >= 0.2:
                expected.append((cosine, i, j))
    expected = sorted(expected, reverse=True)[:5]
    assert pairs.tolist() == [[i, j] for _, i, j in expected]
    assert pairs[0].tolist() == [2, 7]
    assert cosines == pytest.approx([cosine for cosine, _, _ in expected])


def test_leading_prototypes_come_in_the_order_of_their_time() -> None:
    shares = np.array([[0.1, 0.0, 0.9, 0.0], [0.2, 0.6, 0.1, 0.1], [0.8, 0.1, 0.1, 0.0]])
    assert prototypes.leading(shares, 3).tolist() == [2, 1, 0]


@pytest.mark.parametrize("scale", [False, True])
def test_a_layout_that_was_turned_moved_and_mirrored_comes_back(scale: bool) -> None:
    random = np.random.default_rng(1)
    points, angle = random.normal(size=(20, 2)), 1.1
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) @ np.diag([1, -1])
    moved = points @ turn * (2.5 if scale else 1) + [3, -4]
    assert layout.align(moved, points, scale=scale) == pytest.approx(points)


def test_a_line_encloses_what_a_loop_over_edges_says() -> None:
    random = np.random.default_rng(3)
    points, polygon = (
        random.uniform(-1, 1, (200, 2)),
        np.array([[-0.8, -0.5], [0.9, -0.7], [0.1, 0.0], [0.7, 0.8], [-0.6, 0.6]]),
    )
    for point, found in zip(points, layout.inside(points, polygon), strict=True):
        turns = 0.0  # the winding of the line around the point
        for a, b in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
            (ax, ay), (bx, by) = a - point, b - point
            turns += np.arctan2(ax * by - ay * bx, ax * bx + ay * by)
        assert bool(found) == (abs(turns) > np.pi)


def test_neighbours_are_the_most_alike_by_cosine() -> None:
    rows = np.random.default_rng(5).normal(size=(12, 4))
    nearest, cosines = layout.neighbours(rows, 3)
    for p in range(12):
        each = sorted(
            (-(rows[p] @ rows[q]) / np.linalg.norm(rows[p]) / np.linalg.norm(rows[q]), q) for q in range(12) if q != p
        )
        assert nearest[p].tolist() == [q for _, q in each[:3]]
        assert cosines[p] == pytest.approx([-c for c, _ in each[:3]])
    labels = np.arange(12) % 2
    assert layout.agreement(nearest, labels)[4] == np.mean([q % 2 == 0 for q in nearest[4]])


# ---- answers


def test_the_probe_images_are_answered_at_once_with_the_centre_of_training(house: House) -> None:
    run = Run(GOLDEN)
    found, said = ask(house, "crowd/500/answers", count=0)
    with safe_open(str(run.checkpoint_folder(500) / "teacher.safetensors"), framework="numpy") as tensors:
        centre = tensors.get_tensor("objective.centering.centre").astype(float)
    heat = run.metrics()["teacher_temperature"].iloc[-1]
    expected = prototypes.answers(run.probe(500).logits.astype(float), heat, centre)
    assert said["temperature"] == pytest.approx(heat)
    assert (found["top"][:, 0] == expected.argmax(-1)).all()
    assert found["probability"][:, 0] == pytest.approx(expected.max(-1), abs=1e-5)
    assert found["entropy"] == pytest.approx(prototypes.entropy(expected), abs=1e-4)
    pictures, _ = ask(house, "crowd/pictures", count=0)
    assert (pictures["images"] == run.probe_images.images.transpose(0, 2, 3, 1)).all()


def test_between_checkpoints_the_centre_is_taken_to_move_straight(house: House) -> None:
    (listed,) = house.shelf.listing()
    run = house.shelf.run(listed["id"])
    (at_200, exact), (at_500, _) = crowd.centre_at(run, 200), crowd.centre_at(run, 500)
    assert at_200 is not None
    assert at_500 is not None
    assert exact
    between, exact = crowd.centre_at(run, 260)
    assert between == pytest.approx(0.8 * at_200 + 0.2 * at_500)
    assert not exact
    assert crowd.centre_at(run, 0)[0] == pytest.approx(at_200), "before the first, the first"


def test_one_images_answer_through_training_adds_up_to_one(house: House) -> None:
    (run,) = house.shelf.listing()
    said = house.ask(f"run/{run['id']}/prototypes/image", {"image": "1"}).make()
    assert said["steps"] == [0, 200, 500]
    assert said["exact"] == [False, True, True]
    assert np.array(said["shares"]).sum(1) + said["rest"] == pytest.approx(1, abs=1e-3)
    expected = crowd.seen(house, house.shelf.run(run["id"]), 200, 0)["answer"][1]  # type: ignore[index]
    assert said["shares"][1] == pytest.approx(expected[said["prototypes"]], abs=1e-4)
    with pytest.raises(RunError, match="no probe image 9"):
        house.ask(f"run/{run['id']}/prototypes/image", {"image": "9"}).make()


def test_a_worker_shows_the_data_set_to_a_checkpoint(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crowd, "COUNTS", (0, 24))
    found, said = ask(house, "crowd/300/answers", count=24)
    assert said["step"] == 200, "the last checkpoint not after it"
    pictures, _ = ask(house, "crowd/pictures", count=24)
    assert pictures["images"].shape[0] == len(found["top"]) == 24
    run = house.shelf.run(house.shelf.listing()[0]["id"])
    network, read = load_teacher(run.checkpoint_folder(200)), seeing.images_of(str(run.path), 24)
    with torch.inference_mode():
        pixels = seeing.normalised(read.images, run.config.crops.mean, run.config.crops.std, torch.device("cpu"))
        logits = network.head(network.backbone(pixels).cls).numpy()
    centre = crowd.centres(run.checkpoint_folder(200)).get("centre")
    expected = prototypes.answers(logits, said["temperature"], centre if crowd.centred(run) else None)
    assert found["entropy"] == pytest.approx(prototypes.entropy(expected), abs=1e-3)
    vectors, _ = ask(house, "crowd/300/vectors", count=24)
    assert vectors["rows"].shape == (24, network.backbone.dim)
    twins = prototypes.duplicates(network.head.prototypes.directions.detach().numpy())[1]
    assert found["twin_cosine"] == pytest.approx(twins, abs=1e-3)
    points, about = ask(house, "crowd/300/layout", count=24, anchor=500, method="tsne")
    assert points["xy"].shape == (24, 2)
    assert about == {"step": 200, "anchor": 500}
    again = background(house).get(*crowd.layout_question(run, [500, 200], 24, "cls", "tsne"))
    assert not isinstance(again, Waiting), "it is kept"


def test_principal_components_are_turned_towards_the_anchors(house: House) -> None:
    run = house.shelf.run(house.shelf.listing()[0]["id"])
    points, _ = ask(house, "crowd/200/layout", count=0, anchor=500, tokens="patches")
    anchor, _ = ask(house, "crowd/500/layout", count=0, anchor=500, tokens="patches")
    ours = layout.principal(run.probe(200).patches.astype(float).reshape(-1, 16))
    assert points["xy"] == pytest.approx(layout.align(ours, anchor["xy"].astype(float)), abs=1e-3)
    assert points["image"].tolist() == np.repeat(np.arange(4), 16).tolist()
    assert points["place"].tolist() == list(range(16)) * 4


def test_umap_begins_where_it_is_told_and_says_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    import numba

    monkeypatch.setattr(numba.config, "DISABLE_JIT", True)  # compiling takes a minute, 36 points none
    monkeypatch.setattr(layouts, "EPOCHS", 80)
    monkeypatch.setattr(layouts, "NEIGHBOURS", 6)
    random = np.random.default_rng(0)
    rows = np.repeat(np.eye(3), 12, axis=0) + 0.05 * random.normal(size=(36, 3))
    shares: list[float] = []
    first = layouts.placed(rows, "umap", None, shares.append)
    assert shares == sorted(shares)
    assert len(shares) >= 2
    groups = first.reshape(3, 12, 2)
    spread = np.linalg.norm(groups - groups.mean(1, keepdims=True), axis=-1).mean()
    centres = groups.mean(1)
    assert min(np.linalg.norm(centres[i] - centres[j]) for i, j in [(0, 1), (0, 2), (1, 2)]) > 2 * spread
    second = layouts.placed(rows + 0.02 * random.normal(size=rows.shape), "umap", first)
    moved = np.linalg.norm(second.reshape(3, 12, 2).mean(1)[:, None] - centres[None], axis=-1)
    assert moved.argmin(axis=1).tolist() == [0, 1, 2], "each group is nearest to where it was"


def test_only_what_is_drawn_and_folders_the_lab_was_given_are_opened(house: House, tmp_path: Path) -> None:
    found = house.shelf.listing()[0]
    config = tmp_path / "runs" / "run_v1" / "config.json"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    config.write_text(json.dumps({**json.loads(config.read_text()), "data": {"source": str(elsewhere)}}))
    with pytest.raises(DataError, match="was not given"):
        house.ask(f"run/{found['id']}/crowd/pictures", {"count": "300"})
    with pytest.raises(DataError, match="expected one of 0, 300"):
        house.ask(f"run/{found['id']}/crowd/pictures", {"count": "301"})


def test_a_failed_job_is_told_once_and_can_be_tried_again(house: House) -> None:
    entry = cache.entry("crowd", "nothing")
    until, errors = time.monotonic() + 120, []
    while len(errors) < 2 and time.monotonic() < until:
        try:
            background(house).get(
                entry, {"do": "crowd", "run": "/nowhere", "count": 3, "step": 0, "temperature": 1, "centred": False}
            )
        except RunError as error:
            errors.append(str(error))
        time.sleep(0.02)
    assert len(errors) == 2
    assert "nowhere" in errors[0]


def test_layouts_chain_from_the_anchor_outwards() -> None:
    stops = [0, 10, 100, 1000]
    assert crowd.chain(stops, 1000, 10) == [1000, 100, 10]
    assert crowd.chain(stops, 10, 100) == [10, 100]
    assert crowd.chain(stops, 100, 100) == [100]
    many = crowd.thinned(list(range(0, 1000, 10)), (550,))
    assert 550 in many
    assert many[0] == 0
    assert many[-1] == 990
    assert len(many) <= 13


def test_an_images_own_loss_is_that_of_its_crops_pair_by_pair(house: House) -> None:
    from dino_core.data.multicrop import MultiCrop
    from dino_core.data.views import Decoded
    from dino_core.schedules import Schedule

    (listed,) = house.shelf.listing()
    run = house.shelf.run(listed["id"])
    step = run.checkpoints[-1]
    tensors, said = ask(house, f"crowd/{step}/loss")
    assert (said["step"], said["student"]) == (step, False)
    pixels = torch.from_numpy(run.probe_images.images.copy())
    count = len(pixels)
    sizes = torch.tensor(pixels.shape[2:]).repeat(count, 1)
    decoded = Decoded(pixels, sizes, torch.full((count,), -1), torch.arange(count))
    views = MultiCrop(run.config.crops)(decoded, torch.Generator().manual_seed(0))
    network, now = load_teacher(run.checkpoint_folder(step)), Schedule(run.config).at(step - 1)
    centre = torch.from_numpy(np.asarray(crowd.centres(run.checkpoint_folder(step))["centre"]))
    with torch.inference_mode():
        teacher = network([views.globals], patches=False).logits
        student = network([part for part in (views.globals, views.locals) if len(part)], patches=False).logits
    for image in (0, count - 1):
        total, pairs = 0.0, 0
        for s in range(len(student)):
            for t in range(len(teacher)):
                if s == t:
                    continue
                q = ((teacher[t, image] - centre) / now.teacher_temperature).softmax(-1)
                p = (student[s, image] / now.student_temperature).log_softmax(-1)
                total, pairs = total - float(q @ p), pairs + 1
        assert tensors["loss"][image] == pytest.approx(total / pairs, rel=0.02)
