"""Notes on a run's time line, kept beside the lab and never in the run: lines of JSON in the cache folder, or where it is told."""

from __future__ import annotations

import json
import secrets
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dino_core.errors import RunError
from lab import cache

LONGEST = 400
"""Characters of a note."""
MOST = 4 * 2**20
"""Bytes of the file."""
_lock = threading.Lock()


def file_of(told: Path | None) -> Path:
    return told if told is not None else cache.folder() / "notes.jsonl"


def read(file: Path, run: str) -> list[dict[str, Any]]:
    """A run's notes by step; lines that can't be read are passed over."""
    kept: dict[str, dict[str, Any]] = {}
    for line in file.read_text("utf-8", "replace").splitlines() if file.is_file() else ():
        try:
            entry = json.loads(line)
            if "removed" in entry:
                kept.pop(entry["removed"], None)
            elif entry["run"] == run and isinstance(entry["step"], int):
                kept[entry["id"]] = {key: entry[key] for key in ("id", "step", "text", "time")}
        except (ValueError, KeyError, TypeError):
            continue
    return sorted(kept.values(), key=lambda note: note["step"])


def add(file: Path, run: str, name: str, step: Any, text: Any) -> None:
    """Keep a note; `RunError` for one that says nothing, says too much, or has no step."""
    if not isinstance(step, int) or isinstance(step, bool) or step < 0:
        raise RunError(f"a note stands at a step; {str(step)[:20]!r} is none.")
    if not isinstance(text, str) or not 0 < len(text.strip()) <= LONGEST:
        raise RunError(f"a note has 1 to {LONGEST} characters.")
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    _append(
        file, {"id": secrets.token_hex(6), "run": run, "name": name, "step": step, "text": text.strip(), "time": now}
    )


def remove(file: Path, note: str) -> None:
    _append(file, {"removed": note[:12]})


def _append(file: Path, entry: dict[str, Any]) -> None:
    with _lock:
        if file.is_file() and file.stat().st_size > MOST:
            raise RunError(f"{file.name} has more than {MOST >> 20} MiB of notes; move it away to begin another.")
        file.parent.mkdir(parents=True, exist_ok=True)
        torn = _torn(file)
        with open(file, "a", encoding="utf-8") as stream:
            stream.write("\n" * torn + json.dumps(entry, ensure_ascii=False) + "\n")


def _torn(file: Path) -> bool:
    """Whether the last line was not written to its end."""
    content = file.read_bytes() if file.is_file() else b""
    return bool(content) and not content.endswith(b"\n")
