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
from lab import local, modules, onefile
from lab.analysis import attention
from lab.views import EVERYWHERE, PAGES, catalogue
from tests.apps.growing import Growing

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser
SLOW = 60_000
VIEWS = [view.name for view in catalogue().values() if view.page != EVERYWHERE]
EVIL = "</script><img src=x onerror=document.title='owned'>"


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DINO_LAB_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


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
    wide = "Math.max(...[...document.querySelectorAll('[data-view=attention] .film canvas')].map((one) => one.clientWidth))"
    assert 0 < opened.page.evaluate(wide) < 140, "few checkpoints are no reason for pictures as large as the page"
    counts = [int(attention.mass_mask(one).sum()) for one in maps]
    said = opened.page.locator("[data-view=attention] .tiles figcaption small:nth-of-type(1)").all_inner_texts()
    assert [int(re.findall(r"\d+", text)[1]) for text in said if text][: len(counts)] == counts
    opened.wait("document.querySelector('[data-view=loss] .plot')?.dataset.ready === 'yes'")
    opened.page.locator("[data-view=spectrum]").scroll_into_view_if_needed()
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
    opened.page.locator(".transport input[type=range]").focus()
    opened.page.keyboard.press("Home")
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
    opened.wait("document.querySelector('[data-view=spectrum] .plot')?.data?.length === 1")
    packed = list(csv.DictReader(io.StringIO(opened.saved("spectrum", "CSV").decode())))
    shares = [float(row["y"]) for row in packed]
    assert [float(row["x"]) for row in packed] == list(range(1, len(shares) + 1)), "a figure that Python drew"
    assert 0.99 < sum(shares) < 1.01
    assert opened.page.locator("[data-view=spectrum] .save-list b", has_text="npz").count() == 0, "it has no arrays"
    drawing = opened.saved("loss", "SVG").decode()
    assert drawing.startswith("<svg")
    assert "training step" in drawing
    legend = opened.page.locator("[data-view=loss] .panel").first.locator(".legend dt").all_inner_texts()
    assert len(legend) == 3
    assert all(name.strip() in drawing for name in legend), "colours have names in it"


SAYS = """(name) => {
    const view = document.querySelector(`[data-view=${name}]`), body = view.querySelector('.card-body') ?? view;
    const painted = (canvas) => {
        if (!canvas.width || !canvas.height) return false;
        const pixels = new Uint32Array(canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.buffer);
        return pixels.some((pixel) => pixel !== pixels[0]);
    };
    if ([...body.querySelectorAll('canvas')].some(painted)) return true;
    if ([...body.querySelectorAll('.plot')].some((plot) => plot.data?.length)) return true;
    if (name === 'diagnosis') return body.innerText.length > 40;
    return body.querySelectorAll('tr, li, .panel, form, .spark polyline').length > 0;
}"""
BARE = {"timeline"}
"""Views that say little of a run that nobody has written notes about."""


@pytest.fixture(scope="module")
def recorded() -> dict[str, Any]:
    """All that every view asks about two checkpoints of a recorded run."""
    wanted = onefile.Wanted(lab.find("dino_shapes"), [0, 6000], patience=0.0)
    return dict(onefile.recorded(catalogue().values(), wanted))


@pytest.mark.parametrize("name", [name for name in VIEWS if catalogue()[name].records])
def test_what_a_view_asks_for_can_be_answered(name: str, recorded: dict[str, Any]) -> None:
    """A view's list of questions is held to those who answer: a renamed answer may not leave files empty."""
    choices = onefile.Wanted(lab.find("dino_shapes"), [0, 6000]).choices()
    for template in catalogue()[name].records:
        if not re.search(
            r"umap|/loss\b|^gathered/|\{(model|over)\}", template
        ):  # what the background computes, and of other networks
            made = {path for path, content in recorded.items() if not isinstance(content, onefile.Refused)}
            assert set(onefile.paths(template, catalogue()[name], choices)) & made, template


@pytest.fixture(scope="module")
def whole(browser: Browser, recorded: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    """Every view in one file, on a disk of a machine without network."""
    file = tmp_path_factory.mktemp("stick") / "all.html"
    lab.export(VIEWS, "dino_shapes", file, steps=[0, 6000], patience=0.0)
    context = browser.new_context(offline=True, viewport={"width": 1280, "height": 6000})
    opened = Opened(context.new_page(), file)
    yield opened
    context.close()
    assert [url for url in opened.asked if not url.startswith(("file:", "data:", "blob:"))] == []
    assert opened.errors == []


PLACES = {view.page: [name for name in VIEWS if catalogue()[name].page == view.page] for view in catalogue().values()}


@pytest.mark.parametrize("page", [page for page, names in PLACES.items() if names])
def test_every_view_stands_in_a_file(page: str, whole: Opened) -> None:
    """The contract of hosts: each registered view mounts, draws something, and finds all that it asks for."""
    title = next(one.title for one in PAGES if one.name == page)
    whole.page.locator(".pages a", has_text=title).first.click()
    for name in PLACES[page]:
        whole.wait(f"document.querySelector('[data-view={name}]').childElementCount > 0")
        if name not in BARE:
            whole.wait(f"({SAYS})('{name}')")
        said = whole.page.locator(f"[data-view={name}]").inner_text()
        assert "was not recorded" not in said, name
        assert "could not be drawn" not in said, name


@pytest.fixture(scope="module")
def both(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    """Two networks beside each other: the run's, those of a run that is laid over it, and an untrained one."""
    file = tmp_path_factory.mktemp("stick") / "both.html"
    models = [name for name in local.offer(models=["random:dino_vits16"])["models"] if name == "random:dino_vits16"]
    waited = onefile._waited
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            onefile, "_waited", lambda path, until: None if re.search("umap|tsne", path) else waited(path, until)
        )
        views = ["objective", "prototypes", "embedding"]
        lab.export(views, "dino_shapes", file, steps=[0, 6000], models=models, overlay="dinov3_shapes", patience=60.0)
    context = browser.new_context(offline=True, viewport={"width": 1280, "height": 3000})
    opened = Opened(context.new_page(), file)
    yield opened
    context.close()
    assert [url for url in opened.asked if not url.startswith(("file:", "data:", "blob:"))] == []
    assert opened.errors == []


TITLES = "[...document.querySelectorAll('[data-view={}] h3')].filter((one) => one.checkVisibility()).map((one) => one.textContent)"


@pytest.mark.parametrize("view", ["objective", "prototypes", "embedding"])
@pytest.mark.parametrize(
    ("against", "name"), [("first", "dino_shapes, teacher at step 0"), ("overlay", "dinov3_shapes, teacher at step")]
)
def test_a_file_holds_what_stands_beside_the_run(view: str, against: str, name: str, both: Opened) -> None:
    title = next(one.title for one in PAGES if one.name == view)
    both.page.locator(".pages a", has_text=title).first.click()
    both.page.locator("[data-view=sources]").get_by_label("Beside it").select_option(against)
    both.wait(f"{TITLES.format(view)}.some((title) => title.startsWith('{name}'))")
    both.wait(f"{TITLES.format(view)}.includes('dino_shapes, teacher at step 6 000')")
    said = both.page.locator(f"[data-view={view}]").inner_text()
    assert "was not recorded" not in said
    wanted = {
        "objective": "KL(t‖s)",
        "prototypes": "share one in the second too",
        "embedding": "nearest neighbours are common",
    }
    assert wanted[view] in said, "numbers that need both"


def test_a_file_says_why_a_network_can_not_be_asked(both: Opened) -> None:
    both.page.locator(".pages a", has_text="Objective").first.click()
    both.page.locator("[data-view=sources]").get_by_label("Beside it").select_option("model:random:dino_vits16")
    both.wait("document.querySelector('[data-view=objective]').innerText.includes('is a backbone alone')")
    both.page.locator(".pages a", has_text="Embedding").first.click()
    both.wait(f"{TITLES.format('embedding')}.includes('untrained dino_vits16')")


def test_the_code_that_a_card_gives_runs(whole: Opened, recorded: dict[str, Any]) -> None:
    """Every card's snippet, executed: it shows the view, and reads what the page was drawn from."""
    run = local.name_of(lab.find("dino_shapes"))
    lines: dict[str, int] = {}
    for page, names in PLACES.items():
        if not names:
            continue
        whole.page.locator(".pages a", has_text=next(one.title for one in PAGES if one.name == page)).first.click()
        for name in names:
            if name not in BARE:
                whole.wait(f"({SAYS})('{name}')")
            menu = whole.page.locator(f"[data-view={name}] details.save")
            menu.locator("summary").click()
            menu.locator("button", has_text="Code").click()
            code = menu.locator("textarea").input_value()
            assert f'lab.show("{name}", "dino_shapes"' in code
            assert run not in code, "a snippet names runs as a person does"
            exec(code, {})
            lines[name] = code.count("lab.answer(")
            offered = menu.locator("button b").all_inner_texts()
            assert {"Numbers (CSV)", "Arrays (npz)"} & set(offered) or name in BARE, name
            menu.locator("summary").click()
    assert lines["heads"] == 2, "the images, and the heads of the step that is shown"
    assert all(lines[view.name] for view in catalogue().values() if view.name in lines and len(view.records) > 1)


def test_a_file_makes_its_own_film(opened: Opened) -> None:
    """No server and no encoder: the browser draws the card at every stop and writes a WebM; the clock goes back."""
    opened.page.locator(".transport input[type=range]").focus()
    opened.page.keyboard.press("Home")
    opened.wait("document.querySelector('.transport .at')?.textContent.startsWith('step 0')")
    film = opened.saved("spectrum", "WebM")
    assert film.startswith(b"\x1a\x45\xdf\xa3")
    assert len(film) > 5_000
    opened.wait("document.querySelector('.transport .at').textContent.startsWith('step 0')")


def test_arrays_say_what_they_are(opened: Opened) -> None:
    arrays = np.load(io.BytesIO(opened.saved("attention", "npz")))
    assert "share of the attention" in str(arrays["about"])
    assert str(arrays["about"]).startswith(catalogue()["attention"].title)


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
