"""What views ask and what they are answered, in whatever host they run: the page's server, a notebook's kernel, an export.

A question is a path and named values, `run/3f…/probe/500/features?network=student`.  Whoever can answer one registers a function:

    @answers("run/{run}/probe/{step}/features")
    def features(house: House, run: str, step: int, network: Network = "teacher") -> Reply: ...

Its annotations say what the values must be; anything else is refused in a sentence.  The function itself only says what the
answer depends on (`key`) and how it is made, so that an asker who has it already costs nothing."""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dino_core.errors import DinoError
from lab.shelf import Shelf
from lab.worker import Worker


class Unanswered(DinoError):
    """Nobody answers this, or not with these values."""


@dataclass(frozen=True)
class Reply:
    """An answer that is not made yet."""

    make: Callable[[], Any]
    """Gives bytes (of safetensors), or what JSON can hold; None where there is nothing new."""
    key: str | None = None
    """What the answer depends on; two answers of one question with the same key are the same.  None: ask anew each time."""


@dataclass
class House:
    """What answers are made from."""

    shelf: Shelf
    worker: Worker
    read_only: bool = False
    """Nothing may be started or handed in (a class on one server)."""
    more: dict[str, Any] = field(default_factory=dict)
    """What views keep between questions, by a name of theirs."""

    def close(self) -> None:
        """End the processes that were started for answers."""
        for one in (self.worker, *self.more.values()):
            if callable(close := getattr(one, "close", None)):
                close()

    def ask(self, path: str, values: Mapping[str, str] | None = None) -> Reply:
        """The reply to a question; `Unanswered` for one that nobody knows."""
        return _reply(self, "ask", path, values or {}, ())

    def tell(self, path: str, body: bytes, values: Mapping[str, str] | None = None) -> Reply:
        """The same for what is handed in: an image, an order to start something."""
        return _reply(self, "tell", path, values or {}, (body,))


@dataclass(frozen=True)
class _Route:
    verb: str
    pattern: re.Pattern[str]
    function: Callable[..., Reply]
    hints: dict[str, Any]
    parameters: dict[str, inspect.Parameter]


_routes: list[_Route] = []


def answers(path: str, verb: str = "ask") -> Callable[[Callable[..., Reply]], Callable[..., Reply]]:
    """Register who answers; `{name}` in the path is one piece of it.

    With `verb="tell"` the second argument is what is handed in."""

    def register(function: Callable[..., Reply]) -> Callable[..., Reply]:
        pattern = re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path))
        skipped = 1 if verb == "ask" else 2
        parameters = dict(list(inspect.signature(function).parameters.items())[skipped:])
        _routes.append(_Route(verb, pattern, function, typing.get_type_hints(function), parameters))
        return function

    return register


def _reply(house: House, verb: str, path: str, values: Mapping[str, str], first: tuple[Any, ...]) -> Reply:
    from lab import views  # whoever answers registers when imported

    views.catalogue()
    for route in _routes:
        if route.verb == verb and (match := route.pattern.fullmatch(path)):
            return route.function(house, *first, **_arguments(route, {**values, **match.groupdict()}))
    raise Unanswered(f"nobody here answers {path[:80]!r}.")


def _arguments(route: _Route, given: Mapping[str, str]) -> dict[str, Any]:
    if unknown := given.keys() - route.parameters.keys():
        raise Unanswered(f"{sorted(unknown)[0][:40]!r} is not asked for here; expected {', '.join(route.parameters)}.")
    found = {}
    for name, parameter in route.parameters.items():
        if name in given:
            found[name] = value_of(given[name], route.hints[name], name)
        elif parameter.default is inspect.Parameter.empty:
            raise Unanswered(f"{name} is missing.")
    return found


def value_of(text: str, hint: Any, name: str) -> Any:
    """A text as the value that an annotation asks for; `Unanswered` where it is none."""
    choices = typing.get_args(hint)
    if typing.get_origin(hint) is typing.Literal:
        if text in map(str, choices):
            return next(choice for choice in choices if str(choice) == text)
        raise Unanswered(f"{name} is {text[:40]!r}; expected one of {', '.join(map(str, choices))}.")
    if choices and type(None) in choices:
        return None if text == "" else value_of(text, next(c for c in choices if c is not type(None)), name)
    if hint is bool:
        if text.lower() in ("true", "false", "1", "0"):
            return text.lower() in ("true", "1")
        raise Unanswered(f"{name} is {text[:40]!r}; expected true or false.")
    try:
        return hint(text)
    except (TypeError, ValueError):
        raise Unanswered(f"{name} is {text[:40]!r}; expected {getattr(hint, '__name__', hint)}.") from None


def stamp(*files: Path) -> str:
    """When files were last written, as part of a key."""
    return " ".join(str(file.stat().st_mtime_ns) if file.exists() else "0" for file in files)
