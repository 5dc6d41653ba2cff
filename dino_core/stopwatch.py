"""Where a step's time goes, without making the device wait: on a GPU events are recorded and read at the next logged step."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class Stopwatch:
    """`with clock("teacher"): ...` adds to that part's time; `take()` gives seconds a step since the last call."""

    def __init__(self, device: torch.device) -> None:
        self.on_gpu = device.type == "cuda"
        self.seconds: dict[str, float] = defaultdict(float)
        self.events: list[tuple[str, torch.cuda.Event, torch.cuda.Event]] = []

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        if self.on_gpu:
            start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            start.record()
            yield
            end.record()
            self.events.append((part, start, end))
        else:
            began = time.perf_counter()
            yield
            self.seconds[part] += time.perf_counter() - began

    def take(self, steps: int) -> dict[str, float]:
        """Mean seconds a step of each part over the last `steps` steps; waits for the device."""
        events, self.events = self.events, []
        for part, start, end in events:
            end.synchronize()
            self.seconds[part] += start.elapsed_time(end) / 1000
        split = {part: seconds / max(steps, 1) for part, seconds in self.seconds.items()}
        self.seconds.clear()
        return split
