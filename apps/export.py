"""`dino-lab export RUN FILE`: views of a run in one HTML file that needs nothing else."""

from __future__ import annotations

import argparse
from pathlib import Path


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="dino-lab export",
        description="Views of a run in one HTML file that works without lab, Python and network: from a USB stick, by mail.",
    )
    parser.add_argument("run", help="the folder of a run, or the name of one below runs or of a recorded one")
    parser.add_argument("file", type=Path, help="where to write, such as dino.html")
    parser.add_argument(
        "--views", nargs="+", default=["diagnosis", "emergence", "loss", "attention", "patches"], metavar="VIEW"
    )
    parser.add_argument(
        "--steps", nargs="+", type=int, metavar="STEP", help="stops of the clock (12 spread by ratio by default)"
    )
    parser.add_argument("--layers", nargs="+", type=int, default=[-1], metavar="LAYER", help="-1, the last, by default")
    parser.add_argument(
        "--images", nargs="+", type=int, metavar="IMAGE", help="where a view asks for each image by itself"
    )
    parser.add_argument(
        "--state", nargs="*", default=[], metavar="KEY=VALUE", help="where the reader begins: step=500 image=2"
    )
    options = parser.parse_args(arguments)

    from lab.onefile import export

    state = dict(pair.partition("=")[::2] for pair in options.state)
    print(
        export(
            options.views,
            options.run,
            options.file,
            steps=options.steps,
            layers=options.layers,
            images=options.images,
            **state,
        )
    )
    return 0
