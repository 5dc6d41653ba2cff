"""A class in front of one lab: clients that ask as open pages do, all at once."""

from __future__ import annotations

import http.client
import json
import random
import statistics
import threading
import time
from collections import defaultdict
from typing import Any
from urllib.parse import quote

import numpy as np

TICK, LIST, LOOK = 0.7, 2.5, 1.5
"""Seconds between a page's questions for news and for the list, and between one person's changes of what is looked at."""


class Client(threading.Thread):
    """One person, for some seconds: news of a run, the list, stored pictures of several runs, and one image through a network."""

    def __init__(self, address: str, runs: list[dict[str, Any]], number: int, seconds: float) -> None:
        super().__init__()
        self.connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=120)
        self.runs, self.number, self.until = runs, number, time.monotonic() + seconds
        self.random = random.Random(number)
        self.took: dict[str, list[float]] = defaultdict(list)
        self.failed: list[str] = []

    def run(self) -> None:
        run, cursor, listed, looked = self.random.choice(self.runs), "", -LIST, time.monotonic()
        self.ask("computed", self.heads())
        while time.monotonic() < self.until:
            began = time.monotonic()
            news = self.ask("news", f"run/{run['id']}/since?cursor={cursor}")
            cursor = json.loads(news)["cursor"] if news else cursor
            if began - listed > LIST:
                self.ask("list", "runs")
                listed = began
            if began - looked > LOOK:
                run, cursor, looked = self.random.choice(self.runs), "", began
                for path in self.pictures(run):
                    self.ask("stored", path)
            time.sleep(max(0.0, TICK - (time.monotonic() - began)))
        self.connection.close()

    def pictures(self, run: dict[str, Any]) -> list[str]:
        step = self.random.choice(run["probes"])
        source = quote(f"run:{run['id']}:{step}:teacher")
        images = quote(f"probe:{run['id']}")
        of_probe = [
            f"run/{run['id']}/probe/{step}/{what}" for what in ("attention?layer=-1", "features", "pca?mode=joint")
        ]
        return [f"run/{run['id']}/images", *of_probe, f"sight/components?source={source}&images={images}"]

    def heads(self) -> str:
        """All heads of all layers, of an image that only some ask for."""
        run = self.runs[0]
        source = quote(f"run:{run['id']}:{run['probes'][0]}:teacher")
        return f"sight/heads?source={source}&images={quote('probe:' + run['id'])}&image={self.number % run['images']}"

    def ask(self, kind: str, path: str) -> bytes:
        began = time.monotonic()
        try:
            self.connection.request("GET", f"/api/{path}")
            answer = self.connection.getresponse()
            content = answer.read()
            if answer.status not in (200, 204):
                self.failed.append(f"{path}: {answer.status} {content[:200]!r}")
        except (OSError, http.client.HTTPException) as error:
            self.connection.close()
            self.failed.append(f"{path}: {error}")
            content = b""
        self.took[kind].append(time.monotonic() - began)
        return content


def asked_by(address: str, runs: list[dict[str, Any]], clients: int, seconds: float) -> dict[str, Any]:
    """Seconds of answers by kind, and what was not answered.  The first of `runs` has checkpoints."""
    people = [Client(address, runs, number, seconds) for number in range(clients)]
    for one in people:
        one.start()
    for one in people:
        one.join()
    kinds = {
        kind: sorted(t for one in people for t in one.took[kind]) for kind in ("news", "list", "stored", "computed")
    }
    quick = [t for kind, times in kinds.items() if kind != "computed" for t in times]
    return {
        "clients": clients,
        "answers": sum(map(len, kinds.values())),
        "failed": [sentence for one in people for sentence in one.failed],
        "p95": float(np.percentile(quick, 95)),
        "kinds": {
            kind: {"count": len(t), "median": statistics.median(t), "p95": float(np.percentile(t, 95)), "most": t[-1]}
            for kind, t in kinds.items()
            if t
        },
    }
