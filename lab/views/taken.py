"""What a card takes away that the browser can't make: films, and views in one file."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from dino_core.errors import RunError
from lab import films, local, sight
from lab.answers import House, Reply, answers, stamp
from lab.films import Kind
from lab.run import Run
from lab.views.sight import numbers

PATIENCE = 30.0
"""Seconds that who asks for a file waits for what a worker still computes."""


@answers("film/{view}/{run}")
def film(house: House, view: str, run: str, state: str = "{}", kind: Kind = "gif") -> Reply:
    """A view through training as Python draws it, in `file`."""
    return _made(_film, house.shelf.run(run), view, state, kind)


@answers("film", verb="tell")
def assembled(house: House, body: bytes, sizes: str, kind: Kind = "gif") -> Reply:
    """A film of pictures that a page made of a card: one file after the other, their `sizes` in bytes separated by commas."""
    if house.read_only:
        raise RunError("this lab is read-only: it makes no films of what is handed in; your browser can (WebM).")
    wanted = numbers(sizes, "sizes")
    return Reply(lambda: _file(films.encoded(films.pictures(body, wanted), kind)))


@answers("export/{view}/{run}")
def export(house: House, view: str, run: str, state: str = "{}") -> Reply:
    """A view in one HTML file, in `file`: with the networks, images and overlaid runs that the page shows."""
    local.lend(house)
    said, models = _said(state), list(sight.given(house).models)
    named = [str(said.get(key, "")).removeprefix("model:") for key in ("source", "against")]
    chosen = tuple(name for name in models if view == "compare" or name in named)
    known = {row["id"] for row in house.shelf.listing()} - {run}
    laid = [str(said.get("overlay") or ""), *str(said.get("beside") or "").split(",")]
    others = tuple(house.shelf.run(one).path for one in dict.fromkeys(laid) if one in known)
    return _made(_document, house.shelf.run(run), view, state, chosen, others, laid=others)


def _made(make: Any, run: Run, view: str, state: str, *more: Any, laid: tuple[Path, ...] = ()) -> Reply:
    grown = " ".join(stamp(path / "metrics.jsonl", path / "probes") for path in (run.path, *laid))
    key = f"{make.__name__} {view} {run.path} {state} {grown} {more}"
    return Reply(lambda: make(view, run.path, state, grown, *more), key)


@lru_cache(maxsize=4)
def _film(view: str, path: Path, state: str, grown: str, kind: Kind) -> bytes:
    return _file(films.encoded(films.frames(view, Run(path), **_looked(state)), kind))


@lru_cache(maxsize=4)
def _document(
    view: str, path: Path, state: str, grown: str, models: tuple[str, ...], others: tuple[Path, ...]
) -> bytes:
    from lab import onefile

    pictures = str(_said(state).get("images") or "") or None
    made = onefile.document(
        view,
        Run(path),
        models=models,
        pictures=pictures,
        overlay=others[: local.MOST - 1],
        patience=PATIENCE,
        **_looked(state),
    )
    return _file(made[0].encode())


def _said(state: str) -> dict[str, Any]:
    """The state of a page, as JSON."""
    try:
        said = json.loads(state)
    except ValueError as error:
        raise RunError(f"state is {state[:40]!r}; expected JSON.") from error
    if not isinstance(said, dict) or not all(isinstance(value, str | int | float | bool) for value in said.values()):
        raise RunError(f"state is {state[:40]!r}; expected names with plain values.")
    return said


def _looked(state: str) -> dict[str, Any]:
    """The same without what says which run, page and images it is."""
    apart = ("run", "page", "overlay", "beside", "steps", "layers", "images", "models", "pictures", "patience")
    return {key: value for key, value in _said(state).items() if key not in apart}


def _file(content: bytes) -> bytes:
    return save({"file": np.frombuffer(content, np.uint8)})
