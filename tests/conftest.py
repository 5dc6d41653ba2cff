"""What tests share: one real run, trained once a session."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from tests.chromium import REMEDY, SKIPPED
from tests.small import small_config


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with long tests come first, so that no worker ends with one of them while the others have nothing left."""
    weight = {"slow": 2, "browser": 1}
    heaviest: dict[Path, int] = {}
    for item in items:
        marks = [weight.get(mark.name, 0) for mark in item.iter_markers()]
        heaviest[item.path] = max(heaviest.get(item.path, 0), *marks, 0)
    items.sort(key=lambda item: -heaviest[item.path])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What a machine without a browser did not test is said where everybody looks: at the end."""
    pages = [report for report in terminalreporter.stats.get("skipped", []) if SKIPPED in str(report.longrepr)]
    if pages:
        terminalreporter.section("pages were not tested", yellow=True)
        terminalreporter.write_line(
            f"{len(pages)} tests drive the pages in a browser and were skipped: {SKIPPED}. {REMEDY}"
        )


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of `small_config`: checkpoints at 0, 1, 2, 4, 8 and 12; tests must not change it."""
    from dino_core.train import start

    path, status = start(small_config(), tmp_path_factory.mktemp("runs") / "small")
    assert status == "finished"
    return path
