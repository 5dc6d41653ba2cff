"""A training step: ours as `dino-lab train` runs it, one from lightly's parts, and a plain loop.

The same model, crops, batch, precision and number of threads, each in a process of its own, in turns: in float32, and in bf16
where the trainer would choose it on this machine."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from benchmarks.report import goal, threads
from benchmarks.setting import Setting, crops, setting
from benchmarks.worker import Turn, Worker, ratio, rounds, seconds

if TYPE_CHECKING:
    from dino_core.machine import Precision

CONTESTANTS = {
    "ours": "ours",
    "lightly": "lightly",
    "lightly, view by view": "lightly_by_view",
    "plain": "plain",
}
"""Names and functions."""


def ours(quick: bool, precision: Precision = "fp32") -> Callable[[], float]:
    from dino_core.machine import be_a_good_neighbour

    be_a_good_neighbour()  # as the trainer does, before torch is imported
    from benchmarks.ours import training_step

    return training_step(setting(quick), precision)


def lightly(quick: bool, precision: Precision) -> Callable[[], float]:
    from benchmarks.rivals import Lightly

    return _stepping(Lightly(setting(quick)), quick, precision)


def lightly_by_view(quick: bool, precision: Precision) -> Callable[[], float]:
    """As lightly's examples have it: one forward a view."""
    from benchmarks.rivals import Lightly

    return _stepping(Lightly(setting(quick), by_view=True), quick, precision)


def plain(quick: bool, precision: Precision) -> Callable[[], float]:
    from benchmarks.rivals import Plain

    return _stepping(Plain(setting(quick)), quick, precision)


def _stepping(rival: Any, quick: bool, precision: Precision) -> Callable[[], float]:
    import torch

    large, small = crops(setting(quick))

    def step() -> float:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            return rival.step(large, small)

    return step


def chosen(quick: bool) -> Callable[[], float]:
    """1 where the trainer would choose bf16 on this machine, else 0."""
    from dino_core.config import Machine
    from dino_core.machine import choose

    return lambda: float(choose(Machine(device="cpu"))[0].precision == "bf16")


def peak(quick: bool) -> Callable[[], float]:
    """Multiply-adds a second, times two, of the product of two large square matrices: the best of five."""
    import torch

    size = 128 if quick else 2048
    a, out = torch.randn(size, size), torch.empty(size, size)

    def flops() -> float:
        best = math.inf
        for _ in range(5):
            began = time.perf_counter()
            torch.mm(a, a, out=out)
            best = min(best, time.perf_counter() - began)
        return 2 * size**3 / best

    return flops


def measure(quick: bool) -> dict[str, Any]:
    runs = {precision: in_turns(quick, precision) for precision in worth_measuring(quick)}
    peaks = [peak for run in runs.values() for peak in run["peaks"]]
    return {
        "work": {"gflop_per_step": setting(quick).flops / 1e9, "counted": "the plain loop's, for all contestants"},
        "peak_gflops": statistics.median(peaks) / 1e9,
        "trainer_chooses": "bf16" if "bf16" in runs else "fp32",
        "precisions": {precision: run["contestants"] for precision, run in runs.items()},
        "goals": [each for precision, run in runs.items() for each in goals(precision, run["contestants"])],
    }


def worth_measuring(quick: bool) -> list[Precision]:
    """float32, and bf16 where the trainer would choose it on this machine."""
    with Worker("benchmarks.step:chosen", {"quick": quick}, threads=threads()) as worker:
        return ["fp32", "bf16"] if worker.turn(1).said or quick else ["fp32"]


def in_turns(quick: bool, precision: Precision) -> dict[str, Any]:
    """All contestants in one precision, and what the machine's float32 products reach meanwhile."""
    count, calls = (2, 1) if quick else (6, 3)
    names = [name for name in CONTESTANTS if "lightly" not in name or find_spec("lightly") is not None]
    with ExitStack() as stack:
        workers = {}
        for name in (*names, "peak"):
            given = {"quick": quick} | ({} if name == "peak" else {"precision": precision})
            target = f"benchmarks.step:{CONTESTANTS.get(name, name)}"
            workers[name] = stack.enter_context(Worker(target, given, threads=threads()))
        turns = rounds(workers, count, calls, warm_up=2)
    peaks = [turn.said for turn in turns.pop("peak")]
    found = {name: compared(setting(quick), t, turns["ours"], peaks) for name, t in turns.items()}
    return {"contestants": found, "peaks": peaks}


def goals(precision: Precision, found: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    times = {name: each["times_as_long_as_ours"] for name, each in found.items()}
    rivals = min(each["peak_mib"] for name, each in found.items() if name != "ours")
    of = f"{precision}: "
    return [
        goal(of + "ours, share of the float32 matmul peak", found["ours"]["share_of_peak"], at_least=0.70),
        goal(of + "lightly's parts take as long as ours ×", times.get("lightly"), at_least=1.2),
        goal(of + "lightly's parts, view by view, ×", times.get("lightly, view by view"), at_least=1.2),
        goal(of + "the plain loop takes as long as ours ×", times["plain"], at_least=1.2),
        goal(of + "our peak memory over the least of theirs", found["ours"]["peak_mib"] / rivals, at_most=1.0),
    ]


def compared(s: Setting, turns: list[Turn], ours: list[Turn], peaks: list[float]) -> dict[str, Any]:
    """What one contestant reached; ratios and shares are of the same round, and then their median."""
    took = seconds(turns)
    return {
        "seconds": statistics.median(took),
        "images_per_second": s.images / statistics.median(took),
        "share_of_peak": statistics.median(s.flops / t / best for t, best in zip(took, peaks, strict=True)),
        "peak_mib": max(turn.peak_mib for turn in turns),
        "times_as_long_as_ours": ratio(took, seconds(ours)),
        "cpu_times_as_long_as_ours": ratio([t.cpu_seconds for t in turns], [t.cpu_seconds for t in ours]),
        "rounds": took,
    }


def rows(result: dict[str, Any]) -> list[list[str]]:
    head = ["training step", "s/step", "images/s", "of float32 peak", "times ours", "peak MiB"]
    return [head] + [
        [
            f"{name}, {precision}",
            f"{found['seconds']:.3f}",
            f"{found['images_per_second']:.1f}",
            f"{100 * found['share_of_peak']:.0f} %",
            f"{found['times_as_long_as_ours']:.2f}",
            f"{found['peak_mib']:.0f}",
        ]
        for precision, contestants in result["precisions"].items()
        for name, found in contestants.items()
    ]
