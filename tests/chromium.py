"""The Chromium that tests of pages drive: the system's, else the one that `playwright install` has fetched."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome")
FETCHED = (os.environ.get("PLAYWRIGHT_BROWSERS_PATH"), "~/.cache/ms-playwright", "~/Library/Caches/ms-playwright")

CHROMIUM = next((found for name in NAMES if (found := shutil.which(name))), None)
"""The system's; None leaves it to Playwright to find its own."""
MISSING = CHROMIUM is None and not any(list(Path(f).expanduser().glob("chromium*")) for f in FETCHED if f)
SKIPPED = "no Chromium on this machine"
"""Why tests of pages are skipped; CI installs one and may not skip."""
REMEDY = "Install it (`apt-get install chromium`, or `python -m playwright install chromium` in .venv) and run the tests again."
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


def may_skip() -> bool:
    return MISSING and not os.environ.get("CI")
