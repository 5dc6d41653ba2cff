"""`dino-lab lab`: a real training run and the lab that shows it, started and stopped together (`make lab`)."""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import time
from pathlib import Path

from dino_core.errors import RunError
from dino_core.rundir.read import read_run, status
from dino_core.rundir.schema import RUN


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="dino-lab lab", description="Train a recipe and watch it live in a browser; Ctrl-C stops both and saves."
    )
    parser.add_argument("--recipe", default="tiny")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the runs")
    parser.add_argument("--port", type=int, default=7860)
    parser.add_argument("--host", default="127.0.0.1")
    options, changed = parser.parse_known_args(arguments)
    run = options.runs / options.recipe
    options.runs.mkdir(parents=True, exist_ok=True)
    trainer = start_training(run, options.recipe, changed)
    viewer = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "dino_core.cli",
            "watch",
            str(options.runs),
            "--port",
            str(options.port),
            "--host",
            options.host,
        ]
    )
    print(f"  watch it at http://{options.host}:{options.port}", flush=True)
    print(
        "  Ctrl-C stops both and saves; `make lab` goes on from there, and so does dino-lab resume " + str(run),
        flush=True,
    )
    return stay(trainer, viewer)


def start_training(run: Path, recipe: str, changed: list[str]) -> subprocess.Popen[bytes] | None:
    """Start the run, go on with it where it was stopped, or leave it alone where it is finished or somebody trains it."""
    if not (run / RUN).exists():
        print(f"starting a training run, recipe {recipe}, in {run}", flush=True)
        command = ["train", recipe, "--out", str(run), *changed]
    elif status(run) in ("finished", "running"):
        print(f"{run} is {status(run)}; another run: dino-lab train {recipe}", flush=True)
        return None
    else:
        print(f"going on with {run}, which was {status(run)}", flush=True)
        if changed:
            raise RunError(f"{run} goes on as it began, so {' '.join(changed)} can't be changed; `dino-lab fork` can.")
        read_run(run)
        command = ["resume", str(run)]
    return subprocess.Popen([sys.executable, "-m", "dino_core.cli", *command])


def stay(trainer: subprocess.Popen[bytes] | None, viewer: subprocess.Popen[bytes]) -> int:
    """Until Ctrl-C, or until the viewer ends; the trainer gets the time to save, however long that is.

    A terminal sends Ctrl-C to the trainer too, so that it hears of it twice; only from the keyboard it can be told not to save."""
    asked: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: asked.append(number))
    while not asked and viewer.poll() is None:
        time.sleep(0.2)
    failed = viewer.poll() not in (None, 0) and not asked
    for process in (viewer, trainer):
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGTERM)
    if trainer is not None:
        trainer.wait()
    try:
        viewer.wait(timeout=60)
    except subprocess.TimeoutExpired:
        viewer.kill()
    return 2 if failed else 0
