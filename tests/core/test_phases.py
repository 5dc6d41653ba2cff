"""Runs of several phases: one clock, each phase a whole config; resumed and forked in any of them."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dino_core.anchors import anchor_of, earlier
from dino_core.cli import guarded
from dino_core.commands.fork import main as fork_command
from dino_core.commands.train import beginning, begun
from dino_core.commands.train import main as train_command
from dino_core.config import (
    Backbone,
    Gram,
    Head,
    Ibot,
    Init,
    Koleo,
    Optim,
    Phase,
    Schedules,
    TrainConfig,
    differences,
    from_json,
    to_json,
    with_changes,
)
from dino_core.data.sources import open_source
from dino_core.errors import ConfigError, RunError
from dino_core.handover import hand_over
from dino_core.model import load_teacher
from dino_core.recipes import RECIPES
from dino_core.recording import record, turning_points
from dino_core.rundir.read import checkpoints, probes, read_config, read_events, read_run
from dino_core.schedules import Schedule
from dino_core.train import Parent, build_engine, opened, resume, start
from tests.core.test_training import rows_of
from tests.ranks import run_on_ranks
from tests.small import small_config

PHASES = (
    Phase(
        name="gram",
        share=4 / 12,
        changes={
            "gram.weight": 2.0,
            "gram.size": 40,
            "gram.refresh_first": 0.5,
            "gram.refreshes": 1,
            "optim.lr": 5e-4,
            "optim.layer_decay": 0.9,
            "backbone.drop_path": 0.0,
            "schedules.local_weight.end": 0.5,
            "schedules.local_weight.fall": 0.5,
        },
    ),
    Phase(
        name="large",
        share=3 / 12,
        changes={
            "crops.mixed": [[40, 16, 48, 0.5], [32, 16, 48, 0.5]],
            "gram.anchor": "20%",
            "gram.refreshes": 0,
            "batch_size": 4,
        },
    ),
)


def phased(**changes) -> TrainConfig:
    """Five steps, four with a Gram anchor that is renewed after two, three of mixed sizes and smaller batches."""
    base = small_config(
        ibot=Ibot(weight=1.0, separate_head=True, head=Head(prototypes=24, hidden=32, bottleneck=16), centering="sinkhorn"),
        backbone=Backbone(
            name="rope", patch=8, dim=32, depth=2, heads=2, registers=1, drop_path=0.3, drop_path_subset=True,
            layer_scale=0.1, rope_rescale=2.0, local_cls_norm=True,
        ),
        phases=PHASES,
    )  # fmt: skip
    base = replace(base, output=replace(base.output, checkpoint_every=1, keep_states=99))
    return replace(base, **changes)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    path, status = start(phased(), tmp_path_factory.mktemp("phases") / "run")
    assert status == "finished"
    return path


# ------------------------------------------------------------------------------------------------ configs


def test_each_phase_is_a_whole_config_derived_from_the_last():
    config = phased()
    assert config.bounds() == [0, 5, 9, 12]
    one, two, three = (config.phase(i) for i in range(3))
    assert [(c.start, c.steps, c.phases) for c in (one, two, three)] == [(0, 5, ()), (5, 9, ()), (9, 12, ())]
    assert (one.gram.weight, two.gram.weight, three.gram.weight) == (0, 2, 2)
    assert (three.optim.lr, three.gram.size, three.batch_size, three.crops.mixed[0]) == (5e-4, 40, 4, (40, 16, 48, 0.5))
    assert three.gram.anchor == "2"  # 20 % of 12 steps
    assert [config.phase_at(s) for s in (0, 4, 5, 8, 9, 12)] == [0, 0, 1, 1, 2, 2]
    assert [config.phase_before(s) for s in (0, 5, 6, 9, 10, 12)] == [0, 0, 1, 1, 2, 2]
    assert [config.images_at(s) for s in (0, 5, 9, 12)] == [0, 40, 72, 84]


def test_a_longer_run_keeps_its_shape():
    assert replace(phased(), steps=1200).bounds() == [0, 500, 900, 1200]


def test_what_is_left_from_a_phase_on_is_the_rest_of_the_run():
    rest = phased().from_phase(1)
    assert rest.bounds() == [5, 9, 12]
    assert [rest.phase(i) for i in range(2)] == [phased().phase(i) for i in (1, 2)]
    moved = rest.moved_to(100)
    assert moved.bounds() == [100, 104, 107]
    assert moved.phase(0) == replace(phased().phase(1), start=100, steps=104)


def test_schedules_count_from_the_beginning_of_the_phase():
    schedules = Schedules(lr_warmup=0.5, momentum=(0.9, 1.0), teacher_temperature=(0.04, 0.04))
    config = TrainConfig(steps=1100, start=1000, schedules=schedules, optim=Optim(lr=1.0, lr_rule="none"))
    assert [Schedule(config).at(s).learning_rate for s in (1000, 1025, 1050)] == [0, 0.5, 1]
    assert Schedule(config).at(1050).step == 1050


def test_phases_survive_the_trip_through_json():
    assert from_json(to_json(phased())) == phased()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"gram.wait": 1.0}, r"gram.wait is not an option of a run"),
        ({"optim.lr": "fast"}, r"config.optim.lr is 'fast'; expected float"),
        ({"head.prototypes": 9}, r"changes head.prototypes; phases may change batch_size, crops"),
    ],
)
def test_a_change_that_cannot_be_is_refused_with_its_name(changes, sentence):
    with pytest.raises(ConfigError, match=sentence):
        small_config(phases=(Phase(name="next", share=0.5, changes=changes),))


def test_phases_that_cannot_be_are_refused():
    with pytest.raises(ConfigError, match="take the whole run"):
        small_config(phases=(Phase(name="a", share=0.5), Phase(name="b", share=0.5)))
    with pytest.raises(ConfigError, match="give each a name of its own"):
        small_config(phases=(Phase(name="pretraining", share=0.5),))
    with pytest.raises(ConfigError, match="has a share of 1"):
        Phase(name="a", share=1.0)
    with pytest.raises(ConfigError, match=r"no phase 'grim'. Phases: pretraining, gram, large"):
        phased().phase_called("grim")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"crops.mixed": [[40, 20, 48, 1.0]]},
            "patches of 8 px, which do not divide local crops of 20 px of phase large; write 16",
        ),
        ({"gram.size": 50}, r"which do not divide anchor crops of 50 px of phase gram; give --gram.size 48"),
        ({"koleo.over_ranks": True, "koleo.group": 5}, "koleo.group is 5; it must hold whole ranks of 4 images"),
    ],
)
def test_what_would_end_a_later_phase_is_said_before_the_first_step(changes, sentence, tmp_path):
    place = 0 if "gram.size" in changes else 1
    phases = [
        replace(phase, changes={**phase.changes, **(changes if i == place else {})}) for i, phase in enumerate(PHASES)
    ]
    with pytest.raises(ConfigError, match=sentence):
        start(phased(phases=tuple(phases)), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_differences_are_what_changes_one_config_into_the_other():
    one, other = phased().phase(0), phased().phase(2)
    found = {name: new for name, (_, new) in differences(one, other).items()}
    assert with_changes(one, json.loads(json.dumps(found))) == other
    whole = differences(replace(phased(), phases=()), phased())
    assert [phase["name"] for phase in json.loads(json.dumps(whole))["phases"][1]] == [phase.name for phase in PHASES]


# ------------------------------------------------------------------------------------------------ runs


def test_one_command_runs_all_phases_on_one_clock_and_says_so(run):
    rows = rows_of(run)
    assert sorted(rows) == list(range(13))
    gram = [step for step in range(1, 13) if "loss/gram" in rows[step]]
    assert gram == list(range(6, 13))
    assert all(rows[step]["loss_weight/gram"] == 2 for step in gram)
    assert [rows[step]["images"] for step in (5, 9, 12)] == [40, 72, 84]
    events = [event for event in read_events(run) if event["event"] == "phase"]
    assert [(e["step"], e["name"], e["steps"]) for e in events] == [
        (0, "pretraining", 5),
        (5, "gram", 4),
        (9, "large", 3),
    ]
    assert events[1]["changed"] == PHASES[0].changes
    assert {5, 9, 12} <= set(checkpoints(run))


def test_the_loss_is_the_sum_of_what_is_logged_raw_times_what_is_logged_as_its_weight(run):
    crops = read_config(run).crops
    own, local = crops.global_crops * (crops.global_crops - 1), crops.global_crops * crops.local_crops
    rows = rows_of(run)
    assert [rows[step]["loss_weight/dino_local"] for step in (5, 6, 7, 8, 9)] == pytest.approx([1, 1, 0.75, 0.5, 0.5])
    for step in range(1, 13):
        row = rows[step]
        terms = [name.removeprefix("loss/") for name in row if f"loss_weight/{name.removeprefix('loss/')}" in row]
        assert {"dino", "ibot", "koleo", "dino_local"} <= set(terms)
        whole = sum(row[f"loss/{name}"] * row[f"loss_weight/{name}"] for name in terms if name != "dino_local")
        assert row["loss"] == pytest.approx(whole, rel=1e-4)
        pairs = own * row["loss/dino_global"] + local * row["loss_weight/dino_local"] * row["loss/dino_local"]
        assert row["loss/dino"] == pytest.approx(pairs / (own + local), rel=1e-4)


def test_a_checkpoint_of_any_phase_opens(run):
    for step in (5, 9, 12):
        network = load_teacher(run / f"checkpoints/step_{step:08d}")
        assert network.backbone(torch.randn(1, 3, 40, 40)).patches.shape == (1, 25, 32)
        assert network.patch_head is not None


def cut(run: Path, at: int, to: Path) -> Path:
    """The run as if it had died right after the checkpoint of a step."""
    shutil.copytree(run, to)
    for step in checkpoints(run):
        if step > at:
            shutil.rmtree(to / f"checkpoints/step_{step:08d}")
    (to / "config.json").write_text(to_json(sparing(read_config(run))))
    return to


def sparing(config: TrainConfig) -> TrainConfig:
    """With no checkpoint but the last."""
    return replace(config, output=replace(config.output, checkpoint_every=12))


def same_end(one: Path, other: Path) -> None:
    assert {s: r for s, r in rows_of(other).items() if s in rows_of(one)} == {
        s: r for s, r in rows_of(one).items() if s in rows_of(other)
    }
    ours, theirs = (load_teacher(p / "checkpoints/step_00000012").state_dict() for p in (one, other))
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[name]), name


@pytest.mark.parametrize("step", [3, 5, 7, pytest.param(8, marks=pytest.mark.slow), 10])
def test_a_run_goes_on_bit_for_bit_in_any_phase_and_between_them(run, step, tmp_path):
    """At 5 the next phase is about to begin, after 7 the anchor has just been renewed."""
    torch.manual_seed(step)
    again = cut(run, step, tmp_path / "cut")
    assert resume(again) == "finished"
    assert sorted(rows_of(again)) == list(range(13))
    same_end(run, again)


@pytest.mark.parametrize("step", [3, 5, 8])
def test_a_fork_that_changes_nothing_is_the_run_itself(run, step, tmp_path):
    """Optimizer, centres and anchor are handed over."""
    config = read_config(run)
    fork = sparing(config.from_phase(config.phase_at(step)))
    child, status = start(fork, tmp_path / "fork", parent=Parent(run, step, {}))
    assert status == "finished"
    assert min(rows_of(child)) == step + 1
    same_end(run, child)


@pytest.fixture
def recipe_of_phases(monkeypatch):
    """`phased` as a recipe that leaves its prototypes to the data, which would here be 256."""
    base = phased()
    heads = {"head": replace(base.head, prototypes=None)}
    ibot = replace(base.ibot, head=replace(base.ibot.head, prototypes=None))
    monkeypatch.setitem(RECIPES, "phased", lambda: replace(base, recipe="phased", ibot=ibot, **heads))


def test_the_command_begins_a_recipes_phase_at_any_checkpoint(run, recipe_of_phases, tmp_path, capsys):
    options = ["--phase", "large", "--from", str(run), "--at", "4", "--out", str(tmp_path / "large")]
    assert guarded(train_command, ["phased", *options]) == 0
    child = tmp_path / "large"
    assert (read_config(child).head.prototypes, read_config(child).ibot.head.prototypes) == (32, 24)
    rows = rows_of(child)
    assert sorted(rows) == [5, 6, 7]
    assert rows[5]["loss/gram"] > 0
    assert (read_run(child)["parent"]["step"], read_config(child).start) == (4, 4)
    options = [str(run), "--at", "4", "--phase", "large", "--out", str(tmp_path / "fork")]
    assert guarded(fork_command, options) == 0
    assert rows_of(tmp_path / "fork") == rows


def test_a_phase_that_begins_with_no_run_has_new_heads_and_needs_an_anchor(run, recipe_of_phases, tmp_path, capsys):
    assert guarded(train_command, ["phased", "--phase", "large", "--out", str(tmp_path / "none")]) == 2
    assert "there is no run yet that has it. Give --gram.anchor phase" in capsys.readouterr().err
    weights = ["--init.backbone", str(run), "--init.frozen", "0.3", "--gram.anchor", str(run)]
    assert guarded(train_command, ["phased", "--phase", "large", *weights, "--out", str(tmp_path / "large")]) == 0
    assert "its heads learn alone for 1 steps" in capsys.readouterr().out
    assert sorted(rows_of(tmp_path / "large"))[-1] == 3
    phase = read_config(tmp_path / "large")
    assert [Schedule(phase).at(step).backbone_frozen for step in (0, 1)] == [True, False]
    assert begun(RECIPES["phased"](), beginning().parse_args(["--phase", "gram"])).init == Init()


def test_a_run_that_only_kept_teachers_can_be_forked_into_a_phase(run, tmp_path):
    bare = tmp_path / "bare"
    shutil.copytree(run, bare)
    for state in bare.rglob("state"):
        shutil.rmtree(state)
    fork = sparing(read_config(run).from_phase(1).moved_to(3))
    child, status = start(fork, tmp_path / "fork", parent=Parent(bare, 3, {}))
    assert status == "finished"
    assert sorted(rows_of(child)) == list(range(4, 11))


def test_a_phase_may_turn_patches_on(run, tmp_path):
    """From DINO to DINOv2: mask token and patch head are new, all else goes on."""
    base = small_config(steps=6)
    config = replace(
        base, phases=(Phase(name="ibot", share=0.5, changes={"ibot.weight": 1.0, "ibot.separate_head": True}),)
    )
    path, status = start(config, tmp_path / "run")
    assert status == "finished"
    assert "loss/ibot" not in rows_of(path)[3]
    assert "loss/ibot" in rows_of(path)[4]


def test_learned_positions_are_resampled_for_larger_crops(tmp_path):
    """DINOv2's last phase: the table grows with the crops."""
    base = small_config(steps=4)
    base = replace(base, evaluation=replace(base.evaluation, size=None))
    config = replace(base, phases=(Phase(name="large", share=0.5, changes={"crops.global_size": 64}),))
    path, status = start(config, tmp_path / "run")
    assert status == "finished"
    tables = [load_teacher(path / f"checkpoints/step_{s:08d}").backbone.model.pos_embed for s in (2, 4)]
    assert [t.shape[1] for t in tables] == [2 + 16, 2 + 64]
    assert torch.nn.functional.cosine_similarity(tables[0][0, :2], tables[1][0, :2]).min() > 0.9


# ------------------------------------------------------------------------------------------------ anchors


def test_the_anchor_is_an_earlier_checkpoint_of_the_run_or_of_its_parent(run, tmp_path):
    assert earlier(run, 4).name == "step_00000004"
    assert earlier(run, 400).name == "step_00000012"
    child, _ = start(sparing(read_config(run).from_phase(2).moved_to(8)), tmp_path / "fork", parent=Parent(run, 8, {}))
    assert earlier(child, 3) == run.resolve() / "checkpoints/step_00000003"
    with pytest.raises(RunError, match="there is no run yet"):
        earlier(tmp_path / "none", 4)
    phase = phased().phase(2)
    found = anchor_of(replace(phase, gram=replace(phase.gram, anchor="3")), run)
    weights = load_teacher(run / "checkpoints/step_00000003").backbone.state_dict()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in found.state_dict().items())


@pytest.mark.parametrize("source", ["run", "checkpoint"])
def test_the_anchor_may_come_from_another_run(run, source, small_run):
    path = small_run if source == "run" else small_run / "checkpoints/step_00000008"
    config = replace(phased().phase(1), gram=Gram(weight=1.0, anchor=str(path)))
    found = anchor_of(config, run)
    assert found.dim == 32
    assert not found.training
    with pytest.raises(ConfigError, match="is another network than the run's own, so it can't be renewed"):
        anchor_of(replace(config, gram=replace(config.gram, refreshes=1)), run)


def test_the_teacher_as_anchor_is_no_copy():
    assert anchor_of(replace(phased().phase(1), gram=Gram(weight=1.0, anchor="teacher")), None) is None
    assert anchor_of(phased().phase(0), None) is None


def test_networks_that_stay_the_same_are_not_built_twice():
    config = phased()
    old = build_engine(config.phase(1))
    new = build_engine(replace(config.phase(1), optim=replace(config.optim, lr=1.0)), before=old)
    assert new.student is old.student
    hand_over(old, new, same_phase=True)
    changed = build_engine(config.phase(0), before=old)  # another stochastic depth
    assert changed.student is not old.student


# ------------------------------------------------------------------------------------------------ ranks


def trained(config: str, out: str) -> str:
    return start(from_json(config), Path(out))[1]


@pytest.mark.slow
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_two_ranks_go_through_the_phases_like_one(parallel, tmp_path):
    base = phased(steps=6)
    assert base.bounds() == [0, 3, 4, 6]
    config = replace(
        base,
        backbone=replace(base.backbone, drop_path=0.0, rope_rescale=None),
        objective=replace(base.objective, koleo_weight=0.1),
        koleo=Koleo(over_ranks=True),
        machine=replace(base.machine, parallel=parallel),
        output=replace(base.output, checkpoint_every=6, heavy_every=6),
    )
    one, _ = start(config, tmp_path / "one")
    two = tmp_path / "two"
    assert run_on_ranks(trained, 2, to_json(config), str(two)) == ["finished", "finished"]
    alone, together = rows_of(one), rows_of(two)
    for step in range(1, 7):
        for name in ("loss", "loss/dino", "loss/ibot", "loss/koleo", "loss/gram", "gradient/backbone", "lr"):
            assert (name in alone[step]) == (name in together[step])
            if name in alone[step]:
                assert together[step][name] == pytest.approx(alone[step][name], rel=3e-3, abs=3e-4), (step, name)


@pytest.mark.parametrize("kept", [True, False])
def test_a_fork_that_turns_gram_on_within_a_phase_anchors_to_where_it_began(small_run, kept, tmp_path):
    parent = tmp_path / "parent"
    shutil.copytree(small_run, parent)
    for state in [] if kept else parent.rglob("state"):
        shutil.rmtree(state)
    config = replace(read_config(parent), steps=14, gram=Gram(weight=1.0))
    source = open_source(config.data, split="train")
    engines = []
    opened(config, tmp_path / "fork", source, [], {}, parent=Parent(parent, 12, {}), prepare=engines.append)
    anchor, teacher = engines[0].objective.anchor.state_dict(), engines[0].teacher.backbone.state_dict()
    assert all(torch.equal(anchor[name], tensor) for name, tensor in teacher.items())


def test_a_fork_within_a_gram_phase_keeps_its_parents_anchor(run, tmp_path):
    """From one of the checkpoints between two renewals: the anchor is older than the teacher."""
    config = read_config(run)
    engines = []
    fork, source = config.from_phase(config.phase_at(8)), open_source(config.data, split="train")
    opened(fork, tmp_path / "fork", source, [], {}, parent=Parent(run, 8, {}), prepare=engines.append)
    anchor, teacher = engines[0].objective.anchor.state_dict(), engines[0].teacher.backbone.state_dict()
    assert any(not torch.equal(anchor[name], tensor) for name, tensor in teacher.items())


def test_a_recording_keeps_where_phases_begin_and_what_their_anchor_is(run, tmp_path):
    """Phases begin at 5 and 9, and the last one's anchor is at 20 % of twelve steps."""
    out = record(run, tmp_path / "recorded", keep=2, probes_kept=2)
    assert checkpoints(out) == probes(out) == [0, 2, 5, 9, 12]
    assert turning_points(small_config(steps=4), [0, 4]) == set()
