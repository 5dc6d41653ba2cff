"""How the lab feels: what a person at a ViT-S/16 of 224 px waits for in Chromium, and what a class and a long day cost.

The runs are made (`benchmarks.scenes`), the lab is served as `dino-lab watch` serves it, and everything is asked for in one
browser.  Times are from an event's reaching the page until the frame that answers it had been painted (`benchmarks.tab`)."""

from __future__ import annotations

import io
import json
import random
import re
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks import scenes, visitors, watching
from benchmarks.hosts import Served, can_browse, chromium, get, serving
from benchmarks.report import goal
from benchmarks.scenes import LabRun, Scene
from benchmarks.tab import Tab

HOVERED = (
    ("monitor", "patches", "figure[data-kind=components] canvas"),
    ("attention", "heads", "canvas[data-kind=image]"),
    ("patches", "components", "canvas[data-kind=components]"),
    ("patches", "matching", ".matched canvas"),
    ("gram", "gram", "figure[data-kind=image] canvas"),
    ("compare", "compare", "canvas[data-kind=similar]"),
)
"""Page, view, and where in it the pointer moves."""
FINE = ("patches", "components", "matching", "gram")
"""Views that are hovered with 64 × 64 patches too: their features are stored, so that no network has to be waited for."""
SCRUBBED = ("monitor", "attention", "patches", "gram")
PUBLISHED = (("monitor", "attention"), ("attention", "heads"), ("patches", "components"), ("gram", "gram"))
"""Page, and the view on it that has to show a new checkpoint."""
HANDED_IN = (("attention", "heads", "sight/heads"), ("patches", "components", "sight/components"))
"""Page, view, and the question whose answer it draws."""


def measure(quick: bool) -> dict[str, Any]:
    if not can_browse():
        return {"skipped": "there is no Chromium here, or no playwright (pip install 'dino-lab[test]')"}
    scene, Tab.patience = (scenes.QUICK, 0.25) if quick else (scenes.FULL, 1.0)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmark-")))
        runs = stack.enter_context(made(folder / "runs", scene))
        served = stack.enter_context(serving(folder / "runs", cache=folder / "cache"))
        with chromium() as browser:
            found = one_after_another(browser, served, runs, scene, quick)
        found["memory"] = watching.watched(folder, quick)
    return {"scene": {"lines": scene.lines, "runs": scene.runs}, **found, "goals": goals(found)}


def one_after_another(
    browser: Any, served: Served, runs: Sequence[LabRun], scene: Scene, quick: bool
) -> dict[str, dict[str, Any]]:
    """Everything that is asked of the one lab.  The long run comes last, for the lab reads on in it for a while."""
    ids = {run["name"]: run["id"] for run in json.loads(get(f"{served.address}/api/runs") or b"")["runs"]}
    few, fine = (2, HOVERED[:1]) if quick else (60, [place for place in HOVERED if place[1] in FINE])
    some = 1 if quick else len(HOVERED)
    people, seconds = (3, 1.0) if quick else (20, 20.0)
    return {
        "opened": opened(browser, served, len(ids), 1 if quick else 6),
        "hover": hover(browser, served, ids["watched"], HOVERED[:some], few),
        "hover_fine": hover(browser, served, ids["fine"], fine, few),
        "scrub": scrub(browser, served, ids["watched"], SCRUBBED[:some], scene.stops),
        "handed_in": handed_in(browser, served, ids["watched"], HANDED_IN[:some], min(some, 4)),
        "published": published(browser, served, ids["watched"], runs[0], PUBLISHED[:some], min(some, 4)),
        "class": visitors.asked_by(served.address, asked(ids, runs), people, seconds),
        "long": long_run(browser, served, ids, scene.lines),
    }


@contextmanager
def made(folder: Path, scene: Scene) -> Iterator[list[LabRun]]:
    """All runs; those that can grow are given."""
    scenes.many(folder, scene.runs)
    scenes.long(folder, scene.lines)
    runs = [
        scenes.watched(folder / "watched", scene),
        scenes.watched(folder / "beside", scene, checkpoints=False),
        scenes.watched(folder / "fine", scene, fine=True, checkpoints=False),
    ]
    for run in runs[1:]:
        run.writer.update(status="finished")
    yield runs
    for run in runs:
        run.writer.close()


def asked(ids: dict[str, str], runs: Sequence[LabRun]) -> list[dict[str, Any]]:
    """What a class asks for: only stops that every run had from the start."""
    return [{"id": ids[run.path.name], "images": run.images, "probes": run.stops} for run in runs]


# ---- one person


def opened(browser: Any, served: Served, runs: int, times: int) -> dict[str, Any]:
    """Seconds from asking for the page until its list and facts, and until curves and pictures are there: with an empty
    browser cache, and the second time.  The server's own first answer is left out."""
    listed = (
        f"document.querySelectorAll('.run-list .run').length >= {runs} && document.querySelector('.facts dd') !== null"
    )
    drawn = f"{listed} && felt.ends.length && document.querySelector('.plot[data-ready=yes]') !== null"
    found: dict[str, list[float]] = {"first": [], "first_drawn": [], "again": [], "again_drawn": []}
    for _ in range(times):
        tab = Tab(browser, served.address)
        for visit in ("first", "again"):
            tab.open()
            found[visit].append(tab.when(listed) / 1000)
            found[f"{visit}_drawn"].append(tab.when(drawn) / 1000)
            tab.settled(300)
        tab.close()
    return {name: spread(seconds[1:] or seconds) for name, seconds in found.items()}


def hover(browser: Any, served: Served, run: str, places: Sequence[tuple[str, str, str]], moves: int) -> dict[str, Any]:
    """Milliseconds from the pointer's reaching a patch until the frame with its answer was painted."""
    found = {}
    for page, view, inside in places:
        tab = ready(Tab(browser, served.address).open(run=run, view=page), view)
        place = tab.page.locator(f"[data-view={view}] {inside}").first
        place.scroll_into_view_if_needed()
        tab.settled(300)
        box = place.bounding_box()
        assert box is not None
        where = random.Random(0)
        points = [
            (box["x"] + box["width"] * where.random(), box["y"] + box["height"] * where.random()) for _ in range(moves)
        ]
        done = [tab.measured("pointermove", tab.page.mouse.move, *to, view=view) for to in points]
        frames = [one for one in done if one is not None]
        found[view] = {name: spread([one[name] for one in frames]) for name in ("first", "last", "waited")}
        tab.close()
    return found


def scrub(browser: Any, served: Served, run: str, pages: Sequence[str], stops: int) -> dict[str, Any]:
    """Milliseconds from a key's being pressed until all pictures of the page showed the neighbouring checkpoint.

    All have been seen before: once from the last to the first and back."""
    found = {}
    for page in pages:
        views = {"monitor": "patches", "attention": "heads", "patches": "matching", "gram": "gram"}
        tab = ready(Tab(browser, served.address).open(run=run, view=page), views[page])
        keys = ["["] * (stops - 1) + ["]"] * (stops - 1)
        for key in keys:
            tab.measured("keydown", tab.page.keyboard.press, key, quiet=500)
        done = [tab.measured("keydown", tab.page.keyboard.press, key, quiet=150) for key in keys]
        frames = [one for one in done if one is not None]
        found[page] = {name: spread([one[name] for one in frames]) for name in ("first", "last")}
        tab.close()
    return found


def handed_in(
    browser: Any, served: Served, run: str, places: Sequence[tuple[str, str, str]], images: int
) -> dict[str, Any]:
    """Seconds from a photograph's being chosen until the view had drawn what the run's teacher sees in it."""
    found = {}
    for page, view, question in places:
        tab = ready(Tab(browser, served.address).open(run=run, view=page), view)
        times = []
        for number in range(images + 1):
            choose = tab.page.locator("input[type=file]").first.set_input_files
            file = {"name": f"{number}.png", "mimeType": "image/png", "buffer": photograph(100 * len(found) + number)}
            tab.page.evaluate("felt.expect('change')")
            choose(file)
            tab.after(f"felt.answered.some((url) => url.includes({question!r}) && url.includes('images=set:'))")
            frame = tab.settled(500, view)
            assert frame is not None
            times.append(frame["last"] / 1000)
        found[view] = {"first": times[0], **spread(times[1:])}
        tab.close()
    return found


def published(
    browser: Any, served: Served, run: str, growing: LabRun, places: Sequence[tuple[str, str]], times: int
) -> dict[str, Any]:
    """Seconds from a checkpoint's getting its name until the page's main view had drawn what was new."""
    found = {}
    backbone = growing.config.backbone
    whole = f"document.querySelectorAll('[data-view=heads] .sheet-cells button').length === {backbone.depth * backbone.heads}"
    for page, view in places:
        tab = ready(Tab(browser, served.address).open(run=run, view=page), view)
        delays = []
        for _ in range(times):
            tab.page.evaluate("felt.expect('nothing')")
            growing.log()
            step = growing.probe(checkpoint=page == "attention")
            at = time.time()
            shown = (
                f"document.querySelector('.transport .at').textContent.split(' of')[0].replace(/\\D/g, '') === '{step}'"
            )
            asked = f"felt.answered.some((url) => url.includes('/{step}/') || url.includes(':{step}:'))"
            drawn = f"felt.ends.some(({{ views }}) => views.includes('{view}'))"
            tab.when(" && ".join([shown, asked, drawn, *([whole] if view == "heads" else [])]))
            tab.settled(500)
            last = tab.page.evaluate(
                "view => performance.timeOrigin + felt.ends.findLast(({ views }) => views.includes(view)).at", view
            )
            delays.append(last / 1000 - at)
        found[view] = spread(delays)
        tab.close()
    return found


def long_run(browser: Any, served: Served, ids: dict[str, str], lines: int) -> dict[str, Any]:
    """Seconds from the long run's being picked in the list until its curves are drawn, and until nothing is missing in them:
    until the one line with a spike is there.  Then from asking for the page, when the server knows the run.

    The last lines hold what was measured afterwards: curves of the loss end a little before."""
    tab = ready(Tab(browser, served.address).open(run=ids["watched"]), "patches")
    loss = "document.querySelector('[data-view=loss] .plot')"
    tab.page.locator("[data-view=loss]").scroll_into_view_if_needed()
    tab.page.wait_for_function(f"{loss}?.dataset.ready === 'yes'")
    tab.page.evaluate("felt.expect('click')")
    named = tab.page.locator("strong", has_text=re.compile("^long$"))
    tab.page.locator(".run", has=named).locator(".run-pick").evaluate("button => button.click()")
    drawn = f"{loss}?.data?.some(({{ x }}) => x.at(-1) >= {0.95 * lines})"
    spike = f"{loss}?.data?.some(({{ y }}) => y.includes({scenes.SPIKE:g}))"
    found = {"drawn": tab.after(drawn) / 1000, "whole": tab.after(f"{drawn} && {spike}") / 1000}
    tab.close()
    tab = Tab(browser, served.address).open(run=ids["long"])
    tab.page.locator("[data-view=loss]").scroll_into_view_if_needed()
    found["again"] = tab.when(f"{drawn} && {spike}") / 1000
    tab.close()
    return found


def ready(tab: Tab, view: str) -> Tab:
    """A page on which the view has drawn all that it had asked for."""
    tab.page.wait_for_function(
        f"felt.ends.some(({{ views }}) => views.includes('{view}')) && !document.body.innerText.includes('A worker ')"
    )
    tab.settled(800)
    return tab


def photograph(number: int) -> bytes:
    """A PNG of 512 × 384 pixels that nobody has seen before."""
    coarse = np.random.default_rng(number).integers(0, 255, (12, 16, 3)).astype(np.uint8)
    content = io.BytesIO()
    Image.fromarray(coarse).resize((512, 384), Image.Resampling.BICUBIC).save(content, "PNG")
    return content.getvalue()


# ---- what it comes to


def spread(values: Sequence[float]) -> dict[str, Any]:
    if not values:
        return {"count": 0}
    return {
        "median": float(np.median(values)), "p95": float(np.percentile(values, 95)), "most": max(values), "count": len(values),
    }  # fmt: skip


def worst(found: dict[str, Any], which: str = "p95", part: str | None = None) -> float | None:
    """The largest of the places that were measured; None where one was not."""
    values = [(place if part is None else place[part]).get(which) for place in found.values()]
    return None if None in values else max(values)


def goals(found: dict[str, Any]) -> list[dict[str, Any]]:
    room, memory = found["class"], found["memory"]
    return [
        goal("hovering 14 × 14 patches, ms, p95, worst view", worst(found["hover"], part="first"), at_most=16),
        goal("hovering 64 × 64 patches, ms, p95, worst view", worst(found["hover_fine"], part="first"), at_most=100),
        goal("scrubbing seen checkpoints, ms, p95, worst page", worst(found["scrub"], part="last"), at_most=50),
        goal("a new image through one view, s, median, worst view", worst(found["handed_in"], "median"), at_most=1),
        goal("opening the lab over all runs: list and facts, s, median", found["opened"]["first"]["median"], at_most=1),
        goal("the long run draws, s", found["long"]["drawn"], at_most=1),
        goal("published to on screen, s, at most, worst page", worst(found["published"], "most"), at_most=2),
        goal("answers that a class did not get", len(room["failed"]), at_most=0),
        goal("answers to a class but those computed, s, p95", room["p95"], at_most=1),
        goal("8 hours of watching, extrapolated: growth of the tab, MiB", memory["tab_8_hours"], at_most=64),
        goal("8 hours of watching, extrapolated: growth of the server, MiB", memory["server_8_hours"], at_most=64),
    ]


def rows(result: dict[str, Any]) -> list[list[str]]:
    """A line a place; milliseconds below a second."""
    table = [["", "median", "p95", "at most"]]
    for what, unit, part in (
        ("hover", "ms", "first"), ("hover_fine", "ms", "first"), ("scrub", "ms", "last"), ("handed_in", "s", None),
        ("published", "s", None), ("opened", "s", None),
    ):  # fmt: skip
        for place, found in result[what].items():
            numbers = found if part is None else found[part]
            cells = [f"{numbers[key]:.3g}" if key in numbers else "" for key in ("median", "p95", "most")]
            table.append([f"{what.replace('_', ' ')}: {place.replace('_', ' ')}, {unit}", *cells])
    for kind, numbers in result["class"]["kinds"].items():
        table.append([f"class: {kind}, s", *(f"{numbers[key]:.3g}" for key in ("median", "p95", "most"))])
    long, memory = result["long"], result["memory"]
    table += [[f"long run: {name}, s", f"{seconds:.3g}", "", ""] for name, seconds in long.items()]
    for name, unit in (("tab", "MiB"), ("process", "MiB"), ("server", "MiB"), ("nodes", "number")):
        table.append([f"memory: {name} per 1000 updates, {unit}", f"{memory[name]['per_1000']:.3g}", "", ""])
    return table
