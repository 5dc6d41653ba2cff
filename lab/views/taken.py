"""What a card takes away that the browser can't make: films, and views in one file."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from dino_core.errors import RunError
from lab.answers import House, Reply, answers, stamp
from lab.run import Run


@answers("film/{view}/{run}")
def film(house: House, view: str, run: str, state: str = "{}") -> Reply:
    """A view through training as a GIF, in `file`."""
    return _made(_film, house.shelf.run(run), view, state)


@answers("export/{view}/{run}")
def export(house: House, view: str, run: str, state: str = "{}") -> Reply:
    """A view in one HTML file, in `file`."""
    return _made(_document, house.shelf.run(run), view, state)


def _made(make: Any, run: Run, view: str, state: str) -> Reply:
    grown = f"{stamp(run.path / 'metrics.jsonl', run.path / 'probes')}"
    return Reply(lambda: make(view, run.path, state, grown), f"{make.__name__} {view} {run.path} {state} {grown}")


@lru_cache(maxsize=4)
def _film(view: str, path: Path, state: str, grown: str) -> bytes:
    from lab import films

    return _file(films.gif(films.frames(view, Run(path), **_looked(state))))


@lru_cache(maxsize=4)
def _document(view: str, path: Path, state: str, grown: str) -> bytes:
    from lab import onefile

    return _file(onefile.document(view, Run(path), **_looked(state))[0].encode())


def _looked(state: str) -> dict[str, Any]:
    """The state of a page, as JSON, without what says which run and page it is."""
    try:
        said = json.loads(state)
    except ValueError as error:
        raise RunError(f"state is {state[:40]!r}; expected JSON.") from error
    if not isinstance(said, dict) or not all(isinstance(value, str | int | float | bool) for value in said.values()):
        raise RunError(f"state is {state[:40]!r}; expected names with plain values.")
    return {
        key: value for key, value in said.items() if key not in ("run", "page", "overlay", "steps", "layers", "images")
    }


def _file(content: bytes) -> bytes:
    return save({"file": np.frombuffer(content, np.uint8)})
