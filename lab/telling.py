"""Tell somebody, once, when a run is in trouble: a JSON message to an address that the user gave, and to no other."""

from __future__ import annotations

import json
import sys
import threading
import urllib.request
from typing import Any

from dino_core.errors import DinoError
from lab.shelf import Shelf

EVERY = 5.0
"""Seconds between looks at the runs."""
PATIENCE = 10.0
"""Seconds for the address to take the message."""


class Telling:
    """A thread that looks at all runs now and then.  What was wrong when it began is old news."""

    def __init__(self, shelf: Shelf, address: str, every: float = EVERY) -> None:
        self.shelf, self.address, self.every = shelf, address, every
        self._told: set[tuple[str, str]] | None = None
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._go, name="telling", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._done.set()

    def look(self) -> list[dict[str, Any]]:
        """Messages about troubles that are new since the last look."""
        now = {(row["id"], str(row["finding"])): row for row in self.shelf.listing() if in_trouble(row)}
        before, self._told = self._told, set(now)
        return [message(row) for trouble, row in now.items() if before is not None and trouble not in before]

    def _go(self) -> None:
        while not self._done.is_set():
            try:
                for one in self.look():
                    send(self.address, one)
            except (DinoError, OSError, ValueError) as error:
                print(f"dino-lab watch: {self.address} could not be told: {error}", file=sys.stderr, flush=True)
            self._done.wait(self.every)


def in_trouble(row: dict[str, Any]) -> bool:
    """A run that trains, or has just died of it."""
    return not row["gallery"] and (row["level"] == "trouble" or row["status"] in ("failed", "died"))


def message(row: dict[str, Any]) -> dict[str, Any]:
    """What is sent: `text` as chat services read it, and the parts."""
    what = row["status"] if row["status"] in ("failed", "died") else str(row["finding"]).replace("_", " ")
    text = f"DINO lab: {row['name']} at step {row['step']}: {what}"
    return {"text": text, "run": row["name"], "step": row["step"], "finding": row["finding"], "status": row["status"]}


def send(address: str, content: dict[str, Any]) -> None:
    request = urllib.request.Request(
        address, json.dumps(content).encode(), {"Content-Type": "application/json", "User-Agent": "dino-lab"}
    )
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        answer.read(1024)
