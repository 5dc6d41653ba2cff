"""Cells of the course in a real JupyterLab: a guess is clicked, a view of the lab mounts, draws, and follows its slider."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import nbformat
import pytest

from notebooks import building
from tests.apps.conftest import browser  # noqa: F401
from tests.apps.jupyter import jupyterlab

if TYPE_CHECKING:
    from playwright.sync_api import Browser

SLOW = 90_000
IMPORTS = "from notebooks.course import gallery, predict, show\nrun = gallery()"
READY = "jupyterapp.shell.currentWidget.sessionContext.session?.kernel?.status === 'idle'"


def cells() -> list[str]:
    """Of the tour: the set-up cell, the question about heads, the view that answers it."""
    read = nbformat.read(building.STUDENT / "00_tour.ipynb", 4).cells
    wanted = ('predict(\n    "00.b"', 'show("attention"')
    found = [cell.source for cell in read if cell.source.startswith(wanted)]
    assert len(found) == 2
    return [read[1].source, IMPORTS, *found]


@pytest.mark.slow
@pytest.mark.browser
def test_a_guess_is_clicked_and_a_view_follows_its_slider(
    browser: Browser,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DINO_COURSE_HOME", str(tmp_path / "home"))
    errors: list[str] = []
    with jupyterlab(tmp_path, cells()) as address:
        page = browser.new_page(viewport={"width": 1280, "height": 1400})
        page.set_default_timeout(SLOW)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(f"{address}/lab/tree/views.ipynb?reset")
        page.wait_for_function("window.jupyterapp?.shell.currentWidget?.context?.isReady", timeout=SLOW)
        page.wait_for_function(READY, timeout=SLOW)
        page.evaluate("void jupyterapp.commands.execute('notebook:run-all-cells')")
        page.get_by_role("button", name="about the same").click()
        page.get_by_text("Recorded: about the same").wait_for()
        kept = json.loads((tmp_path / "home" / "guesses.json").read_text())
        assert kept["00.b"]["guess"] == "about the same"
        view, at = page.locator("[data-view=attention]"), page.locator(".dino-lab .transport .at")
        view.locator(".tiles figure canvas").nth(5).wait_for()
        at.get_by_text("step 6").wait_for()
        drawn = "document.querySelectorAll('[data-view=attention] .tiles canvas')[1].toDataURL()"
        last = page.evaluate(drawn)
        page.locator(".dino-lab .transport input[type=range]").fill("0")
        at.get_by_text("step 0").wait_for()
        page.wait_for_function(f"{drawn} !== {json.dumps(last)}", timeout=SLOW)
        page.close()
    assert errors == []
