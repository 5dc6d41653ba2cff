"""A run that grows on disk as a training would make it grow, written by the real writer."""

from __future__ import annotations

import math
import os
import shutil
import socket
from dataclasses import replace
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from dino_core.config import Backbone, Head, TrainConfig, from_json, to_json
from dino_core.rundir.schema import step_name
from dino_core.rundir.write import RunWriter

GOLDEN = Path(__file__).parents[1] / "data" / "run_v1"
IMAGES, SIDE, GRID, DIM, HEADS, PROTOTYPES = 6, 32, 4, 24, 3, 64


class Growing:
    """`log()` adds lines, `probe()` publishes what the networks say now."""

    def __init__(self, path: Path, name: str | None = None, steps: int = 1000, *, golden: bool = False) -> None:
        """With `golden` its network is the golden run's, whose teacher can then be published as a checkpoint."""
        self.path, self.step = path, 0
        self._random = np.random.default_rng(0)
        config = TrainConfig(
            recipe="tiny",
            steps=steps,
            head=Head(prototypes=PROTOTYPES),
            backbone=Backbone(patch=8, dim=DIM, depth=2, heads=HEADS),
        )
        if golden:
            config = replace(from_json((GOLDEN / "config.json").read_text()), recipe="tiny", steps=steps)
        self.dim, self.heads, self.prototypes = config.backbone.dim, config.backbone.heads, config.head.prototypes
        run = {
            "name": name or path.name, "recipe": "tiny", "pid": os.getpid(), "host": socket.gethostname(), "steps": steps,
            "images": 500, "classes": ["fish", "tree"], "baselines": {"knn_raw_pixels": 0.6, "jaccard_centred_box": 0.31},
            "metrics": {"loss": {"title": "Loss", "unit": "nats", "better": "lower", "about": "What is minimised."}},
        }  # fmt: skip
        self.writer = RunWriter(path, run, to_json(config))
        masks = np.zeros((IMAGES, SIDE, SIDE), np.uint8)
        masks[:, 8:24, 8:24] = 1
        with self.writer.published_file("probes/images.safetensors") as file:
            save_file(
                {
                    "images": self._random.integers(0, 255, (IMAGES, 3, SIDE, SIDE)).astype(np.uint8),
                    "labels": np.arange(IMAGES) % 2,
                    "masks": masks,
                },
                file,
            )
        self.writer.event("started", 0)

    def log(self, lines: int = 1, every: int = 10) -> None:
        for _ in range(lines):
            self.step += every
            wave = 0.1 * math.sin(self.step / 30)
            row = {
                "step": self.step, "seconds": self.step / 10, "images": 64 * self.step, "loss": 3.5 + wave,
                "teacher/entropy": 2.5 + wave, "kl": 1.0, "teacher/mean_entropy": 3.2, "target/mean_entropy": 4.0,
                "teacher/information": 1.5 - wave, "prototypes/perplexity": 50.0, "features/std": 0.5, "centre/norm": 1 + wave,
                "lr": 1e-3, "momentum": 0.99, "images_per_second": 640.0, "knn/teacher": 0.5 + wave,
            }  # fmt: skip
            self.writer.metric(row)

    def probe(self, step: int | None = None) -> int:
        step = self.step if step is None else step
        attention = np.exp(self._random.normal(size=(IMAGES, self.heads, GRID * GRID)))
        with self.writer.published(f"probes/{step_name(step)}") as draft:
            save_file(
                {
                    "teacher.cls": self._half(IMAGES, self.dim),
                    "teacher.patches": self._half(IMAGES, GRID * GRID, self.dim),
                    "teacher.attention": (0.9 * attention / attention.sum(-1, keepdims=True)).astype(np.float16),
                    "teacher.logits": self._half(IMAGES, self.prototypes),
                },
                draft / "tensors.safetensors",
                metadata={"grid": f"{GRID} {GRID}", "step": str(step)},
            )
        self.writer.event("probe", step, path=f"probes/{step_name(step)}")
        return step

    def checkpoint(self, step: int | None = None) -> int:
        """Publish a checkpoint, as the trainer does after the probe: the golden run's teacher."""
        step = self.step if step is None else step
        with self.writer.published(f"checkpoints/{step_name(step)}") as draft:
            shutil.copytree(GOLDEN / "checkpoints" / step_name(500), draft, dirs_exist_ok=True)
        self.writer.event("checkpoint", step, path=f"checkpoints/{step_name(step)}", state=False)
        return step

    def _half(self, *shape: int) -> np.ndarray:
        return self._random.normal(size=shape).astype(np.float16)
