"""A lab in a process of its own, as a user starts it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PATIENCE = 120.0
"""Seconds to wait for a server on a busy machine."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def serving(folder: Path, cache: Path, *more: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The address of a lab for this folder, and its process; `more` are further options of `dino-lab watch`."""
    port = free_port()
    environment = {**os.environ, "DINO_LAB_CACHE": str(cache), "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "apps.watch", str(folder), "--port", str(port), "--no-gallery", *more],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    address = f"http://127.0.0.1:{port}"
    try:
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until and process.poll() is None:
            try:
                urllib.request.urlopen(f"{address}/api/runs", timeout=5).read()
                break
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
        else:
            process.kill()
            raise AssertionError(f"the lab did not start:\n{process.communicate()[0]}")
        yield address, process
    finally:
        process.terminate()
        try:
            process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
