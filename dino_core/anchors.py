"""The Gram anchor that a config names: a frozen backbone whose similarities between patches are to be kept."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from dino_core.config import TrainConfig
from dino_core.errors import ConfigError, RunError
from dino_core.model import Backbone, load_backbone
from dino_core.model.continued import first_backbone
from dino_core.rundir.read import checkpoints, read_run
from dino_core.rundir.schema import CHECKPOINTS, step_name


def anchor_of(config: TrainConfig, run: Path | None) -> Backbone | None:
    """On the CPU, frozen, in eval mode; None where there is none, or the teacher of each step is it.

    One of `phase` has the shape of the run's own backbone and is filled when the phase begins."""
    source = config.gram.anchor
    if not config.gram.weight or source == "teacher":
        return None
    with torch.random.fork_rng(devices=[]):
        own = first_backbone(config)
    if source == "phase":
        return own.requires_grad_(False).eval()
    found = load_backbone(earlier(run, int(source)) if source.isdigit() else source)
    if config.gram.refreshes and shapes(found) != shapes(own):
        raise ConfigError(
            f"gram.anchor {source} is another network than the run's own, so it can't be renewed from the teacher. "
            "Set gram.refreshes to 0."
        )
    return found


def earlier(run: Path | None, step: int) -> Path:
    """The newest checkpoint of a run, or of the run it was forked from, up to a step."""
    if run is None or not run.exists():
        raise RunError(
            f"gram.anchor is step {step}, and there is no run yet that has it. Give --gram.anchor phase (the teacher as this "
            "phase begins), a run, a checkpoint of one, or a file; or begin --from a run that has been there."
        )
    steps = [s for s in checkpoints(run) if s <= step]
    parent = read_run(run).get("parent")
    if parent and (not steps or (steps[-1] < step <= parent["step"])):
        return earlier(Path(parent["path"]), step)
    if not steps:
        raise RunError(f"gram.anchor is step {step}, and {run} has no checkpoint up to there.")
    return run / CHECKPOINTS / step_name(steps[-1])


def shapes(module: nn.Module) -> list[torch.Size]:
    return [p.shape for p in module.parameters()]
