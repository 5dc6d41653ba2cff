"""The page in real Chromium while a run grows."""

from __future__ import annotations

import json
import math
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import numpy as np
import pytest

from lab.analysis import attention, similarity
from lab.run import Run
from lab.views import PAGES
from tests.apps import conftest
from tests.apps.growing import Growing
from tests.apps.served import serving

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser

GOLDEN = Path(__file__).parents[1] / "data" / "run_v1"
EVIL = "<img src=x onerror=document.title='owned'>"
browser = conftest.browser  # for files that take all of this from here
SLOW = 60_000
"""Milliseconds that something may take on a busy machine before it counts as broken."""


@dataclass
class Lab:
    address: str
    growing: Growing
    ids: dict[str, str]
    long: Path | None = None
    """A run of 6000 steps, which a test may write on."""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    root = tmp_path_factory.mktemp("lab")
    shutil.copytree(GOLDEN, root / "runs" / "run_v1")
    evil = Growing(root / "runs" / "evil", name=EVIL)
    evil.log(2)
    evil.writer.update(status="stopped")
    evil.writer.close()
    about = json.loads((evil.path / "run.json").read_text())
    (evil.path / "run.json").write_text(json.dumps({**about, "parent": {"run": "growing", "step": 10}}))
    long = Growing(root / "runs" / "long", steps=6000)
    long.log(1, every=1)
    long.writer.close()
    with open(long.path / "metrics.jsonl", "a") as file:
        file.writelines(logged_at(step) for step in range(2, 6001))
    growing = Growing(root / "runs" / "growing", golden=True)
    growing.probe()
    for _ in range(4):
        growing.log(5)
        growing.probe()
    with serving(root / "runs", root / "cache") as (address, _):
        runs = json.load(urlopen(f"{address}/api/runs"))["runs"]
        yield Lab(address, growing, {run["name"]: run["id"] for run in runs}, long.path)
    growing.writer.close()


def logged_at(step: int) -> str:
    row = {"step": step, "segment": 0, "images": 64 * step, "loss": 3.5 + 0.1 * math.sin(step), "kl": 1.0}
    return json.dumps(row) + "\n"


class Watched:
    """A page and what went wrong in it."""

    def __init__(self, page: Page, lab: Lab) -> None:
        self.page, self.lab = page, lab
        self.foreign: list[str] = []
        self.errors: list[str] = []
        self.forgiven: str | None = None
        """What an error may say that is meant to happen."""
        page.set_default_timeout(SLOW)
        page.on("request", lambda request: self._look(request.url))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda message: self.errors.append(message.text) if message.type == "error" else None)

    def _look(self, url: str) -> None:
        if not url.startswith((self.lab.address, "data:", "blob:")):
            self.foreign.append(url)

    def open(self, run: str = "growing", **query: Any) -> Watched:
        parts = [f"run={self.lab.ids[run]}", *(f"{key}={value}" for key, value in query.items())]
        self.page.goto(f"{self.lab.address}/?{'&'.join(parts)}")
        self.page.wait_for_selector(".lab-host .facts dd", state="attached")
        return self

    def tour(self) -> None:
        """Scroll to the end and back, as someone who reads everything."""
        for view in ("emergence", "attention", "collapse", "schedules", "events"):
            self.page.locator(f"[data-view={view}]").scroll_into_view_if_needed()
            self.page.wait_for_timeout(150)
        self.page.evaluate("scrollTo(0, 0)")

    def wait(self, expression: str, timeout: float = SLOW) -> None:
        self.page.wait_for_function(expression, timeout=timeout, polling=50)

    def curve_ready(self, view: str) -> None:
        self.page.locator(f"[data-view={view}]").scroll_into_view_if_needed()
        self.wait(f"document.querySelector('[data-view={view}] .plot')?.dataset.ready === 'yes'")

    def zoom(self, view: str, left: float, right: float, top: float = 0.3) -> None:
        """Drag a box over a chart, between two parts of its width, from a part of its height."""
        place = self.page.locator(f"[data-view={view}] .plot .nsewdrag").first
        place.scroll_into_view_if_needed()
        box = place.bounding_box()
        assert box is not None
        self.page.mouse.move(box["x"] + left * box["width"], box["y"] + top * box["height"])
        self.page.mouse.down()
        self.page.mouse.move(box["x"] + right * box["width"], box["y"] + 0.8 * box["height"], steps=6)
        self.page.mouse.up()

    def at(self) -> str:
        return self.page.locator(".transport .at").inner_text()


@pytest.fixture
def watched(browser: Browser, lab: Lab) -> Iterator[Watched]:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    watched = Watched(page, lab)
    yield watched
    page.close()
    assert watched.foreign == [], "no request leaves this machine"
    assert [error for error in watched.errors if not (watched.forgiven and watched.forgiven in error)] == []


def test_the_page_shows_every_view_and_asks_nobody_else(watched: Watched) -> None:
    watched.open().tour()
    for view in ("emergence", "loss", "collapse", "centre", "schedules"):
        watched.curve_ready(view)
        drawn = watched.page.locator(f"[data-view={view}] .plot .scatterlayer .trace path.js-line").count()
        assert drawn > 0, view
        heading = watched.page.locator(f"[data-view={view}] h2")
        assert heading.inner_text()
    watched.page.locator("[data-view=attention]").scroll_into_view_if_needed()
    watched.wait("document.querySelectorAll('[data-view=attention] .tiles figure').length === 4")
    watched.wait("document.querySelectorAll('[data-view=patches] .tiles canvas').length === 6")
    fetched = watched.page.evaluate("performance.getEntriesByType('resource').map(({ name }) => name).join()")
    assert "loss.js" in fetched
    assert "playground.js" not in fetched, "another page's modules are fetched when it is shown"
    values = watched.page.locator("[data-view=loss] .legend").inner_text()
    assert "H(t) of the teacher" in values
    assert "ln K" in watched.page.locator("[data-view=loss]").text_content()


LABEL_OF_A_LINE = """() => {
    const plot = document.querySelector("[data-view=loss] .plot"), label = plot.querySelector("[data-index='0'] .annotation-text");
    const box = label.getBoundingClientRect(), frame = plot.getBoundingClientRect();
    const { yaxis, _size, annotations: [lnK] } = plot._fullLayout, line = frame.top + _size.t + yaxis.l2p(lnK.y);
    return { below: (box.top + box.bottom) / 2 > line, whole: box.top >= frame.top && box.bottom <= frame.bottom };
}"""
"""Of ln K in the chart of the loss: on which side of its line it is, and whether it can be read whole."""


def test_a_new_line_and_a_new_checkpoint_appear_while_zoom_selection_and_scroll_stay(watched: Watched) -> None:
    page = watched.open(image=2).page
    watched.curve_ready("loss")
    page.evaluate("scrollTo(0, 300)")
    assert page.evaluate(LABEL_OF_A_LINE)["below"] is False, "the label of ln K stands on its line"
    watched.zoom("loss", 0.2, 0.6, top=0.09)  # the line is at 11 %: too little room for its label
    layout = "document.querySelector('[data-view=loss] .plot')._fullLayout"
    ranges = f"[...{layout}.xaxis.range, ...{layout}.yaxis.range]"
    watched.wait(f"{ranges}[0] > 10")
    watched.wait(f"({LABEL_OF_A_LINE})().below")
    assert page.evaluate(LABEL_OF_A_LINE)["whole"]
    before, scroll = page.evaluate(ranges), page.evaluate("scrollY")
    delays = []
    for _ in range(5):
        watched.lab.growing.log(2)
        step = watched.lab.growing.probe()
        published = time.monotonic()
        watched.wait(f"document.querySelector('.transport .at').textContent.startsWith('step {step}')")
        watched.wait(
            f"document.querySelector('[data-view=attention] .film [data-stop=\"{step}\"][aria-current=true]') !== null"
        )
        delays.append(time.monotonic() - published)
        if delays[-1] <= 2:
            break
    assert min(delays) <= 2, f"a checkpoint is on screen within 2 s of being published; took {delays}"
    watched.wait(
        f"document.querySelector('[data-view=diagnosis] [data-fact=step] dd').textContent.startsWith('{step}')"
    )
    watched.wait(f"document.querySelector('[data-view=loss] .plot').data[0].x.at(-1) === {step}")
    assert page.evaluate(ranges) == pytest.approx(before), "the zoom stays"
    assert page.evaluate("scrollY") == pytest.approx(scroll, abs=2)
    assert page.locator("[data-view=attention] .strip [aria-selected=true]").get_attribute("id") == "probe-2"
    assert "image=2" in page.url


AT_WORK = """() => {
    const page = document.querySelector(`.lab-page-${document.body.dataset.page}`);
    const there = [...page.querySelectorAll("*")].filter((one) => one.offsetParent !== null);
    const first = (what) => there.find((one) => one.matches(what));
    const closed = first("details:not([open])");
    if (closed) closed.open = true;
    const field = first("input[type=text], input[type=search]") ?? first("select, canvas[tabindex], button");
    field?.focus({ preventScroll: true });
    scrollTo(0, 150);
    return field?.matches("input") ?? false;
}"""
"""Opens what can be opened, puts the cursor where something can be typed, scrolls."""
LEFT_ALONE = """() => {
    const shown = ["value", "checked", "open", "selectionStart"], pressed = (one) => one.getAttribute("aria-pressed");
    const state = (one) => JSON.stringify([...shown.map((name) => one[name] ?? ""), pressed(one)]);
    if (!window.touched) {
        const page = document.querySelector(`.lab-page-${document.body.dataset.page}`);
        const seen = [...page.querySelectorAll("input, select, option, textarea, details")];
        const there = seen.filter((one) => one.closest(":not(option)").offsetParent !== null);
        window.touched = { there, before: there.map(state), focus: document.activeElement, scroll: scrollY };
        return [];
    }
    const { there, before, focus, scroll } = window.touched;
    const name = (one) => `${one.tagName} ${one.ariaLabel ?? one.textContent.slice(0, 40)}`;
    window.touched = null;
    const found = there.filter((one, i) => !one.isConnected || state(one) !== before[i]).map(name);
    if (focus !== document.activeElement) found.push("focus");
    if (Math.abs(scroll - scrollY) > 2) found.push("scroll");
    return found;
}"""
"""Called before and after: what somebody had in hand that is not as it was."""
COMPUTED = {"objective", "compare"}
"""Pages that wait for a network."""
LOOK_NOW = "document.dispatchEvent(new Event('visibilitychange'))"
COUNT_QUESTIONS = """
    let open = 0, answered = 0;
    const ask = window.fetch, done = () => { open--; answered = performance.now(); };
    window.fetch = (...what) => { open++; return ask(...what).finally(done); };
    window.asks_nothing = () => open === 0 && performance.now() - answered > 200;
"""


WITHOUT_A_TABLE = """(page) => [...document.querySelectorAll(`.lab-page-${page} .lab-view`)]
    .filter((view) => !view.querySelector('.as-table:not([hidden]) summary, table, .stages')).map((view) => view.dataset.view)"""


def test_a_new_checkpoint_takes_nothing_out_of_anybodys_hands_on_any_page(watched: Watched) -> None:
    watched.page.add_init_script(COUNT_QUESTIONS)
    watched.forgiven = "404"  # layers of a step without a checkpoint
    page, growing = watched.open(image=1).page, watched.lab.growing
    growing.checkpoint()
    for one in PAGES:
        page.get_by_role("link", name=one.title, exact=True).click()
        mounted = (
            f"[...document.querySelectorAll('.lab-page-{one.name} .lab-view')].every((view) => view.dataset.mounted)"
        )
        answered = mounted if one.name in COMPUTED else f"{mounted} && window.asks_nothing()"
        watched.wait(answered)
        if page.evaluate(AT_WORK):
            page.keyboard.type("12")
        assert page.evaluate(LEFT_ALONE) == []
        growing.log(2)
        step = growing.probe()
        if one.name == "fork":
            growing.checkpoint()
        watched.wait(f"{LOOK_NOW}, document.querySelector('.transport .at').textContent.startsWith('step {step} ')")
        if one.name == "monitor":
            watched.wait(f"document.querySelector('[data-view=attention] .film [data-stop=\"{step}\"]') !== null")
        watched.wait(answered)
        page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        assert page.evaluate(LEFT_ALONE) == [], one.name
        assert set(page.evaluate(WITHOUT_A_TABLE, one.name)) <= {"diagnosis", "fork"}, "these are words and fields"


def test_two_tabs_go_their_own_ways_and_a_lost_connection_is_found_again(watched: Watched, browser: Browser) -> None:
    growing = watched.open(step=0).lab.growing
    watched.wait("document.querySelector('.transport .at').textContent.startsWith('step 0')")
    other = Watched(browser.new_page(), watched.lab).open()
    watched.forgiven = "ERR_INTERNET_DISCONNECTED"
    for tab in (watched, other):
        tab.page.context.set_offline(True)
    growing.log()
    step = growing.probe()
    for tab in (watched, other):
        tab.wait(f"{LOOK_NOW}, document.querySelector('.offline').hidden === false")
    for tab in (watched, other):
        tab.page.context.set_offline(False)
    other.wait(f"{LOOK_NOW}, document.querySelector('.transport .at').textContent.startsWith('step {step} ')")
    watched.wait(
        f"{LOOK_NOW}, [...document.querySelectorAll('.transport .ticks span')].at(-1).textContent === '{step}'"
    )
    assert watched.at().startswith("step 0")
    for tab in (watched, other):
        assert tab.page.locator(".offline").is_hidden()
        assert all("ERR_INTERNET_DISCONNECTED" in error for error in tab.errors)
    other.page.close()


ELSEWHERE = {
    "image": 2, "layer": 0, "step": 50, "xaxis": "hours", "anchor": "50", "gramOrder": "raster",
    "prototype": 3, "prototypesOf": "patches", "prototypesBy": "rare", "points": "patches", "colour": "entropy", "spot": 2,
    "headsby": "entropy",
    "asks": "r1", "mass": 0.4, "heads": "1.0,1.1", "head": 1, "sort": "entropy", "opacity": 0.5, "partner": 3, "lines": 7,
    "ratio": 0.9, "mutual": 0, "normlayer": 1, "longer": 3, "marked": "1,2", "top": 7, "memory": "all", "fit": "each",
    "basis": "own", "reference": 50, "foreground": "shown", "cut": 0.5, "flip": 1, "channels": "2,1,0", "examples": "0.3-",
    "seed": 4, "uncentred": 1, "unsharpened": 1, "source": "student", "against": "first", "size": 32,
    "off": "unitLength", "picked": "Cross-entropy~kl", "patch": 3, "drawn": "light", "outlined": 0, "object": 1, "tile": 1,
    "partsof": "image", "front": 1, "ownscale": 1, "brighter": 1, "enclosed": "0-1.3", "thumbnails": 1,
    "metrics": "update/backbone", "xrange": "0~0.01", "yrange": "Cross-entropy~1~3", "spectrum_network": "student",
}  # fmt: skip
"""Another value than the first for everything that a link keeps."""
STARTS_WORK = {"crowd", "layout", "images"}
"""What a link keeps too, but sets a worker going or needs more than this lab has."""
OF_ITS_OWN = {"pg", "pgset", "pgdo", "mini", "gt"}
"""Whole systems as text: test_playground.py and test_stepper.py follow their links."""


def test_a_reload_keeps_the_state_of_every_page(watched: Watched) -> None:
    static = Path(__file__).parents[2] / "lab" / "static"
    kept = {
        key
        for file in static.glob("*.js")
        for keys in re.findall(r"\.keep\(\{([^}]*)\}\)", file.read_text())
        for key in re.findall(r"([A-Za-z]+)\s*:", keys)
    }
    assert kept <= set(ELSEWHERE) | STARTS_WORK | OF_ITS_OWN, "a new key of the address needs a value here"
    visit = """async (pages) => {
        const { host } = await import('/static/lab/page.js');
        for (const page of pages) {
            host.set({ page });
            for (const place of document.querySelectorAll(`.lab-page-${page} .lab-view`))
                while (!place.dataset.mounted) await new Promise((done) => setTimeout(done, 20));
        }
        return Object.fromEntries(host.address());
    }"""
    pages = [one.name for one in PAGES]
    watched.forgiven = "404"  # of a step that has no checkpoint
    page = watched.open(**ELSEWHERE).page
    first = page.evaluate(visit, pages)
    assert {key: first.get(key) for key in ELSEWHERE} == ELSEWHERE
    watched.wait(f"location.search.includes('view={pages[-1]}')")
    page.reload()
    watched.wait(f"document.querySelector('.lab-page-{pages[-1]} .lab-view')?.dataset.mounted === 'yes'")
    assert page.locator("link[rel=preload]").count() == 0, "no charts are fetched before they are in sight"
    assert page.evaluate("document.body.dataset.page") == pages[-1]
    assert page.evaluate(visit, pages) == first


def test_scrubbing_moves_every_picture_and_is_kept_in_the_address(watched: Watched) -> None:
    page = watched.open().page
    page.locator("[data-view=patches]").scroll_into_view_if_needed()
    watched.wait("document.querySelectorAll('[data-view=patches] .pair canvas').length === 3")
    picture = "document.querySelector('[data-view=patches] [data-kind=components] canvas').toDataURL()"
    page.wait_for_timeout(500)
    newest, last = watched.at(), page.evaluate(picture)
    page.locator(".transport input[type=range]").focus()
    page.keyboard.press("Home")
    watched.wait("document.querySelector('.transport .at').textContent.startsWith('step 0')")
    watched.wait(f"{picture} !== {json.dumps(last)}")
    watched.wait("location.search.includes('step=0')")  # once the clock rests
    assert page.locator(".transport .follow").get_attribute("aria-pressed") == "false"
    page.reload()
    watched.wait("document.querySelector('.transport .at')?.textContent.startsWith('step 0')")
    page.keyboard.press("]")
    watched.wait("document.querySelector('.transport .at').textContent.startsWith('step 50')")
    page.locator(".transport .follow").click()
    watched.wait(f"document.querySelector('.transport .at').textContent === {json.dumps(newest)}")
    watched.wait("!location.search.includes('step=')")


def test_the_numbers_of_a_figure_are_a_table_for_a_screen_reader(watched: Watched) -> None:
    page, run = watched.open().page, Run(watched.lab.growing.path)
    page.locator("[data-view=attention] .head-tile").first.wait_for()
    page.locator("[data-view=attention] summary", has_text="as a table").click()
    cells = page.locator("[data-view=attention] .as-table table").first.locator("tbody tr").first.locator("th, td")
    cells.first.wait_for()
    weights = run.probe(run.probes[-1]).attention[0, 0].astype(float)
    assert cells.first.inner_text() == "head 1"
    assert float(cells.nth(3).inner_text()) == pytest.approx(weights.max() * weights.size / weights.sum(), rel=2e-3)
    page.locator("[data-view=loss] summary", has_text="as a table").click()
    table = page.locator("[data-view=loss] .as-table table").first
    table.wait_for()
    assert table.locator("thead th").all_inner_texts() == ["curve", "training step", "nats"]
    logged = json.loads((watched.lab.growing.path / "metrics.jsonl").read_text().splitlines()[0])
    first = table.locator("tbody tr").first.locator("th, td").all_inner_texts()
    assert float(first[1]) == logged["step"]
    assert float(first[2]) in [pytest.approx(value, rel=1e-3) for value in logged.values() if isinstance(value, float)]


COUNTED = """
[window.framed, window.pending] = [0, 0];
const frame = window.requestAnimationFrame.bind(window), ask = window.fetch.bind(window);
window.requestAnimationFrame = (work) => { window.framed++; return frame(work); };
window.fetch = async (...what) => { window.pending++; try { return await ask(...what); } finally { window.pending--; } };
window.still = () => { const before = window.seen; window.seen = window.framed; return before === window.seen && !window.pending; };
"""


def test_a_page_asks_for_nothing_while_there_is_nothing_new(watched: Watched) -> None:
    """No frame when nothing moves, and nothing of the lab when a checkpoint was seen before."""
    page, asked = watched.page, []
    page.add_init_script(COUNTED)
    watched.open()
    watched.wait("document.querySelectorAll('[data-view=patches] .pair canvas').length === 3")
    page.locator("[data-view=patches]").scroll_into_view_if_needed()
    page.wait_for_function("still()", polling=500)

    stops = page.evaluate("import('/static/lab/page.js').then(({ host }) => host.stops().length)")
    keys = [key for key in "[]" for _ in range(stops - 1)]
    for key in keys:
        page.keyboard.press(key)
        page.wait_for_function("still()", polling=150)
    page.on("request", lambda request: asked.append(request.url))
    for key in keys:
        page.keyboard.press(key)
        page.wait_for_timeout(30)
    page.wait_for_function("still()", polling=150)
    assert [url for url in asked if "/api/run/" in url and "/since?" not in url] == []
    assert [url for url in asked if "/api/sight/" in url or "/api/figure/" in url] == []


def test_playing_goes_through_the_checkpoints(watched: Watched) -> None:
    page = watched.open(step=0).page
    watched.wait("document.querySelector('.transport .at').textContent.startsWith('step 0')")
    page.evaluate(
        """() => {
            const label = document.querySelector('.transport .at');
            window.shown = [];
            new MutationObserver(() => window.shown.push(label.textContent.split(' of ')[0].trim()))
                .observe(label, { childList: true, subtree: true, characterData: true });
        }"""
    )
    page.locator("[aria-label^='Play']").click()
    watched.wait("window.shown.includes('step 100')")
    shown = page.evaluate("window.shown")
    assert shown.index("step 50") < shown.index("step 100")


def test_pointing_at_a_patch_lights_what_is_alike_and_the_keyboard_can(watched: Watched) -> None:
    page = watched.open().page
    page.locator("[data-view=patches]").scroll_into_view_if_needed()
    watched.wait("document.querySelectorAll('[data-view=patches] .pair canvas').length === 3")
    page.wait_for_timeout(400)
    similar = "document.querySelector('[data-view=patches] [data-kind=similar] canvas').toDataURL()"
    nothing = page.evaluate(similar)
    page.locator("[data-view=patches] figure[data-kind=components] canvas").hover(position={"x": 20, "y": 20})
    watched.wait(f"{similar} !== {json.dumps(nothing)}")
    page.mouse.move(5, 5)
    watched.wait(f"{similar} === {json.dumps(nothing)}")
    page.locator("[data-view=patches] figure[data-kind=components] canvas").focus()
    page.keyboard.press("ArrowRight")
    watched.wait("document.querySelector('[data-words]').textContent.startsWith('Patch ')")
    page.keyboard.press("Escape")
    watched.wait(f"{similar} === {json.dumps(nothing)}")


def test_a_runs_name_is_text_and_never_markup(watched: Watched) -> None:
    page = watched.open(EVIL).page
    page.get_by_text(EVIL).first.wait_for()
    watched.tour()
    assert page.locator("img[src=x]").count() == 0
    assert page.title() == "DINO lab"


def test_several_runs_stand_on_one_axis_told_apart_without_colour_and_nothing_is_lost(watched: Watched) -> None:
    page = watched.open().page
    watched.curve_ready("loss")
    plot = "document.querySelector('[data-view=loss] .plot')"
    watched.zoom("loss", 0.2, 0.6)
    ranges = f"[...{plot}._fullLayout.xaxis.range, ...{plot}._fullLayout.yaxis.range]"
    watched.wait(f"{ranges}[0] > 1")
    before = page.evaluate(ranges)
    for name in ("run_v1", EVIL):
        page.locator(".run", has_text=name).locator(".run-over").click()
    watched.wait(f"{plot}.data.length === 3 && {plot}.data.every(({{ mode }}) => mode === 'lines+markers')")
    assert f"beside={watched.lab.ids[EVIL]}" in page.url
    drawn = page.evaluate(f"{plot}.data.map(({{ line, marker }}) => [line.color, line.dash, marker.symbol])")
    assert all(len(set(looks)) == 3 for looks in zip(*drawn, strict=True)), "by colour, by dash and by marker"
    since = json.load(urlopen(f"{watched.lab.address}/api/run/{watched.lab.ids['run_v1']}/since"))["curves"]
    second = f"[...{plot}.data.find(({{ name }}) => name === 'run_v1').y]"
    np.testing.assert_allclose(np.array(page.evaluate(second), float), np.array(since["loss"][1], float), rtol=1e-6)
    watched.lab.growing.log(2)
    step = watched.lab.growing.probe()
    watched.wait(f"{plot}.data.at(-1).x.at(-1) === {step}")
    assert page.evaluate(ranges) == pytest.approx(before), "the zoom stays"
    page.locator("[data-view=loss] .picks button", has_text="H(t) of the teacher").click()
    watched.wait(f"{second}[0] !== {since['loss'][1][0]}")
    page.reload()
    watched.curve_ready("loss")
    watched.wait(f"{plot}.data.length === 3")
    entropy = np.array(since["teacher/entropy"][1], float)
    np.testing.assert_allclose(np.array(page.evaluate(second), float), entropy, rtol=1e-6)
    entries = page.locator("[data-view=timeline] .together li")
    assert [entry.get_attribute("data-run") for entry in entries.all()] == [
        watched.lab.ids[name] for name in ("growing", "run_v1", EVIL)
    ]
    names = page.evaluate(f"{plot}.data.map(({{ name }}) => name)")
    assert sum("&#60;img" in name for name in names) == 1, "plotly reads names as markup"
    assert not any("<" in name for name in names)
    entries.nth(2).get_by_role("button", name="make second").click()
    watched.wait(f"new URLSearchParams(location.search).get('overlay') === '{watched.lab.ids[EVIL]}'")
    entries.nth(1).get_by_role("button", name="Take").click()
    watched.wait(f"new URLSearchParams(location.search).get('overlay') === '{watched.lab.ids['run_v1']}'")
    assert "beside" not in page.url


def test_where_one_zooms_in_a_curve_is_as_it_was_logged(watched: Watched) -> None:
    page, address, long = watched.open("long").page, watched.lab.address, watched.lab.ids["long"]
    watched.curve_ready("loss")
    plot = "document.querySelector('[data-view=loss] .plot')"
    ranges = f"[...{plot}._fullLayout.xaxis.range, ...{plot}._fullLayout.yaxis.range]"
    drawn = f"{plot}.data.find(({{ name }}) => name === 'loss')"
    inside = (
        f"{drawn}.x.filter((x) => x >= {plot}._fullLayout.xaxis.range[0] && x <= {plot}._fullLayout.xaxis.range[1])"
    )
    watched.zoom("loss", 0.5, 0.7)
    watched.wait(f"{ranges}[0] > 1000")
    before = page.evaluate(ranges)
    watched.wait(f"{inside}.length === Math.floor({before[1]}) - Math.ceil({before[0]}) + 1")
    logged = json.load(urlopen(f"{address}/api/run/{long}/within?first={int(before[0])}&last={int(before[1]) + 1}"))
    steps, values = page.evaluate(f"[[...{drawn}.x], [...{drawn}.y]]")
    known = dict(zip(steps, values, strict=True))
    assert [known[step] for step in logged["curves"]["loss"][0]] == pytest.approx(logged["curves"]["loss"][1])
    assert (steps[0], steps[-1], steps == sorted(set(steps))) == (1, 6000, True), "around it the whole run"
    assert page.evaluate(ranges) == pytest.approx(before), "the zoom stays"
    page.locator(".run", has_text="run_v1").locator(".run-over").click()
    watched.wait(f"{plot}.data.some(({{ line }}) => line.dash === 'dot')")
    page.locator("[data-view=timeline] .choice label", has_text="images").click()  # another axis, the whole again
    watched.wait(f"{ranges}[1] > 64 * 5900 && {drawn}.x.length <= 2000")
    placed = f"{plot}.calcdata.map((points) => points.at(-1).x)"
    assert page.evaluate(placed) == page.evaluate(f"{plot}.data.map((trace) => trace.x.at(-1))"), (
        "curves move with their axis"
    )
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/within?" in request.url else None)
    watched.zoom("loss", 0.3, 0.5)
    watched.wait(f"{ranges}[0] > 64 * 1000 && {inside}.length > 1000")
    assert len(asked) == 1, "all charts ask together, and of a run that is here whole nobody asks"
    page.locator("[data-view=loss] .plot .nsewdrag").first.dblclick()
    watched.wait(f"{ranges}[1] > 64 * 5900 && {drawn}.x.length <= 2000")
    page.locator("[data-view=timeline] .choice label", has_text="step").click()  # the run goes on, within the zoom
    watched.wait(f"{ranges}[1] < 6100 && {drawn}.x.length <= 2000")
    watched.zoom("loss", 0.8, 0.998)
    watched.wait(f"{ranges}[0] > 4000 && {inside}.length > 1000")
    before = page.evaluate(ranges)
    assert before[1] > 6041, "room for what comes"
    assert watched.lab.long is not None
    with open(watched.lab.long / "metrics.jsonl", "a") as file:
        file.writelines(logged_at(step) for step in range(6001, 6041))
    watched.wait(f"{LOOK_NOW}, {inside}.at(-1) === 6040")
    watched.wait(f"{inside}.length === 6041 - Math.ceil({before[0]})")
    assert page.evaluate(ranges) == pytest.approx(before), "the zoom stays"
    page.reload()
    watched.curve_ready("loss")
    assert page.evaluate(ranges) == pytest.approx(before, rel=1e-6), "a link leads to the same window"
    page.locator("[data-view=loss] .plot .nsewdrag").first.dblclick()
    watched.wait(f"{ranges}[0] < 100 && {ranges}[2] <= 0 && !location.search.includes('range')")


def test_another_run_can_be_picked_and_one_laid_over(watched: Watched) -> None:
    page = watched.open().page
    watched.curve_ready("loss")
    page.locator(".run", has_text="run_v1").locator(".run-over").click()
    watched.wait("document.querySelector('[data-view=loss] .plot').data.some((trace) => trace.line.dash === 'dot')")
    assert f"overlay={watched.lab.ids['run_v1']}" in page.url
    page.locator(".run", has_text="run_v1").locator(".run-pick").click()
    watched.wait("document.querySelector('[data-fact=step] dd').textContent.startsWith('500')")
    skipped = page.locator("[data-view=events] li b", has_text="skipped images")
    skipped.wait_for()
    assert skipped.count() == 1
    assert f"run={watched.lab.ids['run_v1']}" in page.url


BESIDE_A_RUNS_STATE = """() => {
    const run = document.querySelector(".run:has(.run-over[aria-pressed=true])"), range = document.createRange();
    const state = run.querySelector(".run-state");
    state.lastChild.textContent = "gallery · finished";
    range.selectNodeContents(state);
    return run.querySelector(".run-over").getBoundingClientRect().left - range.getBoundingClientRect().right;
}"""
"""Pixels between the longest word for a state and the button beside it."""


@pytest.mark.parametrize(("width", "theme"), [(400, "light"), (400, "dark"), (1280, "dark")])
def test_nothing_is_wider_than_the_screen_in_light_and_dark(watched: Watched, width: int, theme: str) -> None:
    watched.page.set_viewport_size({"width": width, "height": 850})
    watched.open(__theme=theme, overlay=watched.lab.ids["run_v1"]).tour()
    page = watched.page
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.locator(".run-over[aria-pressed=true]").wait_for()
    assert page.evaluate(BESIDE_A_RUNS_STATE) > 4, (
        "a recorded run's state is not hidden by the sign that it is laid over"
    )
    background = page.evaluate("getComputedStyle(document.querySelector('.card')).backgroundColor")
    light = np.mean([int(part) for part in background[background.index("(") + 1 : -1].split(",")[:3]])
    assert (light < 80) if theme == "dark" else (light > 200)


def test_many_updates_leave_no_trace_in_memory(watched: Watched) -> None:
    page = watched.open().page
    watched.curve_ready("loss")
    client = page.context.new_cdp_session(page)

    def measure() -> tuple[float, int]:
        client.send("HeapProfiler.collectGarbage")
        return client.send("Runtime.getHeapUsage")["usedSize"] / 2**20, client.send("Memory.getDOMCounters")["nodes"]

    update = """async (times) => {
        const { host } = await import('/static/lab/page.js');
        const stops = host.stops();
        for (let i = 0; i < times; i++) {
            host.set({ step: stops[i % stops.length], follow: false, xrange: `0~${200 + i}` });
            await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
        }
        host.set({ xrange: null, follow: true });
    }"""
    page.evaluate(update, 25)
    heap, nodes = measure()
    page.evaluate(update, 75)
    page.wait_for_timeout(1000)
    more_heap, more_nodes = measure()
    assert more_heap - heap < 4, f"{heap:.1f} → {more_heap:.1f} MiB in 75 updates"
    assert more_nodes - nodes < 100, f"{nodes} → {more_nodes} nodes in 75 updates"


def test_the_browsers_mathematics_is_pythons(watched: Watched) -> None:
    random = np.random.default_rng(3)
    patches = random.normal(size=(3, 16, 24))
    integers, scale = similarity.quantised(patches)
    maps = np.exp(2 * random.normal(size=(20, 49)))
    target = random.random((20, 49)) > 0.6
    page = watched.open().page
    given = {
        "patches": integers.reshape(-1).tolist(), "scale": scale.reshape(-1).tolist(), "shape": list(patches.shape),
        "maps": maps.tolist(), "target": target.astype(int).tolist(),
    }  # fmt: skip
    found = page.evaluate(
        """async ({ patches, scale, shape, maps, target }) => {
            const js = await import('/static/lab/maps.js');
            const masks = maps.map((map) => js.massMask(map, 0.6));
            return {
                similar: [...js.similarity(Int8Array.from(patches), Float32Array.from(scale), shape, 1, 5)],
                alone: [...js.similarity(Int8Array.from(patches), Float32Array.from(scale), shape, 1, 5, 2)],
                masks: masks.map((mask) => [...mask]),
                entropy: maps.map(js.entropy),
                jaccard: masks.map((mask, i) => js.jaccard(mask, Uint8Array.from(target[i]))),
                pixels: [...js.onPixels(masks[0], [7, 7], 20, 20)],
            };
        }""",
        given,
    )
    assert np.array(found["similar"]).reshape(3, 16) == pytest.approx(similarity.to_patch(patches, 5, 1), abs=0.01)
    assert found["alone"] == found["similar"][32:]
    masks = attention.mass_mask(maps, 0.6)
    assert (np.array(found["masks"], bool) == masks).all()
    assert found["entropy"] == pytest.approx(attention.head_entropy(maps))
    assert found["jaccard"] == pytest.approx(attention.jaccard(masks, target))
    assert (np.array(found["pixels"], bool) == attention.on_pixels(masks[0], (7, 7), 20)).all()


def test_the_gap_between_mean_and_single_targets_is_the_information_drawn_beside_them(watched: Watched) -> None:
    """What the view says to look at has to be there: of targets, before centring the gap may even be negative."""
    watched.open()
    assert not watched.page.locator("[data-view=centre] .empty").is_visible(), (
        "nothing is said before it was looked for"
    )
    watched.curve_ready("collapse")
    drawn = watched.page.evaluate(
        """Object.fromEntries(document.querySelector('[data-view=collapse] .plot').data.map(({ name, y }) => [name, [...y]]))"""
    )
    gap = np.subtract(drawn["mean target"], drawn["each target, H(t)"])
    assert len(gap) >= 20
    np.testing.assert_allclose(gap, drawn["information"], atol=1e-6)
    assert np.ptp(gap) > 0.01


def test_short_curves_are_drawn_to_their_newest_point(watched: Watched) -> None:
    """plotly keeps the old line where it is given the same list, grown; `data` is what it was given, `calcdata` what it drew."""
    watched.open()
    watched.curve_ready("emergence")
    watched.lab.growing.log(2)
    watched.wait(
        f"document.querySelector('[data-view=emergence] .plot').calcdata[0].at(-1).x === {watched.lab.growing.step}"
    )


def test_curves_of_a_fork_begin_where_it_left_its_parent(watched: Watched) -> None:
    watched.open(EVIL)
    watched.curve_ready("loss")
    begins = "document.querySelector('[data-view=loss] .plot')._fullLayout.xaxis.range[0]"
    watched.wait(f"{begins} === 10")
    watched.open(EVIL, overlay=watched.lab.ids["growing"])
    watched.curve_ready("loss")
    watched.wait(f"{begins} === 0")


def test_one_card_alone_has_all_of_a_projector_and_larger_letters(watched: Watched) -> None:
    watched.page.goto(f"{watched.lab.address}/?run={watched.lab.ids['growing']}&view=monitor&card=collapse")
    watched.curve_ready("collapse")
    shown = watched.page.locator(".lab-host:visible .lab-view").evaluate_all(
        "all => all.map((one) => one.dataset.view)"
    )
    assert set(shown) <= {"collapse", "transport"}
    box = watched.page.locator("[data-view=collapse]").bounding_box()
    assert box["width"] > 1100
    assert box["height"] > watched.page.viewport_size["height"] - 130
    watched.wait("document.querySelector('[data-view=collapse] .plot')._fullLayout.font.size > 14")
    assert watched.page.locator("[data-view=loss]").evaluate("one => one.childElementCount") == 0, "nobody mounts it"


def test_the_top_of_the_page_answers_before_gradio_is_there_and_keeps_its_state(watched: Watched) -> None:
    held: list[Any] = []
    for late in ("**/assets/*.js", "**/api/runs"):  # the list comes with the page
        watched.page.route(late, lambda route: held.append(route) if held is not None else route.continue_())
    watched.page.goto(f"{watched.lab.address}/?run={watched.lab.ids['growing']}&__theme=dark", wait_until="commit")
    pick = watched.page.locator(".run-pick", has_text="run_v1")
    pick.click()
    watched.page.locator(".lab-ahead [data-view=diagnosis] .facts dd").first.wait_for(state="attached")
    assert pick.get_attribute("aria-pressed") == "true"
    assert watched.page.evaluate("document.body.classList.contains('dark')")
    waiting, held = held, None
    for route in waiting:
        route.continue_()
    watched.wait("!document.querySelector('.lab-ahead')")
    assert watched.page.locator(".lab-host-runs .run-pick[aria-pressed=true]").inner_text().count("run_v1") == 1
    assert pick.evaluate("one => one === document.activeElement"), "where the keyboard was, it is"
    watched.curve_ready("loss")


LATER = re.compile(r"api/(views|run/[^/]+/probe/|run/[^/]+/notes|figure/)|plotly\.min\.js")
SETTLED = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"


def test_what_did_not_come_is_asked_for_again(watched: Watched) -> None:
    watched.forgiven = "ERR_FAILED"
    watched.page.route(LATER, lambda route: route.abort())
    watched.open("run_v1")
    watched.page.locator("[data-view=loss]").scroll_into_view_if_needed()
    watched.page.locator("[data-view=loss] .plot", has_text="plotly.js could not be loaded").first.wait_for()
    watched.page.locator("[data-view=attention]").get_by_text("The lab does not answer.").wait_for()
    watched.page.locator("[data-view=spectrum]").scroll_into_view_if_needed()
    watched.page.locator("[data-view=spectrum] [role=status]", has_text="could not be loaded").wait_for()
    watched.page.unroute(LATER)
    watched.page.get_by_role("link", name="Attention", exact=True).wait_for()
    watched.curve_ready("loss")
    watched.wait("document.querySelectorAll('[data-view=attention] .tiles figure').length > 1")
    watched.page.locator("[data-view=spectrum] .figure .main-svg").first.wait_for()
    assert watched.page.locator("[data-view=attention]").get_by_text("does not answer").count() == 0


def test_an_answer_about_the_run_before_is_not_shown_over_one_that_has_none(watched: Watched) -> None:
    held: list[Any] = []
    page, probes = watched.page, re.compile("/probe/")
    page.route(probes, lambda route: held.append(route))
    watched.open("run_v1")
    asked = "performance.getEntriesByType('resource').some(({ name }) => name.includes('/images'))"
    watched.wait(asked)
    while not any("attention" in route.request.url for route in held) or not any(
        "pca" in one.request.url for one in held
    ):
        page.wait_for_timeout(20)
    page.locator(".run-pick", has_text="onerror").click()
    page.locator("[data-view=attention]").get_by_text("The first pictures come with the first checkpoint.").wait_for()
    for route in held:
        with page.expect_response(probes):
            route.continue_()
    page.unroute(probes)
    page.evaluate(SETTLED)
    assert page.locator("[data-view=attention] .tiles figure").count() == 0
    assert page.locator("[data-view=patches] .tiles canvas").count() == 0


def test_a_film_gives_way_to_who_moves_the_clock_and_to_no_second_one(watched: Watched) -> None:
    held: list[Any] = []
    page = watched.open().page
    watched.wait("document.querySelectorAll('[data-view=attention] .tiles figure').length === 4")
    stops = page.evaluate("import('/static/lab/page.js').then(({ host }) => host.stops())")
    page.evaluate("import('/static/lab/page.js').then(({ host }) => host.seek(host.stops()[1]))")
    watched.wait(f"document.querySelector('.transport .at').textContent.startsWith('step {stops[1]} ')")
    late = re.compile(f"/probe/{stops[2]}/pca")
    page.evaluate("import('/static/lab/page.js').then(({ host }) => host.set({ partsof: 'image' }))")  # not known yet
    page.route(late, lambda route: held.append(route))
    cards = [page.locator(f"[data-view={view}] details.save") for view in ("patches", "attention")]
    for card in cards:
        card.locator("summary").click()
        card.locator("button", has_text="WebM").click()
    cards[1].get_by_text("Another film is being made; one at a time.").wait_for()
    cards[0].get_by_text(f"picture 3 of {len(stops)}").wait_for(state="attached")  # in its menu, which may be closed
    assert cards[0].locator("button:not(:disabled)").count() == 0, "a second click would save it twice"
    while not held:
        page.wait_for_timeout(20)
    page.evaluate("import('/static/lab/page.js').then(({ host }) => host.seek(host.stops()[0]))")
    for route in held:
        route.continue_()
    page.unroute(late)
    cards[0].get_by_text("The film was given up").wait_for(state="attached")
    assert watched.at().startswith(f"step {stops[0]} "), "where somebody went, and not where it was before the film"
    assert cards[0].locator("button:disabled").count() == 0


def test_without_a_run_the_page_says_how_to_start_one(browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    with serving(tmp_path / "runs", tmp_path / "cache") as (address, process):
        page = browser.new_page()
        page.set_default_timeout(SLOW)
        page.goto(address)
        page.get_by_text("dino-lab train tiny").wait_for()
        late = Growing(tmp_path / "runs" / "late")
        late.log(3)
        page.locator("[data-fact=step] dd", has_text="30").wait_for()
        late.writer.update(status="finished", steps=36)
        page.locator(".run-about", has_text="36 / 36 steps").wait_for()
        late.writer.close()
        process.terminate()
        assert "Traceback" not in process.communicate(timeout=60)[0], "an open page ends with the lab"
        page.close()
