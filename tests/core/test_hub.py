"""`torch.hub` finds every published model in a clone of this repository."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
import torch

from dino_core.errors import CheckpointError
from dino_core.model import PRESETS
from dino_core.model.convert import WRITERS
from dino_core.model.describing import described

CLONE = Path(__file__).parents[2]


def hub(name: str, **options: object) -> torch.nn.Module:
    return torch.hub.load(str(CLONE), name, source="local", **options)


def test_every_preset_is_an_entry_point_also_under_upstreams_name() -> None:
    upstream = {name.removesuffix("4") for name in PRESETS if name.endswith("_reg4")}
    assert len(upstream) == 4
    found = runpy.run_path(str(CLONE / "hubconf.py"))
    assert {name for name, entry in found.items() if callable(entry) and name[0] != "_"} == upstream | {*PRESETS}
    assert "dinov3_vit7b16, 6,716,043,264 parameters" in found["dinov3_vit7b16"].__doc__


def test_a_network_with_random_weights_is_built_in_eval_mode() -> None:
    backbone = hub("dinov2_vits14_reg", pretrained=False)
    assert not backbone.training
    assert sum(p.numel() for p in backbone.parameters()) == PRESETS["dinov2_vits14_reg4"].parameters
    assert backbone(torch.randn(1, 3, 28, 42)).patches.shape == (1, 6, 384)


def test_weights_are_taken_from_a_file_that_fits(tmp_path: Path) -> None:
    torch.manual_seed(0)
    source = PRESETS["dino_vits16"].build().eval()
    path = tmp_path / "dino_deitsmall16_pretrain.pth"
    torch.save(WRITERS["dino"](described(source)).tensors, path)
    images = torch.randn(1, 3, 32, 48)
    assert torch.equal(hub("dino_vits16", weights=path)(images).cls, source(images).cls)
    with pytest.raises(CheckpointError, match=r"pretrain.pth is no dino_vits8: it has patch 16, not 8"):
        hub("dino_vits8", weights=path)
    with pytest.raises(CheckpointError, match=r"is no dinov3_convnext_tiny: it has dim 384, not 768, depth 12, not 0"):
        hub("dinov3_convnext_tiny", weights=path)


def test_pretrained_weights_come_from_torchs_own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    torch.manual_seed(1)
    source = PRESETS["dino_vits16"].build().eval()
    torch.save(WRITERS["dino"](described(source)).tensors, tmp_path / "checkpoints" / "dino_deitsmall16_pretrain.pth")
    images = torch.randn(1, 3, 32, 32)
    assert torch.equal(hub("dino_vits16")(images).cls, source(images).cls)
    with pytest.raises(CheckpointError, match="dinov3_vits16 are sent on request"):
        hub("dinov3_vits16")
