"""Monitors: pure functions whose argument names say which training tensors they read.  A new file here is a new curve.

    @monitor("teacher/entropy", unit="nats", title="Teacher entropy")
    def teacher_entropy(targets: Float[Tensor, "T B K"]) -> Float[Tensor, ""]:
        \"\"\"How undecided the teacher is.\"\"\"
        return entropy(targets).mean()

A monitor returns a number, or several by name: {"head_0": ...} becomes `attention/entropy/head_0`, and "" the name
itself.  Each rank computes it on its own images and the ranks' mean is logged, which is right for means over images;
one that is no such mean asks for `gather=True` and gets the tensors of the whole batch.  `heavy` monitors run less
often.  The first sentence of the docstring is what the lab shows beside the curve."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeVar

from torch import Tensor

from dino_core.rundir.schema import Metric
from dino_core.telemetry.catalogue import ENGINE, first_sentence
from dino_core.telemetry.derived import PUBLISHED

Measured = Tensor | dict[str, Tensor]
F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Monitor:
    name: str
    metric: Metric
    measure: Callable[..., Measured]
    reads: tuple[str, ...]
    heavy: bool
    gather: bool
    parts: tuple[str, ...]
    """Names under which it returns several numbers; `*` where only the network tells which."""


MONITORS: dict[str, Monitor] = {}


def monitor(
    name: str,
    *,
    unit: str,
    better: Literal["higher", "lower"] | None = None,
    title: str | None = None,
    heavy: bool = False,
    gather: bool = False,
    parts: tuple[str, ...] = ("",),
) -> Callable[[F], F]:
    """Register a function as the monitor of that name."""

    def register(function: F) -> F:
        where = function.__module__
        if name in MONITORS:
            other = MONITORS[name].measure.__module__
            raise ValueError(f"two monitors are called {name!r}: one in {other}, one in {where}. Rename one.")
        reads = tuple(inspect.signature(function).parameters)
        for argument in reads:
            if argument not in PUBLISHED:
                raise ValueError(
                    f"monitor {name!r} in {where} reads {argument!r}, which no training step publishes. "
                    f"Published signals: {', '.join(PUBLISHED)}."
                )
        metric = Metric(title or name.replace("/", " ").capitalize(), unit, better, first_sentence(function))
        MONITORS[name] = Monitor(name, metric, function, reads, heavy, gather, parts)
        return function

    return register


def catalogue() -> dict[str, dict[str, Any]]:
    """What run.json says about every metric that a run may log: title, unit, which direction is better, and about."""
    named = {f"{m.name}/{part}".rstrip("/"): _part(m, part) for m in MONITORS.values() for part in m.parts}
    return {name: asdict(metric) for name, metric in (ENGINE | named).items()}


def _part(m: Monitor, part: str) -> Metric:
    if part in ("", "*"):
        return m.metric
    return Metric(f"{m.metric.title}: {part}", m.metric.unit, m.metric.better, m.metric.about)


for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
