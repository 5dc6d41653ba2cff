"""`dino-lab fork RUN --at STEP [changed options] --out DIR`."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from dino_core.commands.train import parsed
from dino_core.config import TrainConfig
from dino_core.errors import RunError
from dino_core.rundir.read import checkpoints, read_config


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="dino-lab fork",
        description="A new run that starts from a checkpoint of another, with something changed; it remembers its parent.",
        epilog="Any option of `dino-lab train` can be changed, for example --objective.centering none.",
    )
    parser.add_argument("run", type=Path, help="the run to start from")
    parser.add_argument("--at", type=int, metavar="STEP", help="the checkpoint; the newest by default")
    known, rest = parser.parse_known_args(arguments)
    config = read_config(known.run)
    step = chosen(known.run, known.at)
    options = parsed(config, rest, f"dino-lab fork {known.run}")
    if options.config.steps is not None and options.config.steps <= step:
        raise RunError(
            f"the fork begins at step {step} and would end at {options.config.steps}; give a larger --steps."
        )
    changed = differences(config, options.config)

    from dino_core.train import Parent, start

    _, status = start(options.config, options.out, parent=Parent(known.run, step, changed))
    return 1 if status == "failed" else 0


def chosen(run: Path, at: int | None) -> int:
    """The checkpoint to start from."""
    steps = checkpoints(run)
    if not steps:
        raise RunError(f"{run} has no checkpoint to start from.")
    if at is None:
        return max(steps)
    if at not in steps:
        raise RunError(f"{run} has no checkpoint at step {at}. Checkpoints: {', '.join(map(str, steps))}.")
    return at


def differences(old: TrainConfig, new: TrainConfig) -> dict[str, list[Any]]:
    """What differs, by dotted name: [before, after]."""

    def walk(a: Any, b: Any, path: str) -> dict[str, list[Any]]:
        if not dataclasses.is_dataclass(a):
            return {} if a == b else {path: [a, b]}
        found: dict[str, list[Any]] = {}
        for part in dataclasses.fields(a):
            inner = f"{path}.{part.name}" if path else part.name
            found |= walk(getattr(a, part.name), getattr(b, part.name), inner)
        return found

    return walk(old, new, "")
