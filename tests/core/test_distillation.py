"""Students from a frozen teacher: the loss as its loop nest, independence of company, ranks, resuming, grids, mistakes."""

from __future__ import annotations

import json
import re
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from dino_core import checkpoint
from dino_core import loop as loop_module
from dino_core.cli import guarded
from dino_core.commands.distill import main, read_students
from dino_core.commands.resume import main as resume_command
from dino_core.config import Backbone, Crops, Head, Ibot, Init, TrainConfig, from_json, to_json
from dino_core.distillation import lockstep as lockstep_module
from dino_core.distillation import resume, start
from dino_core.distillation.sight import Sight, agreed_sight, teachers_sight
from dino_core.distillation.teacher import frozen_teacher
from dino_core.engine import Engine
from dino_core.errors import CheckpointError, ConfigError, RunError
from dino_core.loop import Loop
from dino_core.model import load_backbone, load_teacher
from dino_core.rundir.read import merge_segments, read_config, read_events, read_run, read_table, status
from dino_core.schedules import Schedule
from dino_core.stopwatch import Stopwatch
from dino_core.train import build_engine
from dino_core.train import start as train
from tests import oracles
from tests.core.test_continued import published
from tests.core.test_planning import batch_of
from tests.core.test_training import rows_of
from tests.ranks import run_on_ranks
from tests.small import small_config

SMALLER = Backbone(patch=8, dim=16, depth=1, heads=2, drop_path=0.1)


def student_config(**changes) -> TrainConfig:
    config = small_config(steps=6, backbone=SMALLER)
    config = replace(replace(config, head=replace(config.head, prototypes=None)), **changes)
    output = replace(config.output, keep_states=9)
    return replace(config, objective=replace(config.objective, koleo_weight=0.0), output=output)


def deeper() -> TrainConfig:
    return student_config(
        backbone=replace(SMALLER, dim=24, depth=2), crops=Crops(global_size=32, local_size=16, local_crops=1)
    )


def convolutional() -> TrainConfig:
    """Four by four positions of 32 px, as the teacher has four by four patches of 8 px."""
    crops = Crops(global_size=128, local_size=64, local_crops=1, blur_sigma=(0.4, 8.0))
    return student_config(backbone=Backbone(name="test_convnext", patch=32, drop_path=0.0), crops=crops, steps=2)


@pytest.fixture(scope="module")
def teacher(small_run) -> Path:
    return small_run


@pytest.fixture(scope="module")
def pair(teacher, tmp_path_factory) -> Path:
    """Two students, finished; tests must not change them."""
    out = tmp_path_factory.mktemp("distilled") / "pair"
    assert start(teacher, {"small": student_config(), "deeper": deeper()}, out) == {
        "small": "finished",
        "deeper": "finished",
    }
    return out


def weights_of(run: Path, step: int = 6) -> dict[str, torch.Tensor]:
    return load_teacher(run / f"checkpoints/step_{step:08d}").state_dict()


def assert_same_weights(one: Path, other: Path) -> None:
    ours, theirs = weights_of(one), weights_of(other)
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[name]), name


def same_rows(one: Path, other: Path) -> bool:
    def told(run: Path) -> dict:
        return {step: {k: v for k, v in row.items() if k != "time/others"} for step, row in rows_of(run).items()}

    return told(one) == told(other)


@pytest.mark.parametrize("with_patches", [False, True], ids=["DINO", "DINO and iBOT"])
def test_the_loss_is_the_loop_nest_of_its_equation(teacher, with_patches):
    ibot = Ibot(weight=1.0 if with_patches else 0.0, hide=False)
    config = replace(student_config(ibot=ibot), head=small_config().head, batch_size=3)
    known = frozen_teacher(teacher)
    known.speaks_of_patches = with_patches
    engine = build_engine(fitted(config))
    known.hand_on(engine.objective)
    batch = batch_of(engine.config)
    masks = torch.rand(2, 3, 16, generator=torch.Generator().manual_seed(0)) < 0.4
    batch = replace(batch, masks=masks, masked=masks.flatten().nonzero()[:, 0])
    now = Schedule(engine.config).at(0)
    centre = engine.objective.centre.clone()
    assert centre.abs().sum() > 0, "the teacher's own centre is where it left it"
    network = frozen_teacher(teacher)
    seen = network.backbone(batch.globals.flatten(0, 1))
    logits = network.head(seen.cls).detach()
    targets = oracles.centred(logits, centre, now.teacher_temperature).unflatten(0, (2, 3))
    known.look(batch.globals)
    torch.manual_seed(0)
    engine.student.eval()
    found = engine.objective.losses(
        engine.student, batch, engine.objective.targets(known, batch, now, patches=False), now
    )
    said = engine.student.head(
        torch.cat([engine.student.backbone.cls(v.flatten(0, 1)) for v in (batch.globals, batch.locals)])
    ).unflatten(0, (-1, 3))
    expected = oracles.cross_view(said, targets, now.student_temperature)
    torch.testing.assert_close(found.terms["dino"].value, expected)
    if with_patches:
        rows = engine.student.backbone(batch.globals.flatten(0, 1)).patches.flatten(0, 1)[batch.masked]
        theirs = network.head(seen.patches.flatten(0, 1)[batch.masked]).detach()
        goal = oracles.centred(theirs, torch.zeros_like(centre), now.teacher_temperature)
        expected = oracles.masked_patch(engine.student.head(rows), goal, masks.flatten(0, 1), now.student_temperature)
        torch.testing.assert_close(found.terms["ibot"].value, expected)


def fitted(config: TrainConfig) -> TrainConfig:
    from dino_core.fit import fit

    return fit(config, 64)[0]


def test_the_own_teacher_follows_and_the_frozen_one_does_not(teacher):
    known, engine = frozen_teacher(teacher), build_engine(fitted(replace(student_config(), head=small_config().head)))
    before = {name: tensor.clone() for name, tensor in known.state_dict().items()}
    followed = [p.clone() for p in engine.teacher.parameters()]
    batch, now = batch_of(engine.config), Schedule(engine.config).at(3)
    known.look(batch.globals)
    engine.train_step(batch, now, Stopwatch(torch.device("cpu")), asked=known)
    assert all(torch.equal(tensor, before[name]) for name, tensor in known.state_dict().items())
    expected = [now.momentum * a + (1 - now.momentum) * b for a, b in zip(followed, engine.student.parameters())]
    for ours, theirs in zip(engine.teacher.parameters(), expected):
        torch.testing.assert_close(ours.detach(), theirs.detach())


def test_students_leave_whole_runs(pair, teacher):
    for name in ("small", "deeper"):
        run = pair / name
        assert status(run) == "finished"
        about = read_run(run)
        assert about["distilled_from"]["teacher"].startswith(str(teacher.resolve()))
        assert about["baselines"]["knn_distilled_from"] > 0
        assert {"knn/teacher", "knn/student", "features/rankme", "kl"} <= {
            k for row in rows_of(run).values() for k in row
        }
        assert read_config(run).head.prototypes == 32
        assert not [e for e in read_events(run) if e["event"] == "diagnosis" and e.get("level") in ("watch", "trouble")]
    assert read_config(pair / "small").backbone.dim == 16
    assert read_config(pair / "deeper").backbone.dim == 24
    assert weights_of(pair / "small")["backbone.model.norm.weight"].shape == (16,)


@pytest.mark.parametrize("name", ["small", "deeper"])
def test_a_student_learns_the_same_alone_and_in_company(pair, teacher, tmp_path, name):
    config = {"small": student_config(), "deeper": deeper()}[name]
    start(teacher, {name: config}, tmp_path / "alone")
    assert_same_weights(tmp_path / "alone" / name, pair / name)
    assert same_rows(tmp_path / "alone" / name, pair / name)


def test_another_student_costs_no_other_pass_of_the_teacher(teacher, tmp_path, monkeypatch):
    from dino_core.distillation.teacher import Teacher

    passes = []
    look = Teacher.look

    def counted(self, views):
        passes.append(views.shape)
        look(self, views)

    monkeypatch.setattr(Teacher, "look", counted)
    start(
        teacher,
        {"a": student_config(steps=3), "b": deeper_for(3), "c": student_config(steps=2, seed=0)},
        tmp_path / "three",
    )
    assert len(passes) == 3


def deeper_for(steps: int) -> TrainConfig:
    return replace(deeper(), steps=steps)


def test_a_convnext_learns_from_a_vit_with_as_many_positions_as_patches(teacher, tmp_path):
    out = tmp_path / "families"
    mixed = {"cnn": replace(convolutional(), ibot=Ibot(weight=1.0, hide=False)), "vit": student_config(steps=2)}
    assert set(start(teacher, mixed, out).values()) == {"finished"}
    row = rows_of(out / "cnn")[2]
    assert row["loss/ibot"] > 0
    start(teacher, {"vit": student_config(steps=2)}, tmp_path / "alone")
    for key, tensor in weights_of(tmp_path / "alone/vit", 2).items():
        assert torch.equal(tensor, weights_of(out / "vit", 2)[key])


def test_the_teacher_sees_as_many_patches_as_the_student():
    sight = teachers_sight(convolutional(), student_patch=32, teacher_patch=8)
    assert sight.crops.global_size == 32
    assert sight.crops.blur_sigma == pytest.approx((0.1, 2.0))
    upstream = Crops(global_size=512, local_size=224)
    assert teachers_sight(small_config(crops=upstream), 32, 16).crops.global_size == 256
    with pytest.raises(ConfigError, match="no whole number of the student's patches of 14 px"):
        teachers_sight(small_config(), 14, 16)


def cut_at(out: Path, source: Path, step: int) -> None:
    """As a kill just after a step left the students."""
    shutil.copytree(source, out)
    for run in (out / "small", out / "deeper"):
        about = json.loads((run / "run.json").read_text())
        (run / "run.json").write_text(json.dumps({**about, "status": "running"}))
        for folder in (run / "checkpoints").iterdir():
            if int(folder.name[5:]) > step:
                shutil.rmtree(folder)


@pytest.mark.parametrize("behind", [2, None])
def test_students_go_on_together_bit_for_bit_even_from_different_steps(pair, tmp_path, behind):
    cut = tmp_path / "cut"
    cut_at(cut, pair, 4)
    for folder in (cut / "deeper/checkpoints").iterdir():
        if behind is None or int(folder.name[5:]) > behind:
            shutil.rmtree(folder)
    assert checkpoint.newest_state(cut / "small") == 4
    assert checkpoint.newest_state(cut / "deeper") == behind  # the other waits for it
    assert resume_command([str(cut)]) == 0
    for name in ("small", "deeper"):
        assert_same_weights(cut / name, pair / name)
        assert same_rows(cut / name, pair / name)
    with pytest.raises(RunError, match="all its students have done their steps"):
        resume(cut)


def test_one_student_goes_on_by_its_own_folder(pair, tmp_path):
    cut = tmp_path / "cut"
    cut_at(cut, pair, 4)
    assert resume_command([str(cut / "small")]) == 0
    assert_same_weights(cut / "small", pair / "small")
    assert status(cut / "small") == "finished"
    assert json.loads((cut / "deeper/run.json").read_text())["status"] == "running"


def test_ctrl_c_saves_all_students(teacher, pair, tmp_path, monkeypatch, capsys):
    out, step = tmp_path / "stopped", Engine.train_step

    def interrupted(self, batch, now, clock, **options):
        if now.step == 2 and self.config.backbone.depth == 2:
            signal.raise_signal(signal.SIGINT)
        return step(self, batch, now, clock, **options)

    with monkeypatch.context() as patched:
        patched.setattr(Engine, "train_step", interrupted)
        ended = start(teacher, {"small": student_config(), "deeper": deeper()}, out)
    assert ended == {"small": "stopped", "deeper": "stopped"}
    assert checkpoint.newest_state(out / "small") == checkpoint.newest_state(out / "deeper") == 3
    said = "".join(capsys.readouterr())
    assert said.count("(Ctrl-C), saved.") == 2
    said = re.findall(r"with: (dino-lab resume \S+)", said)
    assert said == 4 * [f"dino-lab resume {out}"]  # each when it begins and when it ends: they go on together
    assert resume(out) == {"small": "finished", "deeper": "finished"}
    for name in ("small", "deeper"):
        assert_same_weights(out / name, pair / name)


def test_a_student_that_fails_leaves_the_others_to_go_on(teacher, pair, tmp_path, monkeypatch):
    step = Engine.train_step

    def broken(self, batch, now, clock, **options):
        if self.config.backbone.depth == 2:
            batch = replace(batch, locals=batch.locals * torch.nan)
        return step(self, batch, now, clock, **options)

    monkeypatch.setattr(Engine, "train_step", broken)
    ended = start(teacher, {"wild": deeper(), "small": student_config()}, tmp_path / "out")
    assert ended == {"wild": "failed", "small": "finished"}
    assert_same_weights(tmp_path / "out/small", pair / "small")


def test_what_a_student_saves_and_measures_is_nobodys_training(teacher, tmp_path, monkeypatch):
    """On a clock that a training step moves by a second, and everything beside it by a hundred."""
    now, step, beside = [0.0], Engine.train_step, Loop.once_in_a_while

    def stepping(self, *arguments, **options):
        now[0] += 1
        return step(self, *arguments, **options)

    def measuring(self, *arguments, **options):
        now[0] += 100
        return beside(self, *arguments, **options)

    clock = SimpleNamespace(perf_counter=lambda: now[0], monotonic=lambda: 0.0)
    for module in (loop_module, lockstep_module):
        monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(Engine, "train_step", stepping)
    monkeypatch.setattr(Loop, "once_in_a_while", measuring)
    start(
        teacher,
        {"one": student_config(steps=3), "two": replace(student_config(steps=3), output=small_config().output)},
        tmp_path,
    )
    tables = [merge_segments(read_table(tmp_path / name / "metrics.jsonl")[0]) for name in ("one", "two")]
    assert [table[-1]["seconds"] for table in tables] == [5, 6]  # others' steps count


def distilled(teacher: str, students: dict[str, str], out: str) -> dict[str, str]:
    return start(teacher, {name: from_json(text) for name, text in students.items()}, out)


def resumed(out: str) -> dict[str, str]:
    return resume(out)


@pytest.mark.slow
def test_two_ranks_with_a_student_each_learn_like_one_process(teacher, tmp_path):
    still = replace(SMALLER, drop_path=0.0)
    ibot = Ibot(weight=1.0, hide=False)
    one, two = (
        student_config(backbone=still),
        replace(deeper(), backbone=replace(deeper().backbone, drop_path=0.0), ibot=ibot),
    )
    start(teacher, {"one": one, "two": two}, tmp_path / "alone")
    both = run_on_ranks(distilled, 2, str(teacher), {"one": to_json(one), "two": to_json(two)}, str(tmp_path / "ranks"))
    assert both == [{"one": "finished"}, {"two": "finished"}]
    for name in ("one", "two"):
        for key, tensor in weights_of(tmp_path / "alone" / name).items():
            torch.testing.assert_close(
                weights_of(tmp_path / "ranks" / name)[key], tensor, rtol=1e-3, atol=2e-4, msg=key
            )
        assert read_run(tmp_path / "ranks" / name)["world_size"] == 1
    cut = tmp_path / "cut"
    shutil.copytree(tmp_path / "ranks", cut)
    for name in ("one", "two"):
        (cut / name / "config.json").write_text(to_json(replace(read_config(cut / name), steps=7)))
        about = json.loads((cut / name / "run.json").read_text())
        (cut / name / "run.json").write_text(json.dumps({**about, "status": "stopped"}))
    assert run_on_ranks(resumed, 2, str(cut)) == [{"one": "finished"}, {"two": "finished"}]
    assert {row["step"] for row in merge_segments(read_table(cut / "one/metrics.jsonl")[0])} == set(range(8))


@pytest.mark.slow
def test_one_student_on_two_ranks_learns_like_on_one(teacher, tmp_path):
    config = student_config(backbone=replace(SMALLER, drop_path=0.0))
    start(teacher, {"one": config}, tmp_path / "alone")
    run_on_ranks(distilled, 2, str(teacher), {"one": to_json(config)}, str(tmp_path / "ranks"))
    for key, tensor in weights_of(tmp_path / "alone/one").items():
        torch.testing.assert_close(weights_of(tmp_path / "ranks/one")[key], tensor, rtol=1e-3, atol=2e-4, msg=key)


def test_each_student_has_its_own_options_and_all_have_the_common_ones():
    options = "backbone.dim=48,schedules.momentum=0.9 1.0,ibot.separate_head=true,machine.reshard=False"
    students = read_students([f"a=tiny,{options}", "tiny"], ["--batch-size", "16"])
    assert list(students) == ["a", "tiny"]
    assert (students["a"].ibot.separate_head, students["a"].machine.reshard) == (True, False)
    assert (students["tiny"].ibot.separate_head, students["tiny"].machine.reshard) == (False, True)
    assert students["a"].backbone.dim == 48
    assert students["a"].schedules.momentum == (0.9, 1.0)
    assert students["tiny"].backbone.dim == 96
    assert {config.batch_size for config in students.values()} == {16}


@pytest.mark.parametrize(
    ("specs", "said"),
    [
        (["tiny", "tiny"], "two students are called 'tiny'"),
        (["a=nothing"], "no recipe 'nothing'"),
        (["a=tiny,backbone.dim"], "is no student; expected"),
        (["../a=tiny"], "can't be the name"),
    ],
)
def test_a_bad_student_is_one_sentence(specs, said):
    with pytest.raises(ConfigError, match=said):
        read_students(specs, [])


def test_what_can_not_be_distilled_is_one_sentence(teacher, tmp_path, capsys):
    assert guarded(main, ["--teacher", str(tmp_path), "--students", "tiny", "--out", str(tmp_path / "out")]) == 2
    assert "has no heads" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="its teacher has 32"):
        start(teacher, {"a": student_config(steps=3, head=Head(prototypes=16))}, tmp_path / "a")
    with pytest.raises(ConfigError, match="make the teacher look twice: batch_size is 8 for the one and 4"):
        start(teacher, {"a": student_config(), "b": student_config(batch_size=4)}, tmp_path / "b")
    with pytest.raises(ConfigError, match=r"make the teacher look twice: crops\.flip"):
        start(
            teacher,
            {"a": student_config(), "b": student_config(crops=replace(deeper().crops, flip=0.1))},
            tmp_path / "c",
        )
    with pytest.raises(ConfigError, match="scores patches by the class token's head"):
        start(teacher, {"a": student_config(ibot=Ibot(weight=1.0, separate_head=True))}, tmp_path / "d")
    with pytest.raises(ConfigError, match="needs torchrun with 2 processes"):
        start(teacher, {"a": student_config()}, tmp_path / "e", ranks=[2])
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").touch()
    with pytest.raises(RunError, match="is not empty"):
        start(teacher, {"a": student_config()}, tmp_path / "full")
    assert not [tmp_path / name for name in "abcde" if (tmp_path / name).exists()]


def test_a_teacher_that_moved_is_named(pair, tmp_path):
    moved = tmp_path / "moved"
    cut_at(moved, pair, 4)
    about = json.loads((moved / "distillation.json").read_text())
    (moved / "distillation.json").write_text(json.dumps({**about, "teacher": "/nowhere/at/all"}))
    with pytest.raises(CheckpointError, match="/nowhere/at/all"):
        resume(moved)
    with pytest.raises(RunError, match="is no distillation"):
        resume(tmp_path)


def test_a_student_of_a_student(pair, tmp_path):
    """The EMA of a student is what its run keeps, and a teacher like any other."""
    assert start(pair / "deeper", {"tiny": student_config(steps=2)}, tmp_path / "next") == {"tiny": "finished"}


def test_heads_trained_for_a_published_backbone_make_it_a_teacher(teacher, tmp_path):
    """`load_backbone` gives no heads; a run that holds the backbone still trains some."""
    config = small_config(steps=3, init=Init(backbone=str(teacher), frozen=1.0))
    headed, ended = train(config, tmp_path / "headed")
    assert ended == "finished"
    own, before = (
        load_teacher(run / "checkpoints" / step)
        for run, step in ((headed, "step_00000003"), (teacher, "step_00000012"))
    )
    images = torch.randn(2, 3, 32, 32)
    for ours, theirs in zip(own.backbone(images), before.backbone(images), strict=True):
        torch.testing.assert_close(ours, theirs)
    assert not torch.equal(own.head.mlp[0].weight, before.head.mlp[0].weight)
    assert start(headed, {"a": student_config(steps=2)}, tmp_path / "out") == {"a": "finished"}


@pytest.mark.parametrize("name", ["dinov2", "dinov3"])
def test_a_published_backbone_teaches_with_fresh_heads(name, tmp_path):
    path = published(name, tmp_path)
    config = student_config(steps=2, init=Init(heads=2 if name == "dinov2" else None))
    with pytest.raises(
        CheckpointError, match=r"has no heads.*--init.backbone .*published.pth --init.frozen 1.*--fresh-heads"
    ):
        start(path, {"a": config}, tmp_path / "refused")
    out = tmp_path / "out"
    assert start(path, {"a": config}, out, fresh_heads=True) == {"a": "finished"}
    known, images = (
        frozen_teacher(json.loads((out / "distillation.json").read_text())["teacher"]),
        torch.randn(2, 3, 48, 48),
    )
    torch.testing.assert_close(
        known.backbone(images).patches, load_backbone(path, heads=config.init.heads)(images).patches
    )
    about = json.loads((out / "a/run.json").read_text())
    (out / "a/run.json").write_text(json.dumps({**about, "status": "running"}))
    shutil.rmtree(out / "a/checkpoints")  # as a kill before the first checkpoint
    path.unlink()
    assert resume(out) == {"a": "finished"}


def test_students_may_differ_in_all_that_the_teacher_does_not_see():
    a, b = (Sight(small_config().data, small_config().crops, 8, 0) for _ in range(2))
    assert agreed_sight({"a": a, "b": b}) == a


def test_a_run_that_was_trained_is_no_distillation(small_run):
    assert "distilled_from" not in read_run(small_run)
    assert train is not start
