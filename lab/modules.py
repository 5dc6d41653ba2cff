"""The lab's JavaScript for hosts that have no server: modules in the order in which they need each other, and the style sheet
made to keep to its own element.

A browser can import what has an address.  In a notebook and in a file on a USB stick every module gets one by becoming a blob,
those that others import first (`lab/static/loader.js`); here it is decided which modules those are."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from dino_core.errors import DinoError
from lab.views import EVERYWHERE, STATIC, View, catalogue

IMPORT = re.compile(r"""(["'])\./([\w-]+)\.js\1""")
"""How one module of the lab names another; loader.js looks for the same."""
DRAWS_CHARTS = re.compile(r"\bchart\(|\.plotly\(")


@dataclass(frozen=True)
class Module:
    name: str
    source: str

    @property
    def imports(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(match[1] for match in IMPORT.findall(self.source)))


@cache
def module(name: str) -> Module:
    """One of the lab's modules by its name; ValueError for any other text."""
    file = STATIC / f"{name}.js"
    if not re.fullmatch(r"[\w-]+", name) or not file.is_file():
        raise ValueError(f"the lab has no module {name[:40]!r}.")
    return Module(name, file.read_text("utf-8"))


def ordered(names: Iterable[str]) -> list[Module]:
    """These modules and all they import, each after what it imports; ValueError where they import each other in a circle."""
    found: dict[str, Module] = {}

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            raise ValueError(f"modules import each other in a circle: {' → '.join((*path, name))}.")
        if name in found:
            return
        for other in module(name).imports:
            visit(other, (*path, name))
        found[name] = module(name)

    for name in names:
        visit(name, ())
    return list(found.values())


def needs_plotly(views: Iterable[View]) -> bool:
    """Whether any of them draws a chart."""
    return any(DRAWS_CHARTS.search(module(view.module).source) for view in views)


def look_through(views: Iterable[View]) -> bool:
    """Whether any of them looks through any network at any images, and so needs the bar in which they are chosen."""
    return any("keepSight(" in module(view.module).source for view in views)


LOOKED_AT = ("source", "against", "images", "size")
"""What the bar keeps in which a network and images are chosen."""


def unheard(views: Iterable[View], state: Iterable[str]) -> str:
    """A sentence about a setting that none of these views obeys; empty where there is none."""
    shown, given = list(views), list(state)
    if strange := [key for key in given if not _read(key)]:
        return f"no view knows {strange[0]!r}; settings have the names that they have in a link of the page."
    if look_through(shown) or not (idle := [key for key in given if key in LOOKED_AT]):
        return ""
    others = [view.name for view in catalogue().values() if look_through([view]) and view.page != EVERYWHERE]
    names = ", ".join(view.name for view in shown)
    return f"{names}: what its own run says, whatever {idle[0]} is. Views that look through any network: {', '.join(others)}."


def _read(key: str) -> bool:
    """Whether any module has such a word, or any figure such an argument (lab/static/figure.js)."""
    arguments = {f"{view.name}_{argument}" for view in catalogue().values() for argument in view.controls}
    words = re.compile(rf"\b{re.escape(key)}\b")
    return key in arguments or any(words.search(module(file.stem).source) for file in STATIC.glob("*.js"))


def version() -> str:
    """A name for the modules as they are now, so that a page that has them already needs none of them again."""
    text = "".join(module(file.stem).source for file in sorted(STATIC.glob("*.js")))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def theme() -> str:
    """The style sheet of the page, and what views outside it need beyond."""
    return "\n".join((STATIC / name).read_text("utf-8") for name in ("theme.css", "notebook.css"))


def theme_below(selector: str) -> str:
    """The style sheet where it may touch nothing but one element and what is in it: in a page that belongs to someone else.

    Rules are nested under the selector; what they say of the page (`:root`, `body`) is said of the element.  Animations can't be
    nested and have names for the whole page, so theirs get a prefix of their own."""
    text, beyond = ((STATIC / name).read_text("utf-8") for name in ("theme.css", "notebook.css"))
    animations = []

    def take(match: re.Match[str]) -> str:
        animations.append((match.group(1), match.group(0)))
        return ""

    text = re.sub(r"@keyframes ([\w-]+) \{(?:[^{}]*\{[^{}]*\})*[^{}]*\}", take, text)
    text = re.sub(r"(?<![\w.#-])(?::root|body)(?=[\s.,:\[{])", "&", text)
    text = f"{selector} {{\n{text}\n}}\n{beyond}"
    for name, rule in animations:
        text = re.sub(rf"(animation(?:-name)?:[^;}}]*?)\b{name}\b", rf"\1dino-lab-{name}", text)
        text += rule.replace(name, f"dino-lab-{name}", 1) + "\n"
    return text


def picture(name: str = "icon.svg") -> str:
    """One of the lab's drawings as an address that holds it."""
    return "data:image/svg+xml;base64," + base64.b64encode((STATIC / name).read_bytes()).decode()


def known(names: str | Iterable[str]) -> list[View]:
    """Views by their names; DinoError names the ones there are."""
    asked = [names] if isinstance(names, str) else list(names)
    for name in asked:
        if name not in catalogue():
            raise DinoError(f"there is no view {str(name)[:40]!r}. Views: {', '.join(catalogue())}.")
    return [catalogue()[name] for name in asked]
