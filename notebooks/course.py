"""What cells of the course import: guesses, hints, figures, views of the lab, and a run that trains beside the notebook."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeVar

import lab
from dino_core.errors import DinoError
from notebooks.exercises import Unsolved, hint
from notebooks.figures import look, style
from notebooks.guesses import home, predict, recorded, reveal
from notebooks.live import LiveRun, distil, fork, live_run, stop, training
from notebooks.views import show

__all__ = [
    "QUICK",
    "LiveRun",
    "Unsolved",
    "distil",
    "fork",
    "gallery",
    "hint",
    "home",
    "live_run",
    "look",
    "predict",
    "recorded",
    "reveal",
    "scaled",
    "show",
    "stop",
    "training",
]

QUICK = bool(os.environ.get("DINO_COURSE_QUICK"))
"""Set when the notebooks are only tried out (tests): everything real, but short, so that outcomes may differ."""

Amount = TypeVar("Amount")


def scaled(full: Amount, quick: Amount) -> Amount:
    """`full`, or `quick` where the notebooks are only tried out (DINO_COURSE_QUICK=1)."""
    return quick if QUICK else full


def gallery(name: str = "dino_shapes") -> lab.Run:
    """A recorded run that ships with the lab: recipe `tiny` for 6000 steps on drawn shapes, or another by its name."""
    return lab.Run(Path(lab.__file__).parent / "gallery" / name)


def _said(error: DinoError) -> list[str]:
    """A mistake of the reader's is one sentence in a cell too, without the frames that lead to it."""
    return [f"{type(error).__name__}: {error}"]


style()
DinoError._render_traceback_ = _said  # type: ignore[attr-defined]  # what IPython asks an error for
