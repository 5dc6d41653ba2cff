"""Reading runs: the golden one, damaged ones, growing ones."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lab
from dino_core.errors import RunError
from dino_core.rundir import read
from dino_core.rundir.read import merge_segments, read_table
from lab import Run, follow, longfile
from lab.follow import Follower, glance
from lab.history import KEPT, ROOM, ROOM_IN_BULK, History

GOLDEN = Path(__file__).parents[1] / "data" / "run_v1"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(GOLDEN, tmp_path / "run"))


def append(path: Path, *rows: dict | str) -> None:
    with open(path, "a") as file:
        file.write("\n")  # the golden run's last line is torn
        file.writelines(row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows)


def test_the_lab_reads_runs_without_torch() -> None:
    code = (
        "import sys, lab; run = lab.Run(sys.argv[1]); run.config; run.events(); run.probe().patches; run.since(); "
        "lab.runs(sys.argv[1]); lab.analysis.attention.mass_mask; assert 'torch' not in sys.modules, 'torch'"
    )
    subprocess.run([sys.executable, "-c", code, str(GOLDEN)], check=True)


def test_metrics_have_one_row_a_step_of_the_last_segment() -> None:
    table = Run(GOLDEN).metrics()
    assert table.step.is_monotonic_increasing
    assert table.step.is_unique
    said = merge_segments(read_table(GOLDEN / "metrics.jsonl")[0])
    assert table.step.tolist() == [row["step"] for row in said]
    assert table.loss.dtype == float
    assert set(table[table.step > 350].segment) == {1}


def test_values_that_were_not_finite_come_back() -> None:
    rows, _ = read_table(GOLDEN / "metrics.jsonl")
    odd = [(row["step"], name, value) for row in rows for name, value in row.get("nonfinite", {}).items()]
    assert odd, "the golden run has some"
    table = Run(GOLDEN).metrics().set_index("step")
    step, name, said = odd[0]
    value = table.loc[step, name]
    assert math.isnan(value) if said == "nan" else math.isinf(value)


def test_torn_lines_and_missing_pieces_cost_only_themselves(copy: Path) -> None:
    count = len(Run(copy).metrics())
    append(
        copy / "metrics.jsonl", '{"step": 510, "loss"\n', {"step": 520, "segment": 1, "loss": 1.0}, '{"step": 530, "lo'
    )
    assert len(Run(copy).metrics()) == count + 1
    (copy / "events.jsonl").unlink()
    (copy / "config.json").unlink()
    shutil.rmtree(copy / "probes")
    run = Run(copy)
    assert run.events() == []
    assert run.probes == []
    assert run.since()["head"]["step"] == 520
    with pytest.raises(RunError, match="no probe images"):
        _ = run.probe_images
    with pytest.raises(RunError, match="no probe yet"):
        run.probe()
    with pytest.raises(RunError, match="no readable config"):
        _ = run.config
    (copy / "metrics.jsonl").unlink()
    assert Run(copy).metrics().empty


def test_a_folder_that_is_no_run_is_told_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is not a run"):
        Run(tmp_path)


def test_probes_are_read_by_name(copy: Path) -> None:
    run = Run(copy)
    assert run.probes == [0, 200, 500]
    probe = run.probe(200)
    images, heads, patches = probe.attention.shape
    assert probe.grid == (4, 4)
    assert probe.patches.shape[:2] == (images, patches)
    assert probe.cls.shape == (images, probe.patches.shape[2])
    assert probe.logits.shape == (images, 32)
    assert heads == 2
    assert "student.patches" in probe
    assert run.probe().step == 500
    shown = run.probe_images
    assert shown.images.shape == (images, 3, 32, 32)
    assert shown.images.dtype == np.uint8
    assert shown.masks is not None
    assert shown.masks.shape == (images, 32, 32)


def test_a_probe_is_found_without_looking_at_all_others(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed: list[Path] = []
    monkeypatch.setattr(read, "probes", lambda path: listed.append(path) or [500])
    assert Run(copy).probe(200).step == 200
    assert not listed
    assert Run(copy).probe().step == 500
    assert listed == [Run(copy).path]


def test_stops_are_looked_into_once_and_again_until_they_are_whole(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[Path] = []
    look = read.probes
    monkeypatch.setattr(read, "probes", lambda path: looked.append(path) or look(path))
    monkeypatch.setattr(follow, "FRESH", 0)
    follower = Follower(copy)

    def told() -> list[int]:
        return follower.since()["head"]["probes"]

    assert told() == told() == [0, 200, 500]
    assert len(looked) == 1
    late = copy / "probes" / "step_00000700"
    late.mkdir()
    assert told() == [0, 200, 500], "a copy in the making"
    shutil.copy(copy / "probes" / "step_00000500" / "tensors.safetensors", late)
    assert told() == [0, 200, 500, 700]
    shutil.rmtree(copy / "probes" / "step_00000200")
    assert told() == [0, 500, 700]


def test_what_is_missing_is_listed_with_what_there_is() -> None:
    run = Run(GOLDEN)
    with pytest.raises(RunError, match=r"no probe at step 7\. It has: 0, 200, 500"):
        run.probe(7)
    with pytest.raises(RunError, match=r"has no 'teacher.dreams'\. It has: .*teacher\.patches"):
        run.probe().read("teacher.dreams")


def test_a_broken_probe_is_a_sentence(copy: Path) -> None:
    (copy / "probes/step_00000200/tensors.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0not a header")
    with pytest.raises(RunError, match="can't be read as safetensors"):
        Run(copy).probe(200)


def test_reading_never_writes_into_a_run(copy: Path) -> None:
    before = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in copy.rglob("*")}
    run = Run(copy)
    _ = run.config, run.metrics(), run.events(), run.probe().patches, run.since(), run.diagnosis, run.status
    assert {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in copy.rglob("*")} == before


def test_the_teacher_of_a_checkpoint_is_a_backbone() -> None:
    import torch

    teacher = Run(GOLDEN).teacher(200)
    with torch.inference_mode():
        tokens = teacher(torch.zeros(1, 3, 32, 32))
        rows = teacher.attention(torch.zeros(1, 3, 32, 32))
    assert tokens.patches.shape == (1, 16, 16)
    assert rows.shape == (1, 2, 18, 18)


def test_runs_lists_newest_first_and_passes_over_what_is_none(tmp_path: Path) -> None:
    for name, created in (("a", "2026-01-01T00:00:00Z"), ("b", "2026-03-01T00:00:00Z"), ("c", "2026-02-01T00:00:00Z")):
        run = Path(shutil.copytree(GOLDEN, tmp_path / "deep" / name))
        about = json.loads((run / "run.json").read_text())
        (run / "run.json").write_text(json.dumps({**about, "created": created}))
    (tmp_path / "deep" / "notes").mkdir()
    (tmp_path / "deep" / "notes" / "run.json").write_text("no json")
    assert [run.path.name for run in lab.runs(tmp_path)] == ["b", "c", "a"]


# ---- following


def merged(*answers: dict) -> dict[str, list]:
    """What a page has after these answers, as `store.js` joins them."""
    curves: dict[str, list] = {}
    for answer in answers:
        if answer["reset"]:
            curves = {}
        for name, (steps, values) in answer["curves"].items():
            known = curves.setdefault(name, [[], []])
            known[0] += steps
            known[1] += values
    return curves


def test_a_cursor_brings_only_what_is_new(copy: Path) -> None:
    follower = Follower(copy)
    follower._read_at = -math.inf
    first = follower.since()
    assert first["reset"]
    assert not follower.since(first["cursor"])["changed"]
    broken = {"step": 520, "segment": 1, "loss": None, "nonfinite": {"loss": "nan"}}
    append(copy / "metrics.jsonl", {"step": 510, "segment": 1, "loss": 0.5}, broken)
    append(copy / "events.jsonl", {"event": "note", "step": 510, "text": "hello"})
    follower._read_at = -math.inf
    second = follower.since(first["cursor"])
    assert not second["reset"]
    assert second["curves"] == {"loss": [[510, 520], [0.5, None]]}
    assert [event["text"] for event in second["events"]] == ["hello"]
    assert second["head"]["step"] == 520
    whole = Follower(copy).since()
    assert merged(first, second) == whole["curves"]
    assert whole["cursor"].split(".")[:3] == second["cursor"].split(".")[:3], "a restarted server counts alike"


def test_every_split_of_a_file_gives_the_same_curves(tmp_path: Path) -> None:
    lines = (GOLDEN / "metrics.jsonl").read_bytes()
    whole = Follower(GOLDEN).since()["curves"]
    for seed in range(8):
        copy = Path(shutil.copytree(GOLDEN, tmp_path / str(seed)))
        (copy / "metrics.jsonl").write_bytes(b"")
        follower, cursor, answers = Follower(copy), "", []
        cuts = sorted(np.random.default_rng(seed).integers(0, len(lines), 12).tolist())
        for start, stop in zip([0, *cuts], [*cuts, len(lines)], strict=True):
            with open(copy / "metrics.jsonl", "ab") as file:
                file.write(lines[start:stop])
            follower._read_at = -math.inf
            answers.append(follower.since(cursor))
            cursor = answers[-1]["cursor"]
        assert merged(*answers) == whole


def test_a_resumed_run_takes_back_what_lay_ahead(copy: Path) -> None:
    follower = Follower(copy)
    cursor = follower.since()["cursor"]
    append(copy / "metrics.jsonl", {"step": 300, "segment": 2, "loss": 9.0})
    follower._read_at = -math.inf
    answer = follower.since(cursor)
    assert answer["reset"]
    assert answer["curves"]["loss"][0][-1] == 300
    assert answer["curves"]["loss"][1][-1] == 9.0
    assert answer["head"]["step"] == 300


def test_a_file_that_began_anew_is_read_anew(copy: Path) -> None:
    follower = Follower(copy)
    cursor = follower.since()["cursor"]
    (copy / "metrics.jsonl").write_text(json.dumps({"step": 10, "segment": 0, "loss": 3.0}) + "\n")
    follower._read_at = -math.inf
    answer = follower.since(cursor)
    assert answer["reset"]
    assert answer["curves"] == {"loss": [[10], [3.0]]}


@pytest.mark.parametrize("cursor", ["x", "1.2", "9.9.9.ab", "0.-1.0.ab", "0.0.99999.ab", "a.b.c.d"])
def test_a_cursor_that_fits_nothing_gives_the_whole(cursor: str) -> None:
    assert Follower(GOLDEN).since(cursor)["reset"]


def test_a_long_history_is_thinned_but_keeps_its_extremes(copy: Path) -> None:
    rows = [{"step": step, "segment": 1, "loss": math.sin(step), "kl": 1.0} for step in range(600, 20_600)]
    rows[777]["loss"] = 99.0
    append(copy / "metrics.jsonl", *rows)
    steps, values = Follower(copy).since(points=500)["curves"]["loss"]
    assert len(steps) <= 500
    assert max(value for value in values if value is not None) == 99.0
    assert steps[-1] == 20_599


def test_of_a_very_long_file_a_sample_comes_at_once_and_then_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(GOLDEN, tmp_path / "run")
    rows = [{"step": step, "segment": 1, "loss": math.sin(step), "kl": 1.0} for step in range(600, 20_600)]
    rows[777]["loss"] = 99.0
    append(tmp_path / "run" / "metrics.jsonl", *rows)
    monkeypatch.setattr(follow, "AT_ONCE", 2**16)
    for name, value in {"LAST": 2**13, "SAMPLED": 200, "PIECE": 2**16}.items():
        monkeypatch.setattr(longfile, name, value)
    follower = Follower(tmp_path / "run")
    first = follower.since()
    assert first["head"]["step"] == first["curves"]["loss"][0][-1] == 20_599
    assert 200 < len(first["curves"]["loss"][0]) < 1000, "a sample, and the end of the file"
    append(tmp_path / "run" / "metrics.jsonl", {"step": 20_600, "segment": 1, "loss": 7.0})
    answer, until = first, time.monotonic() + 60
    while answer["head"] is None or answer["head"]["reading"] is not None:
        assert time.monotonic() < until
        time.sleep(0.05)
        answer = follower.since(answer["cursor"])
    assert answer["reset"], "what was a sample is told anew"
    assert max(value for value in answer["curves"]["loss"][1] if value is not None) == 99.0
    assert answer["curves"]["loss"][0][-1] == 20_600, "what was written meanwhile is there"
    assert answer["curves"]["knn/teacher"] == Follower(GOLDEN).since()["curves"]["knn/teacher"]


def resumed_often(path: Path) -> dict[int, float]:
    """Lines of four segments, of which the second one ends early, and the losses that hold in the end."""
    holds: dict[int, float] = {}
    with open(path / "metrics.jsonl", "w") as file:
        for segment, (start, stop) in enumerate([(0, 9000), (4000, 4300), (4200, 11_000), (10_900, 20_000)]):
            holds = {step: loss for step, loss in holds.items() if step < start}
            for step in range(start, stop, 2):
                holds[step] = math.sin(step) + segment
                rare = {"knn/teacher": step / 1e5} if step % 1000 == 0 else {}
                file.write(json.dumps({"step": step, "segment": segment, "loss": holds[step], **rare}) + "\n")
                if step % 500 == 0:
                    file.write('{"step": torn\n')
    return holds


def test_from_closer_a_run_is_as_it_was_logged(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    holds = resumed_often(copy)
    monkeypatch.setattr(longfile, "PIECE", 2**14)
    follower = Follower(copy)
    whole = follower.since()
    assert whole["thinned"]
    for first, last in [
        (0, 1500),
        (3500, 5000),
        (4290, 4310),
        (8000, 9500),
        (10_890, 10_910),
        (17_000, 10**9),
        (-5, 3),
    ]:
        near = follower.within(first, last)
        expected = {step: loss for step, loss in holds.items() if first <= step <= last}
        assert dict(zip(*near["curves"]["loss"], strict=True)) == pytest.approx(expected), (first, last)
        assert (near["first"], near["last"]) == (first, min(last, 19_998))
    assert follower.within(3500, 5000)["curves"]["knn/teacher"] == [[4000, 5000], [0.04, 0.05]]
    assert follower.within(5001, 5001)["curves"] == {}, "no step was logged there"
    assert follower.within(9000, 100)["curves"] == {}
    assert max(len(steps) for steps, _ in follower.within(0, 20_000, points=50)["curves"].values()) <= 50
    append(copy / "metrics.jsonl", {"step": 20_000, "segment": 3, "loss": 7.0})
    follower._read_at = -math.inf
    assert follower.within(19_990, 20_100)["curves"]["loss"][0][-2:] == [19_998, 20_000], "of a run that goes on"
    assert not Follower(GOLDEN).since()["thinned"]


def test_from_closer_a_stretch_too_long_to_read_is_a_sample_with_the_extremes(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"step": step, "segment": 1, "loss": math.sin(step)} for step in range(600, 40_600)]
    rows[15_000]["loss"] = 99.0
    append(copy / "metrics.jsonl", *rows)
    monkeypatch.setattr(longfile, "CLOSE", 2**16)
    follower = Follower(copy)
    steps, values = follower.within(10_000, 20_000)["curves"]["loss"]
    coarse = [step for step in follower.since()["curves"]["loss"][0] if 10_000 <= step <= 20_000]
    assert len(coarse) < 600
    assert len(steps) > 1200
    assert (steps[values.index(99.0)], steps == sorted(set(steps))) == (15_600, True)


def test_lines_taken_together_are_lines_taken_one_by_one() -> None:
    rows: list[dict[str, Any]] = [{"step": step, "segment": 0, "loss": 1 / step} for step in range(1, 200)]
    rows[3] |= {"odd": None, "loss": None}
    rows[5] |= {"flag": True, "nonfinite": {"loss": "inf"}, "whole": 3}
    together, apart = History(), History()
    together.take(rows)
    for row in rows:
        apart.take([row])
    assert str(together.curves["loss"].values) == str(apart.curves["loss"].values)
    assert {name: list(curve.lines) for name, curve in together.curves.items()} == {
        name: list(curve.lines) for name, curve in apart.curves.items()
    }
    assert set(together.curves) == {"loss", "odd", "whole"}
    assert (together.lines, together.step, together.generation) == (apart.lines, apart.step, apart.generation)


def test_a_history_is_bounded_and_spread_over_all_that_was_logged() -> None:
    history = History()
    for start in range(0, 60_000, 1000):
        history.take([{"step": step, "loss": 99.0 if step == 777 else step % 7} for step in range(start, start + 1000)])
    curve = history.curves["loss"]
    assert len(curve.steps) <= KEPT + ROOM_IN_BULK
    assert max(curve.values) == 99.0
    assert np.diff(curve.steps).max() < 3 * 60_000 / (KEPT / 3), "at most two stretches and what was thinned before"
    assert (curve.steps[0], curve.steps[-1]) == (0, 59_999)
    for step in range(60_000, 60_000 + 2 * ROOM):
        history.take([{"step": step, "loss": 1.0}])
    assert len(curve.steps) <= KEPT + ROOM


def test_the_diagnosis_is_the_runs_own_where_it_has_one(copy: Path) -> None:
    found = Run(GOLDEN).diagnosis
    assert found is not None
    assert found["name"] == "uniform_collapse"
    assert found["cleared"] is True
    events = [line for line in (copy / "events.jsonl").read_text().splitlines(True) if '"diagnosis"' not in line]
    (copy / "events.jsonl").write_text("".join(events))
    own = Run(copy).diagnosis
    assert own is not None
    assert own["level"] in ("healthy", "watch", "trouble")
    assert Run(copy).since()["head"]["findings"]


def test_health_is_told_in_the_numbers_that_hold_now(copy: Path) -> None:
    healthy = {"event": "diagnosis", "step": 50, "name": "healthy", "level": "healthy", "sentence": "as of step 50"}
    append(copy / "events.jsonl", healthy)
    append(copy / "metrics.jsonl", {"step": 510, "segment": 1, "kl": 0.25, "teacher/information": 1.75})
    found = Run(copy).diagnosis
    assert found is not None
    assert "tells 1.75 nats about the image, and the student still has 0.25 nats" in found["sentence"]
    append(copy / "metrics.jsonl", {"step": 520, "segment": 1, "kl": 0.24, "teacher/information": 0.0})
    found = Run(copy).diagnosis
    assert found is not None
    assert found["sentence"] == "as of step 50", "nothing is made up where the teacher says nothing"


def test_the_head_says_what_the_page_shows() -> None:
    head = Run(GOLDEN).since()["head"]
    assert head["status"] == "finished"
    assert head["step"] == 500
    assert head["probes"] == [0, 200, 500]
    assert head["prototypes"] == 32
    assert head["baselines"]["knn_raw_pixels"] == 0.61
    assert head["skipped_images"] == 1
    assert head["early"] is None, "it is past the steps in which nothing is called healthy"
    json.dumps(Run(GOLDEN).since(), allow_nan=False)


def test_a_fork_is_where_its_parent_was_before_it_has_logged_anything(copy: Path) -> None:
    about = json.loads((copy / "run.json").read_text())
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"output": {"log_every": 10, "heavy_every": 25}}))
    (copy / "metrics.jsonl").unlink()
    for begun, first, early in ((0, 1, 50), (203, 210, None), (222, 225, None)):
        (copy / "run.json").write_text(json.dumps(about | {"parent": {"run": "one", "path": "one", "step": begun}}))
        head = Run(copy).since()["head"]
        assert (head["begun"], head["step"], head["first_logged"], head["early"]) == (begun, begun, first, early)


def test_a_glance_reads_only_the_ends(copy: Path) -> None:
    append(copy / "metrics.jsonl", *({"step": step, "segment": 1, "loss": 1.0} for step in range(510, 5_000)))
    about = glance(copy)
    assert about["step"] == 4999
    append(copy / "metrics.jsonl", {"step": 5000, "segment": 1, "loss": 1.0})
    assert glance(copy)["step"] == 5000
    assert "pid" not in about
    assert about["status"] == "finished"
    assert about["level"] == "healthy"
