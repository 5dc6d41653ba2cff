"""`dino-lab site FOLDER OUT`: a static gallery of runs, for a course page."""

from __future__ import annotations

import argparse
from pathlib import Path

NOTEBOOKS = Path("notebooks") / "instructor"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="dino-lab site",
        description="An index and one page a run (and a notebook), each a file that needs no server and no network.",
    )
    parser.add_argument("folder", type=Path, help="where the runs are")
    parser.add_argument("out", type=Path, help="where to write the pages")
    parser.add_argument(
        "--notebooks", type=Path, help=f"executed notebooks to show as well ({NOTEBOOKS} if it is there)"
    )
    parser.add_argument("--views", nargs="+", metavar="VIEW", help="views on a run's page")
    parser.add_argument(
        "--steps", nargs="+", type=int, metavar="STEP", help="stops of the clock (12 spread by ratio by default)"
    )
    options = parser.parse_args(arguments)

    from lab.site import VIEWS, site

    books = options.notebooks or (NOTEBOOKS if NOTEBOOKS.is_dir() else None)
    for file in site(options.folder, options.out, notebooks=books, views=options.views or VIEWS, steps=options.steps):
        print(f"{file}: {file.stat().st_size / 2**20:.1f} MiB")
    return 0
