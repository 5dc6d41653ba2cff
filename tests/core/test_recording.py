"""A recorded run is a run: compact, whole, and a place to fork from."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.torch import load_file

from dino_core.errors import RunError
from dino_core.model import load_teacher
from dino_core.recording import log_spaced, record
from dino_core.rundir.read import checkpoints, merge_segments, probes, read_config, read_run, read_table, status
from dino_core.telemetry.diagnosis import Diagnosis


def test_a_recording_keeps_all_metrics_and_log_spaced_teachers(small_run, tmp_path):
    out = record(small_run, tmp_path / "recorded", keep=4, probes_kept=5)
    assert checkpoints(out) == [0, 1, 4, 12]
    assert len(probes(out)) == 5
    assert {0, 12} <= set(probes(out))
    assert read_run(out)["gallery"] is True
    assert status(out) == "finished"
    rows, kept = (merge_segments(read_table(run / "metrics.jsonl")[0]) for run in (small_run, out))
    assert [r["step"] for r in kept] == [r["step"] for r in rows]
    assert kept[-1]["knn/teacher"] == rows[-1]["knn/teacher"]
    assert not list(out.rglob("state"))
    size, before = (sum(p.stat().st_size for p in run.rglob("*") if p.is_file()) for run in (out, small_run))
    assert size < before / 2


def test_its_teachers_are_those_of_the_run_to_half_precision(small_run, tmp_path):
    out = record(small_run, tmp_path / "recorded")
    name = "checkpoints/step_00000012"
    assert all(
        t.element_size() == 2 for t in load_file(out / name / "teacher.safetensors").values() if t.is_floating_point()
    )
    one, other = load_teacher(small_run / name).state_dict(), load_teacher(out / name).state_dict()
    for key, tensor in one.items():
        assert (tensor - other[key]).abs().max() <= 1e-3 * tensor.abs().max() + 1e-4


def test_a_recording_is_never_written_over(small_run, tmp_path):
    with pytest.raises(RunError, match="exists already"):
        record(small_run, tmp_path)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 10, 50])
def test_chosen_steps_are_spread_over_the_logarithm_and_keep_both_ends(count):
    steps = [0, 1, 2, 5, 10, 20, 50, *range(100, 2100, 100)]
    chosen = log_spaced(steps, count)
    assert len(chosen) == min(count, len(steps))
    assert chosen == sorted(set(chosen))
    assert chosen[-1] == 2000
    if count > 1:
        assert chosen[0] == 0


def test_todays_rules_judge_a_run_whenever_it_was_trained(tmp_path):
    golden = Path(__file__).parents[1] / "data" / "run_v1"
    out = record(golden, tmp_path / "recorded")
    rows = merge_segments(read_table(golden / "metrics.jsonl")[0])
    diagnosis = Diagnosis(read_config(golden).head.prototypes or 0, read_config(golden).steps)
    expected = [(row["step"], finding.name) for row in rows for finding in diagnosis.update(row)]
    events = read_table(out / "events.jsonl")[0]
    found = [(e["step"], e["name"]) for e in events if e["event"] == "diagnosis"]
    assert found == expected
    assert found
    assert [e["step"] for e in events] == sorted(e["step"] for e in events)


def test_others_may_read_what_a_run_publishes(small_run):
    mode = (small_run / "run.json").stat().st_mode & 0o777
    for file in (*small_run.glob("checkpoints/*/teacher.safetensors"), *small_run.glob("probes/*/*.safetensors")):
        assert file.stat().st_mode & 0o777 == mode


@pytest.mark.parametrize("few", [{"keep": 0}, {"probes_kept": -3}])
def test_a_recording_keeps_at_least_one_of_each(few, small_run, tmp_path):
    with pytest.raises(RunError, match="expected at least one of each"):
        record(small_run, tmp_path / "recorded", **few)
