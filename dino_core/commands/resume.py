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
        epilog="What torchrun started goes on likewise: torchrun --nproc-per-node=8 -m dino_core.cli resume RUN.",
    )
    parser.add_argument("run", type=Path, help="the folder that train or distill made")
    parser.add_argument(
        "--if-stopped", action="store_true", help="do nothing, and succeed, when the run is finished already"
    )
    options = parser.parse_args(arguments)
    together = options.run / "distillation.json"
    if together.is_file() and not (options.run / "run.json").is_file():
        return resume_students(options.run, None, options.if_stopped)
    about = read_run(options.run)
    if options.if_stopped and about.get("status") == "finished":
        return 0
    if about.get("gallery"):
        raise RunError(f"{options.run} is a recorded run and stays as it is. Start from it with `dino-lab fork`.")

    if "distilled_from" in about:
        return resume_students(options.run.parent, options.run.name, options.if_stopped)

    from dino_core import parallel
    from dino_core.train import resume

    try:
        return 1 if resume(options.run) == "failed" else 0
    finally:
        parallel.stop()


def resume_students(out: Path, only: str | None, if_stopped: bool) -> int:
    """All students of a distillation, or one of them."""
    from dino_core import parallel
    from dino_core.distillation import resume
    from dino_core.distillation.students import read_distillation

    names = [only] if only else list(read_distillation(out)["students"])
    if if_stopped and all(read_run(out / name).get("status") == "finished" for name in names):
        return 0
    try:
        return 1 if "failed" in resume(out, only).values() else 0
    finally:
        parallel.stop()
