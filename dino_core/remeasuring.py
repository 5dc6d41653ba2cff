"""Measures that a run did not take while it trained, taken afterwards on the checkpoints it kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import torch

from dino_core.data.sources import open_source
from dino_core.errors import RunError
from dino_core.evaluation.during import Evaluator
from dino_core.model import load_teacher
from dino_core.rundir.read import checkpoints, read_config, read_metrics, read_run, status
from dino_core.rundir.schema import CHECKPOINTS, RUN, step_name
from dino_core.rundir.write import adding_to


def remeasure(run: Path, told: Callable[[str], None] = lambda _: None) -> dict[int, dict[str, float]]:
    """What today's evaluation finds of each kept teacher and the run has not logged; appended to its metrics and baselines.

    Nothing that was measured while training is replaced.  Teachers of a recorded run are in half precision, so what is
    added is that of the rounded weights.  Raises `RunError` for a run that is still training
    or that another process writes into."""
    about = read_run(run)
    if status(run) == "running":
        raise RunError(f"{run} is training, and logs what it measures itself; stop it first, or wait for its end.")
    config = read_config(run)
    evaluator = Evaluator.of(config, open_source(config.data, split="train"))
    added: dict[int, dict[str, float]] = {}
    with adding_to(run) as add:
        logged = {row["step"]: row for row in read_metrics(run)}
        for step in checkpoints(run):
            teacher = load_teacher(run / CHECKPOINTS / step_name(step))
            found = evaluator.measure({"teacher": teacher}, torch.device("cpu"))
            row = logged.get(step, {"segment": about.get("segment", 0)})
            new = {name: value for name, value in found.items() if name not in row}
            told(f"step {step}: {', '.join(f'{name} {value:.3f}' for name, value in new.items()) or 'nothing new'}")
            if new:
                add({"step": step, "segment": row["segment"], **new})
                added[step] = new
            if step == 0:
                _add_baselines(run, evaluator.baselines(found))
    return added


def _add_baselines(run: Path, found: dict[str, float]) -> None:
    """Those of the untrained network among them, whatever the run had not."""
    about = json.loads((run / RUN).read_text())
    about["baselines"] = found | (about.get("baselines") or {})
    draft = run / f".{RUN}"
    draft.write_text(json.dumps(about, indent=1) + "\n")
    draft.rename(run / RUN)
