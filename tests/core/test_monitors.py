"""What every monitor promises, whatever it measures; and that ranks together say what one process says."""

from __future__ import annotations

import dataclasses
import importlib
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from dino_core.rundir.read import read_metrics
from dino_core.rundir.write import RunWriter
from dino_core.telemetry import monitors
from dino_core.telemetry.derived import IMAGE_AXIS, PUBLISHED, Derived
from dino_core.telemetry.monitors import MONITORS, catalogue, monitor
from dino_core.telemetry.recorder import Recorder
from dino_core.telemetry.signals import Signals
from tests.ranks import run_on_ranks

CONTRACT = [
    "teacher/entropy", "kl", "student/entropy", "teacher/mean_entropy", "target/mean_entropy", "teacher/information",
    "prototypes/perplexity", "prototypes/largest_share", "prototypes/dead", "centre/norm", "centre/movement",
    "centre/share", "gradient/backbone", "gradient/head", "gradient/prototypes", "update/backbone", "update/head",
    "update/prototypes", "student_teacher_distance", "features/std", "features/rankme", "features/lidar",
    "features/alpha_req", "patches/rankme", "patches/alpha_req", "patches/mean_cosine", "patches/cls_cosine",
    "attention/entropy", "patches/high_norm_share", "ibot/entropy", "ibot/mean_entropy", "ibot/information",
    "gram/teacher", "gram/anchor_cosine",
]  # fmt: skip
ENGINE = [
    "loss", "lr", "weight_decay", "momentum", "teacher_temperature", "images_per_second", "time/data", "time/augment",
    "time/teacher", "time/student", "time/backward", "time/update", "memory", "knn/teacher", "knn/student",
    "jaccard/best_head", "pca_iou",
]  # fmt: skip
MEANS = {name: torch.tensor(value) for name, value in (("backbone", 1.0), ("head", 0.5), ("prototypes", 0.1))}


def signals(
    images: slice = slice(None), *, views: int = 4, count: int = 12, prototypes: int = 16, dim: int = 8, dtype=None
) -> Signals:
    """A step's tensors for 12 images, or this slice of them."""
    draw = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=draw, dtype=torch.float32).to(dtype or torch.float32)

    logits, centre = normal(2, count, prototypes) / 4, normal(prototypes) / 8
    tensors: dict[str, Any] = {
        "teacher_logits": logits, "targets": ((logits - centre) / 0.1).softmax(-1),
        "student_logits": normal(views, count, prototypes) / 4, "teacher_cls": normal(2, count, dim),
        "student_cls": normal(views, count, dim), "teacher_patches": normal(2, count, 9, dim),
        "teacher_attention": normal(count, 3, 9).softmax(-1), "anchor_patches": normal(2, count, 9, dim + 2),
    }  # fmt: skip
    rows = normal(count, prototypes).softmax(-1)
    cut = {name: t[images] if IMAGE_AXIS[name] == 0 else t[:, images] for name, t in tensors.items()}
    return Signals(
        **cut, patch_targets=rows[images.start or 0 : images.stop],
        teacher_temperature=0.1, student_temperature=0.1, centre=centre, previous_centre=0.5 * centre,
        gradient_norms=MEANS, update_norms=MEANS, student_teacher_distance=torch.tensor(0.02),
    )  # fmt: skip


def bare(full: Signals) -> Signals:
    """The same without what a step may lack."""
    optional = {field.name: None for field in dataclasses.fields(Signals) if field.default is None}
    return dataclasses.replace(full, **optional)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", MONITORS)
def test_every_monitor_gives_finite_numbers_that_the_catalogue_knows(name, dtype):
    m = MONITORS[name]
    derived = Derived(signals(dtype=dtype), torch.zeros(16, dtype=torch.int64))
    found = m.measure(**{read: derived.read(read) for read in m.reads})
    found = {"": found} if isinstance(found, Tensor) else found
    known = catalogue()
    for part, value in found.items():
        assert value.shape == ()
        assert math.isfinite(value.item())
        entry = known.get(f"{name}/{part}".rstrip("/")) or known[f"{name}/*"]
        assert entry["unit"]
        assert entry["about"].endswith(".")
        assert len(entry["about"]) > 15
        assert entry["title"][0].isupper() or entry["title"][0] == "k"


@pytest.mark.parametrize("name", MONITORS)
def test_a_monitor_leaves_the_signals_alone(name):
    full = signals()
    before = {f.name: getattr(full, f.name) for f in dataclasses.fields(full)}
    copies = {k: v.clone() for k, v in before.items() if isinstance(v, Tensor)}
    derived = Derived(full, torch.zeros(16, dtype=torch.int64))
    MONITORS[name].measure(**{read: derived.read(read) for read in MONITORS[name].reads})
    assert all(torch.equal(before[k], v) for k, v in copies.items())


def test_the_catalogue_has_every_metric_of_the_contract():
    known = catalogue()
    assert [name for name in [*CONTRACT, *ENGINE] if name not in known] == []
    assert {entry["better"] for entry in known.values()} == {"higher", "lower", None}


def test_a_monitor_that_reads_what_nobody_publishes_is_refused_with_the_choices():
    with pytest.raises(
        ValueError, match=r"reads 'weather', which no training step publishes. .*teacher_logits"
    ) as error:

        @monitor("test/weather", unit="degrees")
        def weather(weather: Float[Tensor, ""]) -> Float[Tensor, ""]:
            """Not to be had."""
            return weather

    assert all(name in str(error.value) for name in PUBLISHED)
    assert "test/weather" not in MONITORS


def test_two_monitors_of_one_name_are_refused():
    with pytest.raises(ValueError, match=r"two monitors are called 'kl': one in .*losses, one in .*test_monitors"):

        @monitor("kl", unit="nats")
        def again(centre: Float[Tensor, " K"]) -> Float[Tensor, ""]:
            """Twice."""
            return centre.sum()


def test_a_new_monitor_is_one_new_file(tmp_path, monkeypatch):
    (tmp_path / "extra.py").write_text(
        "from dino_core.telemetry.monitors import monitor\n"
        "@monitor('test/extra', unit='logits', better='higher')\n"
        "def extra(teacher_logits):\n"
        "    '''Largest logit of the teacher. More.'''\n"
        "    return teacher_logits.max()\n"
    )
    monkeypatch.setattr(monitors, "__path__", [*monitors.__path__, str(tmp_path)])
    monkeypatch.setattr(monitors, "MONITORS", dict(MONITORS))
    importlib.import_module("dino_core.telemetry.monitors.extra")
    assert catalogue()["test/extra"] == {
        "title": "Test extra", "unit": "logits", "better": "higher", "about": "Largest logit of the teacher.",
    }  # fmt: skip


def test_collapses_look_as_they_should():
    """One prototype, all alike, and anything between that is the same for all images."""
    full = signals()
    one = torch.eye(16)[3].expand(2, 12, 16)
    even, odd = torch.full((2, 12, 16), 1 / 16), torch.linspace(1, 2, 16).softmax(-1).expand(2, 12, 16)
    rows = [
        Recorder(None, 16).record(
            10, dataclasses.replace(full, targets=targets, teacher_logits=targets.log() * 0.1), {}
        )
        for targets in (one, even, odd)
    ]
    assert [row["teacher/information"] for row in rows] == pytest.approx([0, 0, 0], abs=1e-5)
    assert rows[0]["teacher/entropy"] == pytest.approx(0, abs=1e-5)
    assert [rows[1]["teacher/entropy"], rows[1]["teacher/mean_entropy"]] == pytest.approx([math.log(16)] * 2)
    assert rows[0]["prototypes/largest_share"] == 1
    assert [round(row["prototypes/perplexity"]) for row in rows[:2]] == [1, 16]
    assert 0 < rows[2]["teacher/entropy"] < math.log(16)


def test_a_prototype_is_dead_after_four_times_k_targets_without_choosing_it():
    full = signals(prototypes=16)
    first = dataclasses.replace(full, targets=torch.eye(16)[torch.arange(24).view(2, 12) % 4])
    recorder = Recorder(None, 16)
    dead = [recorder.record(step, first, {})["prototypes/dead"] for step in range(1, 5)]
    assert dead == [0, 0, 0.75, 0.75]  # 24 targets a step, 64 needed
    other = Recorder(None, 16)
    other.load_state_dict(recorder.state_dict())
    assert other.record(5, first, {})["prototypes/dead"] == 0.75


# The recorder


def test_heavy_monitors_run_at_their_own_steps():
    recorder = Recorder(None, 16, log_every=10, heavy_every=50)
    assert [step for step in range(1, 101) if recorder.wants(step)] == [1, *range(10, 101, 10)]
    assert [step for step in range(1, 101) if recorder.wants_heavy(step)] == [1, 50, 100]
    assert "features/rankme" not in recorder.record(10, signals(), {})
    assert "features/rankme" in recorder.record(50, signals(), {})
    assert Recorder(None, 1, log_every=10, heavy_every=25).wants(25)


def test_a_step_without_some_tensors_is_recorded_without_what_needs_them():
    row = Recorder(None, 16).record(50, bare(signals()), {"loss": 1.5})
    assert row["loss"] == 1.5
    assert "kl" in row
    assert [name for name in row if name.startswith(("centre/", "attention/", "gradient/", "update/"))] == []


def test_a_row_is_written_with_scalars_first_and_all_as_plain_numbers(tmp_path):
    writer = RunWriter(tmp_path / "run", {}, "{}")
    row = Recorder(writer, 16).record(10, signals(), {"loss": torch.tensor(2.5), "lr": 1e-3, "images": 480})
    assert list(row)[:4] == ["step", "loss", "lr", "images"]
    assert all(type(value) in (int, float) for value in row.values())
    (written,) = read_metrics(writer.path)
    assert written["loss"] == 2.5
    assert written["kl"] == pytest.approx(row["kl"], rel=1e-6)
    assert set(CONTRACT) - set(written) == {name for name in CONTRACT if MONITORS.get(name) and MONITORS[name].heavy}
    writer.close()


def test_mirrors_get_finite_numbers(tmp_path):
    from dino_core.telemetry.mirrors import numbers, open_mirrors

    assert numbers({"step": 1, "loss": math.nan, "kl": 0.5, "name": "x", "nonfinite": {}}) == {"kl": 0.5}
    assert open_mirrors((), tmp_path, "run", {}) == []


def test_a_missing_mirror_is_one_sentence(tmp_path, monkeypatch):
    import sys

    from dino_core.errors import ConfigError
    from dino_core.telemetry.mirrors import open_mirrors

    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ConfigError, match="asks for wandb, which is not installed: pip install wandb"):
        open_mirrors(("wandb",), tmp_path, "run", {})
    with pytest.raises(ConfigError, match=r"no mirror 'excel'\. Mirrors: tensorboard, wandb, trackio"):
        open_mirrors(("excel",), tmp_path, "run", {})


def test_tensorboard_mirror_writes_events(tmp_path):
    pytest.importorskip("tensorboard")
    from dino_core.telemetry.mirrors import open_mirrors

    (mirror,) = open_mirrors(("tensorboard",), tmp_path, "run", {})
    Recorder(None, 16, mirrors=[mirror]).record(10, signals(), {"loss": 1.0})
    mirror.close()
    (events,) = (tmp_path / "tensorboard").iterdir()
    assert events.stat().st_size > 500


# Ranks


def record_a_share(rank_images: int) -> dict[str, Any]:
    """On each rank: its share of the 12 images."""
    from dino_core.parallel import rank

    share = signals(slice(rank() * rank_images, (rank() + 1) * rank_images))
    return Recorder(None, 16).record(50, share, {"loss": torch.tensor(float(rank())), "lr": 0.1})


def test_two_ranks_say_what_one_process_says():
    whole = Recorder(None, 16).record(50, signals(), {"loss": torch.tensor(0.5), "lr": 0.1})
    for row in run_on_ranks(record_a_share, 2, 6):
        assert row == pytest.approx(whole, rel=1e-4, abs=1e-5)


def test_the_tests_cover_every_monitor_file():
    files = {path.stem for path in Path(monitors.__file__).parent.glob("*.py")} - {"__init__"}
    assert {m.measure.__module__.rsplit(".", 1)[1] for m in MONITORS.values()} == files
