"""`python -m notebooks`: opens the course in JupyterLab, builds its notebooks, says which are out of date, lists and times
them, prints the handout."""

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
    times = commands.add_parser(
        "times", help="minutes of reading and exercises, seconds of running"
    )
    times.add_argument("names", nargs="*")
    times.add_argument(
        "--run", action="store_true", help="run them, which takes as long as it says"
    )
    times.add_argument(
        "--quick", action="store_true", help="run them with short trainings, as the tests do"
    )
    sheet = commands.add_parser(
        "handout", help="the formulas on one page of A4 (.pdf) or as a page (.html)"
    )
    sheet.add_argument("file", nargs="?", type=Path, default=Path("handout.pdf"))
    options, rest = parser.parse_known_args(arguments)
    if rest and options.command != "open":
        parser.error(f"unknown: {' '.join(rest)}")
    try:
        if options.command == "open":
            return open_lab(
                options.folder, instructor=options.instructor, fresh=options.fresh, arguments=rest
            )
        known = {
            "build": build,
            "check": stale,
            "list": show,
            "handout": handout,
            "times": times_of,
        }
        return known[options.command](options)
    except (building.SourceError, RuntimeError) as error:
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


def times_of(options: argparse.Namespace) -> int:
    from notebooks import timing

    run = options.run or options.quick
    print(f"{'':24} words  lines  reading  exercises" + "    clock  processors" * run)
    clocks = []
    for source in building.sources(options.names):
        met = timing.length(source)
        said = f"{source.stem:24} {met.words:5d} {met.lines:6d} {met.reading:4.0f} min {met.exercises:6d} min"
        if run:
            clocks.append(timing.run(source, quick=options.quick))
            said += "{:7.0f} s {:9.0f} s".format(*clocks[-1])
        print(said, flush=True)
    if len(clocks) > 1:
        clock, processors = map(sum, zip(*clocks))
        print(f"{'together':24}{'':33}{clock:7.0f} s {processors:9.0f} s")
    return 0


def handout(options: argparse.Namespace) -> int:
    from notebooks.handout import write

    print(f"{write(options.file)}: {options.file.stat().st_size // 1000} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
