"""`dino-lab site FOLDER OUT`: a static gallery of runs and the course, for a page of one's own."""

from __future__ import annotations

import argparse
from pathlib import Path

NOTEBOOKS = Path("notebooks")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="dino-lab site",
        description="An index, a page a run, and the course, a page a notebook: files that need no server and no network.",
    )
    parser.add_argument("folder", type=Path, help="where the runs are")
    parser.add_argument("out", type=Path, help="where to write the pages")
    parser.add_argument(
        "--notebooks",
        type=Path,
        help=f"the course ({NOTEBOOKS} if it is there), or a folder of executed notebooks (with solutions: notebooks/instructor)",
    )
    parser.add_argument("--views", nargs="+", metavar="VIEW", help="views on a run's page")
    parser.add_argument(
        "--steps", nargs="+", type=int, metavar="STEP", help="stops of the clock (12 spread by ratio by default)"
    )
    options = parser.parse_args(arguments)

    from lab.site import VIEWS, site

    books = options.notebooks or (NOTEBOOKS if (NOTEBOOKS / "student").is_dir() else None)
    for file in site(options.folder, options.out, notebooks=books, views=options.views or VIEWS, steps=options.steps):
        print(f"{file}: {file.stat().st_size / 2**20:.1f} MiB")
    return 0
