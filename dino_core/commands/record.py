"""`dino-lab record RUN DEST`."""

from __future__ import annotations

import argparse
from pathlib import Path


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="dino-lab record",
        description="A compact copy of a run, to hand on: log-spaced teachers in half precision, probes, all metrics.",
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("dest", type=Path)
    parser.add_argument("--keep", type=int, default=12, help="teachers to keep, first and last among them")
    parser.add_argument("--probes", type=int, default=40, help="probes to keep")
    options = parser.parse_args(arguments)

    from dino_core.recording import record

    out = record(options.run, options.dest, keep=options.keep, probes_kept=options.probes)
    size = sum(p.stat().st_size for p in out.rglob("*") if p.is_file()) / 2**20
    print(f"{out}: {size:.1f} MiB")
    return 0
