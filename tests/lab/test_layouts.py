"""A published checkpoint of every official layout, asked everything that the pages ask of a network."""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load

from dino_core.errors import RunError
from dino_core.model.convert import convert
from lab import eyes, sight
from lab.answers import House
from lab.shelf import Shelf
from lab.sight import Given
from lab.worker import Worker
from tests import published

SIDE, DIM = 64, 128  # two heads of 64 features
VITS = (
    "dino", "dino_full_checkpoint", "dinov2", "dinov2_reg4", "dinov2_swiglu", "dinov3", "dinov3_7b",
    "timm_dinov2", "timm_dinov3", "transformers_dino", "transformers_dinov2", "transformers_dinov2_reg4", "transformers_dinov3",
)  # fmt: skip
CONVOLUTIONS = ("dinov3_convnext", "transformers_dinov3_convnext")


class Here(Worker):
    """The worker's answers without its process."""

    def ask(self, question: dict[str, Any]) -> dict[str, Any]:
        return eyes.look(question)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files as they are published, folders as our writers make them."""
    root = tmp_path_factory.mktemp("models")
    teacher = published.dino(DIM)
    head = {"mlp.0.weight": torch.ones(4, DIM), "last_layer.weight_g": torch.ones(8, 1)}
    files: dict[str, Any] = {
        "dino": teacher,
        "dino_full_checkpoint": {
            "student": {f"module.backbone.{k}": v + 0.1 for k, v in teacher.items()},
            "teacher": {f"backbone.{k}": v for k, v in teacher.items()} | {f"head.{k}": v for k, v in head.items()},
            "optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]},
            "args": argparse.Namespace(arch="vit_small", patch_size=8),
            "dino_loss": {"center": torch.zeros(1, 8)},
        },
        "dinov2": published.dinov2(dim=DIM),
        "dinov2_reg4": published.dinov2(registers=4, dim=DIM),
        "dinov2_swiglu": published.dinov2(swiglu=True, dim=DIM),
        "dinov3": published.dinov3(dim=DIM),
        "dinov3_7b": published.dinov3(swiglu=True, qkv_bias=False, local_norm=True, dim=DIM),
        "dinov3_convnext": published.dinov3_convnext(),
    }
    for name, tensors in files.items():
        torch.save(tensors, root / f"{name}.pth")
    for to in ("timm", "transformers"):
        for name in [name.removeprefix(f"{to}_") for name in (*VITS, *CONVOLUTIONS) if name.startswith(to)]:
            convert(root / f"{name}.pth", root / f"{to}_{name}", to)
    return root


@pytest.fixture(scope="module")
def house(folder: Path) -> Iterator[House]:
    given = Given(models=sight.named([str(folder)]))
    house = House(Shelf([]), Here(), more={"sight": given})
    yield house
    house.close()


@pytest.fixture(scope="module")
def handed(house: House) -> str:
    """Two photographs of other shapes than the networks', as someone drops them on the page."""
    pixels = np.random.default_rng(0).integers(0, 255, (2, 50, 70, 3)).astype(np.uint8)
    parts = []
    for image in pixels:
        content = io.BytesIO()
        Image.fromarray(image).save(content, "JPEG")
        parts.append(content.getvalue())
    sizes = ",".join(str(len(part)) for part in parts)
    made = house.tell("sight/images", b"".join(parts), {"sizes": sizes}).make()
    return f"set:{made['set']}"


def asked(house: House, path: str, **values: Any) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    content = house.ask(path, {key: str(value) for key, value in values.items()}).make()
    if isinstance(content, dict):
        return {}, content
    length = int.from_bytes(content[:8], "little")
    return load(content), json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["said"])


def test_every_layout_is_offered_by_its_name(house: House) -> None:
    assert set(sight.offered(house)["models"]) == {*VITS, *CONVOLUTIONS, sight.FLOOR}


@pytest.mark.parametrize("name", VITS)
def test_a_vit_of_any_layout_is_seen_on_every_page(name: str, house: House, handed: str) -> None:
    question = {"source": f"model:{name}", "images": handed, "size": SIDE}
    tensors, said = asked(house, "sight/features", **question)
    patches, prefix = said["rows"] * said["columns"], 1 + said["registers"]
    assert tensors["patches"].shape == (2, patches, said["dim"])
    assert said["registers"] == (4 if "reg4" in name or "dinov3" in name else 0)
    maps, seen = asked(house, "sight/heads", **question, image=1)
    tokens = prefix + patches
    assert maps["attention"].shape == (seen["depth"], seen["heads"], tokens)
    assert maps["attention"].sum(-1) == pytest.approx(1, abs=1e-3)
    assert (
        maps["queries"].shape
        == maps["keys"].shape
        == (seen["depth"], seen["heads"], tokens, said["dim"] // seen["heads"])
    )
    scores, colours = asked(house, "sight/components", **question)
    assert scores["scores"].shape == (2, patches, 3)
    assert 0 < sum(colours["explained"][:3]) <= 1
    assert asked(house, "compare/pca", **question, image=1)[0]["scores"].shape == (patches, 3)
    carried = asked(house, "sight/propagate", **question, start="0,1")[0]["labels"]
    assert carried.shape == (2, patches)
    alike = asked(house, "compare/layers", **question, against="model:dino")[1]
    assert np.shape(alike["matrix"]) == (seen["depth"] + 1, 3)
    values = [value for row in alike["matrix"] for value in row if value is not None]
    assert all(0 <= value <= 1.0001 for value in values)


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_a_convnext_shows_its_patches_and_says_what_it_has_not(name: str, house: House, handed: str) -> None:
    question = {"source": f"model:{name}", "images": handed, "size": SIDE}
    tensors, said = asked(house, "sight/features", **question)
    assert tensors["patches"].shape == (2, 4, 24)
    assert (said["heads"], said["depth"]) == (0, 0)
    assert asked(house, "sight/components", **question)[0]["scores"].shape == (2, 4, 3)
    with pytest.raises(RunError, match="no attention: it is built from convolutions"):
        asked(house, "sight/heads", **question)
    with pytest.raises(RunError, match="only ViTs are aligned layer by layer"):
        asked(house, "compare/layers", **question, against="model:dino")
