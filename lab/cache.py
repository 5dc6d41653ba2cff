"""Results that took a network to compute, kept in the user's cache folder: never inside a run.

An entry is named after the content it came from, so a run that is moved, copied or renamed keeps its entries, and a file that
changes loses them.  The folder is bounded; what was not used for longest goes first."""

from __future__ import annotations

import hashlib
import os
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

LARGEST = 512 * 2**20
"""Bytes that all entries together may take."""
WHOLE = 32 * 2**20
"""Files up to this size are hashed whole, larger ones by samples."""
SAMPLE = 64 * 2**10


def folder() -> Path:
    """Where entries are kept: `DINO_LAB_CACHE`, or the place this system has for such things."""
    if told := os.environ.get("DINO_LAB_CACHE"):
        return Path(told)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "dino-lab"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home()) / "dino-lab" / "cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dino-lab"


def fingerprint(*files: Path) -> str:
    """A name for the content of these files.  A large one is known by its size and 64 samples spread over it."""
    digest = hashlib.sha256()
    for file in files:
        size = file.stat().st_size
        digest.update(size.to_bytes(8, "big"))
        with open(file, "rb") as stream:
            if size <= WHOLE:
                digest.update(stream.read())
                continue
            for part in range(64):
                stream.seek((size - SAMPLE) * part // 63)
                digest.update(stream.read(SAMPLE))
    return digest.hexdigest()[:32]


def entry(kind: str, *parts: object) -> Path:
    """The file that holds a result of this kind from these inputs, there or not."""
    name = hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()[:32]
    return folder() / kind / f"{name}.safetensors"


def load(file: Path) -> dict[str, np.ndarray] | None:
    """An entry's arrays, or None where there is none (or a broken one).  Reading makes it young again."""
    try:
        arrays = load_file(file)
        os.utime(file)
    except (OSError, SafetensorError):
        return None
    return arrays


def store(file: Path, arrays: dict[str, np.ndarray]) -> None:
    """Keep arrays under an entry's name, whole or not at all; a full disk keeps nothing, and that is all right."""
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        save_file(arrays, draft)
        os.replace(draft, file)
        shrink()
    except (OSError, SafetensorError):
        with suppress(OSError):
            draft.unlink(missing_ok=True)


def shrink(largest: int = LARGEST) -> None:
    """Remove the entries unused for longest until all together fit."""
    with suppress(OSError):
        known = [(file.stat(), file) for file in folder().rglob("*.safetensors")]
        total = sum(about.st_size for about, _ in known)
        for about, file in sorted(known, key=lambda item: item[0].st_mtime):
            if total <= largest:
                return
            file.unlink(missing_ok=True)
            total -= about.st_size
