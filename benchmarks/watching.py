"""A long day in front of a run, pressed together: memory of the tab and of the server while news keeps coming.

The run has logged for some hours when it is opened, so that its curves are as long as the server and the page let them be, and
then brings a probe with every line for a while, so that as many pictures are kept as either ever keeps.

A page asks for news every 0.7 s, so 8 hours are 41 143 updates.  Here each follows the one before at once, with the server's own
pause between two readings (0.2 s) taken away, and growth is a straight line through what was measured: an extrapolation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import scenes
from benchmarks.hosts import Served, serving
from benchmarks.scenes import LabRun, Scene
from benchmarks.tab import Tab
from lab.history import KEPT

UPDATES_8_HOURS = 8 * 3600 / 0.7
HURRIED = (
    "-c",
    "import sys, lab.follow; lab.follow.FRESH = 0; from apps.watch import main; sys.exit(main(sys.argv[1:]))",
)
EXPECT = """async () => {
  const { host } = await import('/static/lab/page.js');
  window.told = new Promise((done) => { const end = host.on('data', () => { end(); done(); }); });
}"""
"""Before a line is written: the page may ask by itself between the writing and the waiting."""
TOLD = """async () => {
  const ask = () => document.dispatchEvent(new Event('visibilitychange'));  // as when somebody comes back to the tab
  const again = setInterval(ask, 500);
  ask();
  await window.told;
  clearInterval(again);
  await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
}"""


def watched(browser: Any, folder: Path, quick: bool) -> dict[str, Any]:
    """Growth per 1000 updates after a warm-up, and over 8 hours."""
    warm_up, updates, every = (2, 4, 2) if quick else (400, 1600, 100)
    scene = scenes.QUICK if quick else scenes.FULL
    run = scenes.watched(folder / "day" / "watched", _few_pictures(scene), checkpoints=False)
    for _ in range(20 if quick else 2 * KEPT):
        run.log(every=1)
    with serving(folder / "day", start=HURRIED, cache=folder / "cache") as served:
        tab = Tab(browser, served.address, instrument=False).open()
        tab.page.wait_for_selector(".plot[data-ready=yes]")
        _update(tab, run, warm_up, probing=1)
        seen = [_memory(tab, served)]
        for _ in range(updates // every):
            _update(tab, run, every)
            seen.append(_memory(tab, served))
        tab.close()
    run.writer.close()
    places = np.arange(len(seen)) * every
    found: dict[str, Any] = {"updates": updates, "warm_up": warm_up}
    for name in seen[0]:
        values = [one[name] for one in seen]
        found[name] = {"from": values[0], "to": values[-1], "per_1000": 1000 * float(np.polyfit(places, values, 1)[0])}
    per_update = {name: found[name]["per_1000"] / 1000 for name in ("tab", "server")}
    return found | {f"{name}_8_hours": per_update[name] * UPDATES_8_HOURS for name in per_update}


def _few_pictures(scene: Scene) -> Scene:
    """Pictures are kept up to a bound that a day reaches at its beginning; here it is reached in the warm-up."""
    return replace(scene, images=min(scene.images, 4), stops=3)


def _update(tab: Tab, run: LabRun, times: int, probing: int = 50) -> None:
    """Lines of metrics, each seen by the page; every fiftieth, or what `probing` says, with a probe."""
    for i in range(times):
        tab.page.evaluate(EXPECT)
        run.log()
        if i % probing == probing - 1:
            run.probe()
        tab.page.evaluate(TOLD)


def _memory(tab: Tab, served: Served) -> dict[str, float]:
    """MiB of the tab's heap with its buffers after collecting, of the server's resident memory; nodes of the document."""
    client = tab.page.context.new_cdp_session(tab.page)
    client.send("HeapProfiler.collectGarbage")
    heap = client.send("Runtime.getHeapUsage")
    nodes = client.send("Memory.getDOMCounters")["nodes"]
    client.detach()
    used = heap["usedSize"] + heap.get("backingStorageSize", 0)
    return {"tab": used / 2**20, "server": served.mib(), "nodes": nodes}
