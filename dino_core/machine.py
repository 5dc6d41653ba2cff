"""Where the arithmetic is done: device, threads and precision, chosen with the viewer on the same machine in mind.

`be_a_good_neighbour` has to run before torch is imported, so this module imports it only inside functions."""

from __future__ import annotations

import math
import os
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from dino_core.config import Machine
from dino_core.errors import ConfigError

if TYPE_CHECKING:
    import torch

Precision = Literal["fp32", "bf16", "fp16"]


def cores() -> int:
    """CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def be_a_good_neighbour() -> str:
    """Let waiting OpenMP threads sleep instead of spin, unless the user has said otherwise.

    Spinning threads next to one busy process make a step several times slower, sleeping ones wake late
    (`benchmarks/neighbour.py` measures both); so a network that can shares images, not operations
    (`dino_core.model.abreast`), and this is for what remains."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("KMP_BLOCKTIME", "0")
    return f"waiting threads: {os.environ['OMP_WAIT_POLICY'].lower()}"


def choose(machine: Machine, *, remembered: bool = False) -> tuple[Machine, list[str]]:
    """`machine` with device, threads and precision chosen, and one sentence for each choice; sets torch's threads.

    What is `remembered` of a run trained elsewhere gives way where there is no such device here."""
    import torch

    said: list[str] = []
    if machine.device and not is_here(machine.device):
        if not remembered:
            raise ConfigError(
                f"machine.device is {machine.device!r}, which torch does not see here; expected cpu, or none at all."
            )
        said.append(f"trained on {machine.device}, which is not here")
        machine = Machine(compile=machine.compile, parallel=machine.parallel)
    device = _own(machine.device or _best_device())
    threads = machine.threads or (cores() if cores() <= 2 else cores() - 1)
    if device == "cpu":
        torch.set_num_threads(threads)
        said.append(
            f"{threads} of {cores()} CPU threads; {os.environ.get('OMP_WAIT_POLICY', 'default').lower()} waiting"
        )
    elif device.startswith("cuda"):
        torch.backends.cudnn.benchmark = True  # crops have few sizes
    precision = machine.precision
    if precision is None:
        precision, why = _fastest_precision(torch.device(device))
        said.append(f"precision {precision}: {why}")
    return replace(machine, device=device, threads=threads, precision=precision), said


def is_here(device: str) -> bool:
    """Whether torch sees such a device on this machine."""
    import torch

    try:
        wanted = torch.device(device)
    except RuntimeError:  # no such kind
        return False
    if wanted.type == "cuda":
        return torch.cuda.is_available() and (wanted.index or 0) < torch.cuda.device_count()
    return wanted.type != "mps" or torch.backends.mps.is_available()


def _own(device: str) -> str:
    """Under torchrun each process of a host has a GPU of its own, whatever another's config says."""
    if device.split(":")[0] != "cuda" or (device != "cuda" and "LOCAL_RANK" not in os.environ):
        return device
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}"


def _best_device() -> str:
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _fastest_precision(device: torch.device) -> tuple[Precision, str]:
    """bf16 only where it is faster than float32, measured on the spot for a CPU."""
    import torch

    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
        return ("bf16", "the GPU multiplies it natively") if fast else ("fp32", "the GPU has no native bf16")
    if device.type != "cpu":
        return "fp32", f"the safe choice on {device.type}"
    gain = _bf16_gain()
    return ("bf16" if gain > 1.5 else "fp32"), f"on this CPU bf16 multiplies {gain:.2g} times as fast as fp32"


def _bf16_gain(size: int = 256, rounds: int = 8) -> float:
    """Processor time of a float32 product over that of a bf16 product, the least of either, in turns and on one thread.

    Under a load of six on two cores this says 1.9 to 2.0 each time; three products of 512 rows on two threads said anything
    from 1.1 to 22."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    least = dict.fromkeys((torch.float32, torch.bfloat16), math.inf)
    factors = {dtype: torch.ones(size, size, dtype=dtype) for dtype in least}
    for turn in range(1 + rounds):  # the first products also pay for the library's preparation
        for dtype, a in factors.items():
            start = time.process_time()
            a @ a
            least[dtype] = min(least[dtype], time.process_time() - start) if turn else math.inf
    torch.set_num_threads(threads)
    return least[torch.float32] / max(least[torch.bfloat16], 1e-9)


def memory_mib(device: torch.device) -> float:
    """Largest memory this process has held: of the GPU where there is one, else resident."""
    import torch

    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    import resource
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
