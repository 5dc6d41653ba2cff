"""The formulas on one sheet of paper: HANDOUT.md as a page, and printed by Chromium to a PDF of one A4 page."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

from lab.coursepages import sheet

SOURCE = Path(__file__).parent / "HANDOUT.md"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome", "msedge")


def page() -> str:
    """The handout as HTML that needs nothing else: formulas are drawn by the browser itself."""
    return sheet(SOURCE)


def named() -> dict[str, Any]:
    """What the last column names, and what it is in `dino_core`; AttributeError for a name that is not there."""
    cells = [
        line.split("|")[-2]
        for line in SOURCE.read_text("utf-8").splitlines()
        if line.startswith("| **")
    ]
    names = [name for cell in cells for name in re.findall(r"`([\w.]+)`", cell)]
    return {name: _found(name) for name in names}


def _found(name: str) -> Any:
    words = name.split(".")
    for length in range(len(words), 0, -1):
        try:
            found: Any = import_module(".".join(["dino_core", *words[:length]]))
        except ModuleNotFoundError:
            continue
        for word in words[length:]:
            found = getattr(found, word)
        return found
    raise AttributeError(f"dino_core has nothing named {name!r}.")


def write(out: Path) -> Path:
    """The handout as a file: a page if its name ends in .html, else a PDF.  RuntimeError without a browser that prints."""
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.suffix == ".html":
        out.write_text(page(), "utf-8")
        return out
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        raise RuntimeError(
            f"no browser that prints ({', '.join(BROWSERS)}); write handout.html and print it from yours."
        )
    with tempfile.TemporaryDirectory() as folder:
        written = write(Path(folder) / "handout.html")
        quiet = ["--headless", "--disable-gpu", "--no-sandbox", f"--user-data-dir={folder}/profile"]
        quiet += ["--no-first-run", "--disable-background-networking", "--disable-component-update"]
        told = [f"--print-to-pdf={out.resolve()}", "--no-pdf-header-footer", written.as_uri()]
        done = subprocess.run([browser, *quiet, *told], capture_output=True, text=True, timeout=120)
    if not out.is_file():
        raise RuntimeError(f"{browser} printed nothing: {done.stderr[-300:]}")
    return out
