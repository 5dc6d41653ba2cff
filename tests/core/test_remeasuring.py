"""What a run did not measure while it trained is measured afterwards, on its checkpoints, and nothing is replaced."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dino_core.commands.remeasure import main
from dino_core.errors import RunError
from dino_core.remeasuring import remeasure
from dino_core.rundir.read import checkpoints, read_metrics
from dino_core.rundir.write import line

LATER = ("jaccard/heads_together", "pca_iou")


@pytest.fixture
def older(small_run: Path, tmp_path: Path) -> Path:
    """The run as a version would have left it that knew neither of two measures."""
    run = tmp_path / "older"
    shutil.copytree(small_run, run)
    rows = [{k: v for k, v in row.items() if k not in LATER} for row in read_metrics(run)]
    (run / "metrics.jsonl").write_bytes(b"".join(line(row) for row in rows))
    about = json.loads((run / "run.json").read_text())
    about["baselines"] = {k: v for k, v in about["baselines"].items() if "heads_together" not in k}
    (run / "run.json").write_text(json.dumps(about))
    return run


def test_what_is_added_is_what_the_run_would_have_logged(older, small_run, capsys):
    assert main([str(older)]) == 0
    assert "nothing new" not in capsys.readouterr().out
    truth = {row["step"]: row for row in read_metrics(small_run)}
    found = {row["step"]: row for row in read_metrics(older)}
    measured = [step for step in checkpoints(older) if LATER[0] in truth[step]]
    assert measured
    for step in measured:
        for name in LATER:
            assert found[step][name] == pytest.approx(truth[step][name], abs=1e-6), (step, name)
        assert {k: v for k, v in found[step].items() if k in truth[step]} == pytest.approx(truth[step], abs=1e-6)
    known = json.loads((small_run / "run.json").read_text())["baselines"]
    assert json.loads((older / "run.json").read_text())["baselines"] == pytest.approx(known, abs=1e-6)


def test_a_second_time_adds_nothing_and_a_training_run_is_left_alone(older, monkeypatch):
    assert remeasure(older)
    size = (older / "metrics.jsonl").stat().st_size
    assert remeasure(older) == {}
    assert (older / "metrics.jsonl").stat().st_size == size
    monkeypatch.setattr("dino_core.remeasuring.status", lambda run: "running")
    with pytest.raises(RunError, match="is training"):
        remeasure(older)


def test_a_torn_last_line_gives_way_to_what_is_added(older):
    rows = read_metrics(older)
    with (older / "metrics.jsonl").open("ab") as file:
        file.write(b'{"step": 13, "lo')
    assert remeasure(older)
    found = read_metrics(older)
    assert [row["step"] for row in found] == [row["step"] for row in rows]
    assert all(name in found[0] for name in LATER)


def test_a_run_that_another_process_writes_into_is_left_alone(older):
    code = f"""
import sys
from pathlib import Path
from dino_core.rundir.write import adding_to
with adding_to(Path({str(older)!r})):
    print(flush=True)
    sys.stdin.read()
"""
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(RunError, match=f"is being written by process {other.pid}"):
            remeasure(older)
        other.communicate(b"")
    assert remeasure(older)
