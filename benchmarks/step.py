"""A training step: ours as `dino-lab train` runs it, one from lightly's parts, and a plain loop.

The same model, crops, batch, precision and number of threads, each in a process of its own, in turns."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from benchmarks.report import goal, threads
from benchmarks.setting import crops, setting
from benchmarks.worker import Turn, Worker, ratio, rounds, seconds

CONTESTANTS = ("ours", "lightly", "plain")


def ours(quick: bool) -> Callable[[], float]:
    from dino_core.machine import be_a_good_neighbour

    be_a_good_neighbour()  # as the trainer does, before torch is imported
    from benchmarks.ours import training_step

    return training_step(setting(quick))


def lightly(quick: bool) -> Callable[[], float]:
    from benchmarks.rivals import Lightly

    return _stepping(Lightly(setting(quick)), quick)


def plain(quick: bool) -> Callable[[], float]:
    from benchmarks.rivals import Plain

    return _stepping(Plain(setting(quick)), quick)


def _stepping(rival: Any, quick: bool) -> Callable[[], float]:
    large, small = crops(setting(quick))
    return lambda: rival.step(large, small)


def peak(quick: bool) -> Callable[[], None]:
    """The multiplication of two large square matrices, which nothing in a step can beat."""
    import torch

    a = torch.randn(PEAK_SIZE[quick], PEAK_SIZE[quick])
    out = torch.empty_like(a)
    torch.mm(a, a, out=out)

    def multiply() -> None:
        torch.mm(a, a, out=out)

    return multiply


PEAK_SIZE = {False: 2048, True: 128}


def measure(quick: bool) -> dict[str, Any]:
    count, calls = (2, 1) if quick else (12, 2)
    with ExitStack() as stack:
        workers = {
            name: stack.enter_context(Worker(f"benchmarks.step:{name}", {"quick": quick}, threads=threads()))
            for name in (*CONTESTANTS, "peak")
        }
        turns = rounds(workers, count, calls, warm_up=2)
    work, product = setting(quick).flops, 2 * PEAK_SIZE[quick] ** 3
    peaks = [product / min(turn.wall) for turn in turns["peak"]]
    shares = {
        name: statistics.median(work / turn.seconds / best for turn, best in zip(turns[name], peaks, strict=True))
        for name in CONTESTANTS
    }
    images = setting(quick).images
    found = {
        name: {
            "seconds": statistics.median(seconds(turns[name])),
            "images_per_second": images / statistics.median(seconds(turns[name])),
            "share_of_peak": shares[name],
            "peak_mib": max(turn.peak_mib for turn in turns[name]),
            "times_as_long_as_ours": ratio(seconds(turns[name]), seconds(turns["ours"])),
            "cpu_times_as_long_as_ours": ratio(cpu(turns[name]), cpu(turns["ours"])),
        }
        for name in CONTESTANTS
    }
    memory = found["ours"]["peak_mib"] / min(found[name]["peak_mib"] for name in CONTESTANTS[1:])
    return {
        "work": {"gflop_per_step": work / 1e9, "counted": "the plain loop's, for all contestants"},
        "peak_gflops": statistics.median(peaks) / 1e9,
        "contestants": found,
        "rounds": {name: seconds(turns[name]) for name in (*CONTESTANTS, "peak")},
        "goals": [
            goal("ours, share of the float32 matmul peak", found["ours"]["share_of_peak"], at_least=0.70),
            goal("lightly's parts take as long as ours ×", found["lightly"]["times_as_long_as_ours"], at_least=1.2),
            goal("the plain loop takes as long as ours ×", found["plain"]["times_as_long_as_ours"], at_least=1.2),
            goal("our peak memory over the lesser of theirs", memory, at_most=1.0),
        ],
    }


def cpu(turns: list[Turn]) -> list[float]:
    return [turn.cpu_seconds for turn in turns]


def rows(result: dict[str, Any]) -> list[list[str]]:
    head = ["training step", "s/step", "images/s", "of matmul peak", "times ours", "peak MiB"]
    return [head] + [
        [
            name,
            f"{found['seconds']:.3f}",
            f"{found['images_per_second']:.1f}",
            f"{100 * found['share_of_peak']:.0f} %",
            f"{found['times_as_long_as_ours']:.2f}",
            f"{found['peak_mib']:.0f}",
        ]
        for name, found in result["contestants"].items()
    ]
