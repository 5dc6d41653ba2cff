"""The lab reads runs and models, and shows them: `Run`, `runs`, `show` in a notebook, `export` to one file, `film`, and `analysis`
(arrays in, arrays out).

Importing it does not import torch; only what computes with a network does (`Run.teacher`)."""

from importlib import import_module
from typing import Any

_HOMES = {
    "Run": "lab.run", "Probe": "lab.run", "runs": "lab.run", "show": "lab.widgets", "find": "lab.local", "answer": "lab.local",
    "offer": "lab.local", "export": "lab.onefile", "film": "lab.films",
}  # fmt: skip

__all__ = ["Probe", "Run", "analysis", "answer", "export", "film", "find", "offer", "runs", "show"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    if name == "analysis":
        return import_module("lab.analysis")
    raise AttributeError(f"lab has no {name!r}; it has {', '.join(__all__)}.")
