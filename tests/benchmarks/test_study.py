"""The study: arms that differ in one thing, commands that anybody can type, figures that are those of `dino-lab evaluate`."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks.report import RESULTS
from benchmarks.study import __main__ as study
from benchmarks.study.arms import GROUPS, quick
from benchmarks.study.looks import Images, findings, look, monitors, resampled
from benchmarks.study.runs import Trial, trials
from dino_core.commands.train import parsed
from dino_core.config import TrainConfig, differences
from dino_core.evaluation.segmentation import confusion, iou_of, mean_iou
from dino_core.evaluation.whole import measured
from dino_core.model import load_backbone
from dino_core.recipes import recipe
from dino_core.rundir.read import checkpoints, read_config, read_table

ROOT = Path(study.__file__).parents[2]
ARMS = [(group, arm) for group in GROUPS.values() for arm in group.arms[1:] if not arm.parent]


def config_of(trial: Trial) -> TrainConfig:
    command, name, *options = trial.command(Path("RUNS"))
    if command == "fork":
        assert options[:2] == ["--at", str(trial.group.begin)]
        return parsed(read_config(ROOT / name), options[2:], "dino-lab fork").config
    return parsed(recipe(name), options, "dino-lab train").config


@pytest.mark.parametrize(("group", "arm"), ARMS, ids=lambda found: found.name)
def test_an_arm_is_its_baseline_but_for_its_own_options(group, arm):
    baseline, changed = config_of(Trial(group, group.arms[0], 1)), config_of(Trial(group, arm, 1))
    assert baseline.seed == changed.seed == 1
    assert baseline.steps == changed.steps == group.steps
    named = {word.removeprefix("--").replace("-", "_") for word in arm.options if word.startswith("--")}
    found = set(differences(baseline, changed))
    assert found
    assert found <= named


def test_a_fork_starts_at_a_checkpoint_that_its_parent_keeps_with_all_of_its_state():
    for group in GROUPS.values():
        for arm in group.arms:
            if arm.parent:
                output = config_of(Trial(group, group.arm(arm.parent), 0)).output
                assert arm.at % (output.checkpoint_every or 1) == 0
                assert (group.steps - arm.at) / (output.checkpoint_every or 1) < output.keep_states


def test_the_recipe_for_a_gpu_is_what_the_study_measured():
    measured_run = config_of(Trial(GROUPS["long"], GROUPS["long"].arms[0], 0))
    apart = {name.split(".")[0] for name in differences(measured_run, recipe("shapes_gpu"))}
    assert apart <= {"recipe", "evaluation", "output"}


def test_a_group_of_forks_starts_at_a_checkpoint_of_the_run_it_names():
    for group in GROUPS.values():
        if group.origin:
            assert group.begin in checkpoints(ROOT / group.origin)
            assert group.begin < quick(group).steps <= group.steps


def test_seed_by_seed_with_parents_before_their_forks():
    order = trials(GROUPS["parts"])
    assert [t.seed for t in order] == sorted(t.seed for t in order)
    assert len({t.name for t in order}) == len(order)
    for trial in order:
        if trial.arm.parent:
            names = [t.name for t in order[: order.index(trial)]]
            assert Trial(trial.group, trial.group.arm(trial.arm.parent), trial.seed).name in names


def test_the_study_trains_measures_and_keeps_what_is_finished(monkeypatch, tmp_path, capsys):
    group = quick(GROUPS["parts"])
    few = replace(GROUPS["parts"], arms=(group.arm("tiny"), next(arm for arm in group.arms if arm.parent)))
    monkeypatch.setitem(study.GROUPS, "parts", few)
    arguments = ["parts", "--quick", "--precision", "fp32", "--runs", str(tmp_path / "runs"), "--out", str(tmp_path)]
    assert study.main(arguments) == 0
    result = json.loads((tmp_path / "study_cpu.json").read_text())
    assert result["quick"] is True
    first, fork = result["groups"]["parts"]["runs"]
    assert [seen["step"] for seen in first["looks"]] == [2, 4]
    assert [seen["step"] for seen in fork["looks"]] == [4]
    assert set(first["looks"][-1]["measured"]) == {"knn", "attention", "together", "pca", "parts"}
    assert shlex.split(fork["command"])[:3] == ["dino-lab", "fork", "RUNS/parts/tiny-0"]
    assert "| tiny " in capsys.readouterr().out
    written = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("metrics.jsonl")}
    assert study.main(arguments) == 0
    again = json.loads((tmp_path / "study_cpu.json").read_text())
    assert again["groups"] == result["groups"]
    assert {file: file.stat().st_mtime_ns for file in tmp_path.rglob("metrics.jsonl")} == written


def test_photographs_are_asked_for(tmp_path, capsys):
    assert study.main(["photographs", "--runs", str(tmp_path), "--out", str(tmp_path)]) == 0
    assert "give --photos FOLDER" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        study.main(["phases"])
    assert "no group 'phases'. Groups: parts" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------ measuring


def test_a_look_gives_what_evaluate_gives(small_run):
    config = read_config(small_run)
    images = Images.of(config, 60, 40)
    found = look(small_run, 12, images)
    backbone = load_backbone(str(small_run / "checkpoints" / "step_00000012"))
    whole = measured(backbone, images.train, images.test, config.crops.mean, config.crops.std)
    names = {"knn": "knn_20", "pca": "pca_iou", "attention": "jaccard/best_head", "parts": "patch_miou"}
    names |= {"together": "jaccard/heads_together"}
    for ours, theirs in names.items():
        assert found[ours]["value"] == pytest.approx(whole[theirs], abs=1e-6)
        assert 0 <= found[ours]["chance"] < 0.3
    assert found["parts"]["ceiling"] == pytest.approx(whole["patch_miou_ceiling"])


def test_the_interval_is_that_of_the_mean():
    """Half a 95 % interval of the mean of n numbers is 1.96 standard deviations over the root of n."""
    rows = torch.randn(400, generator=torch.Generator().manual_seed(1)) * 3 + 5
    found = resampled(rows)
    assert found["value"] == pytest.approx(float(rows.mean()))
    assert found["chance"] == pytest.approx(1.96 * 3 / 20, rel=0.25)
    assert resampled(torch.ones(50))["chance"] == 0


def test_confusion_counts_pixels_image_by_image():
    draw = torch.Generator().manual_seed(0)
    patches, parts = torch.randint(0, 3, (2, 4), generator=draw), torch.randint(0, 3, (2, 6, 6), generator=draw)
    counts = torch.zeros(2, 3, 3, dtype=torch.int64)
    for image in range(2):
        for y in range(6):
            for x in range(6):
                called = patches[image, (y // 3) * 2 + x // 3]
                counts[image, parts[image, y, x], called] += 1
    found = confusion(patches, parts, (2, 2), 3)
    assert torch.equal(found, counts)
    assert float(iou_of(counts.sum(0))) == pytest.approx(mean_iou(patches, parts, (2, 2)))


def test_monitors_are_the_mean_of_the_last_rows_before_a_step(small_run):
    rows = [row for row in read_table(small_run / "metrics.jsonl")[0] if "loss" in row and row["step"] <= 6]
    last = rows[-max(1, len(rows) // 10) :]
    assert monitors(small_run, 6)["loss"] == pytest.approx(sum(row["loss"] for row in last) / len(last))
    assert "features/rankme" in monitors(small_run, 12)
    assert findings(small_run) == []


LABELS = {
    "information, nats": "teacher/information",
    "likeness of patches": "patches/mean_cosine",
    "rank, class token": "features/rankme",
}
ON = {"shapes": "long", "photographs": "long_photographs"}


def rows_of_the_study() -> list[tuple[str, dict[str, str]]]:
    """The group and the cells of each row of docs/study.md that has an arm; a table stands above its command."""
    text = (ROOT / "docs" / "study.md").read_text(encoding="utf-8")
    found = []
    for table, command in re.findall(r"((?:^\|.*\n)+)\n    python -m benchmarks\.study (.*)\n", text, re.MULTILINE):
        head, _, *lines = [[cell.strip(" *") for cell in line.strip("|").split("|")] for line in table.splitlines()]
        for line in lines:
            row = dict(zip(head, line, strict=True))
            found.append((ON[row["images"]] if "images" in row else command.split()[0], row))
    return found


def test_the_tables_of_the_study_are_what_was_measured():
    groups = {}
    for name in ("study_cpu", "study_nvidia-h200"):
        groups |= json.loads((RESULTS / f"{name}.json").read_text())["groups"]
    rows = rows_of_the_study()
    assert {group for group, _ in rows} == set(groups)
    for group, row in rows:
        arm, seed = row["arm"].split(" (")[0], int(row.get("seed", 0))
        (run,) = (run for run in groups[group]["runs"] if (run["arm"], run["seed"]) == (arm, seed))
        step = int(row.get("step", groups[group]["steps"]))
        (seen,) = (seen for seen in run["looks"] if seen["step"] == step)
        for name, title in study.TITLES.items():
            assert row[title] == study.percent(seen["measured"][name]), (group, row)
        for label in LABELS.keys() & row.keys():
            assert float(row[label]) == float(f"{seen['monitors'][LABELS[label]]:.3g}"), (group, row)
        if "findings" in row:
            assert row["findings"] == (", ".join(sorted({found["name"] for found in run["findings"]})) or "none")
