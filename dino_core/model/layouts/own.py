"""Our own file: a `.safetensors` whose metadata tells the whole architecture, so that nothing is guessed or lost.

Tensors have the names of the family's publisher (DINOv2, DINOv3, timm), so that others can read them too."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from dino_core.errors import CheckpointError
from dino_core.model.architectures import Architecture, ConvNext, LearnedVit, Residual, RotaryVit
from dino_core.model.layouts import dinov2, families
from dino_core.model.layouts.reading import Hints, Layout, Reading, Tensors, Written, renamed
from dino_core.model.positions import Resampling

KEY = "dino_lab_architecture"
KINDS: dict[str, type[Architecture]] = {kind.__name__: kind for kind in (LearnedVit, RotaryVit, ConvNext, Residual)}


def write(reading: Reading) -> Written:
    architecture, weights = reading.architecture, reading.weights
    if isinstance(architecture, LearnedVit):
        names = families.learned_names(weights)
        return Written(renamed(names, dinov2.PACKED if architecture.ffn == "swiglu" else []))
    if isinstance(architecture, RotaryVit):
        return Written(families.rotary_names(weights))
    return Written(renamed(weights, [(r"^model\.", "")]))


def metadata(architecture: Architecture) -> dict[str, str]:
    """What the file says about itself."""
    return {"format": "pt", KEY: as_text(architecture)}


def as_text(architecture: Architecture) -> str:
    return json.dumps({"kind": type(architecture).__name__, **dataclasses.asdict(architecture)})


def as_architecture(text: str) -> Architecture:
    """What `as_text` wrote."""
    fields = json.loads(text)
    kind = KINDS[fields.pop("kind")]
    if "resampling" in fields:
        fields["resampling"] = Resampling(**fields["resampling"])
    values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in fields.items()}
    return kind(**values)


def told(path: Path) -> Architecture | None:
    """The architecture in a file's metadata; None in files of others."""
    if path.suffix != ".safetensors":
        return None
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(KEY)
        return None if text is None else as_architecture(text)
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} has damaged metadata ({error}); convert the network anew.") from error


def layout(architecture: Architecture) -> Layout:
    """How a file is read that tells its architecture."""

    def read(tensors: Tensors, hints: Hints) -> Reading:
        if isinstance(architecture, LearnedVit):
            found = families.learned(tensors, Hints(architecture.heads), architecture.resampling)
        elif isinstance(architecture, RotaryVit):
            found = families.rotary(tensors, Hints(architecture.heads))
        else:
            found = (families.convnext if isinstance(architecture, ConvNext) else families.residual)(tensors, hints)
        return Reading(architecture, found.weights)

    return Layout("dino-lab", lambda tensors: True, read)
