"""Views in a real JupyterLab, in a real kernel, while a run grows."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import lab
from lab.analysis import attention
from lab.views import catalogue
from tests.apps.jupyter import jupyterlab

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [pytest.mark.browser, pytest.mark.slow]
SLOW = 90_000
CELLS = [
    """
from pathlib import Path
import lab
from tests.apps.growing import Growing
run = Growing(Path("runs/growing"))
run.probe()
for _ in range(3):
    run.log(5)
    run.probe()
""",
    'heads = lab.show("attention", "runs/growing", image=2)\nheads',
    'patches = lab.show("patches", "growing")\npatches',
]
AT = "document.querySelectorAll('.transport .at')"


class Notebook:
    """A notebook that is open in Chromium, its kernel, and what went wrong."""

    def __init__(self, page: Page, address: str, folder: Path) -> None:
        self.page, self.address, self.folder = page, address, folder
        self.foreign: list[str] = []
        self.errors: list[str] = []
        page.set_default_timeout(SLOW)
        page.on("request", lambda request: self._look(request.url))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda message: self.errors.append(message.text) if message.type == "error" else None)

    def _look(self, url: str) -> None:
        if not url.startswith((self.address, self.address.replace("http", "ws"), "data:", "blob:")):
            self.foreign.append(url)

    def wait(self, expression: str) -> None:
        self.page.wait_for_function(expression, timeout=SLOW, polling=50)

    def open(self) -> None:
        self.page.goto(f"{self.address}/lab/tree/views.ipynb?reset")
        self.wait("window.jupyterapp?.shell.currentWidget?.context?.isReady")
        self.wait("jupyterapp.shell.currentWidget.sessionContext.session?.kernel?.status === 'idle'")
        self.page.evaluate("jupyterapp.commands.execute('notebook:run-all-cells')")
        self.wait("document.querySelectorAll('[data-view=attention] .tiles figure').length === 5")
        self.wait("document.querySelectorAll('[data-view=patches] .tiles canvas').length === 6")
        self.wait("[...document.querySelectorAll('.transport input')].every((slider) => slider.max === '3')")

    def send(self, code: str) -> None:
        """Let the kernel run something, without waiting for it."""
        kernel = "jupyterapp.shell.currentWidget.sessionContext.session.kernel"
        self.page.evaluate(f"(code) => {{ {kernel}.requestExecute({{ code }}); }}", code)

    def run(self, code: str) -> Any:
        """What the kernel prints, read as JSON."""
        kernel = "jupyterapp.shell.currentWidget.sessionContext.session.kernel"
        script = f"""async (code) => {{
            const future = {kernel}.requestExecute({{ code }});
            let said = "";
            future.onIOPub = ({{ content }}) => {{ said += content.text ?? (content.traceback ?? []).join("\\n"); }};
            await future.done;
            return said;
        }}"""
        said = self.page.evaluate(script, code)
        return json.loads(said) if said else None


@pytest.fixture(scope="module")
def book(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Notebook]:
    folder = tmp_path_factory.mktemp("notebook")
    with jupyterlab(folder, CELLS) as address:
        page = browser.new_page(viewport={"width": 1280, "height": 2600})
        book = Notebook(page, address, folder)
        book.open()
        yield book
        page.close()
        assert book.foreign == [], "no request leaves this machine"


@pytest.fixture(autouse=True)
def nothing_went_wrong(book: Notebook) -> Iterator[None]:
    yield
    errors, book.errors = book.errors, []
    assert errors == []


def test_a_view_in_a_cell_says_what_python_computes(book: Notebook) -> None:
    run = lab.Run(book.folder / "runs" / "growing")
    maps = run.probe().attention[2].astype(np.float32)
    counts = [int(attention.mass_mask(one).sum()) for one in maps]
    said = book.page.locator("[data-view=attention] .tiles figcaption small:nth-of-type(1)").all_inner_texts()
    assert [int(re.findall(r"\d+", text)[1]) for text in said if text][: len(counts)] == counts
    assert book.page.locator("[data-view=attention] .strip [aria-selected=true]").get_attribute("id") == "probe-2"


def test_two_widgets_share_one_clock_with_each_other_and_with_python(book: Notebook) -> None:
    slider = book.page.locator(".dino-lab .transport input[type=range]").first
    for _ in range(100):  # JupyterLab moves the focus once more when the last cell has run
        slider.focus()
        book.page.keyboard.press("Home")
        if slider.input_value() == "0":
            break
        book.page.wait_for_timeout(100)
    book.wait(f"{AT}.length === 2 && [...{AT}].every((at) => at.textContent.startsWith('step 0'))")
    book.wait("document.querySelector('[data-view=attention] .film [data-stop=\"0\"]').ariaCurrent === 'true'")
    knows = "import json, time\nwhile {name}.step != {step}: time.sleep(0.05)\nprint(json.dumps({name}.state))"
    for name in ("heads", "patches"):
        assert book.run(knows.format(name=name, step=0)) == {"step": 0, "image": 2}
    slider.press("ArrowRight")
    book.wait(f"[...{AT}].every((at) => at.textContent.startsWith('step 50'))")
    for name in ("heads", "patches"):  # the last to speak is right, so Python speaks after it has heard
        assert book.run(knows.format(name=name, step=50)) == {"step": 50, "image": 2}
    book.run("patches.look(step=100, image=1)")
    book.wait(f"[...{AT}].every((at) => at.textContent.startsWith('step 100'))")
    book.wait("document.querySelector('[data-view=attention] .strip [aria-selected=true]').id === 'probe-1'")


def test_a_patch_pointed_at_lights_up_and_a_pinned_one_is_known_to_python(book: Notebook) -> None:
    place = book.page.locator("[data-view=patches] [data-kind=components] canvas")
    box = place.bounding_box()
    assert box is not None
    book.page.mouse.move(box["x"] + 0.9 * box["width"], box["y"] + 0.1 * box["height"])
    book.wait("document.querySelector('[data-view=patches] [data-kind=similar] b').textContent === 'like patch 4'")
    book.page.mouse.click(box["x"] + 0.9 * box["width"], box["y"] + 0.1 * box["height"])
    assert book.run("import time\nwhile heads.patch is None: time.sleep(0.05)\nprint(heads.patch)") == 3
    book.run("heads.patch = None")
    book.page.mouse.move(5, 5)
    book.wait("document.querySelector('[data-view=patches] [data-kind=similar] b').textContent === 'point at a patch'")


def test_a_run_that_grows_is_followed(book: Notebook) -> None:
    book.run("heads.step = None")
    for _ in range(2):
        step = book.run("run.log(2)\nprint(run.probe())")
        book.wait(f"[...{AT}].every((at) => at.textContent.startsWith('step {step}'))")
        book.wait(
            f"document.querySelector('[data-view=attention] .film [data-stop=\"{step}\"]')?.ariaCurrent === 'true'"
        )


def test_answers_come_while_a_cell_of_the_notebook_runs(book: Notebook) -> None:
    book.run("heads.step = 150")
    book.wait(f"[...{AT}].every((at) => at.textContent.startsWith('step 150'))")
    picture = "document.querySelector('[data-view=patches] [data-kind=components] canvas').toDataURL()"
    before = book.page.evaluate(picture)
    busy = "while not pathlib.Path('enough').exists() and time.monotonic() < until: time.sleep(0.05)"
    book.send(f"import pathlib, time\nuntil = time.monotonic() + 100\n{busy}")
    book.page.locator("[data-view=patches] .choice label", has_text="each image").click()  # never asked before
    book.wait(f"{picture} !== {json.dumps(before)}")
    assert not (book.folder / "enough").exists()
    (book.folder / "enough").touch()
    assert book.run("print(1)") == 1


def test_keys_of_the_notebook_are_not_taken_and_its_look_stays(book: Notebook) -> None:
    before = book.page.locator(".transport .at").first.inner_text()
    book.page.evaluate("document.querySelector('.jp-Notebook').focus()")
    book.page.keyboard.press("[")
    book.page.keyboard.press("ArrowLeft")
    assert book.page.locator(".transport .at").first.inner_text() == before
    colour = "getComputedStyle(document.body).getPropertyValue('--ink')"
    assert book.page.evaluate(colour) == "", "the style sheet keeps to its own elements"
    ink = "getComputedStyle(document.querySelector('.lab-view')).color"
    light = book.page.evaluate(ink)
    book.page.evaluate("jupyterapp.commands.execute('apputils:change-theme', { theme: 'JupyterLab Dark' })")
    book.wait(f"{ink} !== {json.dumps(light)}")


def test_every_view_can_be_shown_in_a_cell(book: Notebook) -> None:
    """The contract of hosts: each view mounts and logs no error, also where a busy page let anywidget's two seconds pass."""
    names = list(catalogue())
    book.page.evaluate("""() => {
        AbortSignal.patient = AbortSignal.timeout;
        AbortSignal.timeout = () => { const late = new AbortController(); setTimeout(() => late.abort()); return late.signal; };
    }""")
    book.page.evaluate(
        """async (code) => {
            const notebook = jupyterapp.shell.currentWidget.content;
            await jupyterapp.commands.execute("notebook:move-cursor-down");
            notebook.activeCellIndex = notebook.widgets.length - 1;
            notebook.activeCell.model.sharedModel.setSource(code);
            await jupyterapp.commands.execute("notebook:run-cell");
        }""",
        f"lab.show({names!r}, 'growing')",
    )
    last = "[...document.querySelectorAll('.dino-lab')].at(-1)"
    book.wait(f"{last}.querySelectorAll(':scope > .lab-view').length >= {len(names)}")
    for name in names:
        book.wait(f"{last}.querySelector('[data-view={name}]').childElementCount > 0")
    assert "could not be drawn" not in book.page.evaluate(f"{last}.textContent")
    book.page.evaluate("() => { AbortSignal.timeout = AbortSignal.patient; }")
    assert {error for error in book.errors if "Failed to initialize" in error}, "anywidget gave it up"
    book.errors[:] = [error for error in book.errors if "Failed to initialize" not in error]


def test_a_saved_notebook_is_small_and_shows_a_picture_where_no_kernel_is(book: Notebook) -> None:
    from nbconvert import HTMLExporter

    book.page.evaluate("jupyterapp.commands.execute('docmanager:save')")
    book.wait("!jupyterapp.shell.currentWidget.context.model.dirty")
    saved = (book.folder / "views.ipynb").read_text()
    assert "export default" not in saved, "no script in the notebook"
    assert len(saved) < 400_000
    page, _ = HTMLExporter(template_name="basic").from_notebook_node(__import__("nbformat").reads(saved, 4))
    assert page.count("data:image/png;base64,") >= 2
