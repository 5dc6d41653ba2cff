"""Read a run directory: live, finished, cut off, copied from elsewhere, or damaged.  Never writes, needs no torch.

What a run says is data.  Names in it are looked up only inside its folder, nothing in it is executed."""

from __future__ import annotations

import json
import os
import socket
import stat
import time
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

from dino_core.config import TrainConfig, from_json
from dino_core.errors import DinoError, RunError
from dino_core.rundir.schema import CHECKPOINTS, CONFIG, EVENTS, FORMAT_VERSION, METRICS, PROBES, RUN, STEP_NAME

LONGEST_DOCUMENT = 16 * 2**20
"""Bytes of run.json or config.json that are read; real ones have some 20 kB."""
SILENCE = 90.0
"""Seconds without a new line after which a run whose process is gone counts as died."""
Row = dict[str, Any]


def read_run(path: str | Path) -> Row:
    """What run.json says.  Raises RunError for a folder that is no run, and for a run of a newer format."""
    path = Path(path)
    try:
        value = json.loads(_text(path / RUN))
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{path} is not a run: it has no readable {RUN}. Give the folder that `train` made.") from error
    version = value.get("format") if isinstance(value, dict) else None
    if not isinstance(version, int):
        raise RunError(f"{path} is not a run: its {RUN} names no format. Give the folder that `train` made.")
    if version > FORMAT_VERSION:
        raise RunError(f"{path} has format {version}; this version reads up to {FORMAT_VERSION}. Update dino-lab.")
    return value


def read_config(path: str | Path) -> TrainConfig:
    """The config exactly as it ran."""
    try:
        return from_json(_text(Path(path) / CONFIG))
    except (OSError, UnicodeDecodeError) as error:
        why = "" if isinstance(error, FileNotFoundError) else f" ({error})"
        raise RunError(
            f"{path} is not a run: it has no readable {CONFIG}{why}. Give the folder that `train` made."
        ) from error
    except DinoError as error:
        raise RunError(f"{Path(path) / CONFIG} was written by another version: {error}") from error


def read_table(path: str | Path, after_byte: int = 0) -> tuple[list[Row], int]:
    """The whole lines of a .jsonl file from `after_byte` on, and where to go on reading next time.

    Torn lines are dropped; a last one without newline is read next time, when it is whole.  A missing file has no
    lines.  A file that became shorter than `after_byte` is read from its start, and the next byte is then below
    `after_byte`, which tells a follower to forget what it has."""
    try:
        with _open(path) as file:
            if os.fstat(file.fileno()).st_size < after_byte:
                after_byte = 0
            file.seek(after_byte)
            content = file.read()
    except OSError:
        return [], 0
    whole = content[: content.rfind(b"\n") + 1]
    rows = (parse_row(line) for line in whole.split(b"\n"))
    return [row for row in rows if row is not None], after_byte + len(whole)


def merge_segments(rows: Iterable[Row]) -> list[Row]:
    """One row a step, in the order of steps: the highest segment's.  Lines of one step and segment are joined."""
    merged: dict[int, Row] = {}
    for row in rows:
        step, segment = row.get("step"), row.get("segment", 0)
        if not isinstance(step, int) or not isinstance(segment, int):
            continue
        known = merged.get(step)
        if known is None or segment > known.get("segment", 0):
            merged[step] = dict(row)
        elif segment == known.get("segment", 0):
            known.update(row)
    return [merged[step] for step in sorted(merged)]


def read_metrics(path: str | Path) -> list[Row]:
    """All metrics of a run, a row a step."""
    return merge_segments(read_table(Path(path) / METRICS)[0])


def read_events(path: str | Path) -> list[Row]:
    """All events of a run, in the order in which they happened."""
    return read_table(Path(path) / EVENTS)[0]


def restore_nonfinite(row: Row) -> Row:
    """The row with NaN and infinity back where `nonfinite` says they were."""
    names = row.get("nonfinite")
    if not isinstance(names, dict):
        return row
    values = {"nan": float("nan"), "inf": float("inf"), "-inf": float("-inf")}
    odd = {key: values[name] for key, name in names.items() if key in row and isinstance(name, str) and name in values}
    return {key: odd.get(key, value) for key, value in row.items() if key != "nonfinite"}


def checkpoints(path: str | Path) -> list[int]:
    """Steps that have a checkpoint with a teacher, lowest first."""
    return _steps(Path(path), CHECKPOINTS, "teacher.safetensors")


def probes(path: str | Path) -> list[int]:
    """Steps at which the probe images were shown to the networks, lowest first."""
    return _steps(Path(path), PROBES, "tensors.safetensors")


def status(path: str | Path) -> str:
    """`running`, `finished`, `stopped`, `failed`, or `died`: it says running, but is silent and its process is gone."""
    return status_of(read_run(path), path)


def status_of(run: Row, path: str | Path) -> str:
    """The same where run.json has been read."""
    said = run.get("status")
    if said in ("finished", "stopped", "failed"):
        return said
    if time.time() - last_change(path) <= SILENCE or _process_lives(run):
        return "running"
    return "died"


def last_change(path: str | Path) -> float:
    """When the run's newest file was written, in seconds since 1970."""
    names = (RUN, METRICS, EVENTS, CHECKPOINTS, PROBES)
    times = [os.stat(file).st_mtime for name in names if (file := os.path.join(path, name)) and os.path.exists(file)]
    return max(times, default=0.0)


def find_runs(folder: str | Path, depth: int = 3) -> list[Path]:
    """The runs in a folder, its subfolders, `depth` levels down, newest first; what is no run is passed over."""
    found: list[tuple[str, str]] = []
    _search(str(folder), depth, found)
    return [Path(path) for _, path in sorted(found, reverse=True)]


def describe(run: Row, name: str) -> Row:
    """Title, unit, better and about of a metric by the run's catalogue; of one it does not know, what its name says.

    An entry that ends in `/*` speaks for all names that begin like it."""
    known = run.get("metrics")
    known = known if isinstance(known, dict) else {}
    parts = name.split("/")
    stars = ["/".join([*parts[:length], "*"]) for length in range(len(parts) - 1, 0, -1)]
    entry: Row = next((known[key] for key in (name, *stars) if isinstance(known.get(key), dict)), {})
    plain = {"title": name.replace("/", " ").replace("_", " ").capitalize(), "unit": "", "better": None, "about": ""}
    found = {**plain, **{key: value for key, value in entry.items() if key in plain}}
    return (
        found if name in known or not entry else {**found, "title": f"{found['title']}: {parts[-1].replace('_', ' ')}"}
    )


def inside(path: str | Path, relative: str) -> Path:
    """A file or folder of the run by the name an event gives; RunError if that name leads out of the run."""
    run = Path(path).resolve()
    found = (run / relative).resolve()
    if not found.is_relative_to(run):
        raise RunError(f"{relative!r} leads out of the run {path}; it is not followed.")
    return found


def _search(folder: str, depth: int, found: list[tuple[str, str]]) -> None:
    try:
        with os.scandir(folder) as entries:
            names = {entry.name: entry for entry in entries if not entry.name.startswith(".")}
        if RUN in names:
            about = names[RUN].stat()
            created = _created(names[RUN].path, about.st_mtime_ns, about.st_size)
            if created is not None:
                found.append((created, folder))
            return
        below = [entry.path for entry in names.values() if depth and entry.is_dir()]
    except (OSError, ValueError, RecursionError):
        return
    for path in below:
        _search(path, depth - 1, found)


@lru_cache(maxsize=4096)
def _created(file: str, written: int, size: int) -> str | None:
    """When a run.json says that its run was created; None where it is none.  Read again when it was written again."""
    run = json.loads(_text(Path(file)))
    return str(run.get("created") or "") if isinstance(run, dict) and isinstance(run.get("format"), int) else None


def _steps(run: Path, kind: str, needed: str) -> list[int]:
    try:
        names = os.listdir(run / kind)
    except OSError:
        return []
    root = run.resolve()
    steps = []
    for match in filter(None, map(STEP_NAME.fullmatch, names)):
        file = (run / kind / match[0] / needed).resolve()
        if file.is_relative_to(root) and file.is_file():
            steps.append(int(match[1]))
    return sorted(steps)


def parse_row(line: bytes) -> Row | None:
    """A line of a .jsonl file; None where it is torn or no row."""
    try:
        value = json.loads(line, parse_constant=lambda name: None)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _open(path: str | Path) -> Any:
    """A regular file opened for reading; a pipe or device in its place would keep a reader waiting for ever."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError(f"{path} is not a file")
    return open(path, "rb")


def _text(path: Path) -> str:
    with _open(path) as file:
        content: bytes = file.read(LONGEST_DOCUMENT)
    return content.decode()


def _process_lives(run: Row) -> bool:
    """Whether the writer lives on this machine; of another machine we can't know, and trust the silence."""
    pid = run.get("pid")
    if run.get("host") != socket.gethostname() or not isinstance(pid, int) or not 0 < pid < 2**22:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
