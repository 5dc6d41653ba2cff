"""`dino-lab watch [FOLDER ...]`: the lab in a browser, live."""

from __future__ import annotations

import argparse
import asyncio
import getpass
import logging
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from dino_core.errors import DinoError

RUNS = Path("runs")
GALLERY = Path(__file__).parents[1] / "lab" / "gallery"
"""The recorded runs that ship with the lab."""


def main(argv: Sequence[str] | None = None) -> int:
    """Serve the page until Ctrl-C.  A mistake is one sentence and exit code 2."""
    options = _options(argv)
    try:
        folders = _folders(options.folders) + ([GALLERY] if GALLERY.is_dir() and not options.no_gallery else [])
        images = [_image_folder(folder) for folder in options.images]
        password, notes, tell = _password(options.password), _notes(options.notes), _address(options.tell)
        if not _free(options.host, options.port):
            raise DinoError(f"port {options.port} is taken. {_advice(options.host, options.port)}")
    except DinoError as error:
        print(f"dino-lab watch: {error}", file=sys.stderr)
        return 2
    shown = "localhost" if options.host in ("0.0.0.0", "::") else options.host
    address = f"http://[{shown}]:{options.port}" if ":" in shown else f"http://{shown}:{options.port}"
    print(f"Opening the lab for {', '.join(map(str, folders))} ...", flush=True)
    import uvicorn

    from apps.server import build
    from lab.sight import Given, named

    try:
        given = Given(models=named(options.models), folders=images)
    except DinoError as error:
        print(f"dino-lab watch: {error}", file=sys.stderr)
        return 2
    app = build(
        folders, host=options.host, port=options.port, given=given, read_only=options.read_only, password=password,
        notes=notes, tell=tell,
    )  # fmt: skip
    if not password and options.host not in ("127.0.0.1", "localhost", "::1"):
        print(
            "Whoever reaches this machine can look, and start trainings: consider --password and --read-only.",
            flush=True,
        )
    print(f"DINO lab: {address}   (Ctrl-C stops the lab; a training goes on)", flush=True)
    logging.getLogger("uvicorn.error").addFilter(_is_news)
    uvicorn.run(app, host=options.host, port=options.port, log_level="warning", timeout_graceful_shutdown=2)
    return 0


def _is_news(record: logging.LogRecord) -> bool:
    """Not that an open page hears no more of a lab that was stopped."""
    ended = record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError)
    return not ended and "graceful shutdown exceeded" not in record.getMessage()


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="dino-lab watch",
        description="The lab in a browser, live: every run below the folders given, beside the recorded ones.",
    )
    parser.add_argument("folders", nargs="*", type=Path, metavar="FOLDER", help="where runs are (default: runs)")
    parser.add_argument("--port", type=int, default=7860, help="7860 by default")
    parser.add_argument("--host", default="127.0.0.1", help="127.0.0.1 by default: nobody else can look")
    parser.add_argument("--no-gallery", action="store_true", help="leave out the recorded runs that ship with the lab")
    parser.add_argument(
        "--models", nargs="+", default=[], metavar="NAME_OR_FILE",
        help="networks to look through beside the runs' own: files as published, folders of them, names, random:NAME",
    )  # fmt: skip
    parser.add_argument(
        "--images", nargs="+", type=Path, default=[], metavar="FOLDER", help="folders of images to look at"
    )
    parser.add_argument(
        "--read-only",
        action="store_true",
        help="nothing can be started, stopped, noted or handed in (a class on one server)",
    )
    parser.add_argument(
        "--password", nargs="?", const="", metavar="WORD",
        help="ask for this password; without WORD it is $DINO_LAB_PASSWORD, or asked for here",
    )  # fmt: skip
    parser.add_argument(
        "--notes", type=Path, metavar="FILE", help="keep notes here rather than in the lab's cache folder"
    )
    parser.add_argument(
        "--tell", metavar="URL", help="send this address a JSON message, once, when a run is in trouble"
    )
    return parser.parse_args(argv)


def _password(given: str | None) -> str | None:
    if given is None:
        return None
    word = given or os.environ.get("DINO_LAB_PASSWORD") or (getpass.getpass("Password: ") if sys.stdin.isatty() else "")
    if not word:
        raise DinoError("no password was given: say --password WORD, or set DINO_LAB_PASSWORD.")
    return word


def _notes(file: Path | None) -> Path | None:
    if file is None:
        return None
    if file.is_dir() or not file.resolve().parent.is_dir():
        raise DinoError(f"{str(file)!r} can't be a file of notes; give a file in a folder that is there.")
    if run := next((folder for folder in file.resolve().parents if (folder / "run.json").exists()), None):
        raise DinoError(f"notes are never kept inside a run ({run.name}); give a file elsewhere.")
    return file.resolve()


def _address(given: str | None) -> str | None:
    if given is not None and not given.startswith(("http://", "https://")):
        raise DinoError(f"{given!r} is no address to tell; it begins with http:// or https://.")
    return given


def _image_folder(folder: Path) -> Path:
    if not folder.is_dir():
        raise DinoError(f"there is no folder {str(folder)!r}. Give a folder of images.")
    return folder.resolve()


def _folders(given: Sequence[Path]) -> list[Path]:
    if not given:
        return [RUNS]
    for folder in given:
        if not folder.is_dir():
            raise DinoError(f"there is no folder {str(folder)!r}. Give the folder your runs are in, such as runs.")
    return list(given)


def _free(host: str, port: int) -> bool:
    if not 0 < port < 65536:
        raise DinoError(f"{port} is no port; expected 1 to 65535.")
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            if os.name == "posix":
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(where)
    except socket.gaierror as error:
        raise DinoError(f"{host!r} is no address of this machine: {error.strerror}.") from error
    except OSError:
        return False
    return True


def _advice(host: str, port: int) -> str:
    for other in range(port + 1, min(port + 40, 65536)):
        if _free(host, other):
            return f"Another lab may be open there already; or choose another: dino-lab watch --port {other}"
    return "Choose another with --port."


if __name__ == "__main__":
    sys.exit(main())
