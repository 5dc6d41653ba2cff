"""Views in one file, opened from disk by a browser without network: the same numbers, and what a card can be saved as."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

import lab
from lab import modules
from lab.analysis import attention
from lab.views import EVERYWHERE, catalogue
from tests.apps.growing import Growing

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser
SLOW = 60_000
VIEWS = [view.name for view in catalogue().values() if view.page != EVERYWHERE]
EVIL = "</script><img src=x onerror=document.title='owned'>"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> lab.Run:
    growing = Growing(tmp_path_factory.mktemp("runs") / "growing", name=EVIL)
    for step in range(4):
        growing.log(5 * (step > 0))
        growing.probe()
    growing.writer.update(status="stopped")
    growing.writer.close()
    return lab.Run(growing.path)


class Opened:
    def __init__(self, page: Page, file: Path) -> None:
        self.page = page
        self.asked: list[str] = []
        self.errors: list[str] = []
        page.set_default_timeout(SLOW)
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda message: self.errors.append(message.text) if message.type == "error" else None)
        page.goto(file.as_uri())

    def wait(self, expression: str) -> None:
        self.page.wait_for_function(expression, timeout=SLOW, polling=50)

    def saved(self, view: str, entry: str) -> bytes:
        card = self.page.locator(f"[data-view={view}]")
        card.scroll_into_view_if_needed()
        menu = card.locator("details.save")
        if not menu.evaluate("menu => menu.open"):
            menu.locator("summary").click()
        with self.page.expect_download() as waiting:
            menu.locator("button", has_text=entry).click()
        return Path(waiting.value.path()).read_bytes()


@pytest.fixture(scope="module")
def opened(browser: Browser, run: lab.Run, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    file = tmp_path_factory.mktemp("stick") / "dino.html"
    lab.export(["loss", "attention", "patches", "spectrum"], run, file, image=2)
    context = browser.new_context(offline=True, viewport={"width": 1280, "height": 1400})
    opened = Opened(context.new_page(), file)
    yield opened
    context.close()
    assert [url for url in opened.asked if not url.startswith(("file:", "data:", "blob:"))] == []
    assert opened.errors == []


def test_the_file_says_what_python_computes(opened: Opened, run: lab.Run) -> None:
    opened.wait("document.querySelectorAll('[data-view=attention] .tiles figure').length === 5")
    maps = run.probe().attention[2].astype(np.float32)
    counts = [int(attention.mass_mask(one).sum()) for one in maps]
    said = opened.page.locator("[data-view=attention] .tiles figcaption small:nth-of-type(1)").all_inner_texts()
    assert [int(re.findall(r"\d+", text)[1]) for text in said if text][: len(counts)] == counts
    opened.wait("document.querySelector('[data-view=loss] .plot')?.dataset.ready === 'yes'")
    opened.wait("document.querySelector('[data-view=spectrum] .plot')?.data?.length === 1")
    assert opened.page.title() == f"DINO lab: {EVIL}", "a run's name is text"


def test_clock_hover_and_address_work_in_it(opened: Opened) -> None:
    opened.page.locator(".transport input[type=range]").focus()
    opened.page.keyboard.press("Home")
    opened.wait("document.querySelector('.transport .at').textContent.startsWith('step 0')")
    assert "step=0" in opened.page.url.partition("#")[2]
    place = opened.page.locator("[data-view=patches] [data-kind=components] canvas")
    place.scroll_into_view_if_needed()
    place.hover(position={"x": 5, "y": 5})
    opened.wait("document.querySelector('[data-view=patches] [data-kind=similar] b').textContent === 'like patch 1'")
    opened.page.reload()
    opened.wait("document.querySelector('.transport .at')?.textContent.startsWith('step 0')")
    opened.wait("document.querySelectorAll('[data-view=attention] .tiles figure').length === 5")


def test_a_card_is_saved_as_picture_arrays_numbers_and_drawing(opened: Opened, run: lab.Run) -> None:
    opened.wait("document.querySelector('.transport .at')?.textContent.startsWith('step 0')")
    opened.wait("document.querySelectorAll('[data-view=attention] .tiles figure').length === 5")
    picture = Image.open(io.BytesIO(opened.saved("attention", "PNG"))).convert("RGB")
    box = opened.page.locator("[data-view=attention]").bounding_box()
    assert box is not None
    assert picture.width == pytest.approx(2 * box["width"], abs=2)
    assert len(picture.getcolors(1 << 24) or []) > 200, "the canvases are in it"
    arrays = np.load(io.BytesIO(opened.saved("attention", "npz")))
    assert np.array_equal(arrays["probe.0.attention.layer.-1.attention"], run.probe(0).attention.astype(np.float32))
    opened.wait("document.querySelector('[data-view=loss] .plot')?.dataset.ready === 'yes'")
    rows = list(csv.DictReader(io.StringIO(opened.saved("loss", "CSV").decode())))
    kept = {float(row["x"]): float(row["y"]) for row in rows if row["curve"].startswith("H(t)")}
    table = run.metrics()
    assert kept == pytest.approx(dict(zip(table["step"], table["teacher/entropy"])))
    drawing = opened.saved("loss", "SVG").decode()
    assert drawing.startswith("<svg")
    assert "training step" in drawing


def test_every_view_stands_in_a_file(browser: Browser, run: lab.Run, tmp_path: Path) -> None:
    """The contract of hosts: each registered view mounts, what was not recorded is said in a sentence, and nobody is asked."""
    lab.export(VIEWS, run, tmp_path / "all.html", steps=[0, 150])
    context = browser.new_context(offline=True, viewport={"width": 1280, "height": 900})
    opened = Opened(context.new_page(), tmp_path / "all.html")
    for page in dict.fromkeys(catalogue()[name].page for name in VIEWS):
        opened.page.evaluate(f"location.hash = '#page={page}'")
        opened.page.reload()
        for name in VIEWS:
            if catalogue()[name].page == page:
                opened.wait(f"document.querySelector('[data-view={name}]').childElementCount > 0")
        assert "could not be drawn" not in opened.page.inner_text("main")
    foreign = [url for url in opened.asked if not url.startswith(("file:", "data:", "blob:"))]
    context.close()
    assert foreign == []
    assert opened.errors == []


def test_a_file_knows_no_path_of_this_machine(run: lab.Run, tmp_path: Path) -> None:
    written = lab.export("attention", run, tmp_path / "one.html", steps=[0])
    assert written.size == (tmp_path / "one.html").stat().st_size
    assert "1 of 4 checkpoints" in written.limits
    assert str(run.path.parent) not in (tmp_path / "one.html").read_text()


def test_modules_come_after_what_they_import() -> None:
    seen: set[str] = set()
    for module in modules.ordered(view.module for view in catalogue().values()):
        assert set(module.imports) <= seen, module.name
        seen.add(module.name)


def test_the_style_sheet_below_an_element_touches_nothing_else(browser: Browser) -> None:
    page = browser.new_page()
    page.set_content(
        "<h1>theirs</h1><p class='card'>theirs</p><div class='place'><section class='lab-view'></section></div>"
    )
    before: Any = page.evaluate(
        "[...document.querySelectorAll('body, h1, p')].map((e) => JSON.stringify({...getComputedStyle(e)}))"
    )
    page.add_style_tag(content=modules.theme_below(".place"))
    after = page.evaluate(
        "[...document.querySelectorAll('body, h1, p')].map((e) => JSON.stringify({...getComputedStyle(e)}))"
    )
    ink = page.evaluate("getComputedStyle(document.querySelector('.lab-view')).getPropertyValue('--ink')")
    page.close()
    assert json.dumps(after) == json.dumps(before)
    assert ink.strip().startswith("#")
