"""`dino-lab train RECIPE [options]`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro

from dino_core.config import TrainConfig, differences
from dino_core.errors import RunError
from dino_core.recipes import RECIPES, STUDENTS, recipe
from dino_core.rundir.read import checkpoints, read_config

USAGE = """usage: dino-lab train RECIPE [--data.source SRC] [--steps N] [--out DIR] [options]

Trains a recipe. SRC is `shapes`, a folder of images, `torchvision:CIFAR10` or `hf:NAME`.
`torchrun --nproc-per-node=8 -m dino_core.train RECIPE ...` is the same on many GPUs.
`--phase NAME` begins with a later phase; `--from RUN [--at STEP]` takes weights and optimizer from a checkpoint of a run.
`dino-lab train RECIPE --help` lists every option with that recipe's values.
"""


@dataclass(frozen=True)
class Options:
    """Options of the run; those marked with None are fitted to the data when it starts."""

    config: Annotated[TrainConfig, tyro.conf.arg(name="")]
    out: Path | None = None
    """Folder of the run; by default a new one below runs/."""


def main(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(usage())
        return 0 if arguments else 2
    name, *rest = arguments
    begin, rest = beginning().parse_known_args(rest)
    config = begun(recipe(name), begin)
    options = parsed(config, rest, f"dino-lab train {name}")

    from dino_core.train import Parent, start

    if begin.parent is None:
        _, status = start(options.config, options.out)
    else:
        step = chosen(begin.parent, begin.at)
        changed = differences(read_config(begin.parent), options.config)
        _, status = start(options.config.moved_to(step), options.out, parent=Parent(begin.parent, step, changed))
    return 1 if status == "failed" else 0


def begun(config: TrainConfig, begin: argparse.Namespace) -> TrainConfig:
    """What is left of a recipe from a phase on; what it leaves to the data is as in the run it goes on from.

    Without such a run heads are new, whatever the phase, and learn alone first on published weights."""
    init = config.init
    if begin.phase is not None:
        config = config.from_phase(config.phase_called(begin.phase)).moved_to(0)
    if begin.parent is None:
        return replace(config, init=init)
    theirs = read_config(begin.parent)
    head, patch_head = config.head, config.ibot.head
    if head.prototypes is None:
        config = replace(config, head=replace(head, prototypes=theirs.head.prototypes))
    if patch_head.prototypes is None:
        patch_head = replace(patch_head, prototypes=theirs.ibot.head.prototypes)
        config = replace(config, ibot=replace(config.ibot, head=patch_head))
    return config


def beginning() -> argparse.ArgumentParser:
    """Where a run begins that does not begin with its first phase and random weights."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--from", type=Path, metavar="RUN", dest="parent")
    parser.add_argument("--at", type=int, metavar="STEP")
    parser.add_argument("--phase", metavar="NAME")
    return parser


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


def usage() -> str:
    alone = [name for name in RECIPES if name not in STUDENTS]
    return f"{USAGE}\nrecipes:\n{listed(alone)}\n\nrecipes of students, for `dino-lab distill`:\n{listed(STUDENTS)}"


def listed(names: Iterable[str]) -> str:
    """Recipes with the first line of what is said about them."""
    wide = max(map(len, RECIPES))
    return "\n".join(f"  {name:{wide}} {(RECIPES[name].__doc__ or '').splitlines()[0]}" for name in names)


def parsed(config: TrainConfig, arguments: list[str], program: str) -> Options:
    """`config` with what the command line changes; a mistake is explained by tyro and becomes exit code 2.

    Later phases stay what they are: they change their own options of whatever the first phase has."""
    default = Options(replace(config, phases=()))
    options = tyro.cli(Options, args=arguments, default=default, prog=program, console_outputs=not _quiet())
    options = replace(options, config=replace(options.config, phases=config.phases))
    if options.config.epochs != config.epochs and options.config.steps == config.steps:
        return replace(options, config=replace(options.config, steps=None))  # the length asked for last counts
    return options


def _quiet() -> bool:
    """Only the first rank answers."""
    return os.environ.get("RANK", "0") != "0"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
