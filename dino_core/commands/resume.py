"""`dino-lab resume RUN`."""

from __future__ import annotations

import argparse
from pathlib import Path

from dino_core.errors import RunError
from dino_core.rundir.read import read_run


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="dino-lab resume",
        description="Go on from the last whole checkpoint, bit for bit as if never stopped on the same machine and world size.",
    )
    parser.add_argument("run", type=Path, help="the folder that train made")
    parser.add_argument(
        "--if-stopped", action="store_true", help="do nothing, and succeed, when the run is finished already"
    )
    options = parser.parse_args(arguments)
    about = read_run(options.run)
    if options.if_stopped and about.get("status") == "finished":
        return 0
    if about.get("gallery"):
        raise RunError(f"{options.run} is a recorded run and stays as it is. Start from it with `dino-lab fork`.")

    from dino_core.train import resume

    return 1 if resume(options.run) == "failed" else 0
