"""Runs and answers in this process, for notebooks, exports and scripts: no server."""

from __future__ import annotations

import atexit
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from dino_core.errors import RunError
from dino_core.rundir.schema import RUN
from lab.answers import House
from lab.run import Run, runs
from lab.shelf import Shelf
from lab.worker import Worker

GALLERY = Path(__file__).parent / "gallery"
MOST = 6
"""Runs on one axis at most (`laid.js`)."""
Overlay = str | Path | Run | Sequence[str | Path | Run] | None
LOOK = 0.2
"""Seconds between looks at an answer that is still computed."""


def find(run: str | Path | Run | None = None) -> Run:
    """A run by its folder, or by its name below ./runs or among the recorded ones; the newest below ./runs without either."""
    if isinstance(run, Run):
        return run
    if run is not None and (Path(run) / RUN).is_file():
        return Run(run)
    here = [found for folder in (Path("runs"), GALLERY) if folder.is_dir() for found in runs(folder)]
    if run is None and here:
        return here[0]
    for known in here:
        if str(run) in (known.path.name, known.name):
            return known
    raise RunError(
        f"there is no run {str(run)!r}. Give the folder of a run, or the name of one below ./runs: "
        f"{', '.join(found.path.name for found in here) or 'there is none yet; dino-lab train tiny makes one'}."
    )


def leads_to(name: str, path: Path) -> bool:
    """Whether a name alone finds the run in a folder."""
    try:
        return find(name).path.resolve() == path.resolve()
    except RunError:
        return False


def laid_over(overlay: Overlay) -> list[Run]:
    """The runs that are laid over another: none, one, or several; `RunError` for more than stand on one axis."""
    given = [overlay] if isinstance(overlay, str | Path | Run) else list(overlay or ())
    found = [find(one) for one in given]
    if len(found) > MOST - 1:
        raise RunError(f"{len(found)} runs were laid over another; at most {MOST} stand on one axis: give {MOST - 1}.")
    return found


def beginning(overlay: Overlay) -> dict[str, str]:
    """The same as a page's state: `overlay` is the second run, `beside` are the others between commas."""
    second, *others = [name_of(run) for run in laid_over(overlay)] or [""]
    said = {"overlay": second, "beside": ",".join(others)}
    return {key: value for key, value in said.items() if value}


def answer(run: str | Path | Run | None, path: str) -> Any:
    """What a view is answered: `answer(run, "probe/500/attention?layer=-1")` → {name: array}, or what JSON holds.

    A path that does not begin at the run names it: `answer(run, "sight/images?images=probe:{run}")`.  What a worker still
    computes is waited for."""
    from safetensors.numpy import load

    name = name_of(find(run))
    asked = path.replace("{run}", name) if "{run}" in path else f"run/{name}/{path}"
    while isinstance(made := make(asked), dict) and "waiting" in made:
        time.sleep(LOOK)
    return load(made) if isinstance(made, bytes) else made


@cache
def house() -> House:
    """What this process answers from: the runs that it was asked about."""
    built = House(Shelf([]), Worker())
    atexit.register(built.worker.close)
    return built


def offer(*, models: Sequence[str] = (), folders: Sequence[str | Path] = ()) -> dict[str, Any]:
    """Networks and folders of images to choose from in notebooks and exports, beside runs: `offer(models=["dino.pth"])`.

    Models are files as published, names of presets or timm, or `random:NAME`.  Gives what is offered now: models by their names
    here, folders in the order in which `folder:0`, `folder:1` … name them.  DinoError for a folder that is not there."""
    from lab import sight

    about = sight.given(house())
    if missing := [str(folder) for folder in folders if not Path(folder).is_dir()]:
        raise RunError(f"there is no folder {missing[0]!r}. Give a folder of images.")
    about.models |= sight.named(models) if models else {}
    about.folders += [path for folder in folders if (path := Path(folder).resolve()) not in about.folders]
    return sight.offered(house())


def lend(other: House) -> None:
    """From now on this process's own house knows the models and images of another, for an export of what that one shows."""
    if other is not house():
        from lab import sight

        house().more["sight"] = sight.given(other)


def name_of(run: Run) -> str:
    """The name of a run in questions; from then on they are answered."""
    shelf = house().shelf
    shelf.add(run.path.resolve())
    return shelf.name_of(run.path)


def make(path: str, body: bytes | None = None) -> Any:
    """The answer to a path with its query, as bytes of safetensors or what JSON holds."""
    where, _, query = path.partition("?")
    values = dict(parse_qsl(query, keep_blank_values=True))
    reply = house().ask(where, values) if body is None else house().tell(where, body, values)
    return reply.make()
