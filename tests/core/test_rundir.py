"""The run directory survives whatever happens to its writer."""

from __future__ import annotations

import errno
import json
import math
import os
import random
import resource
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dino_core.config import TrainConfig, to_json
from dino_core.errors import RunError
from dino_core.rundir import read, write
from dino_core.rundir.schema import EVENT_KINDS, FORMAT_VERSION, draft_of, retired_of
from dino_core.rundir.write import RunWriter

GOLDEN = Path(__file__).parents[1] / "data" / "run_v1"
CONFIG = to_json(TrainConfig())


def new_run(path: Path, *, segment: int = 0) -> RunWriter:
    return RunWriter(path, {"name": path.name, "steps": 100, "metrics": {}}, CONFIG, segment=segment)


# What the golden run promises


def test_the_golden_run_opens():
    run = read.read_run(GOLDEN)
    assert run["format"] == FORMAT_VERSION
    assert read.status(GOLDEN) == "finished"
    assert read.checkpoints(GOLDEN) == [200, 500]
    assert read.probes(GOLDEN) == [0, 200, 500]
    assert read.read_config(GOLDEN).head.prototypes == 32
    assert {event["event"] for event in read.read_events(GOLDEN)} == set(EVENT_KINDS) - {
        "phase"
    }  # younger than the run


def test_the_golden_run_gives_one_row_a_step_of_the_highest_segment():
    rows, _ = read.read_table(GOLDEN / "metrics.jsonl")
    merged = read.read_metrics(GOLDEN)
    assert len(rows) == 60
    assert [row["step"] for row in merged] == list(range(10, 501, 10))
    assert {row["step"]: row["segment"] for row in merged}[300] == 0
    assert {row["step"]: row["segment"] for row in merged}[310] == 1
    odd = read.restore_nonfinite(merged[6])
    assert math.isnan(odd["loss"])
    assert odd["gradient/head"] == math.inf
    assert "nonfinite" not in odd


def test_the_golden_runs_teacher_is_what_its_model_file_says():
    from dino_core.model import load_teacher

    teacher = load_teacher(GOLDEN / "checkpoints" / "step_00000200")
    assert (teacher.backbone.dim, teacher.backbone.registers, teacher.backbone.depth) == (16, 1, 2)


# Lines


def test_numbers_keep_seven_digits_and_odd_ones_become_null():
    row = json.loads(write.line({"a": 1 / 3, "b": math.nan, "c": {"d": -math.inf}, "e": True, "f": 10**12}))
    assert row == {
        "a": 0.3333333, "b": None, "c": {"d": None}, "e": True, "f": 10**12, "nonfinite": {"b": "nan", "c.d": "-inf"},
    }  # fmt: skip


def test_numbers_of_torch_and_numpy_and_any_name_can_be_written():
    import numpy as np
    import torch

    row = json.loads(write.line({"a": torch.tensor(0.1), "b": np.float32(0.1), "path": Path("x"), "name": "\udcff\n"}))
    assert row == {"a": 0.1, "b": 0.1, "path": "x", "name": "\\udcff\n"}


numbers = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
rows_of_anything = st.lists(st.dictionaries(st.text(), numbers, max_size=4), max_size=6)


@given(rows_of_anything, st.integers(0, 400), st.binary(max_size=30))
def test_a_reader_gets_every_whole_line_wherever_the_file_ends(tmp_path_factory, rows, cut, junk):
    path = tmp_path_factory.mktemp("table") / "metrics.jsonl"
    content = b"".join(map(write.line, rows))
    path.write_bytes(content[:cut])
    found, following = read.read_table(path)
    whole = content[:cut].count(b"\n")
    assert found == [json.loads(write.line(row)) for row in rows[:whole]]
    path.write_bytes(content)
    rest, _ = read.read_table(path, following)
    assert len(found) + len(rest) == len(rows)
    path.write_bytes(content + junk + b"\n" + b'{"step": 1}\n')
    assert read.read_table(path)[0][-1] == {"step": 1}


@pytest.mark.parametrize(
    "torn",
    [b'{"step": 1, "lo', b"[1, 2]", b"\xff\xfe", b'{"a": ' + b"[" * 100_000, b'{"step": ' + b"9" * 10_000 + b"}"],
    ids=["half", "no object", "no text", "too deep", "too long a number"],
)
def test_a_torn_line_in_the_middle_is_dropped(tmp_path, torn):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n' + torn + b'\n{"step": 2}\n')
    assert [row["step"] for row in read.read_table(path)[0]] == [1, 2]


def test_a_file_that_shrank_is_read_from_its_start(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n{"step": 2}\n')
    _, end = read.read_table(path)
    path.write_bytes(b'{"step": 9}\n')
    rows, following = read.read_table(path, end)
    assert (rows, following < end) == ([{"step": 9}], True)
    assert read.read_table(tmp_path / "missing.jsonl") == ([], 0)


def test_segments_merge_and_lines_of_a_step_join():
    rows = [
        {"step": 1, "segment": 0, "a": 1}, {"step": 2, "segment": 0, "a": 2}, {"step": 2, "segment": 1, "a": 3},
        {"step": 2, "segment": 0, "a": 4}, {"step": 2, "segment": 1, "b": 5}, {"segment": 1}, {"step": "x"},
    ]  # fmt: skip
    assert read.merge_segments(rows) == [
        {"step": 1, "segment": 0, "a": 1}, {"step": 2, "segment": 1, "a": 3, "b": 5}
    ]  # fmt: skip


# The writer


def test_a_run_is_what_was_written(tmp_path):
    writer = new_run(tmp_path / "run")
    writer.metric({"step": 1, "loss": 0.5})
    writer.event("note", 1, text="hello")
    writer.update(status="finished", baselines={"knn": 0.5})
    writer.close()
    writer.close()
    run = read.read_run(tmp_path / "run")
    assert (run["status"], run["baselines"], run["pid"]) == ("finished", {"knn": 0.5}, os.getpid())
    assert read.read_metrics(tmp_path / "run") == [{"step": 1, "segment": 0, "loss": 0.5}]
    (note,) = read.read_events(tmp_path / "run")
    assert (note["event"], note["step"], note["text"], note["segment"]) == ("note", 1, "hello", 0)
    assert read.read_config(tmp_path / "run") == TrainConfig()


def test_a_folder_that_is_not_empty_is_refused(tmp_path):
    (tmp_path / "precious").write_text("mine")
    with pytest.raises(RunError, match="is not empty"):
        new_run(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["precious"]


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="can't write a run into"):
        new_run(tmp_path / "file" / "run")


def test_resuming_cuts_torn_lines_sweeps_drafts_and_keeps_when_it_was_created(tmp_path):
    path = tmp_path / "run"
    writer = new_run(path)
    writer.metric({"step": 1})
    writer.close()
    created = read.read_run(path)["created"]
    with open(path / "metrics.jsonl", "ab") as file:
        file.write(b'{"step": 2, "lo')
    (draft_of(path / "checkpoints" / "step_00000002")).mkdir(parents=True)
    old = retired_of(path / "checkpoints" / "step_00000001")
    old.mkdir()
    (old / "teacher.safetensors").write_bytes(b"old")
    writer = new_run(path, segment=1)
    writer.metric({"step": 2})
    assert [(row["step"], row["segment"]) for row in read.read_metrics(path)] == [(1, 0), (2, 1)]
    assert read.read_run(path)["created"] == created
    assert read.checkpoints(path) == [1], "a folder whose successor never came gets its name back"
    assert not list(path.rglob(".*.draft"))
    writer.close()


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    writer = new_run(tmp_path / "run")
    with writer.published("checkpoints/step_00000005") as draft:
        (draft / "teacher.safetensors").write_bytes(b"one")
        assert read.checkpoints(writer.path) == []
    assert read.checkpoints(writer.path) == [5]

    def fail() -> None:
        with writer.published("checkpoints/step_00000006") as draft:
            (draft / "teacher.safetensors").write_bytes(b"half")
            raise OSError(errno.ENOSPC, "full")

    with pytest.raises(OSError, match="full"):
        fail()
    with writer.published("checkpoints/step_00000005") as draft:
        (draft / "teacher.safetensors").write_bytes(b"two")
    assert read.checkpoints(writer.path) == [5]
    assert (writer.path / "checkpoints/step_00000005/teacher.safetensors").read_bytes() == b"two"
    with writer.published_file("probes/images.safetensors") as draft_file:
        draft_file.write_bytes(b"images")
    assert (writer.path / "probes/images.safetensors").read_bytes() == b"images"
    assert sorted(p.name for p in (writer.path / "checkpoints").iterdir()) == ["step_00000005"]
    with pytest.raises(ValueError, match="no name inside a run"), writer.published("../outside"):
        pass
    writer.close()


def test_two_processes_do_not_write_one_run(tmp_path):
    writer = new_run(tmp_path / "run")
    code = f"""
        from dino_core.rundir.write import RunWriter
        RunWriter({str(tmp_path / "run")!r}, {{}}, "{{}}", segment=1)"""
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True)
    assert f"is being written by process {os.getpid()}" in done.stderr
    writer.close()
    assert subprocess.run([sys.executable, "-c", textwrap.dedent(code)]).returncode == 0


def test_threads_do_not_tear_each_others_lines(tmp_path):
    writer = new_run(tmp_path / "run")

    def note(step: int) -> None:
        for _ in range(50):
            writer.event("note", step, text="x" * 500)

    threads = [threading.Thread(target=note, args=(step,)) for step in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.close()
    assert len(read.read_events(writer.path)) == 200


def test_a_full_disk_costs_no_line_and_raises_nothing(tmp_path):
    code = f"""
        import resource
        from dino_core.rundir.read import read_events, read_metrics
        from dino_core.rundir.write import RunWriter
        writer = RunWriter({str(tmp_path / "run")!r}, {{}}, "{{}}")
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4000, hard))
        for step in range(200):
            writer.metric({{"step": step, "loss": 1 / 3}})
            if step == 5:
                assert writer.trouble is None
        assert "disk is full" in writer.trouble, writer.trouble
        before = read_metrics(writer.path)
        assert 0 < len(before) < 200
        assert (writer.path / "metrics.jsonl").read_bytes().endswith(b"\\n")
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        writer.update(status="finished")
        assert writer.trouble is None
        assert [row["step"] for row in read_metrics(writer.path)] == list(range(200))
        (event,) = read_events(writer.path)
        assert event["event"] == "disk_full"
        writer.close()"""
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_run_json_that_does_not_fit_is_written_later(tmp_path):
    writer = new_run(tmp_path / "run")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
    try:
        writer.update(status="stopped")
        assert writer.trouble is not None
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert read.status(writer.path) == "running"
    writer.metric({"step": 3})
    assert read.status(writer.path) == "stopped"
    writer.close()


WRITING = """
import os, sys
from dino_core.rundir.read import read_metrics
from dino_core.rundir.write import RunWriter
path, segment = sys.argv[1], int(sys.argv[2])
step = max((row["step"] for row in read_metrics(path)), default=0)
writer = RunWriter(path, {}, "{}", segment=segment)
while True:
    step += 1
    writer.metric({"step": step, "loss": 1 / step, "filler": "x" * (step * 37 % 5000)})
    if step % 3 == 0:
        writer.event("note", step, text="y" * 300)
        writer.update(last=step)
    if step % 5 == 0:
        with writer.published(f"checkpoints/step_{step // 10:08d}") as draft:
            for name in ("teacher.safetensors", "model.json"):
                (draft / name).write_bytes(str(step).encode() * 2000)
"""


def test_a_reader_never_sees_half_of_anything_while_writers_are_killed(tmp_path):
    """SIGKILL at random moments, resumed each time, with a reader that follows."""
    path, chance = tmp_path / "run", random.Random(0)
    following, seen = 0, []
    for segment in range(6):
        writing = subprocess.Popen([sys.executable, "-c", WRITING, str(path), str(segment)])
        wait_until(lambda before=following: len(read.read_table(path / "metrics.jsonl", before)[0]) > 0)
        stop = time.monotonic() + chance.uniform(0, 0.3)
        while time.monotonic() < stop:
            rows, following = read.read_table(path / "metrics.jsonl", following)
            seen += rows
            check_whole(path)
        writing.send_signal(signal.SIGKILL)
        writing.wait()
        check_whole(path)
        rows, following = read.read_table(path / "metrics.jsonl", following)
        seen += rows
    steps = [row["step"] for row in seen]
    assert steps == list(range(1, len(steps) + 1)), "a line was lost, doubled or torn"
    assert read.read_run(path)["segment"] == 5


def check_whole(path: Path) -> None:
    assert read.read_run(path)["format"] == 1
    for step in read.checkpoints(path):
        folder = path / "checkpoints" / f"step_{step:08d}"
        try:
            sizes = {len((folder / name).read_bytes()) % 2000 for name in ("teacher.safetensors", "model.json")}
        except FileNotFoundError:
            continue  # replaced by its successor this very moment
        assert sizes == {0}


def wait_until(condition, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.01)


# Readers


def test_what_is_no_run_is_refused_in_a_sentence(tmp_path):
    with pytest.raises(RunError, match="is not a run"):
        read.read_run(tmp_path)
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(RunError, match="is not a run"):
        read.read_run(tmp_path)
    (tmp_path / "run.json").write_text('{"format": 2}')
    with pytest.raises(RunError, match=r"has format 2; this version reads up to 1\. Update"):
        read.read_run(tmp_path)
    with pytest.raises(RunError, match=r"has no readable config\.json"):
        read.read_config(tmp_path)


def test_a_silent_run_whose_process_is_gone_has_died(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    writer = new_run(tmp_path / "run")
    assert read.status(writer.path) == "running"
    long_ago = time.time() - 2 * read.SILENCE
    for file in writer.path.iterdir():
        os.utime(file, (long_ago, long_ago))
    assert read.status(writer.path) == "running", "its process lives: it may be evaluating"
    writer.update(pid=gone.pid)
    assert read.status(writer.path) == "running", "it has just written"
    for file in writer.path.iterdir():
        os.utime(file, (long_ago, long_ago))
    assert read.status(writer.path) == "died"
    writer.close()


def test_two_hundred_runs_are_found_fast_newest_first_and_garbage_is_passed_over(tmp_path):
    for i in range(200):
        folder = tmp_path / f"group_{i % 3}" / f"run_{i:03d}"
        folder.mkdir(parents=True)
        about = {"format": 1, "created": f"2026-01-01T00:{i // 60:02d}:{i % 60:02d}Z", "metrics": {"m": "x" * 10_000}}
        (folder / "run.json").write_text(json.dumps(about))
    broken = {"half": '{"format": 1, "na', "list": "[]", "binary": "\0\1", "empty": "", "text": '{"format": "one"}'}
    for name, content in broken.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text(content)
    (tmp_path / "pipe").mkdir()
    os.mkfifo(tmp_path / "pipe" / "run.json")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / ".hidden").mkdir()
    began = time.perf_counter()
    found = read.find_runs(tmp_path, depth=2)
    assert time.perf_counter() - began < 1
    names = list(dict.fromkeys(path.name for path in found))
    assert names == [f"run_{i:03d}" for i in reversed(range(200))]
    assert read.find_runs(tmp_path / "missing") == []


def test_a_malicious_run_leads_nowhere(tmp_path):
    outside = tmp_path / "outside" / "step_00000007"
    outside.mkdir(parents=True)
    (outside / "teacher.safetensors").write_bytes(b"secret")
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    (run / "checkpoints" / "step_00000007").symlink_to(outside)
    (run / "checkpoints" / ("step_" + "9" * 200)).mkdir()
    os.mkfifo(run / "metrics.jsonl")
    assert read.checkpoints(run) == []
    assert read.read_table(run / "metrics.jsonl") == ([], 0)
    for name in ("../outside", "/etc/passwd", "checkpoints/step_00000007"):
        with pytest.raises(RunError, match="leads out of the run"):
            read.inside(run, name)
    assert read.inside(run, "checkpoints") == (run / "checkpoints").resolve()


def test_a_metric_is_described_by_its_entry_by_that_of_its_family_or_by_its_name():
    entry = {"title": "Attention entropy", "unit": "nats", "better": None, "about": "How widely."}
    run = {"metrics": {"attention/entropy": entry, "attention/entropy/*": entry}}
    assert read.describe(run, "attention/entropy") == entry
    assert read.describe(run, "attention/entropy/head_0") == entry | {"title": "Attention entropy: head 0"}
    assert read.describe({}, "my/new_number")["title"] == "My new number"


def test_a_run_that_was_copied_reads_the_same(tmp_path):
    import shutil

    shutil.copytree(GOLDEN, tmp_path / "copy")
    assert read.read_metrics(tmp_path / "copy") == read.read_metrics(GOLDEN)
    assert read.find_runs(tmp_path) == [tmp_path / "copy"]


def test_reading_a_run_needs_no_torch():
    code = "import sys, dino_core.rundir.read, dino_core.telemetry.diagnosis; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_only_a_run_is_said_to_go_on(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "mine.jpg").write_text("")
    (tmp_path / "file").write_text("")
    for name, said in (("photos", r"is not empty\. Choose another folder\.$"), ("file", "is a file")):
        with pytest.raises(RunError, match=said):
            new_run(tmp_path / name)
    new_run(tmp_path / "run").close()
    with pytest.raises(RunError, match="or go on with `dino-lab resume"):
        new_run(tmp_path / "run")


def test_who_resumes_what_another_has_resumed_meanwhile_is_told(tmp_path):
    new_run(tmp_path / "run").close()
    new_run(tmp_path / "run", segment=1).close()
    with pytest.raises(RunError, match="was resumed by another process meanwhile"):
        new_run(tmp_path / "run", segment=1)
    new_run(tmp_path / "run", segment=2).close()
