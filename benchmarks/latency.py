"""From a checkpoint's pictures being published to their being served, and to their being drawn in a real browser.

A real run trains in one process and publishes its probes by rename; `dino-lab watch` serves them from another; Chromium shows the
page.  The clocks are all of this machine."""

from __future__ import annotations

import json
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.report import goal
from benchmarks.worker import ROOT, Worker

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
PARTS = {
    "listed": "listed by the server",
    "served": "attention maps served",
    "arrived": "attention maps in Chromium",
    "drawn": "drawn in Chromium",
}

WATCH = """
(() => {
  window.arrived = {};  // step -> when its attention maps reached the page, in milliseconds since 1970
  window.drawn = {};  // step -> when they had been drawn
  const waiting = new Set(), ask = window.fetch, draw = CanvasRenderingContext2D.prototype.drawImage;
  window.fetch = async (...what) => {
    const response = await ask(...what);
    const found = /probe\\/(\\d+)\\/attention/.exec(String(what[0]?.url ?? what[0]));
    if (found) {
      waiting.add(Number(found[1]));
      window.arrived[found[1]] ??= Date.now();
    }
    return response;
  };
  CanvasRenderingContext2D.prototype.drawImage = function (...what) {
    draw.apply(this, what);
    if (!this.canvas.closest?.("[data-view=attention] .tiles")) return;
    for (const step of waiting) {
      waiting.delete(step);
      requestAnimationFrame(() => requestAnimationFrame(() => { window.drawn[step] ??= Date.now(); }));
    }
  };
})();
"""
"""Notes when maps that have arrived are first drawn into the tiles, one frame later."""


def publisher(folder: str, quick: bool) -> Callable[[], dict[str, float]]:
    """A run that publishes a probe and goes on training for some seconds; says which step, and when its name appeared."""
    from dino_core.machine import be_a_good_neighbour

    be_a_good_neighbour()
    from benchmarks.ours import StepByStep
    from dino_core.loop import begin_probes
    from dino_core.probes import save_probe
    from dino_core.recipes import recipe
    from dino_core.rundir.schema import PROBES, step_name

    run = StepByStep(recipe("tiny"), Path(folder) / "run")
    loop, engine = run.loop, run.loop.engine
    writer, images = loop.writer, loop.evaluator.test.first(loop.config.output.probe_images)
    assert writer is not None
    begin_probes(writer, loop.evaluator, loop.config)

    def once() -> dict[str, float]:
        relative = f"{PROBES}/{step_name(loop.step)}"
        with writer.published(relative) as draft:
            networks = {"teacher": engine.teacher, "student": engine.student}
            save_probe(draft / "tensors.safetensors", networks, images, loop.config, engine.device, loop.step)
        found = {"step": loop.step, "at": time.time()}
        loop.event("probe", path=relative)
        until = time.monotonic() + (1 if quick else 3)
        while time.monotonic() < until or loop.step == found["step"]:
            run.timed(1)
        return found

    return once


@contextmanager
def serving(folder: str) -> Iterator[str]:
    """The lab on a free port; its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "apps.watch", folder, "--port", str(port), "--no-gallery"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        address = f"http://127.0.0.1:{port}"
        soon(lambda: _get(f"{address}/api/runs"), f"the lab at {address}", process)
        yield address
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def browsing(address: str) -> Iterator[Any]:
    """The page in Chromium; None where there is none."""
    if CHROMIUM is None or find_spec("playwright") is None:
        yield None
        return
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(1000 * DRAWN)
        page.add_init_script(WATCH)
        page.goto(address)
        page.wait_for_function("Object.keys(window.drawn).length > 0")
        yield page
        browser.close()


def soon(ask: Callable[[], Any], what: str, process: subprocess.Popen | None = None) -> Any:
    """The first answer that is not None; asks every 20 ms."""
    deadline = time.monotonic() + ANSWER
    while time.monotonic() < deadline and (process is None or process.poll() is None):
        answer = ask()
        if answer is not None:
            return answer
        time.sleep(0.02)
    raise RuntimeError(f"{what} did not answer within {ANSWER:g} s.")


def _get(address: str) -> bytes | None:
    """What is served there; None while nothing is."""
    try:
        with urllib.request.urlopen(address, timeout=10) as response:
            return response.read() or None
    except (urllib.error.URLError, ConnectionError):
        return None


def measure(quick: bool) -> dict[str, Any]:
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmark-"))
        options = {"folder": folder, "quick": quick}
        run = stack.enter_context(Worker("benchmarks.latency:publisher", options, threads=1))
        run.turn()
        address = stack.enter_context(serving(folder))
        page, pool = stack.enter_context(browsing(address)), stack.enter_context(ThreadPoolExecutor(1))
        name = json.loads(_get(f"{address}/api/runs") or b"{}")["runs"][0]["id"]
        found = [published(run, pool, f"{address}/api/run/{name}", page) for _ in range(2 if quick else 13)][1:]
    parts = {part: [f[part] for f in found if part in f] for part in PARTS}
    drawn = max(parts["drawn"], default=None)
    return {
        "seconds": {part: {"median": statistics.median(s), "most": max(s), "all": s} for part, s in parts.items() if s},
        "browser": None if page is None else "chromium",
        "goals": [
            goal("published to served, s, at most", max(parts["served"]), at_most=2),
            goal("published to drawn in a browser, s, at most", drawn, at_most=2),
        ],
    }


def published(run: Worker, pool: ThreadPoolExecutor, address: str, page: Any) -> dict[str, float]:
    """Seconds from the next probe's appearing to its being listed, served, and drawn."""
    before = set(probes(address))
    training = pool.submit(run.turn)
    step = soon(lambda: max(set(probes(address)) - before, default=None), f"{address}, asked for the next probe,")
    listed = time.time()
    soon(lambda: _get(f"{address}/probe/{step}/attention"), f"{address}, asked for attention,")
    served = time.time()
    said = training.result().said
    assert said["step"] == step
    found = {"listed": listed - said["at"], "served": served - said["at"]}
    if page is not None:
        page.wait_for_function("step => step in window.drawn", arg=step)
        for part in ("arrived", "drawn"):
            found[part] = page.evaluate(f"step => window.{part}[step]", step) / 1000 - said["at"]
    return found


def probes(address: str) -> list[int]:
    """Steps that have pictures, as the page learns of them."""
    return json.loads(_get(f"{address}/since?cursor=") or b"{}").get("head", {}).get("probes", [])


def rows(result: dict[str, Any]) -> list[list[str]]:
    head = ["a published checkpoint is", "median, s", "at most, s"]
    return [head] + [[PARTS[part], f"{s['median']:.2f}", f"{s['most']:.2f}"] for part, s in result["seconds"].items()]
