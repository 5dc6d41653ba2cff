"""Student and teacher: several views in one call, following, saving and loading."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from dino_core import config
from dino_core.errors import CheckpointError
from dino_core.model import Head, Network, build_backbone, load_teacher, save_teacher, weight_distance
from dino_core.objective import Dino

CONFIG = config.TrainConfig(
    backbone=config.Backbone(patch=8, dim=32, depth=2, heads=2, registers=1, drop_path=0.3),
    head=config.Head(prototypes=12, hidden=16, bottleneck=8, frozen_gain=False),
    crops=config.Crops(global_size=32, local_size=16, mean=(0.1, 0.2, 0.3)),
)


def network(backbone: config.Backbone = CONFIG.backbone, head: config.Head = CONFIG.head) -> Network:
    torch.manual_seed(0)
    built = build_backbone(backbone, 32)
    return Network(built, Head(built.dim, head))


def views() -> list[torch.Tensor]:
    return [torch.randn(2, 3, 3, 32, 32), torch.randn(4, 3, 3, 16, 16)]


def test_each_view_of_each_image_is_seen_in_the_order_given() -> None:
    net, given = network().eval(), views()
    output = net(given)
    assert output.logits.shape == (6, 3, 12)
    for view, images in enumerate([*given[0], *given[1]]):
        cls = net.backbone(images).cls
        torch.testing.assert_close(output.cls[view], cls, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(output.logits[view], net.head(cls), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(output.patches()[1, 2], net.backbone(given[0][1, 2:]).patches[0], rtol=1e-4, atol=1e-5)
    assert output.patches(1).shape == (4, 3, 4, 32)


def test_class_tokens_alone_give_the_same_logits() -> None:
    net, given = network().eval(), views()
    whole, alone = net(given), net(given, patches=False)
    torch.testing.assert_close(alone.logits, whole.logits, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(alone.cls, whole.cls, rtol=1e-4, atol=1e-5)
    assert alone.tokens == ()


def test_the_backbone_runs_once_a_resolution_and_the_head_once() -> None:
    net, calls = network(), []
    net.backbone.register_forward_hook(lambda *_: calls.append("backbone"))
    net.head.register_forward_hook(lambda *_: calls.append("head"))
    net(views())
    assert calls == ["backbone", "backbone", "head"]


def test_the_teacher_begins_as_the_student_without_gradients_or_stochastic_depth() -> None:
    student = network()
    teacher = student.frozen_copy()
    assert float(weight_distance(student, teacher)) == 0
    assert not any(p.requires_grad for p in teacher.parameters())
    assert all(p.requires_grad for p in student.parameters())
    given = views()
    assert torch.equal(teacher(given).logits, teacher(given).logits)
    assert torch.equal(teacher(given).logits, copy.deepcopy(teacher).eval()(given).logits)
    assert not torch.equal(student(given).logits, student(given).logits)


def test_the_teacher_follows_every_weight_of_the_student() -> None:
    student = network()
    teacher = student.frozen_copy()
    before = {name: p.clone() for name, p in teacher.named_parameters()}
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(torch.randn_like(parameter))
    teacher.follow(student, 0.9)
    ours = dict(student.named_parameters())
    for name, parameter in teacher.named_parameters():
        torch.testing.assert_close(parameter, 0.9 * before[name] + 0.1 * ours[name].detach())


@pytest.mark.parametrize("momentum", [0.0, 1.0])
def test_momentum_zero_copies_and_one_stays(momentum: float) -> None:
    student = network()
    teacher = student.frozen_copy()
    with torch.no_grad():
        student.head.prototypes.directions.add_(1)
    teacher.follow(student, momentum)
    assert torch.equal(teacher.head.prototypes.directions, student.head.prototypes.directions) == (momentum == 0)


def test_the_teachers_batch_statistics_are_its_own() -> None:
    """Of global views only, by its own batch, as in the released code; following the student leaves them alone."""
    student = network(config.Backbone(name="test_resnet", drop_path=0.0))
    teacher = student.frozen_copy()
    given = [torch.randn(2, 4, 3, 64, 64) + 1]
    with torch.no_grad():
        teacher(given)
    norm = next(m for m in teacher.modules() if isinstance(m, nn.BatchNorm2d))
    kept = norm.running_mean.clone()
    assert kept.ne(0).any()
    teacher.follow(student, 0.5)
    assert torch.equal(norm.running_mean, kept)


def test_parts_hold_every_trainable_weight_once() -> None:
    net = network()
    parts = net.parts()
    assert list(parts) == ["backbone", "head", "prototypes"]
    assert [id(p) for part in parts.values() for p in part] == [id(p) for p in net.parameters()]
    assert [p.shape for p in parts["prototypes"]] == [(12, 8), (12, 1)]
    assert net.frozen_copy().parts() == {"backbone": [], "head": [], "prototypes": []}


def test_weight_distance_is_relative_to_the_teacher() -> None:
    student = network()
    teacher = student.frozen_copy()
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.mul_(1.25)
    assert float(weight_distance(student, teacher)) == pytest.approx(0.25, rel=1e-5)


def saved(folder: Path, dtype: torch.dtype = torch.float32, net: Network | None = None) -> Network:
    net = net or network()
    objective = Dino(CONFIG.objective, 12)
    objective.centering.centre.copy_(torch.arange(12.0))
    save_teacher(folder, net, objective, step=200, config=CONFIG, dtype=dtype)
    return net


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_saved_teacher_comes_back_frozen_in_single_precision(tmp_path: Path, dtype: torch.dtype) -> None:
    net = saved(tmp_path, dtype)
    loaded = load_teacher(tmp_path)
    assert not loaded.training
    for (name, ours), theirs in zip(net.named_parameters(), loaded.parameters(), strict=True):
        assert (theirs.dtype, theirs.requires_grad) == (torch.float32, False), name
        assert torch.equal(theirs, ours.detach().to(dtype).float()), name
    given = views()
    torch.testing.assert_close(loaded(given).logits, net.eval()(given).logits, rtol=1e-2, atol=5e-3)


def test_the_checkpoint_says_what_the_format_says(tmp_path: Path) -> None:
    saved(tmp_path)
    tensors, description = (
        load_file(tmp_path / "teacher.safetensors"),
        json.loads((tmp_path / "model.json").read_text()),
    )
    assert {name.split(".")[0] for name in tensors} == {"backbone", "head", "objective"}
    assert torch.equal(tensors["objective.centering.centre"], torch.arange(12.0))
    assert description["format"] == 1
    assert (description["step"], description["prototypes"], description["image_size"]) == (200, 12, 32)
    assert description["mean"] == [0.1, 0.2, 0.3]
    assert config.Backbone(**description["backbone"]) == CONFIG.backbone


def test_loading_leaves_the_random_state_alone(tmp_path: Path) -> None:
    saved(tmp_path)
    before = torch.get_rng_state()
    load_teacher(tmp_path)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_mask_token_and_batch_statistics_survive(tmp_path: Path) -> None:
    backbone = build_backbone(CONFIG.backbone, 32, mask_token=True)
    saved(tmp_path, net=Network(backbone, Head(backbone.dim, CONFIG.head)))
    assert load_teacher(tmp_path).backbone.mask_token is not None


def test_a_folder_that_is_no_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"has no teacher.safetensors; expected the folder of a checkpoint"):
        load_teacher(tmp_path)


def test_a_truncated_file_is_damaged(tmp_path: Path) -> None:
    saved(tmp_path)
    whole = (tmp_path / "teacher.safetensors").read_bytes()
    (tmp_path / "teacher.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match="is damaged"):
        load_teacher(tmp_path)
    saved(tmp_path)
    (tmp_path / "model.json").write_text('{"format": 1, "ste')
    with pytest.raises(CheckpointError, match="is damaged"):
        load_teacher(tmp_path)


def change(folder: Path, **fields: object) -> None:
    description = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps({**description, **fields}))


def test_a_newer_format_says_to_update(tmp_path: Path) -> None:
    saved(tmp_path)
    change(tmp_path, format=2)
    with pytest.raises(CheckpointError, match="format 2; this version reads 1"):
        load_teacher(tmp_path)


@pytest.mark.parametrize(
    "wrong", [{"backbone": {"name": "vit", "dim": 64, "heads": 2}}, {"backbone": {"width": 64}}, {"image_size": "32"}]
)
def test_a_description_of_another_network_is_refused(tmp_path: Path, wrong: dict[str, object]) -> None:
    saved(tmp_path)
    change(tmp_path, **wrong)
    with pytest.raises(CheckpointError, match="does not describe teacher"):
        load_teacher(tmp_path)


def test_missing_weights_are_refused(tmp_path: Path) -> None:
    saved(tmp_path)
    tensors = load_file(tmp_path / "teacher.safetensors")
    tensors.pop("backbone.model.norm.weight")
    save_file(tensors, tmp_path / "teacher.safetensors")
    with pytest.raises(CheckpointError, match=r"norm\.weight"):
        load_teacher(tmp_path)
