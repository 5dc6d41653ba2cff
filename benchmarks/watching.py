"""A long day in front of a run, pressed together: memory of the page's process and of the server while news keeps coming.

The run has logged for some hours when it is opened, so that its curves are as long as the server and the page let them be, and
then brings a probe with every line for a while, so that as many pictures are kept as either ever keeps: 200 probes' in the page
(`ANSWERS` in store.js), 128 in the server (`lab.frames`).

A page asks for news every 0.7 s, so 8 hours are 41 143 updates.  Here each follows the one before at once, with the server's own
pause between two readings (0.2 s) taken away.  The server, which answers faster than a page draws, is then asked alone, for
longer.  Growth is a straight line through what was measured: an extrapolation."""

from __future__ import annotations

import json
from dataclasses import replace
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import numpy as np

from benchmarks import scenes
from benchmarks.bare import Bare, bare
from benchmarks.hosts import Served, serving
from benchmarks.scenes import LabRun, Scene
from lab.history import KEPT

UPDATES_8_HOURS = 8 * 3600 / 0.7
HURRIED = (
    "-c",
    "import sys, lab.follow; lab.follow.FRESH = 0; from apps.watch import main; sys.exit(main(sys.argv[1:]))",
)
READY = "document.querySelector('.plot[data-ready=yes]') !== null"
EXPECT = """(async () => {
  const { host } = await import('/static/lab/page.js');
  window.told = new Promise((done) => { const end = host.on('data', () => { end(); done(); }); });
})()"""
"""Before a line is written: the page may ask by itself between the writing and the waiting."""
TOLD = """(async () => {
  const ask = () => document.dispatchEvent(new Event('visibilitychange'));  // as when somebody comes back to the tab
  const again = setInterval(ask, 500);
  ask();
  await window.told;
  clearInterval(again);
  await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
})()"""
PROBING = 50
"""Updates from one probe to the next."""
LISTING = 4
"""Updates from one question for the list of runs to the next."""


def watched(folder: Path, quick: bool) -> dict[str, Any]:
    """Growth per 1000 updates after a warm-up, and over 8 hours; of the server while it is asked alone."""
    warm_up, updates, every, alone = (2, 4, 2, 4) if quick else (300, 1600, 100, 8000)
    scene = scenes.QUICK if quick else scenes.FULL
    run = scenes.watched(folder / "day" / "watched", _few_pictures(scene), checkpoints=False)
    for _ in range(20 if quick else 2 * KEPT):
        run.log(every=1)
    with serving(folder / "day", start=HURRIED, cache=folder / "cache") as served:
        with bare() as page:
            page.open(served.address, READY)
            _update(page, run, warm_up, probing=1)
            seen = [_memory(page)]
            for _ in range(updates // every):
                _update(page, run, every)
                seen.append(_memory(page))
        asked = [served.mib()]
        for _ in range(alone // every):
            _ask(served, run, every)
            asked.append(served.mib())
    run.writer.close()
    series = {name: [one[name] for one in seen] for name in seen[0]} | {"server": asked}
    found = {name: _growth(values, every) for name, values in series.items()}
    over_a_day = {
        f"{name}_8_hours": found[name]["per_1000"] / 1000 * UPDATES_8_HOURS for name in ("tab", "process", "server")
    }
    return {"updates": updates, "warm_up": warm_up, "server_alone": alone} | found | over_a_day


def _growth(values: list[float], every: int) -> dict[str, Any]:
    slope = float(np.polyfit(np.arange(len(values)) * every, values, 1)[0])
    return {"from": values[0], "to": values[-1], "most": max(values), "per_1000": 1000 * slope}


def _few_pictures(scene: Scene) -> Scene:
    """Pictures are kept up to a bound that a day reaches at its beginning; here it is reached in the warm-up."""
    return replace(scene, images=min(scene.images, 4), stops=3)


def _update(page: Bare, run: LabRun, times: int, probing: int = PROBING) -> None:
    """Lines of metrics, each seen by the page; every fiftieth, or what `probing` says, with a probe."""
    for i in range(times):
        page.evaluate(EXPECT)
        _write(run, i, probing)
        page.evaluate(TOLD)


def _write(run: LabRun, number: int, probing: int = PROBING) -> int | None:
    """One line; the step of a probe where one comes with it."""
    run.log()
    return run.probe() if number % probing == probing - 1 else None


def _ask(served: Served, run: LabRun, times: int) -> None:
    """Lines of metrics, and what a page of the run monitor that is opened now asks the server because of them."""
    line = HTTPConnection(urlparse(served.address).netloc)

    def answer(path: str) -> Any:
        line.request("GET", path)
        return line.getresponse().read()

    about = f"/api/run/{json.loads(answer('/api/runs'))['runs'][0]['id']}"
    cursor = ""
    for i in range(times):
        step = _write(run, i)
        if i % LISTING == 0:
            answer("/api/runs")
        cursor = json.loads(answer(f"{about}/since?cursor={cursor}"))["cursor"]
        if step is not None:
            for what in ("attention?layer=-1", "features", "pca"):
                answer(f"{about}/probe/{step}/{what}")
    line.close()


def _memory(page: Bare) -> dict[str, float]:
    """MiB of the tab's heap with its buffers after collecting, of its process; nodes of the document."""
    page.page("HeapProfiler.collectGarbage")
    heap = page.page("Runtime.getHeapUsage")
    nodes = page.page("Memory.getDOMCounters")["nodes"]
    used = heap["usedSize"] + heap.get("backingStorageSize", 0)
    return {"tab": used / 2**20, "process": page.mib(), "nodes": nodes}
