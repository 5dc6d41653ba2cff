"""A static gallery for a course page: an index, one self-contained page a run and a notebook; a USB stick can serve it."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Sequence
from pathlib import Path

from dino_core.errors import DinoError, RunError
from lab import modules, stills
from lab.onefile import export
from lab.run import Run, runs
from lab.views import STATIC, catalogue

VIEWS = ("diagnosis", "emergence", "loss", "collapse", "attention", "patches", "gram", "spectrum", "events")
COVER = "patches"
"""The view whose picture stands for a run in the index."""


def site(
    folder: str | Path,
    out: str | Path,
    *,
    notebooks: str | Path | None = None,
    views: Sequence[str] = VIEWS,
    steps: Sequence[int] | None = None,
) -> list[Path]:
    """Write the pages; gives their files, the index first.  RunError where a folder has no run that can be shown."""
    target = Path(out)
    target.mkdir(parents=True, exist_ok=True)
    known = [view for view in views if view in catalogue()]
    entries, files = [], []
    for run in runs(folder):
        file = target / f"{_plain(run.path.name)}.html"
        try:
            export(known, run, file, steps=steps)
        except (DinoError, OSError):
            continue
        files.append(file)
        entries.append(_entry(run, file))
    if not files:
        raise RunError(f"there is no run below {str(folder)!r} that could be shown.")
    lessons = [_notebook(book, target) for book in sorted(Path(notebooks).glob("*.ipynb"))] if notebooks else []
    index = target / "index.html"
    index.write_text(_page("DINO lab", _index(entries, lessons)), "utf-8")
    return [index, *files, *lessons]


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


def _index(entries: list[str], lessons: list[Path]) -> str:
    books = "".join(f'<li><a href="{html.escape(file.name)}">{html.escape(file.stem)}</a></li>' for file in lessons)
    return (
        "<h1>DINO lab</h1><p>Self-distillation, watched while it learns: every page works without network, "
        "and can be saved and handed on as one file.</p>"
        f'<h2>Runs</h2><ul class="runs">{"".join(entries)}</ul>'
        + (f"<h2>Notebooks</h2><ul>{books}</ul>" if books else "")
    )


def _notebook(book: Path, target: Path) -> Path:
    """A notebook as HTML that asks nobody for scripts or fonts; formulas stay as they are written."""
    from nbconvert import HTMLExporter

    body, _ = HTMLExporter(template_name="basic").from_filename(str(book))
    body = re.sub(r"<script\b.*?</script>", "", body, flags=re.DOTALL)
    file = target / f"{_plain(book.stem)}.html"
    file.write_text(_page(book.stem, body), "utf-8")
    return file


def _plain(name: str) -> str:
    return re.sub(r"[^\w.-]+", "_", name) or "page"


def _page(title: str, body: str) -> str:
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{html.escape(title)}</title><link rel="icon" href="{modules.picture()}">
<style>
{(STATIC / "site.css").read_text("utf-8")}</style></head><body>
{body}
</body></html>
"""
