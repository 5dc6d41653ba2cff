"""`dino-lab evaluate` on runs, on their checkpoints, and on the networks of others in every published layout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from dino_core.cli import guarded
from dino_core.commands.evaluate import main, run_of
from dino_core.model.convert import convert
from dino_core.rundir.schema import step_name
from tests import published

FEW = ["--train-images", "16", "--test-images", "10", "--size", "64"]
SHAPES = ["--data.source", "shapes"]


def evaluated(model: Path, folder: Path, *options: str) -> dict[str, Any]:
    assert guarded(main, [str(model), *FEW, "--json", str(folder / "found.json"), *options]) == 0
    return json.loads((folder / "found.json").read_text())


OFFICIAL = {
    "dino_deitsmall8_pretrain.pth": published.dino,
    "dinov2_vits14_pretrain.pth": published.dinov2,
    "dinov2_vitg14_reg4_pretrain.pth": lambda: published.dinov2(registers=4, swiglu=True),
    "dinov3_vit7b16_pretrain.pth": lambda: published.dinov3(swiglu=True, qkv_bias=False, local_norm=True),
    "dinov3_convnext_tiny_pretrain.pth": published.dinov3_convnext,
}


@pytest.mark.parametrize("name", OFFICIAL)
def test_an_official_file_is_evaluated(name: str, tmp_path: Path) -> None:
    torch.save(OFFICIAL[name](), tmp_path / name)
    told = [] if "dinov3" in name else ["--heads", "2"]
    found = evaluated(tmp_path / name, tmp_path, *SHAPES, *told)
    assert (found["train_images"], found["test_images"], found["size"]) == (16, 10, 64)
    assert {"knn_10", "linear", "patch_miou", "jaccard_centred_box"} <= found.keys()
    assert ("jaccard/best_head" in found) == ("convnext" not in name)


def test_the_network_of_a_full_checkpoint_can_be_chosen(tmp_path: Path) -> None:
    full = {
        which: {f"backbone.{k}": v * x for k, v in published.dino().items()}
        for which, x in (("teacher", 1), ("student", 0.0))
    }
    torch.save(full, tmp_path / "full.pth")
    one, other = (
        evaluated(tmp_path / "full.pth", tmp_path, *SHAPES, "--heads", "2", "--which", w)
        for w in ("teacher", "student")
    )
    assert one["linear"] != other["linear"]


@pytest.mark.parametrize("to", ["timm", "transformers"])
def test_a_folder_of_timm_or_transformers_is_no_run_though_it_has_a_config(
    to: str, small_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    convert(small_run, tmp_path / "export", to)
    theirs, ours = evaluated(tmp_path / "export", tmp_path, *SHAPES), evaluated(small_run, tmp_path, *SHAPES)
    assert {**theirs, "model": ""} == pytest.approx({**ours, "model": ""}, abs=0.11)  # an image of ten near a border
    assert guarded(main, [str(tmp_path / "export"), *FEW]) == 2
    assert "which images? Give --data.source" in capsys.readouterr().err


def test_a_run_and_its_checkpoints_bring_their_own_images(small_run: Path, tmp_path: Path) -> None:
    last = small_run / "checkpoints" / step_name(12)
    whole = evaluated(small_run, tmp_path)
    assert (whole["source"], whole["test_images"]) == ("shapes", 10)
    for model in (last, last / "teacher.safetensors"):
        assert {**evaluated(model, tmp_path), "model": ""} == {**whole, "model": ""}
    assert evaluated(small_run, tmp_path, "--at", "1")["step"] == 1
    assert run_of(last / "teacher.safetensors") == run_of(small_run) == small_run.resolve()
    assert run_of(Path("dino_vits16")) is None


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--device", "foo"], "torch sees no such device here"),
        (["--device", "cuda:99"], "torch sees no such device here"),
        (["--test-images", "-1"], "expected at least 0 and 1"),
        (["--size", "0"], "no side of an image"),
        (["--size", "65"], "can't be cut into patches"),
        (["--at", "999"], "has no checkpoint at step 999. Checkpoints: 0, 1"),
        (["--json", "none/found.json"], "there is no folder none"),
    ],
)
def test_what_can_not_be_measured_is_one_sentence(
    options: list[str], said: str, small_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert guarded(main, [str(small_run), *FEW, *options]) == 2
    assert said in capsys.readouterr().err


def test_only_a_run_has_checkpoints_to_choose_from(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(published.dino(), tmp_path / "dino.pth")
    assert guarded(main, [str(tmp_path / "dino.pth"), *FEW, *SHAPES, "--heads", "2", "--at", "1"]) == 2
    assert "--at 1 is a checkpoint of a run" in capsys.readouterr().err
