"""Entry points for `torch.hub` (`hubconf.py` at the top of a clone)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from dino_core.errors import CheckpointError
from dino_core.model.architectures import ConvNext, LearnedVit, Residual, RotaryVit
from dino_core.model.backbone import Backbone
from dino_core.model.load import load_backbone
from dino_core.model.presets import PRESETS, Preset


def entry_points() -> dict[str, Callable[..., Backbone]]:
    """One a preset, and again under upstream's name where that is another: `dinov2_vits14_reg` has four registers."""
    found = {name: _entry_point(preset) for name, preset in PRESETS.items()}
    return found | {name.removesuffix("4"): entry for name, entry in found.items() if name.endswith("_reg4")}


def _entry_point(preset: Preset) -> Callable[..., Backbone]:
    def build(pretrained: bool = True, weights: str | Path | None = None) -> Backbone:
        if weights is not None:
            return _fitting(load_backbone(weights, heads=_heads(preset)), preset, weights)
        return load_backbone(preset.name) if pretrained else preset.build().eval()

    build.__name__ = build.__qualname__ = preset.name
    build.__doc__ = f"""{preset.name}, {preset.parameters:,} parameters.  {preset.paper}.

        `pretrained`: the official weights, else random ones.  `weights`: a file to read instead."""
    return build


def _heads(preset: Preset) -> int | None:
    """Of layouts that do not tell them."""
    return preset.architecture.heads if isinstance(preset.architecture, LearnedVit | RotaryVit) else None


def _fitting(backbone: Backbone, preset: Preset, weights: str | Path) -> Backbone:
    """The backbone, if it has the preset's sizes."""
    architecture = preset.architecture
    if isinstance(architecture, LearnedVit | RotaryVit):
        names = ("dim", "depth", "heads", "patch", "registers")
        expected = {name: getattr(architecture, name) for name in names}
    else:
        expected = {
            "dim": architecture.dims[-1] if isinstance(architecture, ConvNext) else _width(architecture),
            "depth": 0,
        }
    wrong = [
        f"{name} {getattr(backbone, name)}, not {value}"
        for name, value in expected.items()
        if getattr(backbone, name) != value
    ]
    if wrong:
        raise CheckpointError(f"{weights} is no {preset.name}: it has {', '.join(wrong)}.")
    return backbone


def _width(architecture: Residual) -> int:
    return architecture.channels[-1] * (4 if architecture.bottleneck else 1)
