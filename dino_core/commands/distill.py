"""`dino-lab distill --teacher SOURCE --students RECIPE [RECIPE ...] --out DIR`."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from dino_core.commands.train import listed, parsed
from dino_core.config import TrainConfig
from dino_core.errors import ConfigError
from dino_core.recipes import STUDENTS, recipe
from dino_core.rundir.read import read_config

SPEC = re.compile(r"(?:(?P<name>[^=,]+)=)?(?P<recipe>[^=,]+)(?P<options>(?:,[^=,]+=[^,]*)*)")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="dino-lab distill",
        description="Students of other sizes or families from a frozen teacher, several at once from one pass of it. Each is a "
        "run of its own below --out; `dino-lab resume OUT` goes on with all of them.",
        epilog="Each student is [NAME=]RECIPE[,option=value ...], such as small=tiny,backbone.dim=48,backbone.heads=3; RECIPE "
        "may be a run, whose config is then taken. Options of `dino-lab train` beside these are given to every student. "
        "torchrun --nproc-per-node=8 -m dino_core.commands.distill ... gives each student its own share of the processes.",
        allow_abbrev=False,
        add_help=False,
    )
    parser.add_argument("--teacher", required=True, help="a run of DINO lab, or one of its checkpoint folders")
    parser.add_argument(
        "--fresh-heads",
        action="store_true",
        help="the teacher is a published backbone (a file, a folder, a name): give it heads that nobody trained",
    )
    parser.add_argument("--students", required=True, nargs="+", metavar="STUDENT")
    parser.add_argument("--out", required=True, type=Path, help="a new folder; each student's run is made in it")
    parser.add_argument(
        "--ranks", type=int, nargs="+", help="processes of each student under torchrun; by default as equal as can be"
    )
    parser.add_argument("-h", "--help", action="store_true")
    if {"-h", "--help"} & set(arguments):
        print(f"{parser.format_help()}\nrecipes of students:\n{listed(STUDENTS)}")
        return 0
    known, rest = parser.parse_known_args(arguments)
    students = read_students(known.students, rest)

    from dino_core.distillation import start

    ended = start(known.teacher, students, known.out, ranks=known.ranks, fresh_heads=known.fresh_heads)
    return 1 if "failed" in ended.values() else 0


def read_students(specs: list[str], options: list[str]) -> dict[str, TrainConfig]:
    """Configs by name: each student's own, with the options that are for all."""
    students: dict[str, TrainConfig] = {}
    for spec in specs:
        match = SPEC.fullmatch(spec)
        if match is None:
            raise ConfigError(
                f"{spec!r} is no student; expected [NAME=]RECIPE[,option=value ...], such as small=tiny,backbone.dim=48."
            )
        given = match["recipe"]
        name = match["name"] or Path(given).name
        if name in students:
            raise ConfigError(f"two students are called {name!r}; name them, as in one={given} two={given}.")
        if not re.fullmatch(r"\w[\w.-]*", name):
            raise ConfigError(f"{name!r} can't be the name of a student's folder; use letters, digits, -, _ and dots.")
        config = read_config(Path(given)) if (Path(given) / "config.json").is_file() else recipe(given)
        own: list[str] = []
        for option in filter(None, match["options"].split(",")):
            key, value = option.split("=", 1)
            own += option_of(key, value)
        students[name] = parsed(config, [*options, *own], f"dino-lab distill, student {name}").config
    return students


def option_of(key: str, value: str) -> list[str]:
    """As `dino-lab train` takes it: what is on or off is a flag there, `--ibot.separate-head` or `--ibot.no-separate-head`."""
    *above, last = key.replace("_", "-").split(".")
    if value.lower() in ("true", "false"):
        return [f"--{'.'.join([*above, last if value.lower() == 'true' else f'no-{last}'])}"]
    return [f"--{'.'.join([*above, last])}", *value.split()]


if __name__ == "__main__":
    from dino_core import parallel
    from dino_core.cli import guarded

    try:
        code = guarded(main, sys.argv[1:])
    finally:
        parallel.stop()
    sys.exit(code)
