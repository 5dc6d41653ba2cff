"""The views of the lab: a new one is one new file.

An *instrument* is a JavaScript module `lab/static/NAME.js` that begins with its captions and exports `mount(element, host)`:

    /* view
    { "page": "monitor", "place": 30, "half": true, "title": "…", "shows": "…", "look": "…", "needs": "…" }
    */

A *figure* is a Python function in `lab/views/NAME.py`: its first argument says what it reads, its keyword arguments become the
controls, and it returns a plotly figure (`lab.views.figures`).  Both appear on their page of the lab, as a widget in JupyterLab
and in exports, under the same captions.  What a view asks for beyond that is answered by functions beside it (`lab.answers`)."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

STATIC = Path(__file__).parent.parent / "static"
EVERYWHERE = "*"
"""The page of what stands on all pages."""


@dataclass(frozen=True)
class Page:
    """One kind of question."""

    name: str
    title: str
    question: str


PAGES = (
    Page("monitor", "Monitor", "How is the run doing, and if badly, why?"),
    Page("objective", "Objective", "What exactly is computed in one step?"),
    Page("playground", "Playground", "Why does it not collapse?"),
    Page("attention", "Attention", "What do the heads look at?"),
    Page("patches", "Patches", "Which patches are alike?"),
    Page("gram", "Gram", "Do dense features last?"),
    Page("prototypes", "Prototypes", "What does each prototype stand for?"),
    Page("embedding", "Embedding", "Which images are neighbours?"),
    Page("compare", "Compare", "What do other networks see?"),
    Page("fork", "Fork", "What if?"),
)


@dataclass(frozen=True)
class View:
    """What is known of a view without running it."""

    name: str
    page: str
    """Of `PAGES`, or `EVERYWHERE`."""
    title: str
    shows: str
    """One sentence: what it shows."""
    look: str
    """One sentence: what to look at."""
    place: int = 50
    """Views of a page stand in this order."""
    half: bool = False
    """Two such views in a row stand side by side where there is room."""
    needs: str = ""
    """What it needs, where that may be missing."""
    module: str = ""
    """The JavaScript file that draws it."""
    controls: dict[str, Any] = field(default_factory=dict)
    """Of a figure: each keyword argument's kind, choices and default."""
    records: list[str] = field(default_factory=list)
    """What it asks for, for hosts that can't compute: paths with `{run}`, `{step}`, `{name:this|that}` (`lab.onefile`)."""
    grows: bool = False
    """Of a figure: whether every logged step changes it, and not only the clock's."""
    beside: bool = False
    """Of a figure: whether it draws runs too that are laid over the chosen one."""
    films: bool = False
    """Whether Python can draw it at any step (`lab.stills`), for films and where no script runs."""


@cache
def catalogue() -> dict[str, View]:
    """All views by name, in the order of their pages and places."""
    found = [view for file in sorted(STATIC.glob("*.js")) if (view := instrument(file)) is not None]
    for module in iter_modules(__path__):
        import_module(f"{__name__}.{module.name}")
    from lab.views.figures import FIGURES

    found += [figure.view for figure in FIGURES.values()]
    from lab.stills import STILLS

    found = [replace(view, films=view.name in STILLS) for view in found]
    order = [EVERYWHERE, *(page.name for page in PAGES)]
    if strangers := sorted({view.page for view in found} - set(order)):
        raise ValueError(f"there is no page {strangers[0]!r}. Pages: {', '.join(order)}.")
    return {view.name: view for view in sorted(found, key=lambda v: (order.index(v.page), v.place, v.name))}


def instrument(file: Path) -> View | None:
    """The captions at the head of a JavaScript module; None for one that is no view."""
    match = re.match(r"/\* view\n(.*?)\n\*/", file.read_text("utf-8"), re.DOTALL)
    if match is None:
        return None
    try:
        return View(name=file.stem, module=file.stem, **json.loads(match.group(1)))
    except (ValueError, TypeError) as error:
        raise ValueError(f"the captions at the head of {file.name} can't be read: {error}.") from error


def rows(page: str) -> list[list[View]]:
    """A page's views from top to bottom; two halves that follow each other share a row."""
    placed: list[list[View]] = []
    for view in (view for view in catalogue().values() if view.page == page):
        last = placed[-1] if placed else []
        if view.half and len(last) == 1 and last[0].half:
            last.append(view)
        else:
            placed.append([view])
    return placed


def said() -> dict[str, Any]:
    """The pages that have views, and all views, for a host that draws them."""
    used = {view.page for view in catalogue().values()}
    return {
        "pages": [asdict(page) for page in PAGES if page.name in used],
        "views": {name: asdict(view) for name, view in catalogue().items()},
    }
