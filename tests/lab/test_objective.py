"""One step taken apart: against the trainer's own terms, and with checkpoints that mean harm."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.numpy import load as read_tensors

from dino_core.errors import CheckpointError, RunError
from dino_core.model import load_teacher
from dino_core.objective.targets import Centering, sinkhorn
from dino_core.objective.terms import cross_view
from lab import stages as lab_stages
from lab.analysis import objective
from lab.resumable import load_student
from lab.run import Run
from lab.worker import Worker
from tests import oracles

GOLDEN = Path(__file__).parents[1] / "data" / "run_v1"
TAU_T, TAU_S = 0.05, 0.1


def logits(rows: int, prototypes: int, seed: int) -> torch.Tensor:
    return torch.randn(rows, prototypes, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("views", "seen"), [(3, 2), (6, 2), (2, 1), (1, 2)])
@pytest.mark.parametrize(
    "switches", [{}, {"centering": False}, {"sharpening": False}, {"centering": False, "sharpening": False}]
)
@pytest.mark.parametrize("skip", [True, False])
def test_the_stages_are_the_trainers_loss_and_its_gradient(
    views: int, seen: int, switches: dict[str, bool], skip: bool
) -> None:
    student, teacher, centre = logits(views, 7, 0).requires_grad_(), logits(seen, 7, 1), logits(1, 7, 2)[0]
    found = objective.stages(
        student.detach().numpy(), teacher.numpy(), centre.numpy(), TAU_T, TAU_S, skip_same_view=skip, **switches
    )
    away = centre if switches.get("centering", True) else torch.zeros(7)
    temperature = TAU_T if switches.get("sharpening", True) else TAU_S
    targets = oracles.centred(teacher, away, temperature)
    loss = cross_view(student[:, None], targets[:, None], TAU_S, skip)
    loss.backward()
    assert found.targets == pytest.approx(targets.numpy())
    assert found.loss == pytest.approx(loss.item())
    assert found.loss == pytest.approx(oracles.cross_view(student[:, None], targets[:, None], TAU_S, skip).item())
    assert student.grad is not None
    assert found.gradient == pytest.approx(student.grad.numpy())
    assert found.entropy + found.divergence == pytest.approx(found.loss)


@pytest.mark.parametrize(
    "off", ["unit_length", "student_sharpening", "soft_targets", "local_crops", "stop_gradient", "sharpening"]
)
def test_any_stage_that_is_switched_off_is_off_in_the_loss_and_in_both_gradients(off: str) -> None:
    student, teacher, centre = logits(5, 7, 0), logits(2, 7, 1), logits(1, 7, 2)[0]
    lengths = logits(2, 5, 3).abs()
    found = objective.stages(
        student.numpy(), teacher.numpy(), centre.numpy(), TAU_T, TAU_S,
        student_lengths=lengths[0].numpy(), teacher_lengths=lengths[1, :2].numpy(), **{off: False},
    )  # fmt: skip
    warm = 1.0 if off == "student_sharpening" else TAU_S
    if off == "local_crops":
        student = student[:2]
    if off == "unit_length":
        student, teacher = torch.diag(lengths[0]) @ student, torch.diag(lengths[1, :2]) @ teacher
        centre = centre * (lengths[1, 0] + lengths[1, 1]) / 2
    student.requires_grad_()
    teacher.requires_grad_()
    targets = oracles.centred(teacher, centre, warm if off == "sharpening" else TAU_T)
    if off == "soft_targets":
        targets = torch.stack([(row == row.max()).double() for row in targets])
    loss = cross_view(student[:, None], targets[:, None], warm)
    loss.backward()
    assert found.loss == pytest.approx(loss.item())
    assert student.grad is not None
    assert found.gradient == pytest.approx(student.grad.numpy())
    assert found.entropy + found.divergence == pytest.approx(found.loss)
    flows = teacher.grad.numpy() if off == "stop_gradient" and teacher.grad is not None else np.zeros((2, 7))
    assert found.teacher_gradient == pytest.approx(flows)
    assert (np.abs(flows).max() > 0) == (off == "stop_gradient")


def test_entropy_and_divergence_are_those_of_the_pairs_that_count() -> None:
    found = objective.stages(logits(4, 5, 3).numpy(), logits(2, 5, 4).numpy(), np.zeros(5), TAU_T, TAU_S)
    entropy = divergence = 0.0
    pairs = [(s, t) for s in range(4) for t in range(2) if s != t]
    for s, t in pairs:
        q, p = found.targets[t], found.predictions[s]
        entropy -= sum(a * np.log(a) for a in q) / len(pairs)
        divergence += sum(a * np.log(a / b) for a, b in zip(q, p, strict=True)) / len(pairs)
    assert (found.entropy, found.divergence) == (pytest.approx(entropy), pytest.approx(divergence))


def test_the_centre_moves_like_the_trainers() -> None:
    teacher = logits(2, 6, 5)
    centering = Centering(6, momentum=0.7)
    centering.centre.copy_(logits(1, 6, 6)[0])
    before = centering.centre.clone()
    centering.update(teacher.float())
    assert objective.moved_centre(before.numpy(), teacher.numpy(), 0.7) == pytest.approx(
        centering.centre.numpy(), abs=1e-6
    )


def test_what_has_no_pairs_or_no_temperature_is_refused() -> None:
    one = np.zeros((1, 3))
    with pytest.raises(ValueError, match="no pair of different views"):
        objective.stages(one, one, np.zeros(3), TAU_T, TAU_S)
    with pytest.raises(ValueError, match="expected numbers above 0"):
        objective.stages(one, one, np.zeros(3), 0.0, TAU_S)
    with pytest.raises(ValueError, match="need the lengths of both"):
        objective.stages(one, one, np.zeros(3), TAU_T, TAU_S, unit_length=False)


# ---- of a checkpoint


def test_a_checkpoints_step_is_the_loss_of_its_own_networks(small_run: Path) -> None:
    run = Run(small_run)
    arrays, said = lab_stages.tensors(run, 12, 1, seed=3)
    assert said["has_student"]
    assert arrays["student"].shape == (4, 32)
    assert arrays["teacher"].shape == (2, 32)
    found = objective.stages(
        arrays["student"], arrays["teacher"], arrays["centre"], said["teacher_temperature"], said["student_temperature"]
    )
    assert found.loss == pytest.approx(said["loss"], rel=1e-5)
    directions = F.normalize(load_teacher(run.checkpoint_folder(12)).head.prototypes.directions.detach(), dim=-1)
    long = torch.from_numpy(arrays["teacher"] * arrays["teacher_length"][:, None])
    assert torch.linalg.lstsq(directions, long.T).solution.norm(dim=0) == pytest.approx(
        arrays["teacher_length"], rel=1e-3
    )
    assert arrays["student_length"].shape == (4,)
    assert arrays["globals"].shape == (2, 32, 32, 3)
    left, top, right, bottom = arrays["boxes"].T
    assert ((left < right) & (top < bottom) & (left >= 0) & (bottom <= 1)).all()
    again, _ = lab_stages.tensors(run, 12, 1, seed=3)
    assert all((arrays[name] == again[name]).all() for name in arrays)
    assert (lab_stages.tensors(run, 12, 1, seed=4)[0]["boxes"] != arrays["boxes"]).any()
    other, heard = lab_stages.tensors(Run(GOLDEN), 500, 1, seed=3, like=(run, 12))
    assert (other["boxes"] == arrays["boxes"]).all()
    assert (np.abs(other["globals"].astype(int) - arrays["globals"]) <= 1).all(), (
        "the same crops, whatever their normalisation"
    )
    assert heard["step"] == 500
    assert other["teacher"] != pytest.approx(arrays["teacher"], abs=1e-3)


def test_the_student_is_the_trainings_own(small_run: Path) -> None:
    import torch.distributed.checkpoint as dcp

    folder = Run(small_run).checkpoint_folder(12)
    student = load_student(folder)
    assert student is not None
    kept = {f"student.{name}": torch.zeros_like(tensor) for name, tensor in student.state_dict().items()}
    nested = {"student": {name.removeprefix("student."): tensor for name, tensor in kept.items()}}
    dcp.load(nested, checkpoint_id=folder / "state", no_dist=True)
    for name, tensor in student.state_dict().items():
        assert torch.equal(tensor, nested["student"][name]), name


def test_a_checkpoint_without_a_student_says_so() -> None:
    arrays, said = lab_stages.tensors(Run(GOLDEN), 500, 0, 0)
    assert not said["has_student"]
    assert arrays["student"][:2] == pytest.approx(arrays["teacher"], abs=1e-5)


def test_sinkhorn_is_shown_as_a_centre_of_the_batch() -> None:
    rows = logits(12, 9, 8).view(2, 6, 9).float()
    centre = lab_stages._centre(Path(), rows, TAU_T, "sinkhorn", image=4)
    balanced = sinkhorn(rows.flatten(0, 1).double(), TAU_T).view(2, 6, 9)[:, 4]
    assert torch.allclose(((rows[:, 4] - centre) / TAU_T).softmax(-1).double(), balanced, atol=1e-5)


def test_the_page_gets_it_as_safetensors_computed_once(
    small_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DINO_LAB_CACHE", str(tmp_path))

    class Here(Worker):
        asked = 0

        def ask(self, question: dict[str, Any]) -> dict[str, Any]:
            self.asked += 1
            return lab_stages.computed(question)

    worker, run = Here(), Run(small_run)
    content = lab_stages.stages(worker, run, 8, 0, 0)
    assert read_tensors(content)["centre"].shape == (32,)
    assert lab_stages.stages(worker, run, 8, 0, 0) == content
    assert worker.asked == 1
    with pytest.raises(RunError, match="there is no image 99"):
        lab_stages.stages(worker, run, 8, 99, 0)
    with pytest.raises(RunError, match="expected 0 to"):
        lab_stages.stages(worker, run, 8, 0, -1)


class Harm:
    """What a pickle may ask whoever opens it to do."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.file),)


def test_a_state_that_means_harm_is_not_opened(small_run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "step_00000012"
    shutil.copytree(Run(small_run).checkpoint_folder(12), folder)
    whole = (folder / "state" / ".metadata").read_bytes()
    done = tmp_path / "done"
    (folder / "state" / ".metadata").write_bytes(pickle.dumps(Harm(done)))
    with pytest.raises(CheckpointError, match="which no checkpoint of DINO lab does"):
        load_student(folder)
    assert not done.exists()
    (folder / "state" / ".metadata").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match="can't be read"):
        load_student(folder)
    (folder / "state" / ".metadata").write_bytes(whole)
    shards = next((folder / "state").glob("*.distcp"))
    outside = shutil.move(shards, tmp_path / "outside")
    shards.symlink_to(outside)
    with pytest.raises(CheckpointError, match="not beside it"):
        load_student(folder)
    shards.unlink()
    shards.write_bytes(pickle.dumps(Harm(done)) * 4000)
    with pytest.raises(CheckpointError, match="can't be read"):
        load_student(folder)
    assert not done.exists()


def test_the_steps_own_sentence_reaches_the_asker(tmp_path: Path) -> None:
    from lab.worker import _answered

    run = tmp_path / "run"
    shutil.copytree(GOLDEN, run)
    (run / "checkpoints/step_00000500/teacher.safetensors").write_bytes(b"\xff" * 64)
    answer = _answered(
        {"do": "stages", "run": str(run), "step": 500, "image": 0, "seed": 0, "entry": str(tmp_path / "e")}
    )
    assert "is damaged" in json.dumps(answer)
