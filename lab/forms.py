"""A run's options as a form: what may be changed when a new run starts from a checkpoint of it, and the command that does.

No torch here; a config is checked by the dataclasses it is made of."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import shlex
import types
import typing
from functools import cache
from pathlib import Path
from typing import Any, Literal

from dino_core import config as configs
from dino_core.config import TrainConfig, differences, with_changes
from dino_core.errors import ConfigError, RunError
from lab.run import Run

ELSEWHERE = (
    "recipe", "start", "phases", "phase_name", "init", "data.source", "data.validation", "backbone", "crops.mixed",
    "output.mirrors", "ibot.separate_head", "head",
)  # fmt: skip
"""What the page leaves to the command line: it would read other folders, talk to other machines, or not fit the weights."""
PLAIN = re.compile(r"[\w%][\w.%:]*")
"""Texts that the page may put into a command."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,59}")


def parent(run: Run, step: int) -> TrainConfig:
    """What goes on from a checkpoint: the phase of the run that trains there, and those after it."""
    run.checkpoint_folder(step)
    return run.config.from_phase(run.config.phase_at(step))


def form(run: Run, step: int) -> dict[str, Any]:
    """Groups of fields with the parent's values, presets, and what has to change for there to be anything left to train."""
    config = parent(run, step)
    alone = [f for f in dataclasses.fields(TrainConfig) if not dataclasses.is_dataclass(_hints(TrainConfig)[f.name])]
    groups = [{"name": "run", "about": "Length and batch.", "fields": _fields(config, "", alone)}]
    for part in dataclasses.fields(TrainConfig):
        value = getattr(config, part.name)
        if dataclasses.is_dataclass(value) and not _elsewhere(part.name):
            about = (inspect.getdoc(type(value)) or "").split("\n\n")[0].replace("\n", " ")
            groups.append({"name": part.name, "about": about, "fields": _fields(config, part.name)})
    ended = config.steps is not None and config.steps <= step
    return {
        "step": step, "checkpoints": run.checkpoints, "groups": [g for g in groups if g["fields"]],
        "presets": presets(config), "needed": {"steps": step + 500} if ended else {},
        "state": (run.checkpoint_folder(step) / "state").is_dir(),
    }  # fmt: skip


def presets(config: TrainConfig) -> list[dict[str, Any]]:
    """Recipes of failure: each a lesson, all of them from a run that was well."""
    tau = config.objective.student_temperature
    return [
        {"name": "switch centering off", "changes": {"objective.centering": "none", "objective.koleo_weight": 0.0},
         "about": "Nothing keeps one prototype from taking all; KoLeo, which helps too, goes as well."},
        {"name": f"teacher temperature {tau:g}", "changes": {"schedules.teacher_temperature": [tau, tau]},
         "about": "As high as the student's: no sharpening, answers drift towards uniform."},
        {"name": "learning rate × 30", "changes": {"optim.lr": config.optim.lr * 30},
         "about": "Steps too large to follow the gradient; clipping may hold it together for a while."},
        {"name": "teacher = student", "changes": {"schedules.momentum": [0.0, 0.0]},
         "about": "No moving average: the teacher is the student of the step before."},
        {"name": "frozen teacher", "changes": {"schedules.momentum": [1.0, 1.0]},
         "about": "The teacher never follows: the student learns what it says, and nothing more."},
        {"name": "batch of 2", "changes": {"batch_size": 2}, "about": "The centre is made of two images at a time."},
    ]  # fmt: skip


def changed(run: Run, step: int, changes: dict[str, Any]) -> tuple[TrainConfig, dict[str, list[Any]]]:
    """The config with changes by dotted name, and what differs; a sentence where it can't be."""
    config = parent(run, step)
    hidden = [path for path in changes if _elsewhere(path) or not _known(path)]
    if hidden:
        raise ConfigError(f"{hidden[0][:60]} is not changed from here; dino-lab fork can, on the command line.")
    new = with_changes(config, changes)
    if new.steps is not None and new.steps <= step:
        raise ConfigError(f"the fork begins at step {step} and would end at {new.steps}; give more steps.")
    for path, (_, value) in differences(config, new).items():
        if isinstance(value, str) and not PLAIN.fullmatch(value):
            raise ConfigError(f"{path} is {value[:40]!r}; expected a word of letters, digits, dots, % and :.")
    return new, differences(config, new)


def options(changes: dict[str, list[Any]]) -> list[str]:
    """Differences as options of the command line."""
    words: list[str] = []
    for path, (_, value) in changes.items():
        *above, last = path.replace("_", "-").split(".")
        if isinstance(value, bool):
            words.append("--" + ".".join([*above, last if value else f"no-{last}"]))
        elif isinstance(value, list | tuple):
            words += [f"--{'.'.join([*above, last])}", *map(str, value)]
        else:
            words += [f"--{'.'.join([*above, last])}", str(value)]
    return words


def arguments(run: Run, step: int, changes: dict[str, list[Any]], out: Path) -> list[str]:
    """What follows `dino-lab`."""
    return ["fork", str(run.path), "--at", str(step), *options(changes), "--out", str(out)]


def command(run: Run, step: int, changes: dict[str, list[Any]], name: str) -> str:
    """To be pasted where the run is, on this machine or another."""
    return shlex.join(["dino-lab", *arguments(run, step, changes, Path("runs") / name)])


def name_of(text: str, run: Run, step: int, taken: Path) -> str:
    """The folder of the new run: as asked for, or after its parent; RunError for one that is no name or is taken."""
    if text:
        if not NAME.fullmatch(text):
            raise RunError(f"{text[:40]!r} is no name for a run; use letters, digits, dots, dashes and underscores.")
        if (taken / text).exists():
            raise RunError(f"there is a {text!r} already; give the new run another name.")
        return text
    base = re.sub(r"[^A-Za-z0-9._-]+", "-", run.name).strip("-.")[:40] or "run"
    numbers = (f"{base}-from-{step}{f'-{n}' if n else ''}" for n in range(1000))
    return next(name for name in numbers if not (taken / name).exists())


def _fields(config: TrainConfig, group: str, only: Any = None) -> list[dict[str, Any]]:
    part: Any = getattr(config, group) if group else config
    kind_of: Any = type(part)
    hints, words = _hints(kind_of), _words(kind_of)
    found = []
    for one in only or dataclasses.fields(part):
        path = f"{group}.{one.name}" if group else one.name
        if _elsewhere(path):
            continue
        value = getattr(part, one.name)
        if dataclasses.is_dataclass(value):
            found += _fields_of(config, path, value)
        elif (kind := _kind(hints[one.name])) is not None:
            found.append({"path": path, "value": value, "about": words.get(one.name, ""), **kind})
    return found


def _fields_of(config: TrainConfig, path: str, part: Any) -> list[dict[str, Any]]:
    """Of a dataclass inside a group."""
    kind_of: Any = type(part)
    hints, words = _hints(kind_of), _words(kind_of)
    every = ((one, _kind(hints[one.name])) for one in dataclasses.fields(part))
    return [
        {"path": f"{path}.{o.name}", "value": getattr(part, o.name), "about": words.get(o.name, ""), **kind}
        for o, kind in every
        if kind is not None and not _elsewhere(f"{path}.{o.name}")
    ]


def _kind(hint: Any) -> dict[str, Any] | None:
    """How a value of this annotation is entered; None for what no form has."""
    origin, given = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        kind = _kind(next(a for a in given if a is not type(None)))
        return None if kind is None else {**kind, "optional": type(None) in given}
    if origin is Literal:
        return {"kind": "choice", "choices": list(given)}
    if origin is tuple and given[1:] != (...,) and set(given) == {float}:
        return {"kind": "numbers", "count": len(given)}
    kinds = {bool: "switch", int: "whole", float: "number", str: "text"}
    return {"kind": kinds[hint]} if hint in kinds else None


def _elsewhere(path: str) -> bool:
    return any(path == one or path.startswith(f"{one}.") for one in ELSEWHERE)


@cache
def _paths() -> frozenset[str]:
    def walk(part: Any, path: str) -> list[str]:
        if not dataclasses.is_dataclass(part):
            return [path]
        return [
            leaf
            for one in dataclasses.fields(part)
            for leaf in walk(getattr(part, one.name), f"{path}.{one.name}" if path else one.name)
        ]

    return frozenset(walk(TrainConfig(), ""))


def _known(path: str) -> bool:
    return path in _paths()


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind)


@cache
def _words(kind: Any) -> dict[str, str]:
    """The sentence below each field, as the source has it."""
    tree = next(n for n in ast.parse(_source()).body if isinstance(n, ast.ClassDef) and n.name == kind.__name__)
    words = {}
    for before, after in zip(tree.body, tree.body[1:], strict=False):
        if isinstance(before, ast.AnnAssign) and isinstance(before.target, ast.Name) and isinstance(after, ast.Expr):
            text = ast.literal_eval(after.value) if isinstance(after.value, ast.Constant) else ""
            words[before.target.id] = " ".join(str(text).split())
    return words


@cache
def _source() -> str:
    return Path(inspect.getfile(configs)).read_text("utf-8")
