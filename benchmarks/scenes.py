"""Runs for the lab to show, made without training: sizes of networks and files are real, weights and features are drawn.

`LabRun` is written by the trainer's own writer, so that it can grow while somebody watches; its network is a ViT-S/16."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import socket
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from dino_core.config import Backbone, Head, TrainConfig, from_json, to_json
from dino_core.recipes import recipe
from dino_core.rundir.schema import CHECKPOINTS, EVENTS, METRICS, PROBE_IMAGES, PROBES, RUN, step_name
from dino_core.rundir.write import RunWriter

RECORDED = Path(__file__).parents[1] / "lab" / "gallery" / "dino_shapes"
"""A run whose lines are borrowed: real names, real values, real lengths."""
SPIKE = 99.0
"""Nats of entropy that one line of the long run has; who draws the run must not lose it."""


@dataclass(frozen=True)
class Scene:
    """How much there is to show."""

    backbone: Backbone
    images: int
    """Probe images of the run."""
    side: int
    """Their pixels."""
    fine: int
    """Pixels of the images of the run with many patches."""
    stops: int
    """Probes of each run."""
    lines: int
    """Logged steps of the long run."""
    runs: int
    """Small runs beside."""
    prototypes: int = 4096
    teacher: Path | None = None
    """A checkpoint that stands for the networks'; without one they are made."""


FULL = Scene(Backbone(patch=16, dim=384, depth=12, heads=6), 16, 224, 1024, stops=9, lines=1_000_000, runs=200)
QUICK = Scene(
    from_json((RECORDED / "config.json").read_text()).backbone, 3, 64, 128, stops=3, lines=2000, runs=5, prototypes=64,
    teacher=RECORDED / CHECKPOINTS / step_name(0),
)  # fmt: skip
"""To see that everything works, with the recorded run's small network."""


class LabRun:
    """A run that can be given lines, probes and checkpoints."""

    def __init__(self, path: Path, scene: Scene, side: int, images: int) -> None:
        self.path, self.images, self.step = path, images, 0
        self.stops: list[int] = []
        """Those that it had from the start."""
        self.config, self.teacher = _config(scene, side), scene.teacher
        self.grid = side // scene.backbone.patch
        self._random = np.random.default_rng(0)
        self._rows = itertools.cycle(recorded_rows())
        about = {"name": path.name, "recipe": "vits16_dino", "steps": 100_000, "images": 1_281_167,
                 "metrics": json.loads((RECORDED / RUN).read_text())["metrics"]}  # fmt: skip
        self.writer = RunWriter(path, about, to_json(self.config))
        with self.writer.published_file(PROBE_IMAGES) as file:
            save_file(_probe_images(self._random, images, side), file)
        self.writer.event("started", 0)
        self._shared = self._random.normal(size=(images, self.grid**2, 8))
        self._network: Any = None

    def log(self, every: int = 100) -> int:
        """One line of metrics."""
        self.step += every
        self.writer.metric({**next(self._rows), "step": self.step})
        return self.step

    def probe(self, *, checkpoint: bool = False) -> int:
        """Publish what the networks say now, then, where it is wanted, the teacher: the trainer's order."""
        with self.writer.published(f"{PROBES}/{step_name(self.step)}") as draft:
            said = {"grid": f"{self.grid} {self.grid}", "step": str(self.step)}
            save_file(self._said(), draft / "tensors.safetensors", metadata=said)
        self.writer.event("probe", self.step, path=f"{PROBES}/{step_name(self.step)}")
        if checkpoint:
            self._checkpoint()
        return self.step

    def _said(self) -> dict[str, np.ndarray]:
        """Features of few directions and some noise, maps that each head spreads its own way."""
        dim, heads, count = self.config.backbone.dim, self.config.backbone.heads, self.grid**2
        directions = self._random.normal(size=(8, dim))
        patches = self._shared @ directions + 0.3 * self._random.normal(size=(self.images, count, dim))
        maps = np.exp(self._random.normal(size=(self.images, heads, count)))
        said = {
            "cls": self._random.normal(size=(self.images, dim)),
            "patches": patches,
            "attention": 0.9 * maps / maps.sum(-1, keepdims=True),
            "logits": self._random.normal(size=(self.images, self.config.head.prototypes)),
        }
        return {f"teacher.{name}": value.astype(np.float16) for name, value in said.items()}

    def _checkpoint(self) -> None:
        with self.writer.published(f"{CHECKPOINTS}/{step_name(self.step)}") as draft:
            if self.teacher is None:
                self._save_teacher(draft)
            else:
                shutil.copytree(self.teacher, draft, dirs_exist_ok=True)
        self.writer.event("checkpoint", self.step, path=f"{CHECKPOINTS}/{step_name(self.step)}", state=False)

    def _save_teacher(self, folder: Path) -> None:
        """A teacher whose weights have moved a little since the last."""
        import torch

        from dino_core.model import save_teacher
        from dino_core.train import build_engine

        engine = self._network = self._network or build_engine(self.config)
        with torch.no_grad():
            for weights in engine.teacher.parameters():
                weights.add_(0.05 * weights.std(correction=0) * torch.randn_like(weights))
        save_teacher(folder, engine.teacher, engine.objective, step=self.step, config=self.config)


def watched(path: Path, scene: Scene, *, fine: bool = False, checkpoints: bool = True) -> LabRun:
    """A run with some stops, its first and last with a checkpoint; `fine`: two images of many patches."""
    run = LabRun(path, scene, scene.fine if fine else scene.side, 2 if fine else scene.images)
    for stop in range(scene.stops):
        run.log()
        run.stops.append(run.probe(checkpoint=checkpoints and stop in (0, scene.stops - 1)))
    return run


def long(folder: Path, lines: int) -> Path:
    """A finished run of so many logged steps: the recorded run's rows, each many times, and one spike."""
    run = _empty(folder / "long", steps=lines, created="2025-01-02T00:00:00Z")
    rows = [json.loads(line) for line in (RECORDED / METRICS).read_text().splitlines()]
    texts = [json.dumps({key: value for key, value in row.items() if key != "step"})[1:] for row in rows]
    spiked = json.dumps({"teacher/entropy": SPIKE, "kl": 1.0})[1:]
    with open(run / METRICS, "w") as file:
        for step in range(lines):
            text = spiked if step == lines // 2 else texts[step * len(texts) // lines]
            file.write(f'{{"step": {step}, {text}\n')
    return run


def many(folder: Path, runs: int) -> None:
    """Finished runs with the ends of files that real ones have."""
    head = b"".join((RECORDED / METRICS).read_bytes().splitlines(keepends=True)[:40])
    events = (RECORDED / EVENTS).read_bytes()
    for i in range(runs):
        run = _empty(folder / f"many_{i:03}", steps=400, created=f"2024-01-01T{i // 60:02}:{i % 60:02}:00Z")
        (run / METRICS).write_bytes(head)
        (run / EVENTS).write_bytes(events)


def recorded_rows() -> list[dict[str, Any]]:
    """The logged rows of the recorded run, without those of its evaluations."""
    rows = [json.loads(line) for line in (RECORDED / METRICS).read_text().splitlines()]
    return [row for row in rows if "loss" in row]


def _empty(path: Path, steps: int, created: str) -> Path:
    """A finished run that has said nothing yet."""
    path.mkdir(parents=True)
    about = json.loads((RECORDED / RUN).read_text())
    about |= {"name": path.name, "status": "finished", "steps": steps, "created": created, "gallery": False}
    about |= {"pid": os.getpid(), "host": socket.gethostname()}
    (path / RUN).write_text(json.dumps(about))
    (path / "config.json").write_text((RECORDED / "config.json").read_text())
    (path / EVENTS).touch()
    return path


def _config(scene: Scene, side: int) -> TrainConfig:
    tiny = recipe("tiny")
    return replace(
        tiny,
        recipe="vits16_dino",
        steps=100_000,
        backbone=scene.backbone,
        crops=replace(tiny.crops, global_size=side, local_size=side // 2),
        head=Head(prototypes=scene.prototypes),
        evaluation=replace(tiny.evaluation, size=side),
    )


def _probe_images(random: np.random.Generator, images: int, side: int) -> dict[str, np.ndarray]:
    """Coarse colours, and a disc as the object."""
    coarse = random.integers(0, 255, (images, 3, 8, 8)).astype(np.uint8)
    place = np.arange(side) * 8 // side
    y, x = np.ogrid[:side, :side]
    disc = ((y - side / 2) ** 2 + (x - side / 2) ** 2 < (side / 4) ** 2).astype(np.uint8)
    return {
        "images": np.ascontiguousarray(coarse[:, :, place][..., place]),
        "labels": np.arange(images) % 2,
        "masks": np.tile(disc, (images, 1, 1)),
    }
