"""The course as pages that need no server: each notebook as a student gets it, with what its cells print, its formulas drawn,
and, where a cell shows a view of the lab, that view itself, alive, in a frame."""

from __future__ import annotations

import ast
import base64
import hashlib
import html
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from dino_core.errors import DinoError
from lab import modules
from lab.formulas import rendered, with_places
from lab.lessons import RECORDED, Lesson, Shown, first, lessons, statements, text_of
from lab.local import GALLERY
from lab.onefile import export
from lab.run import Run
from lab.views import STATIC, catalogue

FRAME = """addEventListener("message", ({ source, data }) => {
  for (const frame of document.querySelectorAll("iframe"))
    if (frame.contentWindow === source && data?.dinoLabHeight > 0) frame.style.height = `${Math.min(data.dinoLabHeight, 5000)}px`;
});"""
"""All that a page of the course runs: frames say how high they are."""
PLAIN = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
"""What a page may do that runs nothing: ask nobody for anything."""
POLICY = (
    f"default-src 'none'; script-src 'sha256-{base64.b64encode(hashlib.sha256(FRAME.encode()).digest()).decode()}'; "
    "style-src 'unsafe-inline'; img-src data:; frame-src 'self' file:; base-uri 'none'; form-action 'none'"
)


def write(folder: str | Path, out: Path, *, steps: Sequence[int] | None = None) -> list[Path]:
    """Write a page a notebook, the views that they show, and the notebooks themselves to take away; gives the pages."""
    books = lessons(folder)
    failed = _figures(books, out, steps)
    written = []
    for place, book in enumerate(books):
        file = out / book.page
        file.write_text(_page(book, books, place, failed), "utf-8")
        (out / f"{book.name}.ipynb").write_text(json.dumps(book.bare, indent=1, ensure_ascii=False) + "\n", "utf-8")
        written.append(file)
    return written


def summary(book: Lesson) -> str:
    """A lesson in a list: its title, its question, how long it takes."""
    minutes = f' <span class="minutes">{book.minutes}</span>' if book.minutes else ""
    return f"<li>{_link(book)}{minutes}{rendered(book.question)}</li>"


def sheet(source: Path) -> str:
    """A sheet of formulas in Markdown as a page that prints on one side of A4."""
    text = source.read_text("utf-8")
    body = re.sub(r"<code>.*?</code>", lambda name: re.sub(r"([._])(?=\w)", r"\1<wbr>", name[0]), rendered(text))
    body = re.sub(r"(?<=[A-Z…]) (?=[A-Z]\b)", "\u00a0", body)  # shapes stay together
    title = first(r"^# (.+)$", [{"source": text}])
    return document(title, body, policy=PLAIN, style=(STATIC / "handout.css").read_text("utf-8"))


def _figures(books: Sequence[Lesson], out: Path, steps: Sequence[int] | None) -> set[str]:
    """Write the files of all views that are shown; gives those that could not be."""
    failed = set()
    for shown in {one.file: one for book in books for one in book.shown.values()}.values():
        try:
            export(
                shown.view,
                Run(GALLERY / (shown.run or RECORDED)),
                out / shown.file,
                steps=steps,
                patience=0.0,
                **shown.state,
            )
        except (DinoError, OSError, ValueError):
            failed.add(shown.file)
    return failed


def _page(book: Lesson, books: Sequence[Lesson], place: int, failed: set[str]) -> str:
    body, headings = with_places("\n".join(_cells(book, failed)))
    around = _neighbours(books, place)
    return document(
        book.title,
        f'<header class="bar"><a href="index.html">DINO lab</a>{around}</header><div class="lesson">'
        f'<nav aria-label="Contents">{_contents(book, books, headings)}'
        f'<p><a href="{html.escape(book.name)}.ipynb" download>This notebook</a>, to run and to write in</p></nav>'
        f'<article>{body}</article></div><footer class="bar">{around}</footer>',
        policy=POLICY,
        script=FRAME,
    )


def _contents(book: Lesson, books: Sequence[Lesson], headings: list[tuple[int, str, str]]) -> str:
    here = [f'<li><a href="#{where}">{words}</a></li>' for level, where, words in headings if level == 2]
    course = [_link(other, ' aria-current="page"' if other is book else "") for other in books]
    return (
        f'<details class="contents" open><summary>On this page</summary><ol>{"".join(here)}</ol></details>'
        f'<details class="contents"><summary>The course</summary><ol>{"".join(f"<li>{one}</li>" for one in course)}</ol></details>'
    )


def _link(book: Lesson, attributes: str = "", before: str = "", after: str = "") -> str:
    return f'<a{attributes} href="{html.escape(book.page)}">{before}{html.escape(book.title)}{after}</a>'


def _neighbours(books: Sequence[Lesson], place: int) -> str:
    last = _link(books[place - 1], ' rel="prev"', before="‹ ") if place else ""
    following = _link(books[place + 1], ' rel="next"', after=" ›") if place + 1 < len(books) else ""
    return f'<nav class="neighbours" aria-label="Neighbours">{last}{following}</nav>'


def _cells(book: Lesson, failed: set[str]) -> Iterator[str]:
    for place, cell in enumerate(book.cells):
        if "setup" in cell.get("metadata", {}).get("tags", []):
            continue
        if cell["cell_type"] == "markdown":
            yield f'<div class="text">{rendered(cell["source"])}</div>'
        elif cell["cell_type"] == "code":
            shown = book.shown.get(place)
            alive = shown if shown and shown.file not in failed else None
            yield from _code(cell, book.outputs.get(cell["source"], []), alive)


def _code(cell: dict[str, Any], outputs: list[dict[str, Any]], shown: Shown | None) -> Iterator[str]:
    if asked := _guess(cell, outputs):
        yield asked
        return
    yield _highlighted(cell["source"])
    if shown:
        outputs = [one for one in outputs if one["output_type"] == "stream"]
    for output in outputs:
        yield _output(output)
    if shown:
        yield _frame(shown)


ASKED = re.compile(r"Predict (\d\d\.[a-z])\. (.+?)\n((?:   - [^\n]+\n)*)(?:Record yours|Your guess|\Z)", re.DOTALL)


def _guess(cell: dict[str, Any], outputs: list[dict[str, Any]]) -> str:
    """A question that the reader answers before reading on, as the cell printed it, in place of the code that asks it."""
    match statements(cell):
        case [ast.Expr(value=ast.Call(func=ast.Name(id="predict")))]:
            found = ASKED.search("".join(text_of(one.get("text", "")) for one in outputs))
        case _:
            found = None
    if not found:
        return ""
    name, asked = found[1], html.escape(" ".join(found[2].split()))
    options = [html.escape(line.removeprefix("   - ")) for line in found[3].splitlines()]
    choices = "".join(f'<label><input type="radio" name="{name}"> {option}</label>' for option in options)
    answer = choices or '<label>Your guess <input type="text" inputmode="decimal" size="8"></label>'
    return f'<fieldset class="guess"><legend>Predict {name}</legend><p>{asked}</p>{answer}</fieldset>'


def _highlighted(source: str) -> str:
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import PythonLexer

    return str(highlight(source, PythonLexer(), HtmlFormatter(cssclass="code")))


REVEALED = re.compile(r"^(\d\d\.[a-z]): .+?(?=^\d\d\.[a-z]: |\Z)", re.MULTILINE | re.DOTALL)
NO_GUESS = re.compile(r"^You recorded no guess\..*\n?", re.MULTILINE)


def _output(output: dict[str, Any]) -> str:
    data = output.get("data", {})
    if "image/png" in data:
        picture = f"data:image/png;base64,{text_of(data['image/png']).strip()}"
        return f'<img class="figure" alt="figure; what it shows is said below it" src="{picture}">'
    if "text/markdown" in data:
        return f'<div class="text said">{rendered(text_of(data["text/markdown"]))}</div>'
    text = text_of(output.get("text", data.get("text/plain", "")))
    return _printed(re.sub(r"\x1b\[[0-9;]*m", "", text))


def _printed(text: str) -> str:
    """What was printed; the answer of a question folded away until it is wanted."""
    parts, end = [], 0
    for match in REVEALED.finditer(text):
        parts.append(_pre(text[end : match.start()]))
        answer = NO_GUESS.sub("", match[0])
        parts.append(f'<details class="answer"><summary>{match[1]}: what happens</summary>{_pre(answer)}</details>')
        end = match.end()
    return "".join([*parts, _pre(text[end:])])


def _pre(text: str) -> str:
    return f'<pre class="out">{html.escape(text.rstrip())}</pre>' if text.strip() else ""


def _frame(shown: Shown) -> str:
    name = html.escape(shown.run or RECORDED)
    whose = (
        f"The recorded run {name}." if shown.run else f"The recorded run {name}; in the notebook, the run you train."
    )
    title, file = f"{html.escape(catalogue()[shown.view].title)}: {name}", html.escape(shown.file)
    return (
        f'<figure class="alive"><iframe src="{file}" title="{title}" loading="lazy"></iframe>'
        f'<figcaption>{whose} <a href="{file}">On a page of its own</a></figcaption></figure>'
    )


def document(title: str, body: str, *, policy: str, script: str = "", style: str = "") -> str:
    """A page of the gallery or the course."""
    run = f"<script>{script}</script>" if script else ""
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>{html.escape(title)}</title><link rel="icon" href="{modules.picture()}">
<style>
{(STATIC / "site.css").read_text("utf-8")}{style}</style></head><body>
{body}
{run}</body></html>
"""
