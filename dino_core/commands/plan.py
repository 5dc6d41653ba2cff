"""`dino-lab plan RECIPE --gpus N --memory 80GB`."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from dino_core.commands.train import parsed
from dino_core.planning.devices import DEVICES, bytes_of, device
from dino_core.recipes import RECIPES, recipe

if TYPE_CHECKING:
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
    gpu = device(known.device)
    memory = bytes_of(known.memory) if known.memory else gpu.memory
    peak = known.peak * 1e12 if known.peak is not None else gpu.peak(config.machine.precision or "bf16")

    from dino_core.planning.plan import Machine, plan

    found = plan(config, Machine(known.gpus, memory, peak, known.mfu), known.images)
    print(json.dumps(found.as_json(), indent=2)) if known.json else print_plan(found)
    return 0


def print_plan(found: Plan) -> None:
    from rich.console import Console
    from rich.table import Table

    from dino_core.planning.memory import SHARINGS

    config, model, machine = found.config, found.model, found.machine
    console = Console(soft_wrap=True)
    parts = ", ".join(f"{name} {count / 1e6:,.1f} M" for name, count in model.parameters.items())
    console.print(
        f"[bold]{config.recipe}[/bold]: student and teacher {model.total / 1e6:,.1f} M weights each ({parts})"
    )
    console.print(
        f"{config.steps:,} steps of {config.batch_size:,} images ({found.images:,} in the data), {config.machine.precision}, "
        f"on {machine.gpus} GPUs of {machine.memory / 1e9:.0f} GB at {100 * machine.share:.0f} % of "
        f"{machine.peak / 1e12:,.0f} TFLOP/s"
    )
    work = Table(title="a step's arithmetic")
    work.add_column("part")
    work.add_column("TFLOP", justify="right")
    for name, value in found.flops.items():
        if value:
            work.add_row(name, f"{value / 1e12:,.3g}")
    work.add_section()
    work.add_row("together", f"{sum(found.flops.values()) / 1e12:,.3g}")
    console.print(work)
    table = Table(title="memory of one GPU in GB, and time")
    names = ("weights", "teacher", "gradients", "optimizer", "images", "activations", "logits")
    for name in ("sharing", "recompute", *names, "needed", "fits", "s/step", "hours"):
        table.add_column(name, justify="left" if name in ("sharing", "recompute", "fits") else "right")
    for row in found.rows:
        held = row.memory
        table.add_row(
            row.way.sharing, "yes" if row.way.checkpointing else "no",
            *(f"{getattr(held, name) / 1e9:.2f}" for name in names), f"{held.needed / 1e9:.1f}",
            "yes" if row.fits else "[red]no[/red]", f"{row.step_seconds:.3g}", f"{row.hours:,.3g}",
        )  # fmt: skip
    console.print(table)
    for sharing in dict.fromkeys(row.way.sharing for row in found.rows):
        console.print(f"  {sharing}: {SHARINGS[sharing].split(': ')[1]}")
    console.print(f"[bold]{found.advice}[/bold]")
