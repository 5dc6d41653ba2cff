"""`dino-lab COMMAND ...`: finds the command by name and runs it; a user's mistake is one sentence and exit code 2.

Commands are entry points of the group `dino_lab.commands` (pyproject.toml), so a new one is a function and a line."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points

from dino_core.errors import DinoError

GROUP = "dino_lab.commands"


def commands() -> dict[str, EntryPoint]:
    return {point.name: point for point in sorted(entry_points(group=GROUP), key=lambda p: p.name)}


def usage() -> str:
    lines = ["usage: dino-lab COMMAND ...", "", "Train DINO for real and watch it learn.", ""]
    about = {
        "train": "train a recipe: dino-lab train tiny",
        "resume": "go on with a run that was stopped or died",
        "distill": "students of other sizes from a frozen teacher",
        "fork": "start a new run from a checkpoint, with something changed",
        "evaluate": "measure a run or a model on labelled images",
        "plan": "what a run would cost: arithmetic, memory, hours",
        "remeasure": "measures a run did not take, on the checkpoints it kept",
        "record": "a compact copy of a run, to hand on",
        "convert": "write a run's network or any weights in another layout",
        "watch": "the lab in a browser, live",
        "export": "views of a run in one HTML file that needs nothing else",
        "site": "a static page of recorded runs, for a course",
        "lab": "train `tiny` and watch it, both at once",
        "doctor": "what this machine has, what works, what is missing",
    }
    lines += [f"  {name:10} {about.get(name, '')}".rstrip() for name in commands()]
    return "\n".join([*lines, "", "Each command answers --help."])


def guarded(command: Callable[[list[str]], int | None], arguments: list[str]) -> int:
    """The command's exit code; a user's mistake, a file that can't be used among them, becomes one sentence and 2, Ctrl-C 130,
    and 141 a reader of the output who has enough, such as `head`."""
    sys.stdout = sys.stdout or open(os.devnull, "w")  # closed by who started us (`>&-`)  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name that the terminal can't show ends nothing
            stream.reconfigure(errors="backslashreplace")
    try:
        code = command(arguments) or 0
        sys.stdout.flush()
        return code
    except DinoError as error:
        print(f"dino-lab: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        from dino_core.progress import to_nobody

        to_nobody()
        return 141
    except OSError as error:
        if error.filename is None or error.strerror is None:
            raise
        print(f"dino-lab: can't read or write {error.filename}: {error.strerror}.", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def main(arguments: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] in ("-h", "--help"):
        return guarded(lambda _: print(usage()), [])
    name, *rest = arguments
    known = commands()
    if not known:
        print(
            "dino-lab: its commands are entry points, and it is not installed here: pip install -e .", file=sys.stderr
        )
        return 2
    if name not in known:
        print(f"dino-lab: no command {name!r}. Commands: {', '.join(known)}.", file=sys.stderr)
        return 2
    try:
        command = known[name].load()
    except ModuleNotFoundError as error:
        print(f"dino-lab: {name} needs {error.name}: pip install 'dino-lab[lab]'.", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return guarded(command, rest)


if __name__ == "__main__":
    sys.exit(main())
