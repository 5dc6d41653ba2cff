"""DINO lab's trainer.  Public names are resolved when first used, so that importing the package imports no torch."""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "TrainConfig": "dino_core.config",
    "RECIPES": "dino_core.recipes",
    "recipe": "dino_core.recipes",
    "load_backbone": "dino_core.model",
}
__all__ = ["RECIPES", "TrainConfig", "__version__", "load_backbone", "recipe"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"dino_core has no {name!r}. It has: {', '.join(__all__)}.")
    return getattr(importlib.import_module(_HOME[name]), name)
