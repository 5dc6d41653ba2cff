"""Whether data sets may be fetched: not by a process that only looks at runs, whatever a run's config names."""

from __future__ import annotations

import os

OFFLINE = "DINO_LAB_OFFLINE"
"""Set to 1 in such a process: nothing is downloaded."""


def offline() -> bool:
    return os.environ.get(OFFLINE) == "1"
