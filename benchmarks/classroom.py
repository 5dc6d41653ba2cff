"""Thirty viewers of one read-only lab with a password, while a run trains on the same machine.

Each viewer asks as the page does: for news every 0.7 s, for the list of runs every 2.5 s, and for attention, patch features and
components of each new checkpoint.  The training is the recipe `tiny` on one thread; its pace with and without them is compared."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil

from benchmarks.report import goal

VIEWERS, SECONDS = 30, 60.0
NEWS, LIST = 0.7, 2.5
"""Seconds between questions (lab/static/store.js)."""
PASSWORD = "a-class"
STARTED = 240.0
"""Seconds after which a server or a training that has not started is given up."""
NEWEST = ("attention?layer=-1", "features", "pca?anchor={step}&mode=joint&foreground=false")


@contextmanager
def started(*words: str, environment: dict[str, str] | None = None) -> Iterator[psutil.Process]:
    process = subprocess.Popen(
        [sys.executable, "-m", "dino_core.cli", *words],
        env={**os.environ, **(environment or {})}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield psutil.Process(process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


class Viewer:
    """One page that is open."""

    def __init__(self, client: httpx.AsyncClient, run: str) -> None:
        self.client, self.run = client, run
        self.cursor, self.seen, self.step = "", -1, -1
        self.took: dict[str, list[float]] = {"news": [], "runs": [], "pictures": []}

    async def ask(self, kind: str, path: str) -> httpx.Response:
        began = time.perf_counter()
        answer = await self.client.get(f"/api/{path}")
        answer.raise_for_status()
        self.took[kind].append(time.perf_counter() - began)
        return answer

    async def look(self, until: float) -> None:
        listed = 0.0
        while time.monotonic() < until:
            if time.monotonic() - listed > LIST:
                listed = time.monotonic()
                await self.ask("runs", "runs")
            answer = await self.ask("news", f"run/{self.run}/since?cursor={self.cursor}")
            if answer.status_code == 200:
                await self.hear(answer.json())
            await asyncio.sleep(NEWS)

    async def hear(self, news: dict[str, Any]) -> None:
        self.cursor = news["cursor"]
        newest = max((news["head"] or {}).get("probes") or [-1])
        if newest > self.seen:
            self.seen = newest
            asked = [self.ask("pictures", f"run/{self.run}/probe/{newest}/{w.format(step=newest)}") for w in NEWEST]
            await asyncio.gather(*asked)


async def watched(address: str, viewers: int, seconds: float) -> dict[str, list[float]]:
    """What each kind of question took, of all viewers."""
    limits = httpx.Limits(
        max_connections=6 * viewers, keepalive_expiry=3
    )  # the server closes idle ones after five seconds
    async with httpx.AsyncClient(base_url=address, auth=("anyone", PASSWORD), timeout=60, limits=limits) as client:
        run = (await client.get("/api/runs")).json()["runs"][0]["id"]
        pages = [Viewer(client, run) for _ in range(viewers)]
        until = time.monotonic() + seconds
        await asyncio.gather(*(page.look(until) for page in pages))
    return {kind: [took for page in pages for took in page.took[kind]] for kind in pages[0].took}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def step_of(run: Path) -> int:
    import lab

    table = lab.Run(run).metrics() if (run / "run.json").exists() else None
    return -1 if table is None or table.empty else int(table["step"].iloc[-1])


def wait(what: str, process: psutil.Process, ready: Callable[[], bool]) -> None:
    until = time.monotonic() + STARTED
    while not ready():
        if time.monotonic() > until or process.status() == psutil.STATUS_ZOMBIE:
            raise RuntimeError(f"{what} did not start in {STARTED:.0f} s, or ended.")
        time.sleep(0.3)


def answers(address: str) -> bool:
    try:
        return httpx.get(f"{address}/api/runs", auth=("anyone", PASSWORD), timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def period(run: Path, server: psutil.Process, seconds: float, viewers: int, address: str) -> dict[str, Any]:
    """A stretch of time: steps of the training, processor seconds of the lab, what viewers waited for."""
    used, began, step = cpu(server), time.monotonic(), step_of(run)
    took = asyncio.run(watched(address, viewers, seconds)) if viewers else {}
    time.sleep(max(0.0, began + seconds - time.monotonic()))
    lasted = time.monotonic() - began
    waits = {
        kind: {"median": statistics.median(all_), "95 %": sorted(all_)[int(0.95 * len(all_))], "asked": len(all_)}
        for kind, all_ in took.items()
        if all_
    }
    return {
        "steps_a_second": (step_of(run) - step) / lasted,
        "lab_cores": (cpu(server) - used) / lasted,
        "seconds": waits,
    }


def cpu(process: psutil.Process) -> float:
    family = [process, *process.children(recursive=True)]
    return sum(one.cpu_times().user + one.cpu_times().system for one in family)


def measure(quick: bool) -> dict[str, Any]:
    seconds, viewers = (3.0, 2) if quick else (SECONDS, VIEWERS)
    with tempfile.TemporaryDirectory() as folder:
        run, address = Path(folder) / "runs" / "live", f"http://127.0.0.1:{(port := free_port())}"
        run.parent.mkdir()
        alone = {"DINO_LAB_CACHE": f"{folder}/cache", "OMP_NUM_THREADS": "1"}
        shared = ["--port", str(port), "--read-only", "--password", PASSWORD, "--no-gallery"]
        with (
            started("train", "tiny", "--out", str(run), "--machine.threads", "1", environment=alone) as training,
            started("watch", str(run.parent), *shared, environment=alone) as server,
        ):
            wait("the training", training, lambda: step_of(run) >= 1)
            wait("the lab", server, lambda: answers(address))
            before = period(run, server, seconds, 0, address)
            full = period(run, server, seconds, viewers, address)
            after = period(run, server, seconds, 0, address)
            resident = sum(one.memory_info().rss for one in [server, *server.children(recursive=True)])
    empty = (before["steps_a_second"] + after["steps_a_second"]) / 2
    pace = full["steps_a_second"] / empty if empty else None
    news = full["seconds"]["news"]["95 %"]
    return {
        "viewers": viewers, "empty": [before, after], "full": full, "training_keeps": pace, "lab_mib": resident / 2**20,
        "goals": [goal("news for 95 % of questions, seconds", news, at_most=1.0),
                  goal("the training keeps of its pace", pace, at_least=0.8)],
    }  # fmt: skip


def rows(result: dict[str, Any]) -> list[list[str]]:
    asked = result["full"]["seconds"].items()
    return [
        [f"{result['viewers']} viewers", "median, s", "95 %, s", "asked"],
        *([kind, f"{t['median']:.3f}", f"{t['95 %']:.3f}", str(t["asked"])] for kind, t in asked),
        ["cores used by the lab", f"{result['full']['lab_cores']:.2f}", "", ""],
        ["memory of the lab, MiB", f"{result['lab_mib']:.0f}", "", ""],
    ]
