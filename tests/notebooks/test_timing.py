"""What `python -m notebooks times` says, with runs that cost nothing."""

from __future__ import annotations

import os
import re

import pytest

from notebooks import building, timing
from notebooks.__main__ import main


@pytest.mark.parametrize(("switch", "short"), [("--run", None), ("--quick", "1")])
def test_times_says_what_all_take_together_and_quick_ones_are_short(switch, short, monkeypatch, capsys):
    monkeypatch.setenv(timing.QUICK, "yes")  # of somebody else, and left as it was
    monkeypatch.setattr(building, "execute", lambda *_: ran.append(os.environ.get(timing.QUICK)))
    monkeypatch.setattr(timing, "_children", iter([3.0, 8.0, 10.0, 12.0]).__next__)
    ran: list[str | None] = []
    assert main(["times", "02", "06", switch]) == 0
    assert ran == [short, short]
    assert os.environ[timing.QUICK] == "yes"
    together = capsys.readouterr().out.splitlines()[-1]
    assert re.fullmatch(r"together +\d+ s +7 s", together)
