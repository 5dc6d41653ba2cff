"""`dino-lab evaluate RUN-or-MODEL --data.source SRC`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from dino_core.errors import ConfigError, DataError
from dino_core.rundir.schema import CONFIG, RUN


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="dino-lab evaluate",
        description="k-NN and a linear probe on the class token; attention and PCA against object masks where there are any.",
    )
    parser.add_argument("model", help="a run, a checkpoint folder of one, a file of weights, or a timm name")
    parser.add_argument("--data.source", dest="source", default="", help="labelled images; by default the run's own")
    parser.add_argument(
        "--data.validation", dest="validation", help="images to test on; by default the source's test half"
    )
    parser.add_argument(
        "--which", choices=("teacher", "student"), default="teacher", help="where a published file holds both networks"
    )
    parser.add_argument("--heads", type=int, help="attention heads, where the model does not tell them")
    parser.add_argument("--at", type=int, metavar="STEP", help="checkpoint of the run; the newest by default")
    parser.add_argument("--size", type=int, help="side of the images in pixels")
    parser.add_argument("--train-images", type=int, default=10_000)
    parser.add_argument("--test-images", type=int, default=2_000)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path, help="also write the numbers here")
    options = parser.parse_args(arguments)
    found = evaluate(options)
    print_table(found)
    text = json.dumps(found, indent=2)
    if options.json:
        options.json.write_text(text + "\n")
    else:
        print(text)
    return 0


def evaluate(options: argparse.Namespace) -> dict[str, Any]:
    from dino_core.machine import be_a_good_neighbour

    be_a_good_neighbour()
    check(options)
    from dino_core.commands.train import chosen
    from dino_core.config import IMAGENET_MEAN, IMAGENET_STD, Data
    from dino_core.data.sources import open_source
    from dino_core.evaluation.images import read_images
    from dino_core.evaluation.whole import measured
    from dino_core.model import load_backbone
    from dino_core.rundir.read import read_config
    from dino_core.rundir.schema import CHECKPOINTS, step_name

    run = run_of(Path(options.model))
    config = read_config(run) if run else None
    data = Data(source=options.source, validation=options.validation)
    if config is not None and not options.source:
        data = config.data
    where = options.model
    if options.at is not None:
        if run is None:
            raise ConfigError(f"--at {options.at} is a checkpoint of a run, and {options.model} is none; leave it out.")
        where = str(run / CHECKPOINTS / step_name(chosen(run, options.at)))
    backbone = load_backbone(where, which=options.which, heads=options.heads, device=options.device)
    if not options.source and config is None:
        raise DataError(
            "which images? Give --data.source, a folder of labelled images, `shapes`, or `torchvision:CIFAR10`."
        )
    size = options.size or (config.image_size if config else 224)
    train = read_images(open_source(data, split="train"), options.train_images, size)
    test = read_images(open_source(data, split="test"), options.test_images, size)
    mean, std = (config.crops.mean, config.crops.std) if config else (IMAGENET_MEAN, IMAGENET_STD)
    found = measured(backbone, train, test, mean, std)
    return {"model": options.model, "step": options.at, "source": data.source, "size": size, **found}


def check(options: argparse.Namespace) -> None:
    """Whatever would end the measuring halfway is said before it begins."""
    from dino_core.machine import is_here

    if not is_here(options.device):
        raise ConfigError(f"--device {options.device}: torch sees no such device here; expected cpu, or none at all.")
    if options.test_images < 1 or options.train_images < 0:
        raise ConfigError(
            f"{options.train_images} images to learn from and {options.test_images} to test on; expected at least 0 and 1."
        )
    if options.size is not None and options.size < 1:
        raise ConfigError(f"--size {options.size} is no side of an image; expected pixels, such as 224.")
    if options.json is not None and not options.json.absolute().parent.is_dir():
        raise ConfigError(f"--json {options.json}: there is no folder {options.json.parent}; make it first.")


def run_of(model: Path) -> Path | None:
    """The run that this is, or is a checkpoint of; None for the networks of others, whose folders have a config.json too."""
    if not model.exists():  # a name
        return None
    folder = (model.parent if model.is_file() else model).resolve()
    return next((p for p in (folder, folder.parent.parent) if (p / RUN).is_file() and (p / CONFIG).is_file()), None)


def print_table(found: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{found['model']} on {found['source']}")
    table.add_column("measure")
    table.add_column("value", justify="right")
    for name, value in found.items():
        if name == "patch_contrast":  # a difference of cosines
            table.add_row(name, f"{value:.3f}")
        elif isinstance(value, float):
            table.add_row(name, f"{100 * value:.1f} %")
        elif isinstance(value, int):
            table.add_row(name, str(value))
    Console(stderr=True).print(table)
