"""Markdown as HTML whose formulas the browser draws by itself: LaTeX becomes MathML, so no script and no font is fetched."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from functools import cache
from typing import Any

NAMED = re.compile(r"(<mi>(?:ln|log|exp|sin|cos|min|max)</mi>)(?!<mo[^>]*>(?:\(|&#x00028;))")
"""Names of functions, where no bracket follows: TeX leaves a thin space there."""
HEADING = re.compile(r"<h([1-6])([^>]*)>(.*?)</h\1>", re.DOTALL)


@cache
def mathml(formula: str, block: bool = False) -> str:
    """A formula as the browser draws it; as it is written, in code, where it is none that can be read."""
    from latex2mathml.converter import convert

    try:
        made = convert(formula.strip(), display="block" if block else "inline")
    except Exception:  # a formula that can't be read is shown, not lost
        return f"<code>{html.escape(formula)}</code>"
    return NAMED.sub(r'\1<mspace width="0.17em"></mspace>', made)


def rendered(markdown: str) -> str:
    """Markdown with $formulas$, tables and code as HTML."""
    return str(_markdown()(markdown))


@cache
def _markdown() -> Callable[[str], Any]:
    from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

    class Renderer(IPythonRenderer):
        def inline_math(self, body: str) -> str:
            return mathml(body)

        def block_math(self, body: str) -> str:
            return mathml(body, block=True)

    return MarkdownWithMath(renderer=Renderer(escape=True, exclude_anchor_links=True))


def with_places(text: str, prefix: str = "") -> tuple[str, list[tuple[int, str, str]]]:
    """HTML whose headings can be linked to, and these headings: (level, id, words)."""
    found: list[tuple[int, str, str]] = []

    def mark(match: re.Match[str]) -> str:
        level, words = int(match[1]), re.sub(r"<[^>]+>", "", match[3]).strip()
        place = f"{prefix}{len(found)}-{_plain(html.unescape(words))}"
        found.append((level, place, words))
        return f'<h{level} id="{place}">{match[3]}</h{level}>'

    return HEADING.sub(mark, text), found


def _plain(words: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")[:60]
