"""Views cut one batch ahead of the training step, where a GPU does both and whoever gives it work is what takes time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import fields

import torch
from torch import Tensor

from dino_core.data.views import Batch, Decoded

Cut = Callable[[Decoded, int], Batch]
"""Views of decoded images at a step."""


def cut_ahead(
    cut: Cut, batches: Generator[Decoded, None, None], first: int, device: torch.device
) -> Generator[Batch, None, None]:
    """The views of the steps from `first` on; closing it closes `batches`.

    On a GPU a thread has the views of the next step cut on a stream of its own while this step is worked on."""
    try:
        if device.type == "cuda":
            yield from _beside(cut, batches, first, device)
        else:
            for step, decoded in enumerate(batches, first):
                yield cut(decoded, step)
    finally:
        batches.close()


def _beside(
    cut: Cut, batches: Generator[Decoded, None, None], first: int, device: torch.device
) -> Generator[Batch, None, None]:
    stream = torch.cuda.Stream(device)

    def work(decoded: Decoded, step: int) -> tuple[Batch, torch.cuda.Event]:
        with torch.cuda.stream(stream):
            batch = cut(decoded, step)
            return batch, stream.record_event()

    pool = ThreadPoolExecutor(1, "crops")
    ahead: deque[Future[tuple[Batch, torch.cuda.Event]]] = deque()
    try:
        for step, decoded in enumerate(batches, first):
            ahead.append(pool.submit(work, decoded, step))
            if len(ahead) > 1:
                yield _taken(ahead.popleft())
        while ahead:
            yield _taken(ahead.popleft())
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _taken(cut: Future[tuple[Batch, torch.cuda.Event]]) -> Batch:
    """The batch, for the stream of the step: it waits for the views, and their memory is not given away under it."""
    batch, done = cut.result()
    here = torch.cuda.current_stream(batch.globals.device)
    here.wait_event(done)
    for field in fields(batch):
        part = getattr(batch, field.name)
        if isinstance(part, Tensor) and part.is_cuda:
            part.record_stream(here)
    return batch
