"""`python -m notebooks`: opens the course in JupyterLab, builds its notebooks, says which are out of date, lists them."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from notebooks import building
from notebooks.opening import open_lab


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m notebooks", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    make = commands.add_parser("build", help="write solutions, student and instructor notebooks")
    make.add_argument("names", nargs="*", help="numbers or beginnings of names; all by default")
    make.add_argument(
        "--no-run", action="store_true", help="leave the executed instructor notebooks as they are"
    )
    make.add_argument(
        "--again", action="store_true", help="execute them where only words have changed too"
    )
    make.add_argument("--stale", action="store_true", help="only those that are out of date")
    check = commands.add_parser(
        "check", help="exit code 1 if a generated file is not what its source says"
    )
    check.add_argument("names", nargs="*")
    lab = commands.add_parser(
        "open", help="JupyterLab on a copy of the notebooks that is yours to write in"
    )
    lab.add_argument("--folder", type=Path, default=Path("runs") / "course")
    lab.add_argument(
        "--instructor", action="store_true", help="the executed notebooks with solutions"
    )
    lab.add_argument(
        "--fresh", action="store_true", help="newest notebooks; yours are kept beside them as .mine"
    )
    commands.add_parser("list", help="the notebooks and their questions")
    options, rest = parser.parse_known_args(arguments)
    if rest and options.command != "open":
        parser.error(f"unknown: {' '.join(rest)}")
    try:
        if options.command == "open":
            return open_lab(
                options.folder, instructor=options.instructor, fresh=options.fresh, arguments=rest
            )
        return {"build": build, "check": stale, "list": show}[options.command](options)
    except building.SourceError as error:
        print(f"notebooks: {error}", file=sys.stderr)
        return 2


def build(options: argparse.Namespace) -> int:
    for source in building.sources(options.names):
        if options.stale and not building.stale(source):
            continue
        start = time.monotonic()
        written = building.build(source, run=not options.no_run, again=options.again)
        size = written[-1].stat().st_size // 1000
        print(
            f"{source.stem}: {time.monotonic() - start:.0f} s, {written[-1].parent.name} {size} kB",
            flush=True,
        )
    return 0


def stale(options: argparse.Namespace) -> int:
    found = [
        sentence
        for source in building.sources(options.names)
        for sentence in building.stale(source)
    ]
    for sentence in found:
        print(f"{sentence}; python -m notebooks build")
    return 1 if found else 0


def show(options: argparse.Namespace) -> int:
    for source in building.sources():
        first = building.read(source).cells[0].source
        question = next(
            (line for line in first.splitlines() if line.startswith("**Question:**")), ""
        )
        print(f"{source.stem:30} {question.removeprefix('**Question:**').strip()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
