"""What was measured, where: JSON in `benchmarks/results`, and tables."""

from __future__ import annotations

import datetime
import json
import os
import platform
import re
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from dino_core.machine import cores

RESULTS = Path(__file__).parent / "results"
LIBRARIES = (
    "torch",
    "torchvision",
    "timm",
    "numpy",
    "pillow",
    "lightly",
    "albumentations",
    "kornia",
    "opencv-python-headless",
)


def threads() -> int:
    """Threads for measurements: OMP_NUM_THREADS, else all cores."""
    return int(os.environ.get("OMP_NUM_THREADS") or cores())


def goal(
    what: str, measured: float | None, *, at_least: float | None = None, at_most: float | None = None
) -> dict[str, Any]:
    """One sentence of what was promised, and whether it held; `measured` is None where it could not be."""
    wanted = f"≥ {at_least:g}" if at_least is not None else f"≤ {at_most:g}"
    low, high = (-float("inf") if at_least is None else at_least), (float("inf") if at_most is None else at_most)
    return {
        "what": what,
        "goal": wanted,
        "measured": measured,
        "met": None if measured is None else low <= measured <= high,
    }


def machine() -> dict[str, Any]:
    return {
        "system": platform.system(),
        "processor": _processor(),
        "cores": cores(),
        "threads": threads(),
        "python": platform.python_version(),
        "libraries": {name: found for name in LIBRARIES if (found := _version(name))},
        "load_before": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def write(name: str, result: dict[str, Any], folder: Path = RESULTS) -> Path:
    """NAME_DEVICE.json, DEVICE being `cpu` or the name of the GPU that the result says."""
    device = re.sub(r"[^a-z0-9]+", "-", result.get("device", "cpu").lower()).strip("-")
    path = folder / f"{name}_{device}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n")
    return path


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows as a Markdown table; the first is its head."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def goals_table(goals: Sequence[dict[str, Any]]) -> str:
    said = {True: "yes", False: "no", None: "not measured"}
    rows = [["goal", "wanted", "measured", "met"]]
    for g in goals:
        rows.append([g["what"], g["goal"], "" if g["measured"] is None else f"{g['measured']:.3g}", said[g["met"]]])
    return table(rows)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    """The CPU's name, as the kernel has it where the platform module does not know."""
    try:
        found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    except OSError:
        found = None
    return found[1].strip() if found else platform.processor() or platform.machine()
