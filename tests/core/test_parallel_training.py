"""Two ranks train as one process would: the same losses, centre and weights at the same global batch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from dino_core import checkpoint, parallel
from dino_core.config import Ibot, Koleo, Machine, TrainConfig, from_json, to_json
from dino_core.model import load_teacher
from dino_core.rundir.read import merge_segments, read_config, read_table
from dino_core.rundir.write import RunWriter
from dino_core.train import resume, start
from tests.ranks import run_on_ranks
from tests.small import small_config

WAYS = {
    "ddp": Machine(parallel="ddp"),
    "fsdp": Machine(parallel="fsdp"),
    "fsdp, gathered until the backward pass, checkpointing": Machine(
        parallel="fsdp", reshard=False, checkpointing=True
    ),
}


def config_of(way: str = "ddp", **changes) -> TrainConfig:
    """Without stochastic depth and KoLeo, which look at each rank's own images."""
    config = small_config(steps=4, **changes)
    return replace(
        config,
        evaluation=replace(config.evaluation, every=4),
        output=replace(config.output, checkpoint_every=4),
        backbone=replace(config.backbone, drop_path=0.0),
        objective=replace(config.objective, koleo_weight=0.0),
        machine=replace(WAYS[way], device="cpu", precision="fp32", threads=1),
    )


def trained(config: str, out: str) -> str:
    return start(from_json(config), Path(out))[1]


def rows(run: Path) -> dict[int, dict]:
    return {row["step"]: row for row in merge_segments(read_table(run / "metrics.jsonl")[0]) if "loss" in row}


WHOLE_BATCH = (
    "loss", "teacher/entropy", "kl", "teacher/mean_entropy", "teacher/information", "prototypes/perplexity",
    "prototypes/largest_share", "prototypes/dead", "centre/norm", "centre/movement", "features/std", "lr",
    "gradient/backbone", "gradient/head", "student_teacher_distance", "loss/dino", "loss/ibot", "loss/koleo",
    "loss/dino_global", "loss/dino_local", "gradient/patch_head", "ibot/entropy", "ibot/mean_entropy",
)  # fmt: skip


def dinov2_config(way: str, centering: str) -> TrainConfig:
    """iBOT with a head of its own, KoLeo among the images of all ranks."""
    config = config_of(way)
    return replace(
        config,
        objective=replace(config.objective, koleo_weight=0.1, centering=centering),
        koleo=Koleo(over_ranks=True),
        ibot=Ibot(weight=1.0, separate_head=True, head=replace(config.head, prototypes=24), centering=centering),
    )


CONFIGS = {
    **{f"dino, {way}": lambda way=way: config_of(way) for way in WAYS},
    "dinov2, ddp": lambda: dinov2_config("ddp", "centre"),
    "dinov2, fsdp": lambda: dinov2_config("fsdp", "sinkhorn"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_two_ranks_train_like_one(name, tmp_path):
    config = CONFIGS[name]()
    one, _ = start(config, tmp_path / "one")
    two = tmp_path / "two"
    assert run_on_ranks(trained, 2, to_json(config), str(two)) == ["finished", "finished"]
    alone, together = rows(one), rows(two)
    assert sorted(alone) == sorted(together)
    for step, row in alone.items():
        for name in WHOLE_BATCH:
            if name in row or name in ("loss", "kl"):
                assert together[step][name] == pytest.approx(row[name], rel=2e-3, abs=2e-4), (step, name)
    weights, others = (load_teacher(run / "checkpoints/step_00000004").state_dict() for run in (one, two))
    for name, tensor in weights.items():
        torch.testing.assert_close(others[name], tensor, rtol=1e-3, atol=2e-4, msg=name)


def not_written(folder: str) -> list[str]:
    """What each of two ranks hears where the second one can't write its part, and where the first can't publish."""
    writer = RunWriter(Path(folder) / "run", {}, "{}") if parallel.is_writer() else None
    heard = []
    for culprit, name in ((1, "probes/one"), (0, "probes/two"), (None, "probes/three")):
        try:
            with checkpoint.draft_for_all(writer, Path(folder) / "run" / name, name) as draft:
                if parallel.rank() == culprit:
                    raise SafetensorError("no room")
                (draft / str(parallel.rank())).write_text("whole")
            heard.append("written")
        except checkpoint.Unwritten as error:
            heard.append(str(error).partition(";")[0])
    return heard


def test_what_one_rank_cannot_write_no_rank_has_written(tmp_path):
    assert run_on_ranks(not_written, 2, str(tmp_path)) == [["no room", "no room", "written"]] * 2
    assert [path.name for path in (tmp_path / "run/probes").iterdir()] == ["three"]
    assert sorted(path.name for path in (tmp_path / "run/probes/three").iterdir()) == ["0", "1"]


def resumed(out: str) -> str:
    return resume(Path(out))


@pytest.mark.slow
def test_a_sharded_run_goes_on_with_another_number_of_ranks(tmp_path):
    config = config_of("fsdp")
    run = tmp_path / "run"
    run_on_ranks(trained, 2, to_json(config), str(run))
    longer = replace(read_config(run), steps=6)
    (run / "config.json").write_text(to_json(longer))
    assert resume(run) == "finished"
    assert sorted(rows(run)) == [1, 2, 3, 4, 5, 6]
    assert checkpoint.newest_state(run) == 6
