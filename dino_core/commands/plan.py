"""`dino-lab plan RECIPE --gpus N --memory 80GB`."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from dino_core.commands.train import parsed
from dino_core.distilled import TAUGHT_BY
from dino_core.planning.devices import DEVICES, bytes_of, device
from dino_core.recipes import RECIPES, recipe
from dino_core.rundir.read import read_config

if TYPE_CHECKING:
    from rich.console import Console

    from dino_core.config import TrainConfig
    from dino_core.planning.plan import Plan


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="dino-lab plan",
        description="A run on paper: parameters, arithmetic, memory of a GPU, hours, and what to change when it does not fit. "
        "Nothing is trained and no weight is allocated.",
        epilog="Any option of `dino-lab train` can be given, for example --batch-size 1024.",
        allow_abbrev=False,
    )
    parser.add_argument("recipe", help=f"one of {', '.join(RECIPES)}")
    parser.add_argument(
        "--teacher",
        metavar="RECIPE-or-RUN",
        help="who a student is distilled from; by default its paper's, where it has one",
    )
    parser.add_argument("--gpus", type=int, default=1)
    parser.add_argument("--device", default="h100", help=f"for its peak and memory: {', '.join(DEVICES)}")
    parser.add_argument("--memory", help="of one GPU, such as 80GB; by default the device's")
    parser.add_argument("--peak", type=float, metavar="TFLOPS", help="of one GPU; by default the device's")
    parser.add_argument(
        "--mfu", type=float, default=0.35, help="share of the peak that training reaches (default 0.35)"
    )
    parser.add_argument("--images", type=int, help="in the data; by default those of ImageNet-1k, or of `shapes`")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    known, rest = parser.parse_known_args(arguments)
    config = parsed(recipe(known.recipe), rest, f"dino-lab plan {known.recipe}").config
    taught_by = known.teacher or TAUGHT_BY.get(known.recipe)
    teacher = None if taught_by is None else config_of(taught_by)
    gpu = device(known.device)
    memory = bytes_of(known.memory) if known.memory else gpu.memory
    peak = known.peak * 1e12 if known.peak is not None else gpu.peak(config.machine.precision or "bf16")

    from dino_core.planning.plan import Machine, plan

    found = plan(config, Machine(known.gpus, memory, peak, known.mfu), known.images, teacher=teacher)
    print(json.dumps(found.as_json(), indent=2)) if known.json else print_plan(found)
    return 0


def config_of(name: str) -> TrainConfig:
    """Of a recipe or a run."""
    return read_config(Path(name)) if (Path(name) / "config.json").is_file() else recipe(name)


def print_plan(found: Plan) -> None:
    from rich.console import Console
    from rich.table import Table

    from dino_core.planning.memory import SHARINGS

    config, model, machine = found.config, found.model, found.machine
    console = Console(soft_wrap=True)
    parts = ", ".join(f"{name} {count / 1e6:,.1f} M" for name, count in model.parameters.items())
    second = "teacher" if model.source is None else "its average"
    console.print(
        f"[bold]{config.recipe}[/bold]: student and {second} {model.total / 1e6:,.1f} M weights each ({parts})"
    )
    if model.source is not None:
        console.print(f"distilled from a frozen teacher of {model.source.total / 1e6:,.1f} M weights")
    console.print(
        f"{config.steps:,} steps of {config.batch_size:,} images ({found.images:,} in the data), {config.machine.precision}, "
        f"on {machine.gpus} GPUs of {machine.memory / 1e9:.0f} GB at {100 * machine.share:.0f} % of "
        f"{machine.peak / 1e12:,.0f} TFLOP/s"
    )
    console.print(
        "  a large network may reach 35 % (--mfu 0.35, the default); here ViT-S/16 reached 4 % of an H100 with 64 images "
        "a GPU, 9 % of an H200 with 256"
    )
    print_work(console, found)
    names = ["weights", "teacher", "frozen", "gradients", "optimizer", "images", "activations", "logits"]
    if not any(row.memory.frozen for row in found.rows):
        names.remove("frozen")
    table = Table(title="memory of one GPU in GB, and time")
    table.add_column("", min_width=11, no_wrap=True)
    for row in found.rows:
        table.add_column(f"{row.way.sharing}{', recomputed' * row.way.checkpointing}", justify="right")
    for name in names:
        table.add_row(name, *(f"{getattr(row.memory, name) / 1e9:.2f}" for row in found.rows))
    table.add_section()
    table.add_row("needed", *(f"{row.memory.needed / 1e9:.1f}" for row in found.rows))
    table.add_row("fits", *("yes" if row.fits else "[red]no[/red]" for row in found.rows))
    table.add_row("s/step", *(f"{row.step_seconds:.3g}" for row in found.rows))
    table.add_row("hours", *(f"{row.hours:,.3g}" for row in found.rows))
    console.print(table)
    if len(found.stages) > 1:
        console.print("  of the whole run: memory of its fullest phase, seconds on average, hours of all phases")
    for sharing in dict.fromkeys(row.way.sharing for row in found.rows):
        console.print(f"  {sharing}: {SHARINGS[sharing].split(': ')[1]}")
    if len(found.stages) > 1:
        print_phases(console, found)
    console.print(f"[bold]{found.advice}[/bold]")


def print_work(console: Console, found: Plan) -> None:
    """What a step computes, in each phase."""
    from rich.table import Table

    work = Table(title="a step's arithmetic in TFLOP")
    work.add_column("part")
    several = len(found.stages) > 1
    for stage in found.stages:
        work.add_column(stage.config.phase_name if several else "TFLOP", justify="right")
    for part, value in found.flops.items():
        if value:
            work.add_row(part, *(f"{stage.flops[part] / 1e12:,.3g}" for stage in found.stages))
    work.add_section()
    work.add_row("together", *(f"{sum(stage.flops.values()) / 1e12:,.3g}" for stage in found.stages))
    console.print(work)


def print_phases(console: Console, found: Plan) -> None:
    """A row a phase and the sum, in the fastest way that fits, or that needs least."""
    from rich.table import Table

    chosen = found.best or min(found.rows, key=lambda row: row.memory.needed)
    table = Table(title=f"phases with {chosen.way.options}")
    for name in ("phase", "steps", "images a step", "crops", "EFLOP", "GB needed", "s/step", "hours"):
        table.add_column(name, justify="left" if name in ("phase", "crops") else "right")
    total = 0.0
    for stage in found.stages:
        row = next(row for row in stage.rows if row.way == replace(chosen.way, accumulate=row.way.accumulate))
        total += row.flops * stage.steps
        table.add_row(
            stage.config.phase_name, f"{stage.steps:,}", f"{stage.config.batch_size:,}", crops_of(stage.config),
            f"{row.flops * stage.steps / 1e18:,.3g}", f"{row.memory.needed / 1e9:.1f}", f"{row.step_seconds:.3g}",
            f"{row.hours:,.3g}",
        )  # fmt: skip
    table.add_section()
    table.add_row(
        "together", f"{found.steps:,}", "", "", f"{total / 1e18:,.3g}", f"{chosen.memory.needed / 1e9:.1f}",
        f"{chosen.step_seconds:.3g}", f"{chosen.hours:,.3g}",
    )  # fmt: skip
    console.print(table)


def crops_of(config: TrainConfig) -> str:
    """Sides in pixels of global, local and anchor crops."""
    crops, gram = config.crops, config.gram
    kinds = crops.mixed or ((crops.global_size, crops.local_size, 0, 1.0),)
    said = []
    for large, small, anchor, share in kinds:
        sides = [
            large,
            *([small] if crops.local_crops else []),
            *([anchor or gram.size or large] if gram.weight else []),
        ]
        said.append("/".join(map(str, sides)) + (f" ({100 * share:.0f} %)" if crops.mixed else ""))
    return ", ".join(said) + " px"
