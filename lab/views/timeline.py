"""What stands on the time line beside the curves: notes, and what two runs' configs differ in."""

from __future__ import annotations

import json
from pathlib import Path

from dino_core.config import differences
from dino_core.errors import RunError
from lab import notes
from lab.answers import House, Reply, answers


@answers("run/{run}/notes")
def noted(house: House, run: str) -> Reply:
    found = house.shelf.run(run)
    return Reply(
        lambda: {"notes": notes.read(_file(house), house.shelf.name_of(found.path)), "read_only": house.read_only}
    )


@answers("run/{run}/notes", verb="tell")
def note(house: House, body: bytes, run: str) -> Reply:
    """Keep `{"step": …, "text": …}`, or forget `{"remove": id}`."""
    if house.read_only:
        raise RunError("this lab is read-only: it keeps no notes.")
    found = house.shelf.run(run)
    try:
        asked = json.loads(body)
        removed = asked.get("remove")
    except (ValueError, AttributeError) as error:
        raise RunError("expected a note as JSON.") from error

    def made() -> dict[str, object]:
        if removed is not None:
            notes.remove(_file(house), str(removed))
        else:
            notes.add(_file(house), run, found.name, asked.get("step"), asked.get("text"))
        return {"notes": notes.read(_file(house), run), "read_only": False}

    return Reply(made)


@answers("run/{run}/compare/{other}")
def compare(house: House, run: str, other: str) -> Reply:
    """What the configs of two runs differ in: by option, [this run's, the other's]."""
    one, two = house.shelf.run(run), house.shelf.run(other)
    return Reply(lambda: {"differs": differences(one.config, two.config)})


def _file(house: House) -> Path:
    return notes.file_of(house.more.get("notes"))
