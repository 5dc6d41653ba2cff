"""Write a run directory so that whatever moment the process dies in, what is on disk can be read.

Lines are appended with one `write` each, files and folders appear by rename, and a full disk costs patience, not the
run: lines wait in memory until there is room again."""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dino_core.errors import RunError
from dino_core.rundir.schema import CONFIG, EVENTS, FORMAT_VERSION, METRICS, RUN, draft_of, retired_of

WAITING_LINES = 20_000
"""How many lines a full disk may keep waiting in memory, about 20 MB; then the oldest are given up."""


class RunWriter:
    """The one writer of a run directory, for rank 0.  Any thread may call it.

    `run` is what run.json says beyond format, status, segment, times and process.  A folder with anything in it is refused,
    unless `segment` is above 0: then the run goes on, its torn last lines are cut and its drafts swept away.

    A full disk never raises out of `metric`, `event` or `update`.  They keep what they could not write, put the reason
    in `trouble` (a sentence; None when all is well), try again at the next call, and note it as an event `disk_full`.
    `published` does raise, after removing its draft, for only the caller knows whether to go on without."""

    def __init__(self, path: str | Path, run: Mapping[str, Any], config_json: str, *, segment: int = 0) -> None:
        self.path, self.segment = Path(path), segment
        self._lock = threading.RLock()
        self._told, self._step = False, 0
        if segment == 0 and self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            what = "is not empty" if self.path.is_dir() else "is a file"
            how = f", or go on with `dino-lab resume {self.path}`" if (self.path / RUN).is_file() else ""
            raise RunError(f"{self.path} {what}. Choose another folder{how}.")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._claim = _claim(self.path)
            before = _last_run(self.path) if segment else {}
            if before.get("segment", segment - 1) != segment - 1:
                if self._claim is not None:
                    os.close(self._claim)
                raise RunError(
                    f"{self.path} was resumed by another process meanwhile. Resume it again, from where that ended."
                )
            _sweep(self.path)
            self._run = {
                **before, **run, "format": FORMAT_VERSION, "status": "running", "segment": segment,
                "created": before.get("created", now()), "updated": now(), "pid": os.getpid(), "host": socket.gethostname(),
            }  # fmt: skip
            _write_whole(self.path / CONFIG, config_json.encode())
            _write_whole(self.path / RUN, _document(self._run))
            self._metrics, self._events = _Lines(self.path / METRICS), _Lines(self.path / EVENTS)
        except OSError as error:
            raise RunError(f"can't write a run into {self.path}: {error.strerror or error}.") from error
        self._run_is_written = True

    def metric(self, row: Mapping[str, Any]) -> None:
        """One line of metrics.jsonl.  `row` is flat and has `step`; `segment` is added."""
        with self._lock:
            self._step = row["step"]
            self._metrics.append(line({"step": row["step"], "segment": self.segment, **row}))
            self._retry()

    def event(self, kind: str, step: int, **fields: Any) -> None:
        """One line of events.jsonl."""
        with self._lock:
            head = {"event": kind, "step": step, "time": now(), "segment": self.segment}
            self._events.append(line({**head, **fields}))
            self._retry()

    def update(self, **fields: Any) -> None:
        """Change fields of run.json, such as `status`, and write it anew."""
        with self._lock:
            self._run = {**self._run, **fields, "updated": now()}
            self._run_is_written = False
            self._retry()

    @property
    def closed(self) -> bool:
        return self._claim is None

    @property
    def trouble(self) -> str | None:
        """Why lines are waiting in memory, in a sentence; None when everything is on disk."""
        waiting = len(self._metrics.waiting) + len(self._events.waiting)
        cause = self._metrics.cause or self._events.cause
        if cause is None or not (waiting or not self._run_is_written):
            return None
        return f"{cause} at {self.path}: {waiting} lines wait in memory and are written as soon as there is room."

    @contextmanager
    def published(self, relative: str) -> Iterator[Path]:
        """A draft folder to fill; it gets its name, `relative` to the run, when the block ends well.

        Its files reach the disk before the name does.  A folder of that name, of the segment before, is replaced."""
        final = self._place(relative)
        draft = draft_of(final)
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        try:
            yield draft
            for folder, _, files in os.walk(draft):
                for name in files:
                    self._open_to_readers(os.path.join(folder, name))
                    _sync(os.path.join(folder, name))
                _sync(folder)
            _replace_folder(draft, final)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise

    @contextmanager
    def published_file(self, relative: str) -> Iterator[Path]:
        """A draft file to write; it gets its name, `relative` to the run, when the block ends well."""
        final = self._place(relative)
        draft = draft_of(final)
        draft.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield draft
            self._open_to_readers(draft)
            _sync(draft)
            os.replace(draft, final)
            _sync(final.parent)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise

    def close(self) -> None:
        """Write what waits, if there is room, and let go of the folder.  Closing twice is harmless."""
        with self._lock:
            if self._claim is None:
                return
            self._retry()
            self._metrics.close()
            self._events.close()
            os.close(self._claim)
            self._claim = None

    def _open_to_readers(self, file: str | Path) -> None:
        """As readable as run.json; some libraries write files that only their owner may read."""
        os.chmod(file, (self.path / RUN).stat().st_mode & 0o777)

    def _place(self, relative: str) -> Path:
        if Path(relative).is_absolute() or any(part.startswith(".") for part in Path(relative).parts or (".",)):
            raise ValueError(f"{relative!r} is no name inside a run; expected one such as 'checkpoints/step_00000200'.")
        return self.path / relative

    def _retry(self) -> None:
        self._metrics.flush()
        self._events.flush()
        if not self._run_is_written:
            try:
                _write_whole(self.path / RUN, _document(self._run))
                self._run_is_written = True
            except OSError as error:
                self._events.cause = _sentence(error)
        trouble = self.trouble
        if trouble and not self._told:
            self._told = True
            self.event("disk_full", self._step, sentence=trouble)
        self._told = trouble is not None


@contextmanager
def adding_to(run: Path) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Takes rows for the metrics of a run that has ended, after its last whole line; nobody else writes into it meanwhile."""

    def add(row: Mapping[str, Any]) -> None:
        lines.append(line(row))
        lines.flush()
        if lines.cause is not None:
            raise RunError(f"can't write into {run}: {lines.cause}.")

    claim = _claim(run)
    try:
        lines = _Lines(run / METRICS)
        try:
            yield add
        finally:
            lines.close()
    finally:
        if claim is not None:
            os.close(claim)


class _Lines:
    """A file of whole lines, only ever appended to."""

    def __init__(self, path: Path) -> None:
        self.waiting: deque[bytes] = deque(maxlen=WAITING_LINES)
        self.cause: str | None = None
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        self._good = whole_lines(self._file)
        os.ftruncate(self._file, self._good)

    def append(self, text: bytes) -> None:
        self.waiting.append(text)

    def flush(self) -> None:
        """Write what waits, a line a `write`; the first that does not fit is cut away again and stays in the queue."""
        while self.waiting:
            text = self.waiting[0]
            try:
                if self.cause is not None:
                    os.ftruncate(self._file, self._good)
                if os.write(self._file, text) < len(text):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except OSError as error:
                self.cause = _sentence(error)
                with suppress(OSError):
                    os.ftruncate(self._file, self._good)
                return
            self._good += len(text)
            self.waiting.popleft()
        self.cause = None

    def close(self) -> None:
        os.close(self._file)


def line(row: Mapping[str, Any]) -> bytes:
    """A row as one line of JSON: 7 significant digits, and null with a note beside it for NaN and infinity."""
    odd: dict[str, str] = {}
    value = {key: plain(item, key, odd) for key, item in row.items()}
    if odd:
        value["nonfinite"] = odd
    return json.dumps(value, allow_nan=False, separators=(",", ":")).encode() + b"\n"


def plain(value: Any, path: str = "", odd: dict[str, str] | None = None) -> Any:
    """`value` in types that JSON has; null where it is not finite, and then noted in `odd` under its dotted path."""
    if isinstance(value, bool | int) or value is None:
        return value
    if isinstance(value, float):
        if math.isfinite(value):
            return float(f"{value:.7g}")
        if odd is not None:
            odd[path] = str(value)
        return None
    if isinstance(value, Mapping):
        return {str(key): plain(item, f"{path}.{key}", odd) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, f"{path}.{i}", odd) for i, item in enumerate(value)]
    if hasattr(value, "item"):  # a number of torch or numpy
        return plain(value.item(), path, odd)
    return str(value).encode("utf-8", "backslashreplace").decode()


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def whole_lines(file: int) -> int:
    """How many bytes of the open file belong to lines that end."""
    end = os.fstat(file).st_size
    while end:
        start = max(0, end - 65536)
        found = os.pread(file, end - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


def _document(value: Mapping[str, Any]) -> bytes:
    return json.dumps(plain(value), indent=1, allow_nan=False).encode() + b"\n"


def _last_run(path: Path) -> dict[str, Any]:
    try:
        value = json.loads((path / RUN).read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _write_whole(path: Path, content: bytes) -> None:
    draft = draft_of(path)
    try:
        draft.write_bytes(content)
        _sync(draft)
        os.replace(draft, path)
    except OSError:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        raise


def _replace_folder(draft: Path, final: Path) -> None:
    """Rename; a folder that has the name already steps aside first, and comes back if we die in between (`_sweep`)."""
    retired = retired_of(final)
    if final.exists():
        shutil.rmtree(retired, ignore_errors=True)
        os.replace(final, retired)
    os.replace(draft, final)
    _sync(final.parent)
    shutil.rmtree(retired, ignore_errors=True)


def _sweep(run: Path) -> None:
    """Remove the drafts of a writer that died, and give a retired folder its name back if none has taken it."""
    for retired in run.rglob(".*.retired"):
        final = retired.with_name(retired.name[1 : -len(".retired")])
        if final.exists():
            shutil.rmtree(retired, ignore_errors=True)
        else:
            os.replace(retired, final)
    for draft in list(run.rglob(".*.draft")):
        if draft.is_dir() and not draft.is_symlink():
            shutil.rmtree(draft, ignore_errors=True)
        else:
            draft.unlink(missing_ok=True)


def _claim(run: Path) -> int | None:
    """Hold the run for this process, so that it is not resumed twice at once; the hold ends with the process."""
    file = os.open(run / ".writer", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        import fcntl

        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except ImportError:
        pass  # no such locks on Windows
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            owner = os.read(file, 100).decode(errors="replace").strip()
            os.close(file)
            raise RunError(f"{run} is being written by process {owner}. Stop it first.") from error
    with suppress(OSError):
        os.ftruncate(file, 0)
        os.write(file, f"{os.getpid()}\n".encode())
    return file


def _sync(path: str | Path) -> None:
    """Make sure that a file or a folder's list of names is on the disk and not only on its way there."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def _sentence(error: OSError) -> str:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return "The disk is full" if full else error.strerror or str(error)
