"""How long a command's help takes, from the start of Python to its end, beside Python that does nothing."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any

from benchmarks.report import goal

COMMANDS = ("", "train", "train tiny", "resume", "fork", "distill", "evaluate", "convert", "plan", "watch", "doctor")


def seconds(*arguments: str) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    return time.perf_counter() - began


def measure(quick: bool) -> dict[str, Any]:
    found: dict[str, float] = {}
    for _ in range(1 if quick else 5):
        for command in (None, *COMMANDS[: 2 if quick else None]):
            asked = ["-c", ""] if command is None else ["-m", "dino_core.cli", *command.split(), "--help"]
            name = "python" if command is None else f"dino-lab {command}".strip()
            found[name] = min(found.get(name, float("inf")), seconds(*asked))
    slowest = max(took for name, took in found.items() if name != "python")
    return {"seconds": found, "goals": [goal("the slowest help, seconds", slowest, at_most=1.0)]}


def rows(result: dict[str, Any]) -> list[list[str]]:
    return [["command", "seconds, the least of five"]] + [[n, f"{t:.2f}"] for n, t in result["seconds"].items()]
