"""JupyterLab on a working copy of the course, without news, update checks or anything else from outside."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from notebooks import building

OFFLINE = (
    "--LabApp.news_url=None",
    "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    "--LabApp.extension_manager=readonly",
    f"--LabApp.app_settings_dir={building.HERE / 'jupyterlab'}",
)
"""The last brings settings that a learner can change: no question about news, long lines wrapped."""


def copies(folder: Path, kept: Path = building.STUDENT, fresh: bool = False) -> list[Path]:
    """The notebooks copied into a folder of one's own.  What is there stays, and with `fresh` is kept beside the new ones."""
    folder.mkdir(parents=True, exist_ok=True)
    placed = []
    for notebook in sorted(kept.glob("*.ipynb")):
        target = folder / notebook.name
        if target.exists() and fresh and target.read_bytes() != notebook.read_bytes():
            target.replace(_free(target))
        if not target.exists():
            shutil.copyfile(notebook, target)
        placed.append(target)
    return placed


def _free(path: Path) -> Path:
    """A name for a copy that is put aside: 02_objective_by_hand.mine.ipynb, .mine2 ..."""
    for number in ["", *range(2, 1000)]:
        aside = path.with_suffix(f".mine{number}.ipynb")
        if not aside.exists():
            return aside
    raise FileExistsError(f"there are a thousand copies of {path.name}; delete some.")


def command(folder: Path, first: str, arguments: list[str]) -> list[str]:
    """What starts JupyterLab there with the kernel of this environment; only for this machine, unless told otherwise.

    JupyterLab refuses root, who is who one is in many a container, until told that this is meant."""
    elsewhere = any(word.split("=")[0] in ("--ip", "--ServerApp.ip") for word in arguments)
    return [
        sys.executable,
        "-m",
        "jupyterlab",
        f"--ServerApp.root_dir={folder.resolve()}",
        f"--LabApp.default_url=/lab/tree/{first}",
        *([] if elsewhere else ["--ServerApp.ip=127.0.0.1"]),
        *(["--allow-root"] if _is_root() else []),
        *OFFLINE,
        *arguments,
    ]


def _is_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0


def environment() -> dict[str, str]:
    """The course importable in every kernel, installed or not."""
    return {**os.environ, "PYTHONPATH": building.path_with_course()}


def open_lab(
    folder: Path,
    *,
    instructor: bool = False,
    fresh: bool = False,
    arguments: list[str] | None = None,
) -> int:
    """Copy what is missing and run JupyterLab until it is closed."""
    kept = building.INSTRUCTOR if instructor else building.STUDENT
    placed = copies(folder, kept, fresh)
    print(
        f"{len(placed)} notebooks in {folder}: yours to write in; updates never touch them (--fresh does)",
        flush=True,
    )
    words = command(folder, placed[0].name, arguments or [])
    if os.name == "posix":  # the server takes this process's place, and gets its signals
        os.execvpe(words[0], words, environment())
    return subprocess.call(words, env=environment())
