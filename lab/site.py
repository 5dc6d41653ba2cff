"""A static gallery for a course page: an index, one self-contained page a run, and the course; a USB stick can serve it."""

from __future__ import annotations

import base64
import html
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from dino_core.errors import DinoError, RunError
from lab import coursepages, stills
from lab.lessons import RECORDED, lessons
from lab.onefile import PATIENCE, export
from lab.run import Run, runs
from lab.views import catalogue

VIEWS = (
    "diagnosis", "emergence", "loss", "attention", "patches", "collapse", "spectrum", "events", "objective", "miniature",
    "playground", "heads", "trajectories", "components", "matching", "carried", "gram", "dense", "gramtoy", "prototypes",
    "drift", "births", "embedding", "alignment",
)  # fmt: skip
COVER = "patches"
"""The view whose picture stands for a run in the index."""
HANDOUT = "HANDOUT.md"
TOYS = ("playground", "gramtoy")
"""Small systems that train in the page: no run is needed for them."""


def site(
    folder: str | Path,
    out: str | Path,
    *,
    notebooks: str | Path | None = None,
    views: Sequence[str] = VIEWS,
    steps: Sequence[int] | None = None,
    patience: float = PATIENCE,
) -> list[Path]:
    """Write the pages; gives their files, the index first.  RunError where a folder has no run that can be shown.

    Of each run the `steps` nearest to those that are asked for are shown; a run without a page is said on stderr.
    `notebooks` is the folder of the course (with `student/` and `instructor/`), or any folder of executed notebooks; `patience` are
    seconds that each page may wait for what a worker computes."""
    target = Path(out)
    target.mkdir(parents=True, exist_ok=True)
    known = [view for view in views if view in catalogue()]
    entries, files, shown = [], [], []
    for run in runs(folder):
        file = target / f"{_plain(run.path.name)}.html"
        try:
            export(known, run, file, steps=_own(steps, run), patience=patience)
        except (DinoError, OSError) as error:
            print(f"{run.path.name} has no page: {error}", file=sys.stderr)
            continue
        files.append(file)
        shown.append(run)
        entries.append(_entry(run, file))
    if not files:
        raise RunError(f"there is no run below {str(folder)!r} that could be shown.")
    if notebooks:
        beside = next((run for run in shown if run.path.name == RECORDED), shown[0])
        export([toy for toy in TOYS if toy in catalogue()], beside, target / "playground.html")
        files += [target / "playground.html", *coursepages.write(notebooks, target)]
        if (sheet := Path(notebooks) / HANDOUT).is_file():
            (target / "handout.html").write_text(coursepages.sheet(sheet), "utf-8")
            files.append(target / "handout.html")
    index = target / "index.html"
    index.write_text(coursepages.document("DINO lab", _index(entries, notebooks), policy=coursepages.PLAIN), "utf-8")
    return [index, *files]


def _own(steps: Sequence[int] | None, run: Run) -> list[int] | None:
    """Steps at which this run has pictures, nearest to those asked for."""
    return sorted({near for step in steps if (near := stills.nearest(run.probes, step)) is not None}) if steps else None


def _entry(run: Run, file: Path) -> str:
    said = run.diagnosis or {}
    facts = [
        str(run.about.get("recipe") or ""),
        f"{run.probes[-1]} steps" if run.probes else "",
        str(said.get("sentence") or ""),
    ]
    try:
        cover = base64.b64encode(stills.png(COVER, run)).decode()
        picture = f'<img alt="patches of one image of {html.escape(run.name)}" src="data:image/png;base64,{cover}">'
    except DinoError:
        picture = ""
    about = html.escape(" · ".join(fact for fact in facts if fact))
    return f'<li><a href="{html.escape(file.name)}"><strong>{html.escape(run.name)}</strong>{picture}</a><p>{about}</p></li>'


def _index(entries: list[str], notebooks: str | Path | None) -> str:
    course = _course(Path(notebooks)) if notebooks else ""
    return (
        "<main><h1>DINO lab</h1><p>Self-distillation, watched while it learns: every page works without network, "
        "and can be saved and handed on as one file.</p>"
        f'{course}<h2>Runs</h2><ul class="runs">{"".join(entries)}</ul></main>'
    )


def _course(notebooks: Path) -> str:
    books = "".join(coursepages.summary(book) for book in lessons(notebooks))
    sheet = ' All formulas are on <a href="handout.html">one sheet</a>.' if (notebooks / HANDOUT).is_file() else ""
    return (
        "<h2>The course</h2><p>To read here; to run and to write in, take a notebook from its page. "
        f'<a href="playground.html">The playground</a> is a small DINO that trains in the page.{sheet}</p>'
        f'<ol class="lessons">{books}</ol>'
    )


def _plain(name: str) -> str:
    return re.sub(r"[^\w.-]+", "_", name) or "page"
