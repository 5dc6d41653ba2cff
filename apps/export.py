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
        "--views", nargs="+", default=["diagnosis", "emergence", "loss", "attention", "patches"], metavar="VIEW",
        help="by their names; all: every one of them (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--steps", nargs="+", type=int, metavar="STEP", help="stops of the clock (12 spread by ratio by default)"
    )
    parser.add_argument("--layers", nargs="+", type=int, default=[-1], metavar="LAYER", help="-1, the last, by default")
    parser.add_argument(
        "--images", nargs="+", type=int, metavar="IMAGE", help="where a view asks for each image by itself"
    )
    parser.add_argument(
        "--models", nargs="+", default=[], metavar="NAME_OR_FILE", help="networks to look through beside the run's"
    )
    parser.add_argument(
        "--pictures", metavar="FOLDER", help="images to look at beside the probe images; data: the data set's"
    )
    parser.add_argument("--overlay", nargs="+", metavar="RUN", help="a second run, or several, laid over this one")
    parser.add_argument(
        "--state", nargs="*", default=[], metavar="KEY=VALUE", help="where the reader begins: step=500 image=2"
    )
    options = parser.parse_args(arguments)

    from lab.local import offer
    from lab.onefile import export
    from lab.views import EVERYWHERE, catalogue

    every = [view.name for view in catalogue().values() if view.page != EVERYWHERE]
    pictures = options.pictures
    before = [one["name"] for one in offer()["folders"]]
    if pictures not in (None, "data"):
        offer(folders=[pictures])
        pictures = f"folder:{len(before)}"
    models = [name for name in offer(models=options.models)["models"] if options.models]
    state = dict(pair.partition("=")[::2] for pair in options.state)
    print(
        export(
            every if options.views == ["all"] else options.views,
            options.run,
            options.file,
            steps=options.steps,
            layers=options.layers,
            images=options.images,
            models=models,
            pictures=pictures,
            overlay=options.overlay,
            **state,
        )
    )
    return 0
