"""The course as static pages: what is read off the notebooks, and the pages in a browser without network."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from lab import coursepages, lessons
from lab.formulas import mathml, rendered
from lab.site import site
from tests.apps.conftest import browser  # noqa: F401
from tests.apps.growing import Growing

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

COURSE = Path(__file__).parents[2] / "notebooks"
SLOW = 60_000


def cell(source: str, printed: str = "", kind: str = "code", **metadata: Any) -> dict[str, Any]:
    outputs = [{"output_type": "stream", "name": "stdout", "text": printed}] if printed else []
    more = {"outputs": outputs, "execution_count": 1} if kind == "code" else {}
    return {"cell_type": kind, "source": source, "metadata": metadata, **more}


FIRST = [
    cell("# 01 One\n\n**Question:** what is it?\n\n5 minutes · needs: nothing", kind="markdown"),
    cell("import set_up", tags=["setup"]),
    cell(
        'predict("01.a", f"Does it {WHAT}?", ["yes", "no"])',
        "Predict 01.a. Does it\n<rise>?\n   - yes\n   - no\nRecord yours: predict(...)\n",
    ),
    cell('print("seen")\nreveal("01.a", "yes")', "seen\n01.a: yes. Because.\nYou recorded no guess. The next one.\n"),
    cell("## Formulas\n\nThe loss is $-\\frac{1}{B} \\sum_b \\ln p_b$ and\n\n$$H(t) \\ge 0$$", kind="markdown"),
    cell('PLACE = 2\nrun = gallery()\nshow("attention", run=run, image=PLACE)', "printed with it"),
    cell('show("loss", run=live.run)'),
]
SECOND = [cell("# 02 Two\n\n**Question:** and then?", kind="markdown"), cell("def mine():\n    return 1")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A course of two notebooks, the second's exercise solved in the instructor's alone."""
    top = tmp_path_factory.mktemp("course")
    for kind in ("student", "instructor"):
        (top / kind).mkdir()
        for name, cells in (("01_one", FIRST), ("02_two", SECOND)):
            bare = [{**c, "outputs": []} if kind == "student" and "outputs" in c else c for c in cells]
            (top / kind / f"{name}.ipynb").write_text(json.dumps({"cells": bare, "nbformat": 4, "nbformat_minor": 5}))
    return top


def test_a_lesson_is_what_is_read_with_what_was_printed(folder: Path) -> None:
    one, two = lessons.lessons(folder)
    assert (one.title, one.question, one.minutes) == ("01 One", "what is it?", "5 minutes")
    assert one.shown == {
        5: lessons.Shown("attention", "dino_shapes", {"image": 2}),
        6: lessons.Shown("loss", None, {}),
    }
    text = "\n".join(coursepages._cells(one, failed=set()))
    assert "set_up" not in text
    assert "<legend>Predict 01.a</legend><p>Does it &lt;rise&gt;?</p>" in text
    assert '<pre class="out">seen</pre><details class="answer"><summary>01.a: what happens</summary>' in text
    assert text.count('type="radio"') == 2
    assert not [words for words in ("You recorded no guess", "Record yours") if words in text]
    assert "printed with it" in text
    assert text.count("<iframe") == 2
    assert text.count("<math") == 2
    assert "iframe" not in "\n".join(coursepages._cells(two, failed=set()))


def test_a_formula_that_cant_be_read_is_shown_as_it_is_written() -> None:
    assert mathml(r"\left( <x") == r"<code>\left( &lt;x</code>"
    assert "$" not in rendered("costs $x$ and `$y$`").replace("<code>$y$</code>", "")


@pytest.mark.parametrize("book", lessons.lessons(COURSE), ids=lambda book: book.name)
def test_each_notebook_of_the_course_becomes_a_page(book: lessons.Lesson) -> None:
    """Every view it shows is found, every formula is drawn, outputs stand below what is not an exercise."""
    source = "\n".join(one["source"] for one in book.cells if one["cell_type"] == "code")
    assert len(book.shown) == len(re.findall(r"^show\(", source, re.MULTILINE))
    for one in book.cells:
        if one["cell_type"] == "markdown":
            drawn = rendered(one["source"])
            assert "<code>\\" not in drawn
            assert "$" not in re.sub(r"<code>.*?</code>", "", drawn, flags=re.DOTALL)
    page = coursepages._page(book, [book], 0, failed=set())
    assert page.count('<fieldset class="guess">') == len(re.findall(r"^predict\(", source, re.MULTILINE))
    assert page.count('<img class="figure"') >= 1
    assert "BEGIN SOLUTION" not in page


@pytest.fixture(scope="module")
def opened(browser: Browser, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:  # noqa: F811
    out, runs = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("runs")
    growing = Growing(runs / "growing")
    growing.probe()
    growing.writer.close()
    site(runs, out, notebooks=folder, views=["events"], steps=[0])
    context = browser.new_context(offline=True, viewport={"width": 1280, "height": 900}, color_scheme="dark")
    page = context.new_page()
    page.set_default_timeout(SLOW)
    asked: list[str] = []
    errors: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.goto((out / "index.html").as_uri())
    yield page
    context.close()
    assert [url for url in asked if not url.startswith((out.as_uri(), "data:", "blob:"))] == []
    assert errors == []


@pytest.mark.browser
def test_from_the_index_through_the_course_without_network(opened: Page) -> None:
    opened.click(".lessons a >> text=01 One")
    frame = opened.frame_locator("iframe").first
    frame.locator("[data-view=attention] .tiles figure").nth(4).wait_for()
    height = "document.querySelector('iframe').getBoundingClientRect().height"
    opened.wait_for_function(f"{height} !== 620", timeout=SLOW)
    inside = frame.locator("main").evaluate("main => main.getBoundingClientRect().height")
    opened.wait_for_function(f"Math.abs({height} - {inside}) < 2", timeout=SLOW)
    assert frame.locator("header .brand").is_hidden()
    assert opened.locator("math").first.evaluate("math => math.getBoundingClientRect().height > 10")
    opened.set_viewport_size({"width": 400, "height": 900})
    assert opened.evaluate("document.documentElement.scrollWidth") == 400
    opened.set_viewport_size({"width": 1280, "height": 900})
    opened.locator("footer [rel=next]").click()
    assert opened.title() == "02 Two"
    opened.locator("footer [rel=prev]").click()
    assert opened.title() == "01 One"
