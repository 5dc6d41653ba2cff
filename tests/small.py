"""A run so small that a step takes milliseconds, of the real code throughout."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from dino_core.config import Backbone, Crops, Data, Dino, Evaluation, Head, Machine, Optim, Output, Shapes, TrainConfig


def small_config(**changes: Any) -> TrainConfig:
    """Twelve steps of batch 8 on 64 shapes of 32 pixels; `changes` replace whole parts."""
    config = TrainConfig(
        recipe="small",
        steps=12,
        batch_size=8,
        data=Data(source="shapes", shapes=Shapes(images=64, size=32)),
        crops=Crops(global_size=32, local_size=16, local_crops=2),
        backbone=Backbone(patch=8, dim=32, depth=2, heads=2, registers=1, drop_path=0.1),
        head=Head(prototypes=32, hidden=32, bottleneck=16),
        objective=Dino(koleo_weight=0.05),
        optim=Optim(lr=1e-3, lr_rule="none"),
        evaluation=Evaluation(every=6, train_images=40, test_images=20, size=48),
        output=Output(log_every=1, heavy_every=4, probe_images=4, checkpoint_every=4),
        machine=Machine(device="cpu", precision="fp32", threads=1),
    )
    return replace(config, **changes)
