"""A compact copy of a run, to hand on: log-spaced checkpoints in half precision, probes, all metrics, nothing to resume from."""

from __future__ import annotations

import json
import shutil
from datetime import datetime, timedelta
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from dino_core.config import TrainConfig
from dino_core.errors import RunError
from dino_core.rundir.read import checkpoints, merge_segments, probes, read_config, read_run, read_table
from dino_core.rundir.schema import CHECKPOINTS, CONFIG, EVENTS, METRICS, PROBE_IMAGES, PROBES, RUN, draft_of, step_name
from dino_core.rundir.write import line
from dino_core.telemetry.diagnosis import Diagnosis

KEPT_EVENTS = ("started", "phase", "probe", "checkpoint", "evaluation", "note", "skipped_step", "finished")
"""And `diagnosis`, which is made anew from the metrics."""


def record(run: Path, out: Path, *, keep: int = 12, probes_kept: int = 40) -> Path:
    """Write the compact copy of `run` to `out`, with `keep` teachers and `probes_kept` probes, the first and last among them.

    Besides them it keeps where a phase begins and whose similarities its Gram anchor has, so that each phase can be begun
    anew.  A recorded run opens in the lab like any other and can be forked from any of its checkpoints."""
    if keep < 1 or probes_kept < 1:
        raise RunError(f"{keep} teachers and {probes_kept} probes to keep; expected at least one of each.")
    about = read_run(run)
    if out.exists():
        raise RunError(f"{out} exists already; choose another name or remove it.")
    chosen, seen = (
        sorted({*log_spaced(steps, count), *turning_points(read_config(run), steps)})
        for steps, count in ((checkpoints(run), keep), (probes(run), probes_kept))
    )
    draft = draft_of(out)
    shutil.rmtree(draft, ignore_errors=True)
    for step in chosen:
        copy_teacher(run / CHECKPOINTS / step_name(step), draft / CHECKPOINTS / step_name(step))
    for step in seen:
        copy_probe(run / PROBES / step_name(step), draft / PROBES / step_name(step))
    (draft / PROBES).mkdir(parents=True, exist_ok=True)
    shutil.copy2(run / PROBE_IMAGES, draft / PROBE_IMAGES)
    shutil.copy2(run / CONFIG, draft / CONFIG)
    rows = merge_segments(read_table(run / METRICS)[0])
    (draft / METRICS).write_bytes(b"".join(line({**row, "segment": 0}) for row in rows))
    (draft / EVENTS).write_bytes(b"".join(line(event) for event in kept_events(run, set(chosen), set(seen))))
    facts = {**about, "name": out.name, "gallery": True, "segment": 0, "pid": None, "host": None}
    (draft / RUN).write_text(json.dumps(facts, indent=1) + "\n")
    draft.rename(out)
    return out


def turning_points(config: TrainConfig, steps: list[int]) -> set[int]:
    """Of the steps, those at which the later phases begin, and the newest up to each step that a Gram anchor names."""
    phases = [config.phase(index) for index in range(1, len(config.phases) + 1)]
    anchors = [int(phase.gram.anchor) for phase in phases if phase.gram.anchor.isdigit()]
    newest = [max((s for s in steps if s <= anchor), default=steps[0]) for anchor in anchors if steps]
    return {phase.start for phase in phases if phase.start in steps} | set(newest)


def log_spaced(steps: list[int], count: int) -> list[int]:
    """`count` of the steps, about evenly spaced in log(step + 1), the first and the last always among them."""
    if len(steps) <= count:
        return steps
    if count < 2:
        return steps[-1:]
    places = torch.log1p(torch.tensor(steps, dtype=torch.float64))
    wanted = torch.linspace(float(places[0]), float(places[-1]), count, dtype=torch.float64)
    nearest = {steps[int((places - place).abs().argmin())] for place in wanted} | {steps[0], steps[-1]}
    rest = [step for step in steps if step not in nearest]
    while len(nearest) < count and rest:  # neighbours shared a step: fill the widest gaps
        ordered = sorted(nearest)
        nearest.add(max(rest, key=lambda s: min(abs(s - o) for o in ordered)))
        rest = [step for step in rest if step not in nearest]
    return sorted(nearest)


def copy_teacher(source: Path, target: Path) -> None:
    target.mkdir(parents=True)
    with safe_open(source / "teacher.safetensors", framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        metadata = file.metadata()
    halves = {n: t.half() if t.is_floating_point() else t for n, t in tensors.items()}
    save_file(halves, target / "teacher.safetensors", metadata=metadata)
    shutil.copy2(source / "model.json", target / "model.json")


def copy_probe(source: Path, target: Path) -> None:
    target.mkdir(parents=True)
    with safe_open(source / "tensors.safetensors", framework="pt") as file:
        tensors = {n: file.get_tensor(n) for n in file.keys() if n.startswith("teacher.")}  # noqa: SIM118
        metadata = file.metadata()
    save_file(tensors, target / "tensors.safetensors", metadata=metadata)


def kept_events(run: Path, chosen: set[int], seen: set[int]) -> list[dict]:
    """The events that still hold for the copy."""
    steps = {"checkpoint": chosen, "probe": seen}
    events = []
    for event in read_table(run / EVENTS)[0]:
        kind = event.get("event")
        if kind in KEPT_EVENTS and event["step"] in steps.get(kind, {event["step"]}):
            events.append({**event, "segment": 0} | ({"state": False} if kind == "checkpoint" else {}))
    return sorted([*events, *judged(run)], key=lambda event: event["step"])


def judged(run: Path) -> list[dict]:
    """What the rules say about the run's metrics, as events; the rules of today, whenever it was trained."""
    config, events = read_config(run), []
    began = datetime.fromisoformat(read_run(run)["created"])
    diagnosis = Diagnosis(config.head.prototypes or 0, config.steps)
    for row in merge_segments(read_table(run / METRICS)[0]):
        at = (began + timedelta(seconds=row.get("seconds", 0.0))).strftime("%Y-%m-%dT%H:%M:%SZ")
        for finding in diagnosis.update(row):
            head = {"event": "diagnosis", "step": row["step"], "time": at, "segment": 0}
            events.append({**head, **finding.as_event()})
    return events
