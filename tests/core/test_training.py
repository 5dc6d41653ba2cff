"""Whole runs of the real code, small: what they write, and that they survive."""

from __future__ import annotations

import importlib
import json
import math
import multiprocessing
import os
import random
import shutil
import signal
import time
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from dino_core import checkpoint, parallel
from dino_core.config import Data, Ibot, from_json, to_json
from dino_core.errors import RunError
from dino_core.loop import Loop
from dino_core.model import load_teacher
from dino_core.rundir.read import checkpoints, merge_segments, probes, read_config, read_run, read_table, status
from dino_core.rundir.schema import step_name
from dino_core.rundir.write import RunWriter
from dino_core.stopping import READ, Listener
from dino_core.train import Parent, build_engine, build_recorder, going_on, resume, start, written_down
from tests.core.test_sources import picture, save
from tests.ranks import PRELOADED
from tests.small import small_config

CLOCK = ("seconds", "images_per_second", "memory", "segment")


def rows_of(run: Path) -> dict[int, dict]:
    """The training rows of a run by step, without what the clock says."""
    rows = merge_segments(read_table(run / "metrics.jsonl")[0])
    kept = {}
    for row in rows:
        kept.setdefault(row["step"], {}).update(
            {k: v for k, v in row.items() if k not in CLOCK and not k.startswith("time/")}
        )
    return kept


def test_a_run_leaves_what_the_format_promises(small_run):
    about = read_run(small_run)
    assert about["status"] == status(small_run) == "finished"
    assert read_config(small_run).steps == 12
    assert checkpoints(small_run) == probes(small_run) == [0, 1, 2, 4, 8, 12]
    steps = rows_of(small_run)
    assert sorted(steps) == list(range(13))
    told = {name for row in steps.values() for name in row} - {"step", "images", "nonfinite"}
    unknown = {
        name
        for name in told
        if name not in about["metrics"]
        and not any(key.endswith("*") and name.startswith(key[:-1]) for key in about["metrics"])
    }
    assert not unknown, f"metrics without title and unit: {unknown}"
    events = [event["event"] for event in read_table(small_run / "events.jsonl")[0]]
    assert events[0] == "started"
    assert events[-1] == "finished"
    assert {"probe", "checkpoint", "evaluation"} <= set(events)
    assert {"knn_raw_pixels", "knn_teacher_untrained", "jaccard_centred_box"} <= set(about["baselines"])


def test_every_signal_of_the_issue_is_logged(small_run):
    row = {}
    for r in rows_of(small_run).values():
        row |= r
    for name in (
        "loss", "teacher/entropy", "kl", "teacher/mean_entropy", "teacher/information", "prototypes/perplexity",
        "prototypes/largest_share", "prototypes/dead", "centre/norm", "centre/movement", "gradient/backbone",
        "gradient/head", "gradient/prototypes", "update/backbone", "student_teacher_distance", "features/std",
        "features/rankme", "features/lidar", "features/alpha_req", "patches/rankme", "patches/alpha_req",
        "patches/mean_cosine", "patches/cls_cosine", "attention/entropy", "attention/entropy/head_0",
        "patches/high_norm_share", "lr", "weight_decay", "momentum", "teacher_temperature", "images_per_second",
        "memory", "knn/teacher", "knn/student", "jaccard/best_head", "pca_iou",
    ):  # fmt: skip
        if name in ("images_per_second", "memory"):
            continue
        assert name in row, name
        assert row[name] is not None, name


def test_loss_is_entropy_plus_kl(small_run):
    for row in list(rows_of(small_run).values())[1:]:
        assert row["loss/dino"] == pytest.approx(row["teacher/entropy"] + row["kl"], rel=1e-4)


def test_the_config_that_was_saved_is_what_ran(small_run):
    config = read_config(small_run)
    assert config.head.prototypes == 32
    assert None not in (config.schedules.momentum, config.schedules.teacher_temperature, config.schedules.lr_warmup)
    assert from_json(to_json(config)) == config


def test_the_same_seed_gives_the_same_run(small_run, tmp_path):
    again, _ = start(small_config(), tmp_path / "again")
    assert rows_of(again) == rows_of(small_run)
    other, _ = start(small_config(seed=1, steps=3), tmp_path / "other")
    assert rows_of(other)[3]["loss"] != rows_of(small_run)[3]["loss"]


@pytest.mark.parametrize("algorithm", ["adamw", "sgd", "lars", "adamw with ibot"])
def test_a_run_that_was_stopped_goes_on_bit_for_bit(algorithm, tmp_path):
    config = small_config()
    if algorithm.endswith(" with ibot"):
        config = replace(config, ibot=Ibot(weight=1.0, separate_head=True, head=config.head))
    config = replace(config, optim=replace(config.optim, algorithm=algorithm.split()[0]))
    whole, _ = start(replace(config, output=replace(config.output, keep_states=9)), tmp_path / "whole")
    cut = tmp_path / "cut"
    shutil.copytree(whole, cut)
    for step in (8, 12):
        shutil.rmtree(cut / f"checkpoints/step_{step:08d}")
    torch.manual_seed(123)  # whatever happened to the global generator in between
    assert checkpoint.newest_state(cut) == 4
    assert resume(cut) == "finished"
    assert rows_of(cut) == rows_of(whole)
    for name, tensor in load_teacher(cut / "checkpoints/step_00000012").state_dict().items():
        assert torch.equal(tensor, load_teacher(whole / "checkpoints/step_00000012").state_dict()[name])


def servers() -> Any:
    """Processes that have imported the trainer when they begin."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


def heard(config: str, out: Path, said: Path) -> None:
    """What is printed goes into a file."""
    with said.open("w") as file, redirect_stdout(file):
        begin_or_go_on(config, out)


def heard_saving_slowly(config: str, out: Path, said: Path, saving: Path, go_on: Path) -> None:
    """The same, whose last checkpoint waits until `go_on` exists."""
    save = checkpoint.save

    def slowly(*given: Any) -> None:
        while "Ctrl-C: ends" in said.read_text() and not go_on.exists():
            saving.touch()
            time.sleep(0.02)
        save(*given)

    checkpoint.save = slowly
    heard(config, out, said)


def compiled(config: str, out: Path) -> None:
    """Traced as for a GPU, but run as traced: translating takes a CPU minutes."""
    whole = torch.nn.Module.compile
    torch.nn.Module.compile = lambda self: whole(self, backend="eager")
    start(from_json(config), out)
    assert torch._dynamo.utils.counters["frames"]["ok"] > 0


def begin_or_go_on(config: str, out: Path) -> None:
    """What a user does after each kill, in a process of its own."""
    if (out / "run.json").exists():
        resume(out)
    else:
        start(from_json(config), out)


@pytest.mark.slow
def test_a_run_killed_at_random_moments_loses_nothing(tmp_path):
    config, out = small_config(steps=60), tmp_path / "killed"
    whole, _ = start(config, tmp_path / "whole")
    context = servers()
    chance, kills = random.Random(0), 0
    for _ in range(40):
        process = context.Process(target=begin_or_go_on, args=(to_json(config), out))
        process.start()
        enough, deadline = progress_of(out) + chance.randint(1, 12), time.monotonic() + 60
        while progress_of(out) < enough and process.is_alive() and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(chance.uniform(0, 0.1))  # a moment within a step, not after so many that nothing is left to kill
        if not process.is_alive():
            break
        process.kill()
        process.join()
        kills += 1
        if kills == 2:
            damage_the_newest(out)
        for teacher in out.glob("checkpoints/step_*/teacher.safetensors"):
            load_teacher(teacher.parent)
    assert process.exitcode == 0
    assert kills >= 3
    assert status(out) == "finished"
    assert rows_of(out) == rows_of(whole)


def damage_the_newest(run: Path) -> None:
    """What a failing disk does; the state before it is whole."""
    newest, _ = checkpoint.states(run)[:2]
    for file in (run / "checkpoints" / step_name(newest) / "state").glob("*.distcp"):
        file.write_bytes(file.read_bytes()[:1000])


def progress_of(run: Path) -> int:
    """Lines of metrics, asked for all the time: nothing is parsed."""
    lines = run / "metrics.jsonl"
    return lines.read_bytes().count(b"\n") if lines.exists() else 0


@pytest.mark.slow
def test_compiled_networks_learn_the_same(tmp_path):
    """In a process without the annotations that tests check."""
    config = small_config(steps=2)
    plain, _ = start(config, tmp_path / "plain")
    config = replace(config, machine=replace(config.machine, compile=True))
    process = servers().Process(target=compiled, args=(to_json(config), tmp_path / "compiled"))
    process.start()
    process.join(240)
    assert process.exitcode == 0
    ours, theirs = rows_of(tmp_path / "compiled"), rows_of(plain)
    assert ours.keys() == theirs.keys()
    for step, row in theirs.items():
        assert ours[step] == pytest.approx(row, rel=1e-4, abs=1e-5), step


@pytest.mark.parametrize(("number", "word"), [(signal.SIGINT, "Ctrl-C"), (signal.SIGTERM, "SIGTERM")])
def test_ctrl_c_and_preemption_save_and_say_how_to_go_on(number, word, tmp_path):
    out, said = tmp_path / "run", tmp_path / "said"
    process = servers().Process(target=heard, args=(to_json(small_config(steps=100_000)), out, said))
    process.start()
    waited_for(process, lambda: (out / "metrics.jsonl").exists() and progress_of(out) >= 5)
    os.kill(process.pid, number)
    process.join(60)
    assert process.exitcode == 0
    assert status(out) == "stopped"
    last = max(rows_of(out))
    assert checkpoint.newest_state(out) == last
    assert f"({word}), saved. Go on with: dino-lab resume" in said.read_text()
    assert read_table(out / "events.jsonl")[0][-1]["why"] == word


def test_a_run_that_is_ended_while_its_folder_is_made_ends_as_one_that_was_asked(monkeypatch, tmp_path):
    def begins(writer: RunWriter, *_: Any) -> None:
        assert status(writer.path) == "running"
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr("dino_core.train.begin_probes", begins)
    out, how = start(small_config(steps=100), tmp_path / "run")
    assert how == status(out) == "stopped"
    assert read_table(out / "events.jsonl")[0][-1]["why"] == "SIGTERM"
    assert checkpoint.newest_state(out) is not None
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("saved", [True, False])
def test_only_a_third_ctrl_c_ends_a_run_that_is_saving(saved, tmp_path):
    out, said, saving, go_on = (tmp_path / name for name in ("run", "said", "saving", "go_on"))
    config = to_json(small_config(steps=100_000))
    process = servers().Process(target=heard_saving_slowly, args=(config, out, said, saving, go_on))
    process.start()
    waited_for(process, lambda: (out / "metrics.jsonl").exists() and progress_of(out) >= 5)
    os.kill(process.pid, signal.SIGINT)
    waited_for(process, saving.exists)
    before = checkpoint.newest_state(out)
    os.kill(process.pid, signal.SIGINT)
    waited_for(process, lambda: "once more ends at once, without saving" in said.read_text())
    os.kill(process.pid, signal.SIGTERM)  # as from a launcher that forwards what the terminal sends
    if saved:
        go_on.touch()
        process.join(60)
    while process.is_alive():
        os.kill(process.pid, signal.SIGINT)
        process.join(0.2)
    last, why = max(rows_of(out)), read_table(out / "events.jsonl")[0][-1]["why"]
    assert status(out) == "stopped"
    assert checkpoint.newest_state(out) == (last if saved else before)
    assert before < last
    assert why == ("Ctrl-C" if saved else f"Ctrl-C, without saving: its last checkpoint is that of step {before}")
    assert ("saved. Go on with" if saved else f"{why}). Go on with: dino-lab resume {out}") in said.read_text()
    assert not list(out.rglob(".*.draft"))


def waited_for(process: Any, happened: Any) -> None:
    while not happened():
        assert process.is_alive()
        time.sleep(0.05)


def test_a_hand_that_presses_three_times_at_once_is_asked_first(monkeypatch, capsys):
    """And the sentence has been there for a moment before Ctrl-C means it."""
    run, clock = SimpleNamespace(asked_to_stop=""), [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    listener = Listener(run)
    for _ in range(4):
        listener.take(signal.SIGINT)
        clock[0] += READ / 4
    listener.take(signal.SIGTERM)
    assert capsys.readouterr().out.count("without saving") == 1
    clock[0] += READ
    with pytest.raises(KeyboardInterrupt):
        listener.take(signal.SIGINT)
    listener.take(signal.SIGINT)  # what is under way to its end goes on


def test_a_fault_is_not_written_into_a_run_that_had_ended(small_run, tmp_path):
    """As that of a student which the others outlive."""
    run = tmp_path / "ended"
    shutil.copytree(small_run, run)
    writer = RunWriter(run, read_run(run), to_json(read_config(run)), segment=1)
    writer.update(status="finished")
    writer.close()
    ended = object.__new__(Loop)
    ended.writer, ended.step, before = writer, 12, (run / "events.jsonl").read_bytes()
    with pytest.raises(ZeroDivisionError), written_down(ended):
        raise ZeroDivisionError
    assert status(run) == "finished"
    assert (run / "events.jsonl").read_bytes() == before


@pytest.mark.parametrize(("hosts", "said"), [("1", "torchrun "), ("2", "torchrun --nnodes=2 ")])
def test_what_several_processes_began_goes_on_with_as_many(hosts, said, monkeypatch):
    monkeypatch.setattr(parallel, "active", lambda: True)
    monkeypatch.setattr(parallel, "world_size", lambda: 8 * int(hosts))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "8")
    monkeypatch.setenv("GROUP_WORLD_SIZE", hosts)
    assert going_on(Path("runs/a")) == f"{said}--nproc-per-node=8 -m dino_core.cli resume runs/a"


def test_a_finished_run_and_one_without_state_refuse_to_resume(small_run, tmp_path):
    with pytest.raises(RunError, match="is finished"):
        resume(small_run)
    bare = tmp_path / "bare"
    shutil.copytree(small_run, bare)
    for state in bare.rglob("state"):
        shutil.rmtree(state)
    with pytest.raises(RunError, match="kept no state to resume from, only teachers"):
        resume(bare)


def test_a_fork_changes_one_thing_and_remembers_its_parent(small_run, tmp_path):
    config = read_config(small_run)
    changed = replace(config, objective=replace(config.objective, centering="none"), steps=14)
    parent = Parent(small_run, 12, {"objective.centering": ["centre", "none"]})
    child, status_ = start(changed, tmp_path / "child", parent=parent)
    assert status_ == "finished"
    about = read_run(child)
    assert about["parent"]["step"] == 12
    assert about["parent"]["changed"] == {"objective.centering": ["centre", "none"]}
    assert min(rows_of(child)) == 13
    assert about["baselines"] == read_run(small_run)["baselines"]


def test_a_fork_needs_no_more_than_a_teacher(small_run, tmp_path):
    gallery = tmp_path / "gallery"
    shutil.copytree(small_run, gallery)
    for state in gallery.rglob("state"):
        shutil.rmtree(state)
    child, _ = start(replace(read_config(gallery), steps=10), tmp_path / "child", parent=Parent(gallery, 8, {}))
    assert sorted(rows_of(child)) == [9, 10]
    assert math.isfinite(rows_of(child)[10]["loss"])
    wider = replace(read_config(gallery), backbone=replace(read_config(gallery).backbone, dim=64))
    with pytest.raises(RunError, match="does not fit this config"):
        start(wider, tmp_path / "wider", parent=Parent(gallery, 8, {}))


def test_accumulation_gives_the_same_losses_centre_and_weights(tmp_path):
    config = small_config(steps=3, objective=replace(small_config().objective, koleo_weight=0.0), ibot=Ibot(weight=1.0))
    config = replace(config, backbone=replace(config.backbone, drop_path=0.0))
    whole, _ = start(config, tmp_path / "whole")
    parts, _ = start(replace(config, optim=replace(config.optim, accumulate=4)), tmp_path / "parts")
    assert rows_of(whole)[3]["loss"] == pytest.approx(rows_of(parts)[3]["loss"], rel=1e-5)
    one, other = (load_teacher(p / "checkpoints/step_00000003").state_dict() for p in (whole, parts))
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=1e-4, atol=1e-6)


def poisoned(monkeypatch, when):
    """The real objective, whose loss is not finite at some steps."""
    from dino_core.objective import Dino, Term

    honest = Dino.losses

    def losses(self, student, batch, targets, now):
        found = honest(self, student, batch, targets, now)
        if not when(now.step):
            return found
        term = found.terms["dino"]
        return replace(found, terms={"dino": Term(term.value * torch.nan, 1.0)})

    monkeypatch.setattr(Dino, "losses", losses)


def test_a_loss_that_is_not_finite_never_reaches_the_weights(tmp_path, monkeypatch):
    poisoned(monkeypatch, lambda step: step in (3, 4))
    run, how = start(small_config(), tmp_path / "run")
    assert how == "finished"
    for tensor in load_teacher(run / "checkpoints/step_00000012").state_dict().values():
        assert tensor.isfinite().all()
    skipped = [e for e in read_table(run / "events.jsonl")[0] if e["event"] == "skipped_step"]
    assert [e["step"] for e in skipped] == [4, 5]
    assert "loss was not finite" in skipped[0]["cause"]


def test_a_few_of_them_in_a_row_end_the_run_with_good_weights(tmp_path, monkeypatch):
    poisoned(monkeypatch, lambda step: step >= 5)
    run, how = start(small_config(), tmp_path / "run")
    assert how == "failed"
    assert status(run) == "failed"
    last = read_table(run / "events.jsonl")[0][-1]
    assert "5 steps in a row" in last["why"]
    assert "lower --optim.lr" in last["why"]
    for tensor in load_teacher(run / f"checkpoints/step_{last['step']:08d}").state_dict().values():
        assert tensor.isfinite().all()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # torch's writer, under Python 3.13
@pytest.mark.parametrize("writes", ["dino_core.checkpoint.save_teacher", "torch.save", "dino_core.loop.save_probe"])
def test_a_full_disk_does_not_stop_training(writes, tmp_path, monkeypatch):
    """Really full: for a while no file of this process may be longer than 1 KiB, however it is written."""
    target, _, name = writes.rpartition(".")
    honest, tries = getattr(importlib.import_module(target), name), []

    def full(*given, **named):
        tries.append(writes)
        if 10 < len(tries) <= 14 if name == "save" else len(tries) == 4:
            with files_of_at_most(1024):
                honest(*given, **named)
        else:
            honest(*given, **named)

    monkeypatch.setattr(writes, full)
    run, how = start(small_config(), tmp_path / "run")
    assert how == "finished"
    lost = {0, 1, 2, 4, 8, 12} - set(checkpoints(run))
    assert len(lost) == 1
    sentences = [e["sentence"] for e in read_table(run / "events.jsonl")[0] if e["event"] == "disk_full"]
    assert len(sentences) == 1
    assert sentences[0].startswith(f"checkpoint {lost.pop()} could not be written: ")
    assert not list(run.rglob(".*.draft"))


@contextmanager
def files_of_at_most(size: int):
    """Writing beyond that fails as on a full disk, with another number."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)


def test_images_that_cannot_be_read_are_named_once_a_run(tmp_path, capsys):
    for half in ("train", "test"):
        for number in range(7):
            save(tmp_path / "data" / half / f"{number}.png", picture(40, 32))
        (tmp_path / "data" / half / "broken.png").write_text("no image")
    few = small_config(steps=2)
    data, output = Data(source=str(tmp_path / "data")), replace(few.output, log_every=2, checkpoint_every=1)
    run, _ = start(replace(few, data=data, output=output), tmp_path / "run")
    out = capsys.readouterr().out
    assert out.count("left out broken.png (held out) (not an image)") == 1
    assert "2 image(s) could not be read and were left out" in out
    shutil.rmtree(run / "checkpoints/step_00000002")
    assert resume(run) == "finished"
    named = [e["name"] for e in read_table(run / "events.jsonl")[0] if e["event"] == "skipped_image"]
    assert sorted(named) == ["broken.png", "broken.png (held out)"]


def test_a_checkpoint_restores_every_tensor(small_run):
    config = read_config(small_run)
    engine, recorder = build_engine(config), build_recorder(config, small_run)
    loop = checkpoint.restore(small_run / "checkpoints/step_00000012", engine, recorder)
    assert loop["step"] == 12
    kept = load_teacher(small_run / "checkpoints/step_00000012").state_dict()
    for name, tensor in engine.teacher.state_dict().items():
        assert torch.equal(tensor, kept[name]), name
    assert all(float(state["step"]) == 12 for state in engine.optimizer.state.values())


def test_a_damaged_state_is_one_sentence(small_run, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(small_run, broken)
    for index in broken.glob("checkpoints/*/state/.metadata"):
        index.write_bytes(b"nonsense")
    about = json.loads((broken / "run.json").read_text())
    (broken / "run.json").write_text(json.dumps({**about, "status": "stopped", "steps": 20}))
    config = replace(read_config(broken), steps=20)
    (broken / "config.json").write_text(to_json(config))
    with pytest.raises(RunError, match=r"step_00000012/state.* can't be resumed from"):
        resume(broken)
