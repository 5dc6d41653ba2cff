"""ViT-S/16 on one GPU, 2x224 + 8x96 crops, bf16, loader on: our loop against the same loop written the official way.

The official way is one process a GPU with torchvision's Pillow transforms in the loader's processes, and loops over parameters;
ours decodes in threads and crops on the GPU.  DistributedDataParallel is left out of both.  MFU is the share of the datasheet's
dense bf16 rate, where the GPU is known, that the plain loop's arithmetic would take in this time."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.crops import write_images
from benchmarks.report import goal
from benchmarks.setting import GPU, QUICK, Setting
from benchmarks.worker import Turn, Worker
from dino_core.machine import cores

if TYPE_CHECKING:
    from torch import Tensor

DATASHEET_TFLOPS = {"H200": 989, "H100": 989, "A100": 312, "L40S": 362, "L4": 121, "4090": 165, "V100": 125}
"""Dense bf16 (V100: fp16) rates of tensor cores; the first name found in the GPU's name counts."""
DROP_PATH, PIXELS, IMAGES = 0.1, 400, 2048
STEPS_A_CALL = 5
LARGE = 256
"""Images of a batch that keep a large GPU busy; the paper has 64 on each of 16."""


def sizes(quick: bool, images: int = GPU.images) -> Setting:
    return QUICK if quick else replace(GPU, images=images)


def ours(folder: str, quick: bool, compiled: bool, images: int = GPU.images) -> Callable[[], dict[str, float]]:
    """Loader, crops on the GPU, engine; `Loop` without telemetry."""
    from benchmarks.ours import loading_steps
    from dino_core.config import Machine

    config = sizes(quick, images).config(Machine(device="cuda", precision="bf16", compile=compiled), DROP_PATH)
    config = replace(config, data=replace(config.data, cache=0))  # a set too large for memory
    _, steps = loading_steps(config, folder)
    return on_gpu(lambda: float(last(steps, STEPS_A_CALL).total))


def official(folder: str, quick: bool) -> Callable[[], dict[str, float]]:
    """Crops by processes on the CPU, ten as in the released code or as many as there are cores, and the plain loop."""
    import torch

    from benchmarks.rivals import Plain

    torch.backends.cudnn.benchmark = True
    s = sizes(quick)
    plain, batches = Plain(s, "cuda", DROP_PATH), official_batches(folder, s, min(10, cores()))

    def once() -> float:
        for _ in range(STEPS_A_CALL):
            views = next(batches)
            loss = plain.step(torch.stack(views[:2]), torch.stack(views[2:]))
        return loss

    return on_gpu(once)


def official_batches(folder: str, s: Setting, workers: int) -> Iterator[list[Tensor]]:
    """Views (B 3 h w) on the GPU, the global ones first, epoch after epoch."""
    from torch.utils.data import DataLoader
    from torchvision.datasets import ImageFolder

    from benchmarks.pipelines import PillowViews

    data = ImageFolder(folder, PillowViews(s.config().crops))
    loader = DataLoader(
        data, s.images, shuffle=True, num_workers=workers, pin_memory=True, drop_last=True, persistent_workers=True
    )
    while True:
        for views, _ in loader:
            yield [view.cuda(non_blocking=True) for view in views]


def last(steps: Iterator[Any], count: int) -> Any:
    for _ in range(count):
        result = next(steps)
    return result


def on_gpu(call: Callable[[], float]) -> Callable[[], dict[str, float]]:
    """Calls, waits for the GPU, and says how long that took and how much of the GPU's memory was taken at most."""
    import torch

    def once() -> dict[str, float]:
        torch.cuda.reset_peak_memory_stats()
        began = time.perf_counter()
        value = call()
        torch.cuda.synchronize()
        passed = time.perf_counter() - began
        return {"seconds": passed, "value": value, "mib": torch.cuda.max_memory_allocated() / 2**20}

    return once


def peak(quick: bool) -> Callable[[], dict[str, float]]:
    """Multiplications of two large square bf16 matrices."""
    import torch

    size = 512 if quick else 8192
    a = torch.randn(size, size, device="cuda", dtype=torch.bfloat16)
    out = torch.empty_like(a)

    def multiply() -> float:
        for _ in range(20):
            torch.mm(a, a, out=out)
        return 20 * 2.0 * size**3

    return on_gpu(multiply)


def measure(quick: bool) -> dict[str, Any]:
    import torch

    if not torch.cuda.is_available():
        return {"skipped": "torch sees no CUDA device here; run this on a machine with one."}
    name = torch.cuda.get_device_name()
    turns = take_turns(quick)
    fastest = max(turn.said["value"] / turn.said["seconds"] for turn in turns.pop("peak"))
    datasheet = next((1e12 * tflops for known, tflops in DATASHEET_TFLOPS.items() if known in name), None)
    took = {name: statistics.median(turn.said["seconds"] for turn in t) / STEPS_A_CALL for name, t in turns.items()}
    found = {
        name: described(
            sizes(quick, LARGE if name.endswith("images") else GPU.images), seconds, turns[name], fastest, datasheet
        )
        for name, seconds in took.items()
    }
    memory = found["ours"]["gpu_mib"] / found["official"]["gpu_mib"]
    return {
        "device": name,
        "work": {"gflop_per_image": GPU.flops / GPU.images / 1e9, "counted": "the plain loop's, for all contestants"},
        "peak_tflops": {"measured": fastest / 1e12, "datasheet": datasheet and datasheet / 1e12},
        "contestants": found,
        "goals": [
            goal("the official way takes as long as ours ×", took["official"] / took["ours"], at_least=1.0),
            goal("our memory on the GPU over the official way's", memory, at_most=1.0),
        ],
    }


def described(s: Setting, seconds: float, turns: list[Turn], fastest: float, datasheet: float | None) -> dict[str, Any]:
    """What a contestant's steps of so many seconds come to."""
    return {
        "images": s.images,
        "seconds": seconds,
        "images_per_second": s.images / seconds,
        "share_of_measured_peak": s.flops / seconds / fastest,
        "mfu": s.flops / seconds / datasheet if datasheet else None,
        "gpu_mib": max(turn.said["mib"] for turn in turns),
    }


def take_turns(quick: bool) -> dict[str, list[Turn]]:
    """One contestant after the other, each with the GPU to itself."""
    found = {}
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        write_images(Path(folder), 128 if quick else IMAGES, 64 if quick else PIXELS)
        options = {"folder": folder, "quick": quick}
        calls: dict[str, tuple[str, dict[str, Any]]] = {
            "ours": ("ours", {**options, "compiled": False}),
            "ours compiled": ("ours", {**options, "compiled": True}),
            "official": ("official", options),
            f"ours, {LARGE} images": ("ours", {**options, "compiled": False, "images": LARGE}),
            f"ours compiled, {LARGE} images": ("ours", {**options, "compiled": True, "images": LARGE}),
            "peak": ("peak", {"quick": quick}),
        }
        for name, (target, chosen) in calls.items():
            with Worker(f"benchmarks.gpu:{target}", chosen, threads=1) as worker:
                worker.turn(1 if quick else 4)
                found[name] = [worker.turn() for _ in range(2 if quick else 7)]
    return found


def rows(result: dict[str, Any]) -> list[list[str]]:
    head = ["one GPU", "s/step", "images/s", "MFU", "of measured matmul peak", "GPU MiB"]
    return [head] + [
        [
            name,
            f"{found['seconds']:.4f}",
            f"{found['images_per_second']:.0f}",
            f"{100 * found['mfu']:.0f} %" if found["mfu"] else "",
            f"{100 * found['share_of_measured_peak']:.0f} %",
            f"{found['gpu_mib']:.0f}",
        ]
        for name, found in result["contestants"].items()
    ]
