"""From a checkpoint's pictures being published to their being served, and to their being drawn in a real browser.

A real run trains in one process and publishes its probes by rename; `dino-lab watch` serves them from another; Chromium shows the
page.  The clocks are all of this machine."""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.hosts import DRAWN, can_browse, chromium, get, serving, soon
from benchmarks.report import goal
from benchmarks.worker import Worker

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
def browsing(address: str) -> Iterator[Any]:
    """The page in Chromium; None where there is none."""
    if not can_browse():
        yield None
        return
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(1000 * DRAWN)
        page.add_init_script(WATCH)
        page.goto(address)
        page.wait_for_function("Object.keys(window.drawn).length > 0")
        yield page


def measure(quick: bool) -> dict[str, Any]:
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmark-"))
        options = {"folder": folder, "quick": quick}
        run = stack.enter_context(Worker("benchmarks.latency:publisher", options, threads=1))
        run.turn()
        address = stack.enter_context(serving(folder)).address
        page, pool = stack.enter_context(browsing(address)), stack.enter_context(ThreadPoolExecutor(1))
        name = json.loads(get(f"{address}/api/runs") or b"{}")["runs"][0]["id"]
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
    soon(lambda: get(f"{address}/probe/{step}/attention"), f"{address}, asked for attention,")
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
    return json.loads(get(f"{address}/since?cursor=") or b"{}").get("head", {}).get("probes", [])


def rows(result: dict[str, Any]) -> list[list[str]]:
    head = ["a published checkpoint is", "median, s", "at most, s"]
    return [head] + [[PARTS[part], f"{s['median']:.2f}", f"{s['most']:.2f}"] for part, s in result["seconds"].items()]
