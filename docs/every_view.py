"""views.md, and a picture of each view of the lab: `python docs/every_view.py` drives Chromium over the recorded runs.

What stands there is what the registry says of a view, and its card as it stands on its page, cut where it gets long.
`python docs/every_view.py heads norms` takes those pictures alone; tests hold views.md to the registry."""

from __future__ import annotations

import argparse
import itertools
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from pictures import ARGUMENTS, PATIENCE, chromium, serve, store  # noqa: E402

from lab.views import EVERYWHERE, PAGES, View, catalogue  # noqa: E402

if TYPE_CHECKING:
    from playwright.sync_api import Page

SCREEN = {"width": 1000, "height": 2400}
TALLEST = 1000
"""Pixels of a card that are shown."""
WIDEST, LARGEST = 800, 70_000
ASKED = {
    "monitor": "run=dino_shapes", "objective": "run=dino_shapes&stage=6", "playground": "pg=heal-sharpening",
    "attention": "run=dino_shapes&image=4", "patches": "run=dino_shapes&image=4", "gram": "run=dinov3_shapes&image=4",
    "prototypes": "run=dino_shapes", "embedding": "run=dino_shapes&images=data&crowd=300&thumbnails=1",
    "compare": "run=dino_shapes&image=4&against=first", "fork": "run=dino_shapes&step=1000",
}  # fmt: skip
"""Of each page: over which run, and what is chosen on it."""
ALSO = {
    "timeline": "overlay=dinov3_shapes",
    "dense_against_global": "overlay=dino_shapes",
    "matching": "patch=45&pinned=true",
}
"""Of a view besides."""
PRESSED = {"carried": "mark the object"}
"""What is pressed in it first."""
BEGINS = """# Every view

What each view of the lab shows and what to look at in it, over the recorded runs. The same views stand in notebooks
(`lab.show("heads", "dino_shapes")`) and in one file (`dino-lab export`). `python docs/every_view.py` writes this page.
"""
DRAWN = """name => {
    const body = document.querySelector(`[data-view=${name}]`);
    const shown = (selector) => [...body.querySelectorAll(selector)].filter((one) => one.checkVisibility());
    if (shown("[role=status], .hint").some((status) => /…$/.test(status.innerText.trim()))) return false;
    const painted = (canvas) => {
        if (!canvas.width || !canvas.height) return false;
        const pixels = new Uint32Array(canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.buffer);
        return pixels.some((pixel) => pixel !== pixels[0]);
    };
    if (shown("canvas").some(painted) || shown(".plot").some((plot) => plot.data?.length)) return true;
    return shown("tr, li, dd, polyline, fieldset, details").length > 0;
}"""


def main() -> int:
    parser = argparse.ArgumentParser(description="views.md and a picture of each view.")
    parser.add_argument("views", nargs="*", metavar="VIEW")
    parser.add_argument("--out", type=Path, default=HERE)
    options = parser.parse_args()
    if unknown := set(options.views) - {view.name for view in shown()}:
        parser.error(f"no view {sorted(unknown)[0]!r}; there are {', '.join(view.name for view in shown())}.")
    (options.out / "views").mkdir(parents=True, exist_ok=True)
    photograph([view for view in shown() if not options.views or view.name in options.views], options.out / "views")
    (options.out / "views.md").write_text(written(), "utf-8")
    return 0


def shown() -> list[View]:
    """All views that stand on a page, in the order of pages and places."""
    pages = [page.name for page in PAGES]
    placed = [view for view in catalogue().values() if view.page != EVERYWHERE]
    return sorted(placed, key=lambda view: (pages.index(view.page), view.place))


def written() -> str:
    """views.md: what the registry says of each view, under its page."""
    parts = [BEGINS]
    titles = {page.name: page for page in PAGES}
    for name, views in itertools.groupby(shown(), key=lambda view: view.page):
        parts.append(f"## {titles[name].title}\n\n{titles[name].question}\n")
        parts.extend(_about(view) for view in views)
    return "\n".join(parts)


def _about(view: View) -> str:
    needs = f" Needs {view.needs}." if view.needs else ""
    return f"### {view.title}\n\n`{view.name}`. {view.shows} *{view.look}*{needs}\n\n![{view.title}](views/{view.name}.png)\n"


def photograph(views: list[View], folder: Path) -> None:
    from playwright.sync_api import sync_playwright

    with TemporaryDirectory() as empty, sync_playwright() as playwright:
        address = serve(Path(empty))
        browser = playwright.chromium.launch(executable_path=chromium(), args=ARGUMENTS)
        page = browser.new_page(viewport=SCREEN, device_scale_factor=1)
        page.set_default_timeout(PATIENCE)
        for view in views:
            content, width = _card(page, address, view)
            store(content, folder / f"{view.name}.png", min(width, WIDEST), LARGEST)
        browser.close()


def _card(page: Page, address: str, view: View) -> tuple[bytes, int]:
    """A view's card, once all is drawn in it, and its width."""
    asked = "&".join(part for part in (ASKED[view.page], ALSO.get(view.name)) if part)
    page.goto(f"{address}/?view={view.page}&{asked}")
    card = page.locator(f"[data-view={view.name}]").first
    card.wait_for()
    card.scroll_into_view_if_needed()
    if view.name in PRESSED:
        card.get_by_text(PRESSED[view.name]).first.click()
    page.wait_for_function(DRAWN, arg=view.name)
    page.wait_for_timeout(2500)  # what is painted after the first of it
    page.wait_for_function(DRAWN, arg=view.name)
    page.evaluate(
        "(here) => { for (const e of document.querySelectorAll('.command')) e.textContent = e.textContent.replace(here, '');"
        " for (const e of document.querySelectorAll('.transport')) e.style.visibility = 'hidden'; }",
        f"{HERE.parent}/",
    )
    card.evaluate("card => scrollTo(0, card.getBoundingClientRect().top + scrollY - 8)")
    page.wait_for_timeout(300)
    box = card.bounding_box()
    assert box is not None
    return page.screenshot(clip={**box, "height": min(box["height"], TALLEST)}), round(box["width"])


if __name__ == "__main__":
    sys.exit(main())
