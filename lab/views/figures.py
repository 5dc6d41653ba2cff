"""Figures: views that are one Python function.

    @figure(page="monitor", title="…", shows="…", look="…")
    def norms(probe: Probe, *, network: Network = "teacher", image: int = 0) -> go.Figure: ...

The first argument says what is read: a `Run`, or a `Probe` of it at the clock's step.  Keyword arguments become controls: a
`Literal` a list of choices, a `bool` a switch, a number a field; their defaults are where the controls begin.  One that takes
`beside: tuple[Run, ...] = ()` is given the runs that are laid over.  The function returns a plotly figure, whose axes have titles
with units."""

from __future__ import annotations

import inspect
import json
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dino_core.errors import RunError
from lab.answers import House, Reply, answers, stamp, value_of
from lab.run import Probe, Run
from lab.views import View


@dataclass(frozen=True)
class Figure:
    view: View
    function: Callable[..., Any]
    reads: type
    hints: dict[str, Any]

    def __call__(self, run: Run, step: int | None = None, beside: tuple[Run, ...] = (), **controls: Any) -> Any:
        """The plotly figure for a run, at a step where that matters, and for runs laid over it where it draws those."""
        if unknown := controls.keys() - self.view.controls.keys():
            raise RunError(
                f"{self.view.name} has no control {sorted(unknown)[0]!r}; it has {', '.join(self.view.controls)}."
            )
        if self.view.beside:
            controls["beside"] = beside
        return self.function(run.probe(step) if self.reads is Probe else run, **controls)


FIGURES: dict[str, Figure] = {}


def figure(*, page: str, title: str, shows: str, look: str, place: int = 50, half: bool = True, needs: str = "") -> Any:
    """Register a function as a view under its own name."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        name, hints = function.__name__, typing.get_type_hints(function)
        first, *others = inspect.signature(function).parameters.values()
        if hints.get(first.name) not in (Run, Probe):
            raise TypeError(f"the figure {name} reads a {hints.get(first.name)}; expected a Run or a Probe.")
        beside = hints.get("beside") == tuple[Run, ...]
        set_by_hand = [p for p in others if not (beside and p.name == "beside")]
        controls = {p.name: control(hints[p.name], p.default, f"{name}({p.name})") for p in set_by_hand}
        asked = "figure/{name}/{run}/{step}?controls={controls}".replace("{name}", name)
        records = [asked, *([f"{asked}&beside={{over}}"] if beside else [])]
        view = View(
            name, page, title, shows, look, place, half, needs, module="figure", controls=controls, records=records,
            grows=hints[first.name] is Run, beside=beside,
        )  # fmt: skip
        FIGURES[name] = Figure(view, function, hints[first.name], hints)
        return function

    return register


def control(hint: Any, default: Any, where: str) -> dict[str, Any]:
    """How an argument is set by hand."""
    if default is inspect.Parameter.empty:
        raise TypeError(f"{where} has no default, at which its control could begin.")
    if typing.get_origin(hint) is typing.Literal:
        return {"kind": "choice", "choices": list(typing.get_args(hint)), "default": default}
    kinds = {bool: "switch", int: "whole", float: "number"}
    if hint not in kinds:
        raise TypeError(f"{where} is {hint}; expected a Literal, bool, int or float.")
    return {"kind": kinds[hint], "default": default}


@answers("figure/{name}/{run}/{step}")
def drawn(house: House, name: str, run: str, step: int, controls: str = "{}", beside: str = "") -> Reply:
    """A figure as plotly's JSON; `controls` is JSON too, `beside` runs laid over, separated by commas."""
    if name not in FIGURES:
        raise RunError(f"there is no figure {name[:40]!r}. Figures: {', '.join(FIGURES)}.")
    known, found = FIGURES[name], house.shelf.run(run)
    chosen = {k: value_of(str(v), known.hints[k], k) for k, v in json.loads(controls).items() if k in known.hints}
    source = found.probe(step).file if known.reads is Probe else found.path / "metrics.jsonl"
    laid = tuple(house.shelf.run(one) for one in beside.split(",") if one)
    return Reply(
        lambda: json.loads(known(found, step, laid, **chosen).to_json()),
        f"{name} {run} {step} {stamp(source, *(one.path / 'metrics.jsonl' for one in laid))} {beside} {sorted(chosen.items())}",
    )
