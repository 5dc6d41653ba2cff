"""`dino-lab convert`: what is written is the same network, for us and for the code that the layout belongs to."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from dino_core.commands.convert import LAYOUTS as CHOICES
from dino_core.commands.convert import main
from dino_core.config import Backbone as Sizes
from dino_core.errors import CheckpointError, ConfigError, RunError
from dino_core.model import PRESETS, Backbone, build_backbone, load_backbone
from dino_core.model.architectures import Architecture, LearnedVit
from dino_core.model.convert import LAYOUTS, WRITERS, convert
from dino_core.model.describing import described
from dino_core.model.layouts import identify, own
from dino_core.model.layouts.reading import Hints, Reading
from dino_core.model.load import adapted
from dino_core.model.positions import ANTIALIASED, OFFSET
from dino_core.model.ropevit import key_bias_mask
from dino_core.model.rotary import periods
from tests.core.test_load import TINY_VIT, close, everything, shaken

VIT = {"dim": 64, "depth": 2, "heads": 2, "hidden": 128, "grid": 4}
TURNED = {"dim": 64, "depth": 2, "heads": 2, "hidden": 104}
STAGES = {"dims": (8, 8, 16, 16), "depths": (1, 1, 2, 1)}


def small(preset: str, **sizes: Any) -> Architecture:
    return dataclasses.replace(PRESETS[preset].architecture, **sizes)


NETWORKS: dict[str, Architecture] = {
    "dino": small("dino_vits16", **VIT),
    "dino resnet": small("dino_resnet50", channels=(8, 8, 8, 8), depths=(1, 1, 2, 1)),
    "dinov2": small("dinov2_vits14", **VIT),
    "dinov2 registers": small("dinov2_vits14_reg4", **VIT),
    "dinov2 giant": small("dinov2_vitg14", **{**VIT, "dim": 48}),
    "dinov2 giant registers": small("dinov2_vitg14_reg4", **{**VIT, "dim": 48}),
    "dinov3": small("dinov3_vits16", **TURNED),
    "dinov3 plus": small("dinov3_vits16plus", **TURNED),
    "dinov3 7B": small("dinov3_vit7b16", **TURNED),
    "dinov3 convnext": small("dinov3_convnext_tiny", **STAGES),
    "iBOT without LayerScale": small("dino_vits16", **VIT, mask_token=True),
    "registers without LayerScale": small("dino_vits16", **VIT, registers=3, resampling=ANTIALIASED),
    "SwiGLU without LayerScale": small("dino_vits16", **VIT, ffn="swiglu", qkv_bias=False),
    "rotary, nothing else": small(
        "dinov3_vits16", **TURNED, registers=0, mask_token=False, layer_scale=False, masked_key_bias=False
    ),
    "geglu": small("dinov3_vits16", **TURNED, ffn="geglu", cls_norm=True),
    "convnext v2": small("dinov3_convnext_tiny", **STAGES, layer_scale=False, response_norm=True),
}
REFUSED = {  # every other pair of network and layout can be written
    ("dino", "dinov3"): "has rotary positions or is a ConvNeXt, this network is neither",
    ("dino resnet", "dinov2"): "has a table of learned positions, this network has none",
    ("dino resnet", "dinov3"): "this network is neither",
    ("dinov2", "dino"): "the layout of dino has no LayerScale, this network does; choose dinov2",
    ("dinov2", "dinov3"): "this network is neither",
    ("dinov2 registers", "dino"): "has no registers",
    ("dinov2 registers", "dinov3"): "this network is neither",
    ("dinov2 giant", "dino"): "has no LayerScale",
    ("dinov2 giant", "dinov3"): "this network is neither",
    ("dinov2 giant registers", "dino"): "has no registers",
    ("dinov2 giant registers", "dinov3"): "this network is neither",
    **{(n, to): "this network has none" for n in NETWORKS if "dinov3" in n for to in ("dino", "dinov2")},
    ("iBOT without LayerScale", "dinov3"): "this network is neither",
    ("registers without LayerScale", "dino"): "has no registers",
    ("registers without LayerScale", "dinov3"): "this network is neither",
    ("SwiGLU without LayerScale", "dino"): "has no SwiGLU",
    ("SwiGLU without LayerScale", "dinov3"): "this network is neither",
    ("rotary, nothing else", "dino"): "this network has none",
    ("rotary, nothing else", "dinov2"): "this network has none",
    ("rotary, nothing else", "timm"): "no bias on its keys",
    ("geglu", "dino"): "this network has none",
    ("geglu", "dinov2"): "this network has none",
    ("geglu", "dinov3"): "gates with SiLU, this network with GELU",
    ("geglu", "timm"): "no gates of GELU",
    ("geglu", "transformers"): "no norm for the class token alone",
    ("convnext v2", "dino"): "this network has none",
    ("convnext v2", "dinov2"): "this network has none",
    ("convnext v2", "dinov3"): "no response norm",
    ("convnext v2", "transformers"): "DINOv3ConvNext of transformers scales each residual",
}
EXPECTED = [(n, to) for n in NETWORKS for to in WRITERS if (n, to) not in REFUSED]


def network(name: str, seed: int = 0) -> Backbone:
    torch.manual_seed(seed)
    return shaken(NETWORKS[name].build())


def stored(name: str, folder: Path) -> Path:
    """Our own file of a network with random weights."""
    reading = described(network(name))
    path = folder / "source.safetensors"
    save_file(own.write(reading).tensors, path, metadata=own.metadata(reading.architecture))
    return path


def images_of(backbone: Backbone, rows: int = 4, columns: int = 4) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(2, 3, rows * backbone.patch, columns * backbone.patch, generator=generator)


@pytest.mark.parametrize(("name", "to"), EXPECTED)
def test_what_is_written_is_the_same_network(name: str, to: str, tmp_path: Path) -> None:
    """At the stored size with any layout, at every size where the layout's code resamples positions likewise."""
    source = stored(name, tmp_path)
    backbone, dest = load_backbone(source), tmp_path / f"{to}.pth"
    done = convert(source, dest.with_suffix(".safetensors") if to == "safetensors" else dest, to)
    again = load_backbone(done.path, heads=backbone.heads or None)
    assert torch.equal(everything(again(images_of(backbone))), everything(backbone(images_of(backbone))))
    other = images_of(backbone, 6, 4)
    if not any("resamples positions" in sentence for sentence in done.said):
        assert torch.equal(everything(again(other)), everything(backbone(other)))
    if getattr(again, "mask_token", None) is not None and NETWORKS[name].mask_token:
        masks = torch.rand(2, 16) < 0.4
        seen, expected = again(images_of(backbone), masks), backbone(images_of(backbone), masks)
        assert torch.equal(everything(seen), everything(expected))


@pytest.mark.parametrize(("name", "to"), REFUSED)
def test_what_a_layout_cannot_hold_is_refused_with_a_reason(name: str, to: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=REFUSED[name, to]):
        convert(stored(name, tmp_path), tmp_path / "out", to)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", [n for n, to in EXPECTED if to == "timm"])
def test_timm_builds_what_was_written_for_it(name: str, tmp_path: Path) -> None:
    source, dest = stored(name, tmp_path), tmp_path / "timm"
    convert(source, dest, "timm")
    backbone = load_backbone(source)
    model = timm.create_model(f"local-dir:{dest}", pretrained=True).eval()
    config = json.loads((dest / "config.json").read_text())
    by_path = timm.create_model(
        config["architecture"], **config["model_args"], num_classes=0, checkpoint_path=str(dest / "model.safetensors")
    ).eval()
    for size in [(4, 4)] if backbone.has_attention else [(4, 4), (3, 5)]:
        images = images_of(backbone, *size)
        for built in (model, by_path):
            features = built.forward_features(images)
            if backbone.has_attention:
                close(features, everything(backbone(images)))
            else:
                close(built.forward_head(features, pre_logits=True), backbone(images).cls)


@pytest.mark.parametrize("name", [n for n, to in EXPECTED if to == "transformers"])
def test_transformers_builds_what_was_written_for_it(name: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    source, dest = stored(name, tmp_path), tmp_path / "transformers"
    convert(source, dest, "transformers")
    backbone, (model, loading) = (
        load_backbone(source),
        transformers.AutoModel.from_pretrained(dest, output_loading_info=True),
    )
    assert all("pooler" in key for key in loading["missing_keys"])
    assert not loading["unexpected_keys"]
    images = images_of(backbone)
    said = model.eval()(images)
    if said.last_hidden_state.ndim == 4:
        close(said.pooler_output.flatten(1), backbone(images).cls)
    else:
        close(said.last_hidden_state, everything(backbone(images)))


def test_a_folder_for_transformers_prepares_images_as_the_run_did(small_run: Path, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    convert(small_run, tmp_path / "export", "transformers")
    processor = transformers.AutoImageProcessor.from_pretrained(tmp_path / "export")
    pixels = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    prepared = processor(Image.fromarray(pixels), return_tensors="pt")["pixel_values"]
    model = transformers.AutoModel.from_pretrained(tmp_path / "export").eval()
    assert prepared.shape == (1, 3, 48, 48)
    close(model(prepared).last_hidden_state, everything(load_backbone(small_run)(prepared)))
    grey = processor(Image.fromarray(np.full((64, 64, 3), 128, np.uint8)), return_tensors="pt")["pixel_values"]
    expected = (128 / 255 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
    torch.testing.assert_close(grey[0, :, 24, 24], expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("to", ["safetensors", "timm", "transformers", "dinov2"])
def test_a_run_with_registers_is_written_in_every_layout_that_has_them(
    to: str, small_run: Path, tmp_path: Path
) -> None:
    """At every size: timm resamples its run's positions as DINOv2 does with registers."""
    done = convert(small_run, tmp_path / ("run.safetensors" if to == "safetensors" else "run"), to)
    expected, again = load_backbone(small_run), load_backbone(done.path, heads=2)
    for size in ((48, 48), (32, 64)):
        images = torch.randn(1, 3, *size)
        close(everything(again(images)), everything(expected(images)))
    assert done.differences.keys() == {48, 72}
    assert max(done.differences.values()) < 1e-5


@pytest.mark.parametrize("registers", [0, 9])
def test_a_vit_of_a_run_is_described_whatever_its_registers(registers: int) -> None:
    """Nine registers and sixteen patches are a square grid of 25 to anyone who only counts positions."""
    torch.manual_seed(0)
    sizes = Sizes(patch=8, dim=32, depth=2, heads=4, registers=registers)
    backbone = shaken(build_backbone(sizes, 32, mask_token=True))
    reading = described(backbone)
    assert isinstance(reading.architecture, LearnedVit)
    assert (reading.architecture.grid, reading.architecture.heads) == (4, 4)
    again = reading.architecture.build()
    again.load_state_dict(reading.weights)
    images, masks = torch.randn(2, 3, 32, 48), torch.rand(2, 24) < 0.5
    close(everything(again.eval()(images, masks)), everything(backbone(images, masks)))


@pytest.mark.parametrize("name", ["vit_small_patch16_dinov3_qkvb", "vit_base_patch16_clip_quickgelu_224"])
def test_a_network_of_timm_is_described(name: str) -> None:
    backbone = adapted(shaken(timm.create_model(name, **{**TINY_VIT, "num_classes": 0})), name)
    again = described(backbone).architecture.build()
    again.load_state_dict(described(backbone).weights)
    images = torch.randn(1, 3, 32, 48)
    close(everything(again.eval()(images)), everything(backbone(images)))


@pytest.mark.parametrize("name", ["eva02_tiny_patch14_224", "vit_small_patch16_rope_224"])
def test_a_network_that_only_timm_has_is_not_converted(name: str) -> None:
    backbone = adapted(shaken(timm.create_model(name, **{**TINY_VIT, "num_classes": 0})), name)
    with pytest.raises(CheckpointError, match=r"a Eva is in no layout but timm's own; use it under timm's name"):
        described(backbone)


def test_weights_that_do_not_tell_what_is_computed_are_not_converted() -> None:
    """A run's network whose activation somebody changed."""
    backbone = shaken(build_backbone(Sizes(patch=8, dim=32, depth=2, heads=4), 32))
    backbone.model.blocks[1].mlp.act = torch.nn.ReLU()
    with pytest.raises(CheckpointError, match="it computes something that its weights do not tell"):
        described(backbone)


@pytest.mark.parametrize("name", PRESETS)
def test_the_official_layout_of_every_preset_tells_its_architecture(name: str) -> None:
    """True sizes, without memory: written under its publisher's names, it is recognised and read as what it was."""
    preset, publisher = PRESETS[name], name.split("_")[0]
    with torch.device("meta"):
        backbone = preset.build()
    weights = {
        key: key_bias_mask(backbone.dim) if key.endswith("bias_mask") else t for key, t in backbone.state_dict().items()
    }
    if "rotary.periods" in weights:
        weights["rotary.periods"] = periods(backbone.dim // backbone.heads)
    names = WRITERS[publisher](Reading(preset.architecture, weights)).tensors
    found = identify(names)
    assert found is not None
    reading = found.read(names, Hints())
    start = {"cls_std": 1e-6} if isinstance(preset.architecture, LearnedVit) else {}  # which no file tells
    assert reading.architecture == dataclasses.replace(preset.architecture, **start)
    assert found.name.startswith(publisher) or name == "dino_resnet50"
    assert reading.weights.keys() == weights.keys()


def test_official_files_have_the_published_names(tmp_path: Path) -> None:
    from tests import published

    for name, to, expected in (
        ("dino", "dino", published.dino()),
        ("dinov2", "dinov2", published.dinov2()),
        ("dinov2 giant registers", "dinov2", published.dinov2(registers=4, swiglu=True)),
        ("dinov3", "dinov3", published.dinov3()),
        ("dinov3 7B", "dinov3", published.dinov3(swiglu=True, qkv_bias=False, local_norm=True)),
        ("dinov3 convnext", "dinov3", published.dinov3_convnext(depths=(1, 1, 2, 1))),
    ):
        names = WRITERS[to](described(network(name))).tensors
        assert names.keys() == expected.keys(), name
        assert {k: v.ndim for k, v in names.items()} == {k: v.ndim for k, v in expected.items()}


def test_what_a_layout_drops_or_does_otherwise_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = stored("dinov2", tmp_path)
    assert main([str(source), str(tmp_path / "timm"), "--to", "timm"]) == 0
    said = capsys.readouterr().out
    assert "timm has no mask token; it is left out" in said
    assert "at other sizes than 56 px its code resamples positions in a way of its own" in said
    assert "read back, tokens of a 56 px image differ by 0e+00 of their length" in said
    assert 'timm.create_model("local-dir:' in said
    assert NETWORKS["dinov2"].resampling == OFFSET
    done = convert(source, tmp_path / "out.pth", "dinov2")
    assert done.said == ("the layout does not tell its 2 heads: give heads=2 when you load it.",)


def test_our_own_file_tells_what_tensors_do_not(tmp_path: Path) -> None:
    """Heads, resampling, the gate, the norm's epsilon; and damage is said."""
    source = stored("geglu", tmp_path)
    assert described(load_backbone(source)).architecture == NETWORKS["geglu"]
    damaged = own.metadata(NETWORKS["geglu"]) | {own.KEY: '{"kind": "Oracle"}'}
    save_file(load_file(source), tmp_path / "damaged.safetensors", metadata=damaged)
    with pytest.raises(CheckpointError, match=r"damaged.safetensors has damaged metadata"):
        load_backbone(tmp_path / "damaged.safetensors")


def test_nothing_is_written_over(tmp_path: Path) -> None:
    source = stored("dino", tmp_path)
    with pytest.raises(CheckpointError, match="exists; give another name"):
        convert(source, source, "safetensors")
    with pytest.raises(CheckpointError, match="is a folder that holds something; give a new one"):
        convert(source, tmp_path, "timm")
    with pytest.raises(CheckpointError, match="is a folder that holds something; give a file"):
        convert(source, tmp_path, "dino")
    with pytest.raises(CheckpointError, match="is a file; this layout is a folder"):
        convert(source, source, "transformers")
    with pytest.raises(ConfigError, match=r"no layout 'torchscript'. Layouts: safetensors, timm"):
        convert(source, tmp_path / "x", "torchscript")


def test_the_command_offers_every_layout() -> None:
    assert CHOICES == LAYOUTS


def test_what_cannot_be_written_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = stored("dino", tmp_path)

    def full(*_: Any, **__: Any) -> None:
        raise SafetensorError("I/O error: No space left on device")

    monkeypatch.setattr("dino_core.model.convert.save_file", full)
    with pytest.raises(CheckpointError, match=r"can't write .*out: I/O error: No space left"):
        convert(source, tmp_path / "out", "timm")


def test_a_checkpoint_that_is_not_there_is_named_with_those_that_are(small_run: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"has no checkpoint at step 999\. Checkpoints: 0, 1"):
        main([str(small_run), str(tmp_path / "out"), "--to", "safetensors", "--at", "999"])
