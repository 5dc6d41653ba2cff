"""Checkpoints: one whole teacher for readers, sharded state for resuming.

`teacher.safetensors` is safe to share and to open.  `state/` is torch.distributed.checkpoint's format, which contains pickles:
resume only runs you trust."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch.distributed.checkpoint import FileSystemReader
from torch.distributed.checkpoint.api import CheckpointException

from dino_core import parallel
from dino_core.engine import Engine
from dino_core.errors import RunError
from dino_core.handover import take_over_network, take_over_objective
from dino_core.model import load_teacher, save_teacher
from dino_core.rundir.read import checkpoints
from dino_core.rundir.schema import CHECKPOINTS, draft_of, step_name
from dino_core.rundir.write import RunWriter
from dino_core.telemetry.recorder import Recorder

LOOP = "loop.json"


class Unwritten(OSError):
    """Something could not be written, by this rank or by another; says why."""


@contextmanager
def written_by_all(where: Path) -> Iterator[None]:
    """What one rank can't write no rank has written: all of them raise `Unwritten`, and none waits for another in vain.

    A full disk has as many faces as there are libraries that write, most of them no `OSError`."""
    error: BaseException | None = None
    try:
        yield
    except (OSError, SafetensorError, CheckpointException) as caught:
        error = caught
    reasons = parallel.gather_lists([why_unwritten(error, where)] if error is not None else [])
    if reasons:
        raise Unwritten(reasons[0]) from error


def why_unwritten(error: BaseException, where: Path) -> str:
    """The system's word for it where it has one, else that of the library that wrote, and how much room there is."""
    inner = next((e for e, _ in error.failures.values()), error) if isinstance(error, CheckpointException) else error
    if isinstance(inner, OSError):
        return inner.strerror or str(inner)
    while not where.exists():
        where = where.parent
    said = str(inner).strip().partition("\n")[0] or type(inner).__name__
    return f"{said}; {shutil.disk_usage(where).free / 2**20:.0f} MiB are free on the disk"


@contextmanager
def draft_for_all(writer: RunWriter | None, final: Path, relative: str) -> Iterator[Path]:
    """The draft folder of `writer.published`, on every rank; it gets its name when all ranks are done.

    Raises `Unwritten` on all ranks, and leaves no draft, where any of them could not write."""
    with ExitStack() as publishing:
        with written_by_all(final):
            draft = draft_of(final) if writer is None else publishing.enter_context(writer.published(relative))
        with written_by_all(final):
            yield draft
        with written_by_all(final):
            publishing.pop_all().close()


def save(
    run: Path,
    writer: RunWriter | None,
    engine: Engine,
    recorder: Recorder,
    step: int,
    loop: dict[str, Any],
) -> None:
    """Publish the checkpoint of `step`; called by every rank, `writer` on the first only."""
    relative = f"{CHECKPOINTS}/{step_name(step)}"
    with draft_for_all(writer, run / relative, relative) as draft:
        save_teacher(draft, engine.teacher, engine.objective, step=step, config=engine.config)
        with warnings.catch_warnings(action="ignore", category=UserWarning):  # that one process needs no group
            dcp.save(
                state_of(engine, recorder),
                checkpoint_id=draft / "state",
                process_group=parallel.together(),
                no_dist=not parallel.active(),
            )
        if writer is not None:
            (draft / "state" / LOOP).write_text(json.dumps({**loop, "step": step}))


def restore(folder: Path, engine: Engine, recorder: Recorder) -> dict[str, Any]:
    """Put the checkpoint's state into the engine, resharded if the number of ranks has changed; what `save` got as `loop`."""
    try:
        with warnings.catch_warnings(action="ignore", category=UserWarning):
            found = FileSystemReader(folder / "state").read_metadata().state_dict_metadata
            state = state_of(engine, recorder, numbered=any(key.startswith("optimizer.0.") for key in found))
            dcp.load(
                state, checkpoint_id=folder / "state", process_group=parallel.together(), no_dist=not parallel.active()
            )
        return json.loads((folder / "state" / LOOP).read_text())
    except (CheckpointException, UnpicklingError, EOFError, OSError, ValueError, KeyError, RuntimeError) as error:
        raise RunError(
            f"{folder / 'state'} can't be resumed from: {error}. Try `dino-lab fork` from another step."
        ) from error


def start_from_teacher(folder: Path, engine: Engine) -> None:
    """Begin from a checkpoint that kept no state: student and teacher are its teacher, the optimizer starts anew."""
    source = load_teacher(folder)
    size = json.loads((folder / "model.json").read_text())["image_size"]
    try:
        for network in (engine.student, engine.teacher):
            take_over_network(network, source.state_dict(), size, engine.config.image_size)
    except RunError as error:
        raise RunError(f"{folder}: {error}") from error
    stored = load_file(folder / "teacher.safetensors")
    state = {key.removeprefix("objective."): tensor for key, tensor in stored.items() if key.startswith("objective.")}
    take_over_objective(engine.objective, state, anchor=False)


def state_of(engine: Engine, recorder: Recorder, *, numbered: bool = False) -> dict[str, Any]:
    """Every tensor that the next step depends on; loading writes into these very tensors.

    The optimizer's memory is kept by the names of weights; `numbered` as in runs from before there were phases."""
    state: dict[str, Any] = {
        "student": engine.student.state_dict(),
        "teacher": engine.teacher.state_dict(),
        "objective": engine.objective.state_dict(),
        "optimizer": engine.optimizer.state_dict()["state"] if numbered else engine.optimizer_state(),
        "recorder": recorder.state_dict(),
    }
    if engine.scaler.is_enabled():
        state["scaler"] = engine.scaler.state_dict()
    return {name: part for name, part in state.items() if part}


def has_state(run: Path, step: int) -> bool:
    return (run / CHECKPOINTS / step_name(step) / "state" / LOOP).is_file()


def states(run: Path) -> list[int]:
    """The steps that can be resumed from, the newest first."""
    return sorted((step for step in checkpoints(run) if has_state(run, step)), reverse=True)


def newest_state(run: Path) -> int | None:
    """The last step that can be resumed from."""
    return next(iter(states(run)), None)


def prune(run: Path, keep: int) -> None:
    """Drop the state of all but the newest `keep` checkpoints; every teacher stays."""
    for step in states(run)[keep:]:
        state = run / CHECKPOINTS / step_name(step) / "state"
        shutil.rmtree(state, ignore_errors=True)


def initialise(optimizer: torch.optim.Optimizer) -> None:
    """Give every parameter its optimizer state now, so that a checkpoint of any step has the same entries."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.zeros_like(parameter)
    rates = [(group["lr"], group["weight_decay"]) for group in optimizer.param_groups]
    for group in optimizer.param_groups:
        group["lr"] = group["weight_decay"] = 0.0
    optimizer.step()
    for group, (lr, decay) in zip(optimizer.param_groups, rates, strict=True):
        group["lr"], group["weight_decay"] = lr, decay
    with torch.no_grad():
        for state in optimizer.state.values():
            for value in state.values():
                if torch.is_tensor(value):
                    value.zero_()
    optimizer.zero_grad(set_to_none=True)
