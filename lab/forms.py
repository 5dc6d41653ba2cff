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

WEIGHTS = "The fork begins with its parent's weights, and they are of this network; another one is a new run."
TOLD = "Left to the command line: dino-lab fork takes it as --{option}."
FOLLOWS = "Follows from the parent and the checkpoint."
FIXED = {
    "recipe": FOLLOWS, "start": FOLLOWS, "phase_name": FOLLOWS,
    "phases": "What comes after the phase that this fork begins with; each phase's share and changes stay as they are.",
    "init": "The fork begins with the weights of its parent's checkpoint; others are for a new run.",
    "data.source": "It would let a page read other folders of this machine. " + TOLD,
    "data.validation": "It would let a page read other folders of this machine. " + TOLD,
    "backbone": WEIGHTS, "head": WEIGHTS,
    "output.mirrors": "It would let a page talk to other machines. " + TOLD,
}  # fmt: skip
"""What a fork can't change, or its form doesn't, and why; a name stands for all that is below it."""
FREE = frozenset(
    f"backbone.{name}" for name in (
        "drop_path", "drop_path_uniform", "drop_path_subset", "local_cls_norm", "rope_shift", "rope_jitter", "rope_rescale",
    )
)  # fmt: skip
"""What of the network only matters while it trains, or may begin anew."""
PLAIN = re.compile(r"[\w%][\w.%:]*")
"""Texts that the page may put into a command."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,59}")


def parent(run: Run, step: int, phase: str = "") -> TrainConfig:
    """What goes on from a checkpoint: the phase of the run that trains there, or the one asked for, and those after it."""
    run.checkpoint_folder(step)
    if phase:
        return run.config.from_phase(run.config.phase_called(phase)).moved_to(step)
    return run.config.from_phase(run.config.phase_at(step))


def form(run: Run, step: int, phase: str = "") -> dict[str, Any]:
    """Groups of fields with the parent's values, presets, and what has to change for there to be anything left to train.

    A field that has `fixed` is only shown; that says why."""
    config = parent(run, step, phase)
    parts = [part for part in dataclasses.fields(TrainConfig) if dataclasses.is_dataclass(getattr(config, part.name))]
    alone = [part for part in dataclasses.fields(TrainConfig) if part not in parts]
    groups = [{"name": "run", "about": "Length and batch.", "fields": _fields(config, "", config, alone)}]
    for part in parts:
        value = getattr(config, part.name)
        about = (inspect.getdoc(type(value)) or "").split("\n\n")[0].replace("\n", " ").replace("`", "")
        groups.append({"name": part.name, "about": about, "fields": _fields(config, part.name, value)})
    ended = config.steps is not None and config.steps <= step
    whole = run.config
    return {
        "step": step, "checkpoints": run.checkpoints, "groups": groups,
        "phases": [whole.phase_name, *(later.name for later in whole.phases)], "phase": config.phase_name,
        "presets": presets(config), "needed": {"steps": step + 500} if ended else {},
        "state": (run.checkpoint_folder(step) / "state").is_dir(),
    }  # fmt: skip


def fixed(config: TrainConfig, path: str) -> str:
    """Why an option stays as it is in a fork of this config; empty for one that may change."""
    if not _known(path):
        return "it is no option of a run."
    if path.startswith("data.shapes.") and config.data.source != "shapes":
        return "The images of this run are not drawn."
    if path.startswith("ibot.head.") and config.patch_head is not None:
        return WEIGHTS
    above = next((name for name in FIXED if path == name or path.startswith(f"{name}.")), None)
    if above is not None and path not in FREE:
        return FIXED[above].format(option=path.replace("_", "-"))
    return "" if _kind(_paths()[path]) else TOLD.format(option=path.replace("_", "-"))


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


def changed(run: Run, step: int, changes: dict[str, Any], phase: str = "") -> tuple[TrainConfig, dict[str, list[Any]]]:
    """The config with changes by dotted name, and what differs; a sentence where it can't be."""
    config = parent(run, step, phase)
    for path in changes:
        if reason := fixed(config, path):
            raise ConfigError(f"{path[:60]} is not changed from here: {reason}")
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


def arguments(run: Run, step: int, changes: dict[str, list[Any]], out: Path, phase: str = "") -> list[str]:
    """What follows `dino-lab`."""
    begin = ["--phase", phase] if phase else []
    return ["fork", str(run.path), "--at", str(step), *begin, *options(changes), "--out", str(out)]


def command(run: Run, step: int, changes: dict[str, list[Any]], name: str, phase: str = "") -> str:
    """To be pasted where the run is, on this machine or another."""
    return shlex.join(["dino-lab", *arguments(run, step, changes, Path("runs") / name, phase)])


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


def _fields(config: TrainConfig, path: str, part: Any, only: Any = None) -> list[dict[str, Any]]:
    """Of a dataclass, and of those inside it."""
    kind_of: Any = type(part)
    hints, words = _hints(kind_of), _words(kind_of)
    found = []
    for one in only or dataclasses.fields(part):
        inner, value = f"{path}.{one.name}" if path else one.name, getattr(part, one.name)
        if dataclasses.is_dataclass(value):
            found += _fields(config, inner, value)
            continue
        reason = fixed(config, inner)
        field = {
            "path": inner,
            "value": _plain(value),
            "about": words.get(one.name, ""),
            **(_kind(hints[one.name]) or {}),
        }
        found.append({**field, "fixed": reason} if reason else field)
    return found


def _plain(value: Any) -> Any:
    """As JSON has it: a phase is its fields."""
    if isinstance(value, tuple):
        return tuple(_plain(part) for part in value)
    return dataclasses.asdict(value) if dataclasses.is_dataclass(value) and not isinstance(value, type) else value


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


@cache
def _paths() -> dict[str, Any]:
    """Every option by its dotted name, with its annotation."""

    def walk(part: Any, path: str) -> dict[str, Any]:
        kind: Any = type(part)
        hints, found = _hints(kind), dict[str, Any]()
        for one in dataclasses.fields(part):
            inner, value = f"{path}.{one.name}" if path else one.name, getattr(part, one.name)
            found |= walk(value, inner) if dataclasses.is_dataclass(value) else {inner: hints[one.name]}
        return found

    return walk(TrainConfig(), "")


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
            words[before.target.id] = " ".join(str(text).replace("`", "").split())
    return words


@cache
def _source() -> str:
    return Path(inspect.getfile(configs)).read_text("utf-8")
