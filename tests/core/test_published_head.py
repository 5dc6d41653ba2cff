"""`load_head`: the head of a full checkpoint answers as the code that wrote it does."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dino_core.errors import CheckpointError
from dino_core.model import load_head
from tests import published

DIM, HIDDEN, BOTTLENECK, PROTOTYPES = 64, 24, 8, 20


def head(seed: int, *, plain: bool = False) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    widths = [DIM, HIDDEN, HIDDEN, BOTTLENECK]
    found = {}
    for i in range(3):
        found[f"mlp.{2 * i}.weight"] = torch.randn(widths[i + 1], widths[i], generator=draw)
        found[f"mlp.{2 * i}.bias"] = torch.randn(widths[i + 1], generator=draw)
    directions = torch.randn(PROTOTYPES, BOTTLENECK, generator=draw)
    if plain:
        return {**found, "last_layer.weight": directions}
    return {
        **found,
        "last_layer.weight_g": torch.rand(PROTOTYPES, 1, generator=draw),
        "last_layer.weight_v": directions,
    }


def by_hand(weights: dict[str, Tensor], x: Tensor) -> Tensor:
    """The projection head of the released code, layer by layer."""
    for i in range(3):
        x = x @ weights[f"mlp.{2 * i}.weight"].T + weights[f"mlp.{2 * i}.bias"]
        x = F.gelu(x) if i < 2 else x
    x = x / x.norm(dim=-1, keepdim=True)
    if "last_layer.weight" in weights:
        return x @ weights["last_layer.weight"].T
    directions = weights["last_layer.weight_v"]
    return x @ (weights["last_layer.weight_g"] * directions / directions.norm(dim=-1, keepdim=True)).T


def full_checkpoint(path: Path) -> Path:
    """As `main_dino.py` writes it: both networks wrapped and headed, the centre, the arguments."""
    networks = {
        name: {f"{wrap}backbone.{k}": v for k, v in published.dino(DIM).items()}
        | {f"{wrap}head.{k}": v for k, v in head(seed).items()}
        for name, wrap, seed in (("student", "module.", 1), ("teacher", "", 2))
    }
    arguments = argparse.Namespace(arch="vit_small", patch_size=8, teacher_temp=0.07)
    centre = torch.arange(PROTOTYPES).float()[None]
    torch.save({**networks, "epoch": 3, "args": arguments, "dino_loss": {"center": centre}}, path)
    return path


def test_a_full_checkpoint_of_dino_answers_as_its_own_code(tmp_path: Path) -> None:
    path, x = full_checkpoint(tmp_path / "full.pth"), torch.randn(5, DIM)
    for which, seed in (("student", 1), ("teacher", 2)):
        found = load_head(path, which=which)
        assert torch.allclose(found.head(x), by_hand(head(seed), x), atol=1e-5)
        assert not any(weight.requires_grad for weight in found.head.parameters())
        assert found.centre is not None
        assert found.centre.tolist() == list(range(PROTOTYPES))
        assert (found.teacher_temperature, found.student_temperature) == (0.07, 0.1)
        assert found.networks == ("teacher", "student")


@pytest.mark.parametrize("box", ["teacher", "model"])
def test_a_teacher_of_dinov3_has_plain_prototypes(box: str, tmp_path: Path) -> None:
    weights, x = head(3, plain=True), torch.randn(2, DIM)
    prefix = "teacher.dino_head._orig_mod." if box == "model" else "dino_head."
    torch.save({box: {f"{prefix}{k}": v for k, v in weights.items()}}, tmp_path / "teacher.pth")
    found = load_head(tmp_path / "teacher.pth")
    assert torch.allclose(found.head(x), by_hand(weights, x), atol=1e-5)
    assert (found.centre, found.teacher_temperature) == (None, None)
    with pytest.raises(CheckpointError, match="keeps no head of the student"):
        load_head(tmp_path / "teacher.pth", which="student")


def test_what_has_no_head_says_what_has_one(tmp_path: Path) -> None:
    torch.save(published.dino(DIM), tmp_path / "bare.pth")
    with pytest.raises(CheckpointError, match=r"bare\.pth keeps no head of the teacher.*full checkpoint"):
        load_head(tmp_path / "bare.pth")
    with pytest.raises(CheckpointError, match="random:dino_vits16 is a backbone alone"):
        load_head("random:dino_vits16")
    broken = {f"head.{k}": v for k, v in head(1).items() if k != "mlp.2.weight"}
    torch.save({"teacher": broken}, tmp_path / "broken.pth")
    with pytest.raises(CheckpointError, match="a head that this version can't read"):
        load_head(tmp_path / "broken.pth")
