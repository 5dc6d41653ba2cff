"""Does the run name what is wrong with it?  Failures planted in real training beside healthy runs, over several seeds.

A failure counts as detected when a finding of one of its names is raised; steps are counted from where it was planted.  A false
alarm is any finding in a healthy run, `healthy` itself aside.  The seeds and the data are not those that the thresholds in
`dino_core.telemetry.rules` were read from."""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.report import goal
from dino_core.config import (
    Backbone,
    Crops,
    Data,
    Dino,
    Evaluation,
    Head,
    Machine,
    Optim,
    Output,
    Schedules,
    Shapes,
    TrainConfig,
)
from dino_core.rundir.read import read_table
from dino_core.train import start

STEPS = 240
SEEDS = (101, 102, 103)


def healthy(seed: int) -> TrainConfig:
    """A small network on small shapes: K 256, batch 32, centred and sharpened."""
    return TrainConfig(
        recipe="diagnosis",
        seed=seed,
        steps=STEPS,
        batch_size=32,
        data=Data(source="shapes", shapes=Shapes(images=2000, size=32, seed=seed)),
        crops=Crops(global_size=32, local_size=16, local_crops=2, local_scale=(0.15, 0.4), solarize=(0.0, 0.0)),
        backbone=Backbone(patch=8, dim=64, depth=2, heads=4, registers=2, drop_path=0.0),
        head=Head(prototypes=256, hidden=128, bottleneck=32),
        objective=Dino(koleo_weight=0.05),
        optim=Optim(lr=1e-3, lr_rule="none"),
        schedules=Schedules(momentum=(0.99, 1.0), teacher_temperature=(0.04, 0.04), last_layer_frozen=0.0),
        evaluation=Evaluation(every=10**9, train_images=32, test_images=32),
        output=Output(log_every=5, heavy_every=20, checkpoint_every=10**9, checkpoint_minutes=1e9, probe_images=2),
        machine=Machine(device="cpu", precision="fp32", threads=1),
    )


@dataclass(frozen=True)
class Plant:
    """A way to break a run, and the findings that would name it."""

    change: Callable[[TrainConfig], TrainConfig]
    names: tuple[str, ...]


def centering(config: TrainConfig, value: str, temperature: float) -> TrainConfig:
    schedules = replace(config.schedules, teacher_temperature=(temperature, temperature))
    return replace(config, objective=replace(config.objective, centering=value, koleo_weight=0.0), schedules=schedules)


COLLAPSE = ("uniform_collapse", "prototype_collapse", "constant_output")
PLANTS = {
    "no centering": Plant(lambda c: centering(c, "none", 0.04), ("prototype_collapse",)),
    "no sharpening": Plant(lambda c: centering(c, "centre", 0.1), ("uniform_collapse", "constant_output")),
    "neither": Plant(lambda c: centering(c, "none", 0.1), COLLAPSE),
    "EMA momentum 0": Plant(
        lambda c: replace(c, schedules=replace(c.schedules, momentum=(0.0, 0.0))), ("teacher_equals_student", *COLLAPSE)
    ),
    "learning rate x 300": Plant(
        lambda c: replace(c, optim=replace(c.optim, lr=0.3, clip=None)),
        ("exploding", "dimensional_collapse", *COLLAPSE),
    ),
    "no KoLeo": Plant(  # planted unawares: at this size the paper's objective alone stalls at ln K
        lambda c: replace(c, objective=replace(c.objective, koleo_weight=0.0)), ("uniform_collapse",)
    ),
    "duplicate images": Plant(lambda c: c, ("duplicate_images", "dimensional_collapse", *COLLAPSE)),
}
HEALTHY = {
    "healthy": lambda c: c,
    "healthy, Sinkhorn": lambda c: replace(c, objective=replace(c.objective, centering="sinkhorn")),
    "healthy, sharper, no registers": lambda c: replace(
        c,
        backbone=replace(c.backbone, registers=0),
        schedules=replace(c.schedules, teacher_temperature=(0.03, 0.03)),
    ),
}


def duplicates(folder: Path, count: int = 64) -> Data:
    """A folder that holds one image again and again."""
    from PIL import Image

    from dino_core.data.shapes import draw_scene

    folder.mkdir(parents=True)
    for i in range(count):
        Image.fromarray(draw_scene(Shapes(size=32), "train", 0).image).save(folder / f"{i:04d}.png")
    return Data(source=str(folder))


def findings(config: TrainConfig, folder: Path) -> list[dict[str, Any]]:
    """What the run said about itself, in order."""
    with contextlib.redirect_stdout(io.StringIO()):
        run, _ = start(config, folder / "run")
    events = read_table(run / "events.jsonl")[0]
    return [e for e in events if e["event"] == "diagnosis" and e["level"] != "healthy" and not e["cleared"]]


def measure(quick: bool) -> dict[str, Any]:
    seeds, steps = (SEEDS[:1], 30) if quick else (SEEDS, STEPS)
    runs = []
    for name, plant in {**PLANTS, **{n: Plant(change, ()) for n, change in HEALTHY.items()}}.items():
        for seed in seeds:
            with tempfile.TemporaryDirectory() as folder:
                config = replace(plant.change(healthy(seed)), steps=steps)
                if name == "duplicate images":
                    config = replace(config, data=duplicates(Path(folder) / "images"))
                said = findings(config, Path(folder))
            named = [e["step"] for e in said if e["name"] in plant.names]
            alarms = [{"step": e["step"], "name": e["name"], "level": e["level"]} for e in said]
            runs.append({"case": name, "seed": seed, "detected_at": min(named, default=None), "alarms": alarms})
            print(
                f"  {name}, seed {seed}: {runs[-1]['detected_at'] or '-'} {sorted({a['name'] for a in alarms})}",
                flush=True,
            )
    planted = [r for r in runs if r["case"] in PLANTS]
    calm = [r for r in runs if r["case"] in HEALTHY]
    rate = sum(r["detected_at"] is not None for r in planted) / len(planted)
    return {
        "device": "cpu",
        "steps": steps,
        "seeds": list(seeds),
        "runs": runs,
        "goals": [
            goal("share of planted failures named", rate, at_least=1.0),
            goal("healthy runs with a false alarm", float(sum(bool(r["alarms"]) for r in calm)), at_most=0),
        ],
    }


def rows(result: dict[str, Any]) -> list[list[str]]:
    lines = [["case", "named", "steps to the first naming, median", "named as"]]
    for case in dict.fromkeys(r["case"] for r in result["runs"]):
        runs = [r for r in result["runs"] if r["case"] == case]
        steps = [r["detected_at"] for r in runs if r["detected_at"] is not None]
        names = sorted({a["name"] for r in runs for a in r["alarms"]})
        expected = case in PLANTS
        false = sum(bool(run["alarms"]) for run in runs)
        share = f"{len(steps)} of {len(runs)}" if expected else f"{false} false alarms in {len(runs)}"
        lines.append([case, share, f"{median(steps):.0f}" if steps else "-", ", ".join(names) or "-"])
    return lines
