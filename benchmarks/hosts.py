"""The lab in a process of its own, and Chromium in front of it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.worker import ROOT

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-sync",
]
ANSWER, DRAWN = 60.0, 120.0
"""Seconds after which a server or a browser is given up."""
WATCH = ("-m", "apps.watch")


@dataclass(frozen=True)
class Served:
    """A lab that answers."""

    address: str
    process: subprocess.Popen[bytes]

    def mib(self) -> float:
        """Resident memory of the server's process, without those that compute for it."""
        found = subprocess.run(["ps", "-o", "rss=", "-p", str(self.process.pid)], capture_output=True, text=True)
        return int(found.stdout) / 2**10


@contextmanager
def serving(
    folder: str | Path, *more: str, start: Sequence[str] = WATCH, cache: str | Path | None = None
) -> Iterator[Served]:
    """The lab on a free port; `more` are further options of `dino-lab watch`, `start` is what Python runs."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, *start, str(folder), "--port", str(port), "--no-gallery", *more]
    environment = os.environ | ({} if cache is None else {"DINO_LAB_CACHE": str(cache)})
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    try:
        address = f"http://127.0.0.1:{port}"
        soon(lambda: get(f"{address}/api/views"), f"the lab at {address}", process)
        yield Served(address, process)
    finally:
        process.terminate()
        process.wait(30)


def can_browse() -> bool:
    return CHROMIUM is not None and find_spec("playwright") is not None


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser without pages."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


def soon(ask: Callable[[], Any], what: str, process: subprocess.Popen[bytes] | None = None) -> Any:
    """The first answer that is not None; asks every 20 ms."""
    deadline = time.monotonic() + ANSWER
    while time.monotonic() < deadline and (process is None or process.poll() is None):
        answer = ask()
        if answer is not None:
            return answer
        time.sleep(0.02)
    raise RuntimeError(f"{what} did not answer within {ANSWER:g} s.")


def get(address: str) -> bytes | None:
    """What is served there; None while nothing is."""
    try:
        with urllib.request.urlopen(address, timeout=10) as response:
            return response.read() or None
    except (urllib.error.URLError, ConnectionError):
        return None
