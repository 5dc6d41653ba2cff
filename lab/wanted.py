"""What of a run is recorded into a file, as choices for the holes of the questions that views list (`lab.onefile`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from lab.crowd import COUNTS
from lab.local import name_of
from lab.run import Run

PATIENCE = 900.0
"""Seconds that are waited for answers which a worker is still computing, all of one file together."""


@dataclass(frozen=True)
class Wanted:
    """What of a run is recorded."""

    run: Run
    stops: list[int]
    """Of its clock."""
    layers: Sequence[int] = (-1,)
    images: Sequence[int] = (0,)
    models: Sequence[str] = ()
    """Networks beside the run's, by the names this process gave them (`lab.offer`)."""
    pictures: str | None = None
    """Images beside the probe images: `folder:0` of those offered, or `data`, some of the data set."""
    patience: float = PATIENCE
    crowd: int = 0
    """How many of those that are many: of a folder, or of the data set; 0 for the fewest."""
    laid: Sequence[Wanted] = ()
    """What of other runs is recorded, which are laid over this one and looked through beside it."""

    @property
    def checkpoints(self) -> list[int]:
        """Those that the stops lead to, in their order."""
        before = (max((at for at in self.run.checkpoints if at <= stop), default=None) for stop in self.stops)
        return [step for step in dict.fromkeys(before) if step is not None]

    def shown(self) -> list[str]:
        """Images, as `lab.sight` names them."""
        name = name_of(self.run)
        other = f"data:{name}" if self.pictures == "data" else self.pictures
        return [f"probe:{name}", *([other] if other else [])]

    def choices(self) -> dict[str, list[str]]:
        """What each hole of a question stands for.

        `last` is the newest stop, `checkpoint` those that the stops lead to, `source` each network (the run's teacher and student,
        the teachers of runs laid over it, models), `weights` the same where their weights are, `turned` those with the one they
        are turned towards, `over` the runs laid over it, `beside` a run's step shown with the crops of another, `many` the images,
        and how many of them."""
        name, models, count = name_of(self.run), [f"model:{model}" for model in self.models], self.crowd or COUNTS[1]
        many_of_data = self.pictures == "data" or self.crowd > 0
        texts = [*self.shown(), *([f"data:{name}"] if many_of_data and not self.pictures else [])]
        many = [(text, 0 if text.startswith(("probe:", "set:")) else count) for text in texts]
        found: dict[str, Iterable[Any]] = {
            "run": [name],
            "step": self.stops,
            "last": self.stops[-1:],
            "checkpoint": self.checkpoints,
            "source": [*_networks(self.run, self.stops), *self._over("stops"), *models],
            "weights": [*_networks(self.run, self.checkpoints), *self._over("checkpoints"), *models],
            "model": models,
            "layer": self.layers,
            "image": self.images,
            "probe": range(len(self.run.probe_images.images) if self.stops else 0),
            "images": self.shown(),
            "over": [",".join(name_of(one.run) for one in self.laid)] if self.laid else [],
            "count": [0, *([count] if many_of_data else [])],
        }
        return {key: [_quoted(str(value)) for value in values] for key, values in found.items()} | {
            "many": [f"images={_quoted(text)}&count={number}" for text, number in many],
            "turned": [f"source={_quoted(one)}&anchor={_quoted(towards)}" for one, towards in self._turned()],
            "beside": [f"{run}/stages/{step}?like={like}" for run, step, like in self._beside()],
        }

    def _over(self, which: str) -> list[str]:
        """The teachers of runs that are laid over this one."""
        return [text for one in self.laid for text in _networks(one.run, getattr(one, which), ("teacher",))]

    def _turned(self) -> Iterator[tuple[str, str]]:
        """Networks with the one whose layout theirs is turned towards, as the page has it (`anchorOf` in crowd.js)."""
        for one in (self, *self.laid):
            teachers = _networks(one.run, one.checkpoints, ("teacher",))
            yield from ((text, teachers[-1]) for text in teachers)
        alone = [
            *_networks(self.run, self.checkpoints[:1], ("teacher",)),
            *_networks(self.run, self.checkpoints, ("student",)),
        ]
        yield from ((text, text) for text in (*alone, *(f"model:{model}" for model in self.models)))

    def _beside(self) -> Iterator[tuple[str, int, str]]:
        """At each stop: which run's step stands beside this run's, and the step whose crops both are shown."""
        for stop in self.stops:
            for one in (self, *self.laid):
                until = [step for step in one.checkpoints if step <= stop] or one.checkpoints[:1]
                like = [step for step in self.checkpoints if step <= stop] or self.checkpoints[:1]
                steps = {*until[-1:], *(one.checkpoints[:1] if one is self else ())}
                yield from ((name_of(one.run), step, f"{name_of(self.run)}:{like[-1]}") for step in steps if like)


def _networks(run: Run, steps: Iterable[int], which: Sequence[str] = ("teacher", "student")) -> list[str]:
    """A run's networks at some of its steps, as `lab.sight` names them."""
    return [f"run:{name_of(run)}:{step}:{network}" for step in steps for network in which]


def _quoted(text: str) -> str:
    return quote(text, safe=":")
