"""Names of the run directory, format 1 (FORMAT.md beside this file says what each means)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

FORMAT_VERSION = 1
RUN, CONFIG, METRICS, EVENTS = "run.json", "config.json", "metrics.jsonl", "events.jsonl"
CHECKPOINTS, PROBES = "checkpoints", "probes"
PROBE_IMAGES = "probes/images.safetensors"
EVENT_KINDS = (
    "started", "resumed", "phase", "probe", "checkpoint", "evaluation", "skipped_image", "skipped_step", "diagnosis", "note",
    "disk_full", "stopped", "failed", "finished",
)  # fmt: skip

STEP_NAME = re.compile(r"step_(\d{8,15})")


@dataclass(frozen=True)
class Metric:
    """One entry of the metric catalogue of run.json: how to title and orient a curve one has never heard of."""

    title: str
    unit: str
    better: Literal["higher", "lower"] | None
    about: str


def step_name(step: int) -> str:
    """The folder of a step: `step_00000200`."""
    return f"step_{step:08d}"


def draft_of(path: Path) -> Path:
    """Where a folder or file is prepared before it appears under its name: beside it, behind a dot."""
    return path.with_name(f".{path.name}.draft")


def retired_of(path: Path) -> Path:
    """Where a folder waits for the short moment in which another takes its name."""
    return path.with_name(f".{path.name}.retired")
