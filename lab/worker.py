"""Torch in a process of its own, so that the page's server stays small and a training beside it keeps its cores.

`Worker` is the server's end: it starts the process when there is something to compute, asks one thing at a time over a pipe, and
lets it go when it has been idle.  `python -m lab.worker` is the other end: it reads a JSON line, answers with one, and ends when
its input ends, when it has been idle, or when whoever started it is gone."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from dino_core.data.offline import OFFLINE
from dino_core.errors import DinoError, RunError
from dino_core.rundir.schema import PROBE_IMAGES
from lab import cache
from lab.once import Once, Turns
from lab.run import Run

IDLE = 60.0
"""Seconds without a question after which the process ends and gives its memory back."""
PATIENCE = 180.0
"""Seconds to wait for an answer; then the process is ended and the question has failed."""


class Worker:
    """One torch process, at most; started when needed."""

    def __init__(self, idle: float = IDLE, patience: float = PATIENCE) -> None:
        self.idle, self.patience, self.once = idle, patience, Once()
        self._lock = Turns()
        self._process: subprocess.Popen[str] | None = None

    def attention(self, run: Run, step: int, layer: int) -> np.ndarray:
        """Class-token attention over patches (I H N) of any layer at a checkpoint, over the run's probe images."""
        folder = run.checkpoint_folder(step)
        images = run.path / PROBE_IMAGES
        if not images.is_file():
            raise RunError(f"{run.path} has no probe images.")
        key = cache.fingerprint(folder / "teacher.safetensors", folder / "model.json", images)
        entry = cache.entry("attention", key, layer)
        return self.kept(entry, {"do": "attention", "run": str(run.path), "step": step, "layer": layer})["attention"]

    def kept(self, entry: Path, question: dict[str, Any]) -> dict[str, np.ndarray]:
        """An entry of the cache; the question makes it where it is not there yet, once, however many ask."""
        if (known := cache.load(entry)) is not None:
            return known
        with self.once(entry):
            if (known := cache.load(entry)) is None:
                self.ask({**question, "entry": str(entry)})
                known = cache.load(entry)
        if known is None:
            raise RunError(f"the answer was computed, but {entry.parent} could not keep it: is the disk full?")
        return known

    def ask(self, question: dict[str, Any]) -> dict[str, Any]:
        """The answer to one question; RunError with the worker's own sentence where it has none."""
        with self._lock:
            for again in (False, True):
                process = self._living()
                try:
                    assert process.stdin is not None
                    process.stdin.write(json.dumps(question) + "\n")
                    process.stdin.flush()
                    break
                except OSError:  # it left in this moment, having been idle
                    self._end()
                    if again:
                        raise
            line = self._answer(process)
        try:
            answer = json.loads(line)
        except ValueError as error:
            raise RunError("the process that computes ended without an answer; see the terminal.") from error
        if "error" in answer:
            raise RunError(answer["error"])
        return answer

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def close(self) -> None:
        with self._lock:
            self._end()

    def _living(self) -> subprocess.Popen[str]:
        if self._process is None or self._process.poll() is not None:
            self._end()
            environment = {
                **os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_OFFLINE": "1",
                "HF_DATASETS_OFFLINE": "1", OFFLINE: "1",
            }  # fmt: skip
            self._process = subprocess.Popen(
                [sys.executable, "-m", "lab.worker", str(self.idle)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
            )  # fmt: skip
        return self._process

    def _answer(self, process: subprocess.Popen[str]) -> str:
        timer = threading.Timer(self.patience, process.kill)
        timer.start()
        try:
            assert process.stdout is not None
            return process.stdout.readline()
        finally:
            timer.cancel()

    def _end(self) -> None:
        if self._process is None:
            return
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                if pipe is not None:
                    pipe.close()
        try:
            self._process.wait(2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None


def attention(run: str, step: int, layer: int) -> np.ndarray:
    """Class-token attention over patches (I H N), float16.  Imports torch."""
    import torch

    from dino_core.model import load_teacher

    where = Run(run)
    backbone = load_teacher(where.checkpoint_folder(step)).backbone.eval()
    model = json.loads((where.checkpoint_folder(step) / "model.json").read_text())
    images = torch.from_numpy(where.probe_images.images).float() / 255
    mean, std = (torch.tensor(model[name]).view(1, 3, 1, 1) for name in ("mean", "std"))
    if not -backbone.depth <= layer < backbone.depth:
        raise RunError(f"there is no layer {layer}; this backbone has {backbone.depth}, 0 to {backbone.depth - 1}.")
    with torch.inference_mode():
        parts = [
            backbone.attention(part, layer=layer)[:, :, 0, 1 + backbone.registers :]
            for part in ((images - mean) / std).split(4)
        ]
    return torch.cat(parts).half().numpy()


def serve(idle: float) -> None:
    """Answer questions until there are no more, or none for `idle` seconds."""
    import torch

    torch.set_num_threads(1)
    while True:
        patience = threading.Timer(idle, os._exit, args=(0,))
        patience.daemon = True
        patience.start()
        line = sys.stdin.readline()
        patience.cancel()
        if not line:
            return
        print(json.dumps(_answered(json.loads(line))), flush=True)


DOES = {
    "attention": "lab.worker:kept_attention",
    "look": "lab.eyes:look",
    "stages": "lab.stages:computed",
    "album": "lab.gathering:pictures",
    "gathered": "lab.gathering:gathered",
    "head": "lab.gathering:why_no_head",
    "dataset": "lab.seeing:dataset",
    "crowd": "lab.seeing:crowd",
    "losses": "lab.seeing:losses",
    "layout": "lab.layouts:layout",
}
"""What may be asked for, and the function that answers: question in, answer out, both of them JSON."""


def _answered(question: dict[str, Any]) -> dict[str, Any]:
    try:
        module, _, name = DOES[question.get("do", "attention")].partition(":")
        does: Callable[[dict[str, Any]], dict[str, Any]] = getattr(import_module(module), name)
        return does(question)
    except (DinoError, OSError, KeyError, ValueError, RuntimeError, MemoryError, RecursionError) as error:
        return {"error": str(error) or type(error).__name__}


def kept_attention(question: dict[str, Any]) -> dict[str, Any]:
    """Attention of a layer, written into its entry of the cache."""
    entry = Path(question["entry"])
    try:
        cache.store(entry, {"attention": attention(question["run"], question["step"], question["layer"])})
    except (DinoError, OSError, KeyError, RuntimeError) as error:
        raise RunError(f"attention of layer {question.get('layer')}: {error}") from error
    return {"entry": str(entry)}


if __name__ == "__main__":
    with contextlib.suppress(OSError, AttributeError):
        os.nice(10)
    serve(float(sys.argv[1]) if len(sys.argv) > 1 else IDLE)
