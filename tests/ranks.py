"""Run a function on several processes that form a gloo group, as torchrun would."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing

PRELOADED = ["torch.distributed.tensor", "torch.distributed.fsdp", "dino_core.distillation", "pytest"]
"""What ranks need, down to the trainer: imported once, not once a rank."""


def run_on_ranks(function: Callable[..., Any], world_size: int = 2, *arguments: Any) -> list[Any]:
    """`function(*arguments)` on each of `world_size` ranks; what each rank returned, in order.

    The function must be one of a module (it is pickled), and return tensors or plain values.  Ranks meet in a file, so
    no two tests fight over a port; an exception on any rank is raised here."""
    with tempfile.TemporaryDirectory() as folder:
        # a clean server that has imported everything once forks the ranks: seconds faster than spawning each anew
        multiprocessing.set_forkserver_preload(PRELOADED)
        multiprocessing.start_processes(
            _on_rank, (function, world_size, folder, arguments), nprocs=world_size, start_method="forkserver"
        )
        return [torch.load(Path(folder) / f"rank_{rank}.pt") for rank in range(world_size)]


def _on_rank(rank: int, function: Callable[..., Any], world_size: int, folder: str, arguments: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    meeting = (Path(folder) / "meeting").as_uri()
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=world_size)
    try:
        torch.save(function(*arguments), Path(folder) / f"rank_{rank}.pt")
    finally:
        dist.destroy_process_group()
