"""`dino-lab train RECIPE [options]`."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro

from dino_core.config import TrainConfig
from dino_core.recipes import RECIPES, recipe

USAGE = """usage: dino-lab train RECIPE [--data.source SRC] [--steps N] [--out DIR] [options]

Trains a recipe. SRC is `shapes`, a folder of images, `torchvision:CIFAR10` or `hf:NAME`.
`torchrun --nproc-per-node=8 -m dino_core.train RECIPE ...` is the same on many GPUs.
`dino-lab train RECIPE --help` lists every option with that recipe's values.

recipes:
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
    options = parsed(recipe(name), rest, f"dino-lab train {name}")

    from dino_core.train import start

    _, status = start(options.config, options.out)
    return 1 if status == "failed" else 0


def usage() -> str:
    lines = [f"  {name:15} {(make.__doc__ or '').splitlines()[0]}" for name, make in RECIPES.items()]
    return USAGE + "\n".join(lines)


def parsed(config: TrainConfig, arguments: list[str], program: str) -> Options:
    """`config` with what the command line changes; a mistake is explained by tyro and becomes exit code 2."""
    options = tyro.cli(Options, args=arguments, default=Options(config), prog=program, console_outputs=not _quiet())
    if options.config.epochs != config.epochs and options.config.steps == config.steps:
        return replace(options, config=replace(options.config, steps=None))  # the length asked for last counts
    return options


def _quiet() -> bool:
    """Only the first rank answers."""
    return os.environ.get("RANK", "0") != "0"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
