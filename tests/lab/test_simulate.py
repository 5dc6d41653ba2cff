"""The playground's system: what it computes, and what becomes of it with a part cut out."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch

from dino_core.objective import targets, terms
from dino_core.telemetry.diagnosis import Diagnosis
from lab.analysis import gram, simulate
from lab.analysis.simulate import Options, Simulator, gram_toy

K = 32
SEEDS = (0, 1, 2)
SMALL = {"batch": 32, "momentum": 0.97}
"""A smaller batch and a quicker teacher than the page's: everything happens in half the steps."""


def tail(rows: list[dict[str, float]], name: str) -> float:
    """Mean over the last rows, in units of ln K."""
    return float(np.mean([row[name] for row in rows[-30:]])) / math.log(K)


def verdict(rows: list[dict[str, float]]) -> str:
    diagnosis = Diagnosis(prototypes=K)
    for row in rows:
        diagnosis.update(row)
    return diagnosis.verdict.name


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("options", "steps", "entropy", "kl", "information", "name"),
    [
        ({}, 250, (0.5, 0.9), (0.1, 0.4), (0.1, 0.5), "healthy"),
        ({"sinkhorn": True}, 250, (0.6, 0.95), (0.08, 0.3), (0.08, 0.4), "healthy"),
        ({"sharpening": False}, 290, (0.98, 1), (0, 0.02), (0, 0.01), "uniform_collapse"),
        ({"centering": False}, 160, (0, 0.05), (0, 0.02), (0, 0.02), "prototype_collapse"),
        ({"centering": False, "sharpening": False}, 280, (0.5, 0.95), (0, 0.01), (0, 0.01), "constant_output"),
        ({"momentum": 1.0}, 80, (0.15, 0.4), (0.5, 0.85), (0.5, 0.9), "teacher_frozen"),
        ({"batch": 2}, 200, (0.4, 0.9), (0.1, 0.5), (0.1, 0.5), "healthy"),
    ],
)
def test_each_way_ends_as_it_should(
    seed: int, options: dict[str, Any], steps: int, entropy: Any, kl: Any, information: Any, name: str
) -> None:
    rows = list(Simulator({**SMALL, **options}, seed).rows(steps))
    assert entropy[0] <= tail(rows, "teacher/entropy") <= entropy[1]
    assert kl[0] <= tail(rows, "kl") <= kl[1]
    assert information[0] <= tail(rows, "teacher/information") <= information[1]
    assert verdict(rows) == name


@pytest.mark.parametrize("seed", SEEDS)
def test_what_is_cut_dies_and_heals(seed: int) -> None:
    healthy = Simulator(SMALL, seed)
    list(healthy.rows(150))
    for part, dead_after, healed_after in (("centering", 330, 160), ("sharpening", 150, 200)):
        system = copy.deepcopy(healthy)
        system.changes = {150: {part: False}, 150 + dead_after: {part: True}}
        dying = list(system.rows(dead_after))
        assert tail(dying, "teacher/information") < 0.05
        assert tail(dying, "kl") < 0.05
        assert tail(dying, "teacher/entropy") < 0.1 if part == "centering" else tail(dying, "teacher/entropy") > 0.97
        healing = list(system.rows(healed_after))
        assert tail(healing, "teacher/information") > 0.05
        assert tail(healing, "kl") > 0.04


def test_sinkhorn_hides_what_raw_answers_tell() -> None:
    row = Simulator({"sinkhorn": True, "centering": False}, 1).next()
    assert row["target/mean_entropy"] > 0.99 * math.log(K)
    assert row["teacher/mean_entropy"] < 0.9 * math.log(K)
    assert "centre/norm" not in row


@pytest.mark.parametrize("options", [{}, {"sinkhorn": True}, {"centering": False, "local_views": 3, "koleo": 0.2}])
def test_a_step_is_what_the_trainer_would_compute(options: dict[str, Any]) -> None:
    system = Simulator({"batch": 6, "prototypes": 12, **options}, 4)
    system.next()
    before, centre = copy.deepcopy(system.student), torch.tensor(system.centre)
    teacher = copy.deepcopy(system.teacher)
    row, last, o = system.next(), system.last, system.options
    weights = {name: torch.tensor(weight, requires_grad=True) for name, weight in before.items()}

    def network(w: dict[str, Any], points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = torch.relu(points @ w["w1"] + w["b1"]) @ w["w2"] + w["b2"]
        features = torch.nn.functional.normalize(features, dim=-1)
        return features, features @ torch.nn.functional.normalize(w["v"], dim=-1).T

    points = torch.tensor(last["points"])
    with torch.no_grad():
        logits = network({name: torch.tensor(weight) for name, weight in teacher.items()}, points[:12])[1]
        centering = targets.Centering(12).double()
        centering.centre.copy_(centre if o.centering else torch.zeros(12))
        wanted = centering.probabilities(logits, o.temperature, "sinkhorn" if o.sinkhorn else "centre")
    features, student = network(weights, points)
    loss = terms.cross_view(student.unflatten(0, (-1, 6)), wanted.unflatten(0, (2, 6)), o.student_temperature)
    spread = (terms.koleo(features[:6]) + terms.koleo(features[6:12])) / 2
    (loss + o.koleo * spread).backward()
    assert row["cross_entropy"] == pytest.approx(loss.item(), rel=1e-9)
    assert row["kl"] == pytest.approx(row["cross_entropy"] - row["teacher/entropy"], rel=1e-9)
    if o.koleo:
        assert row["koleo"] == pytest.approx(spread.item(), rel=1e-9)
    for name, weight in weights.items():
        np.testing.assert_allclose(last["gradient"][name], weight.grad, rtol=1e-7, atol=1e-12)
    centering.update(logits)
    if o.centering:
        np.testing.assert_allclose(system.centre, centering.centre, rtol=1e-9)
    for name in teacher:
        np.testing.assert_allclose(
            system.teacher[name], 0.99 * teacher[name] + 0.01 * system.student[name], rtol=1e-9, atol=1e-15
        )


def test_adam_is_torchs() -> None:
    system = Simulator({"batch": 8}, 2)
    start = {name: torch.tensor(weight, requires_grad=True) for name, weight in system.student.items()}
    optimizer = torch.optim.Adam(start.values(), lr=0.003)
    for _ in range(4):
        system.next()
        for name, weight in start.items():
            weight.grad = torch.tensor(system.last["gradient"][name])
        optimizer.step()
    for name, weight in start.items():
        np.testing.assert_allclose(system.student[name], weight.detach(), rtol=1e-8, atol=1e-12)


def test_chance_looks_like_chance() -> None:
    drawn = np.stack([simulate._normals(simulate._key(seed, 4, step), 4000) for seed in (0, 1) for step in (0, 1, 2)])
    assert abs(drawn.mean()) < 0.03
    assert drawn.std() == pytest.approx(1, abs=0.03)
    assert np.abs(np.corrcoef(drawn) - np.eye(6)).max() < 0.08
    assert np.abs(np.corrcoef(drawn[0, :-1], drawn[0, 1:])[0, 1]) < 0.06
    labels = Simulator({"batch": 4000}).draw(4000, [0.1])[1]
    assert np.bincount(labels, minlength=8).min() > 400


def test_a_seed_is_a_system_and_changes_come_when_they_are_due() -> None:
    one, same, other = (Simulator(SMALL, seed).run(12) for seed in (5, 5, 6))
    np.testing.assert_array_equal(one["loss"], same["loss"])
    assert np.abs(one["loss"] - other["loss"]).max() > 1e-3
    changed = Simulator(SMALL, 5, {6: {"sharpening": False}}).run(12)
    np.testing.assert_array_equal(changed["loss"][:6], one["loss"][:6])
    assert changed["teacher_temperature"].tolist() == [0.04] * 6 + [0.1] * 6


def test_unknown_options_are_named() -> None:
    with pytest.raises(ValueError, match=r"there is no option 'sharpness'\. Options: centering, sharpening"):
        Simulator({"sharpness": 1})
    assert Simulator(Options(batch=3)).options.batch == 3


# ---- dense features


@pytest.mark.parametrize("seed", SEEDS)
def test_dense_features_decay_are_kept_and_are_repaired(seed: int) -> None:
    decays, kept, repaired, late = (
        gram_toy(seed=seed, weight=weight, start=start, anchor=anchor)
        for weight, start, anchor in ((0.0, 0, 0), (8.0, 0, 0), (8.0, 200, 0), (8.0, 200, 200))
    )
    first = decays.contrast[0]
    assert first > 0.5
    assert decays.contrast[200] < 0.6 * first
    assert decays.contrast[-1] < 0.3 * first
    assert decays.to_cls[-1] > 0.9
    assert kept.contrast.min() > 0.95 * first
    assert kept.to_cls[-1] > kept.to_cls[0] + 0.1, "patches still turn towards the token"
    np.testing.assert_array_equal(repaired.contrast[:201], decays.contrast[:201])
    assert repaired.contrast[-1] > 0.95 * first
    assert late.contrast[-1] < 0.6 * first
    assert repaired.anchors[[0, 199, 200, 400]].tolist() == [-1, -1, 0, 0]


def test_the_gram_toys_measures_are_those_of_the_definition() -> None:
    toy = gram_toy(weight=2.0, start=3, refresh=4, steps=12)
    similar = toy.patches[9] @ toy.patches[9].T
    within = [similar[p, q] for p in range(196) for q in range(196) if p != q and toy.parts[p] == toy.parts[q]]
    across = [similar[p, q] for p in range(196) for q in range(196) if toy.parts[p] != toy.parts[q]]
    assert toy.contrast[9] == pytest.approx(np.mean(within) - np.mean(across))
    assert toy.gram_error[9] == pytest.approx(float(gram.distance(toy.patches[9], toy.patches[0])))
    assert toy.anchors.tolist() == [-1, -1, -1, 0, 0, 0, 0, 7, 7, 7, 7, 11, 11]


def test_the_gram_toy_goes_down_its_loss() -> None:
    toy = gram_toy(weight=3.0, start=0, steps=6)
    assert np.linalg.norm(toy.patches[3], axis=1) == pytest.approx(1)
    cls = torch.tensor(simulate._scene(0)[1])
    x = torch.tensor(toy.patches[3], requires_grad=True)
    loss = (1 - torch.nn.functional.normalize(x, dim=-1) @ cls).mean()
    loss = loss + 3 * terms.gram(x[None], torch.tensor(toy.patches[0])[None])
    loss.backward()
    down = (x - simulate.RATE * 196 * x.grad).detach()
    np.testing.assert_allclose(torch.nn.functional.normalize(down, dim=-1), toy.patches[4], atol=1e-6)


def test_an_anchor_comes_from_before() -> None:
    with pytest.raises(ValueError, match="the anchor is of step 9 and anchoring starts at 3"):
        gram_toy(weight=1.0, start=3, anchor=9)
