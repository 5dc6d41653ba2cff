"""`dino-lab fork RUN --at STEP [changed options] --out DIR`."""

from __future__ import annotations

import argparse
from pathlib import Path

from dino_core.commands.train import chosen, parsed
from dino_core.config import differences
from dino_core.errors import RunError
from dino_core.rundir.read import read_config


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="dino-lab fork",
        description="A new run that starts from a checkpoint of another, with something changed; it remembers its parent.",
        epilog="--out DIR is its folder, a new one below runs by default. Any option of `dino-lab train` can be changed, for "
        "example --objective.centering none; of a run of several phases, those of the phase the fork begins in.",
        allow_abbrev=False,
    )
    parser.add_argument("run", type=Path, help="the run to start from")
    parser.add_argument("--at", type=int, metavar="STEP", help="the checkpoint; the newest by default")
    parser.add_argument(
        "--phase", metavar="NAME", help="begin with this phase of the run there; else go on with its own"
    )
    known, rest = parser.parse_known_args(arguments)
    config = read_config(known.run)
    step = chosen(known.run, known.at)
    if known.phase is None:
        config = config.from_phase(config.phase_at(step))
    else:
        config = config.from_phase(config.phase_called(known.phase)).moved_to(step)
    options = parsed(config, rest, f"dino-lab fork {known.run}")
    if options.config.steps is not None and options.config.steps <= step:
        raise RunError(
            f"the fork begins at step {step} and would end at {options.config.steps}; give a larger --steps."
        )
    changed = differences(config, options.config)

    from dino_core import parallel
    from dino_core.train import Parent, start

    try:
        _, status = start(options.config, options.out, parent=Parent(known.run, step, changed))
    finally:
        parallel.stop()
    return 1 if status == "failed" else 0
