"""What if: a form of a run's options, checked as it is filled in, and trainings that start from it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dino_core.errors import DinoError, RunError
from dino_core.rundir import read
from lab import forms
from lab.answers import House, Reply, answers
from lab.run import Run
from lab.started import Trainings


def trainings(house: House) -> Trainings:
    return house.more.setdefault("trainings", Trainings())


@answers("run/{run}/form/{step}")
def form(house: House, run: str, step: int, phase: str = "") -> Reply:
    """All options with the parent's values, and why some can't be changed."""
    found = house.shelf.run(run)
    return Reply(lambda: {**forms.form(found, step, phase), "read_only": house.read_only})


@answers("run/{run}/fork/{step}/check", verb="tell")
def check(house: House, body: bytes, run: str, step: int) -> Reply:
    """What would change, the command, and what is wrong, if anything: a sentence."""
    found, (changes, name, phase) = house.shelf.run(run), _asked(body)

    def made() -> dict[str, Any]:
        try:
            _, differs = forms.changed(found, step, changes, phase)
            called = forms.name_of(name, found, step, house.shelf.folders[0])
        except (DinoError, ValueError, TypeError) as error:
            return {"problem": str(error), "differs": {}, "command": "", "name": ""}
        command = forms.command(found, step, differs, called, phase)
        return {"problem": "", "differs": differs, "command": command, "name": called}

    return Reply(made)


@answers("run/{run}/fork/{step}/start", verb="tell")
def start(house: House, body: bytes, run: str, step: int) -> Reply:
    """Start it: a real process, which goes on when the lab is closed."""
    allowed(house)
    found, (changes, name, phase) = house.shelf.run(run), _asked(body)
    _, differs = forms.changed(found, step, changes, phase)
    folder = place(house)
    out = folder / forms.name_of(name, found, step, folder)

    def made() -> dict[str, str]:
        folder.mkdir(parents=True, exist_ok=True)
        trainings(house).start(forms.arguments(found, step, differs, out, phase), out)
        return {"name": out.name, "id": house.shelf.name_of(out), "parent": run}

    return Reply(made)


@answers("started")
def started(house: House) -> Reply:
    """The trainings that this lab started, and what those before it left."""

    def made() -> dict[str, Any]:
        listed = [row for folder in house.shelf.folders[:1] for row in trainings(house).listing(folder)]
        rows = [{**row, "place": None, "id": house.shelf.name_of(row["place"])} for row in listed]
        return {"started": rows, "read_only": house.read_only}

    return Reply(made)


@answers("run/{run}/stop", verb="tell")
def stop(house: House, body: bytes, run: str) -> Reply:
    allowed(house)
    found = house.shelf.run(run)
    return Reply(lambda: _done(trainings(house).stop, found))


@answers("run/{run}/resume", verb="tell")
def resume(house: House, body: bytes, run: str) -> Reply:
    allowed(house)
    found = house.shelf.run(run)
    return Reply(lambda: _done(trainings(house).resume, found))


def allowed(house: House) -> None:
    if house.read_only:
        raise RunError("this lab is read-only: it starts and stops nothing. The command can be pasted into a terminal.")


def place(house: House) -> Path:
    """Where runs that are started here go: the first folder that the lab was given."""
    folder = house.shelf.folders[0]
    if (folder / "run.json").exists():
        raise RunError(
            f"the lab was given the run {folder.name!r} itself; open it over the folder that holds your runs."
        )
    return folder


def _done(act: Any, run: Run) -> dict[str, str]:
    act(run.path)
    return {"status": read.status(run.path)}


def _asked(body: bytes) -> tuple[dict[str, Any], str, str]:
    """Changes by dotted name, the child's name, and the phase to begin with ("" for the parent's own)."""
    try:
        asked = json.loads(body)
        changes, name, phase = asked["changes"], asked.get("name", ""), asked.get("phase", "")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError("expected JSON with changes by dotted name.") from error
    if not isinstance(changes, dict) or not isinstance(name, str) or not isinstance(phase, str):
        raise RunError("expected changes by dotted name, a name, and a phase.")
    return changes, name, phase
