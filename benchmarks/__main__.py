"""`python -m benchmarks [--quick] [--out FOLDER] [names...]`: measure, write JSON, print tables."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from pathlib import Path

from benchmarks.report import RESULTS, goals_table, machine, table, write

BENCHMARKS = (
    "step",
    "attention",
    "distillation",
    "telemetry",
    "crops",
    "diagnosis",
    "neighbour",
    "latency",
    "classroom",
    "felt",
    "help",
    "gpu",
)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(BENCHMARKS)}; all by default")
    parser.add_argument(
        "--quick", action="store_true", help="tiny sizes, to see that it works; the numbers mean nothing"
    )
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the JSON goes")
    options = parser.parse_args(arguments)
    unknown = set(options.names) - set(BENCHMARKS)
    if unknown:
        parser.error(f"no benchmark {sorted(unknown)[0]!r}. Benchmarks: {', '.join(BENCHMARKS)}.")
    for name in options.names or BENCHMARKS:
        module, about = import_module(f"benchmarks.{name}"), machine()
        print(f"\n{name}: {(module.__doc__ or '').splitlines()[0]}", flush=True)
        result = {"benchmark": name, "quick": options.quick, "machine": about, **module.measure(options.quick)}
        if "skipped" in result:
            print(f"skipped: {result['skipped']}")
            continue
        path = write(name, result, options.out)
        print(table(module.rows(result)), goals_table(result["goals"]), f"-> {path}", sep="\n\n", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
