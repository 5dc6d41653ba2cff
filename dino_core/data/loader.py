"""Batches of decoded images, each a pure function of the step.

Epoch e goes through the images in an order of its own, drawn from (seed, e).  Step t is batch t mod steps_per_epoch of
epoch t // steps_per_epoch; every rank takes its contiguous share of that global batch.  So nothing has to be remembered
to resume in the middle of an epoch, and no rank repeats or misses an image; what is left over at the end of an epoch is
dropped.

The loader only decodes: crops and distortions are drawn on the training device (`dino_core.data.multicrop`).

Axes: H rows and W columns of an image, of any size."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image

from dino_core.data.decoding import ImageError
from dino_core.data.sources import Source
from dino_core.data.views import Decoded
from dino_core.errors import DataError

BATCHES_AHEAD = 3
"""At least this many batches are decoded ahead of training."""
LONGEST = 4
"""An image is reduced so that its longer side is at most this many times `decode_size`: a batch shares one canvas."""


class Loader:
    """Decoded batches of a source.

    A broken image is replaced by the next one that can be read and reported once through `on_skip(name, reason)`, on
    the thread that asks for batches; `skipped` counts them.  Larger images are reduced so that their shorter side is
    `decode_size`.  Decoded images are kept in memory up to `cache_mib`; when all fit, nothing is decoded after the
    first epoch."""

    def __init__(
        self,
        source: Source,
        *,
        batch_size: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        decode_size: int,
        cache_mib: int,
        workers: int,
        on_skip: Callable[[str, str], None],
        pinned: bool = False,
    ) -> None:
        """`pinned` memory goes to a GPU without anybody waiting."""
        self.global_batch = batch_size * world_size
        if len(source) < self.global_batch:
            raise DataError(
                f"{source.name} has {len(source)} images, fewer than one batch of {self.global_batch}. "
                f"Choose a batch size of at most {len(source)}, or give more images."
            )
        self.source, self.batch_size, self.seed, self.rank = source, batch_size, seed, rank
        self.decode_size, self.on_skip, self.pinned = decode_size, on_skip, pinned
        self.steps_per_epoch = len(source) // self.global_batch
        self.workers = workers or _spare_cores()
        self._cache: dict[int, tuple[np.ndarray, int]] = {}
        self._cache_left = cache_mib * 2**20
        self._broken: dict[int, tuple[str, str]] = {}  # name and reason
        self._unreported: deque[tuple[str, str]] = deque()
        self._lock = threading.Lock()
        self._order = lru_cache(maxsize=2)(self._shuffle)

    @property
    def skipped(self) -> int:
        """How many images could not be read so far."""
        return len(self._broken)

    def indices(self, step: int) -> np.ndarray:
        """Which images are this rank's share of the batch of a step."""
        epoch, place = divmod(step, self.steps_per_epoch)
        start = place * self.global_batch + self.rank * self.batch_size
        return self._order(epoch)[start : start + self.batch_size]

    def batch(self, step: int) -> Decoded:
        """This rank's share of the batch of a step."""
        decoded = self._decode(step)
        self._report()
        return decoded

    def prefetch(self, start: int, stop: int) -> Generator[Decoded, None, None]:
        """The batches of the steps from `start` until before `stop`, decoded ahead by threads.

        Closing the iterator, or losing it, stops them."""
        pool = ThreadPoolExecutor(self.workers, "decode")
        ahead: deque[Future[Decoded]] = deque()
        try:
            for step in range(start, stop):
                ahead.append(pool.submit(self._decode, step))
                if len(ahead) > max(BATCHES_AHEAD, self.workers):
                    yield self._next(ahead)
            while ahead:
                yield self._next(ahead)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _next(self, ahead: deque[Future[Decoded]]) -> Decoded:
        try:
            return ahead.popleft().result()
        finally:
            self._report()

    def _report(self) -> None:
        while self._unreported:
            self.on_skip(*self._unreported.popleft())

    def _shuffle(self, epoch: int) -> np.ndarray:
        return np.random.default_rng((self.seed, epoch)).permutation(len(self.source))

    def _decode(self, step: int) -> Decoded:
        return _side_by_side([self._readable(int(index)) for index in self.indices(step)], self.pinned)

    def _readable(self, index: int) -> tuple[np.ndarray, int, int]:
        """Image (3 H W), label and index of the first image from `index` on that can be read."""
        for place in range(len(self.source)):
            candidate = (index + place) % len(self.source)
            found = self._read(candidate)
            if found is not None:
                return *found, candidate
        name, reason = next(iter(self._broken.values()))
        count = len(self.source)
        raise DataError(f"none of the {count} images of {self.source.name} can be read. One is {name}: {reason}.")

    def _read(self, index: int) -> tuple[np.ndarray, int] | None:
        """Image (3 H W) and label, from memory where they are; None for a broken image."""
        if index in self._cache:
            return self._cache[index]
        if index in self._broken:
            return None
        try:
            sample = self.source.read(index)
        except ImageError as error:
            with self._lock:
                if index not in self._broken:
                    self._broken[index] = error.name, error.reason
                    self._unreported.append((error.name, error.reason))
            return None
        image = np.ascontiguousarray(reduced(sample.image, self.decode_size).transpose(2, 0, 1))
        with self._lock:
            if index not in self._cache and image.nbytes <= self._cache_left:
                self._cache[index] = image, sample.label
                self._cache_left -= image.nbytes
        return image, sample.label


def _spare_cores() -> int:
    """Threads for decoding: half of the cores that this process can count as its own, at most 16."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(16, max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1")) // 2))


def reduced(image: UInt8[np.ndarray, "H W 3"], shorter_side: int) -> UInt8[np.ndarray, "h w 3"]:
    """The image made smaller (bicubic, antialiased), its proportions kept, when its shorter side is over `shorter_side`
    or its longer side over `LONGEST` times that."""
    height, width = image.shape[:2]
    share = min(shorter_side / min(height, width), LONGEST * shorter_side / max(height, width))
    if share >= 1:
        return image
    size = max(1, round(width * share)), max(1, round(height * share))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0))


def _side_by_side(found: list[tuple[np.ndarray, int, int]], pinned: bool = False) -> Decoded:
    """Images on a canvas as large as the largest, each in its top left corner, zeros elsewhere."""
    images, labels, indices = zip(*found, strict=True)
    sizes = torch.tensor([image.shape[1:] for image in images])
    height, width = sizes.amax(0).tolist()
    canvas = torch.zeros(len(images), 3, height, width, dtype=torch.uint8, pin_memory=pinned)
    for place, image in zip(canvas.numpy(), images, strict=True):
        place[:, : image.shape[1], : image.shape[2]] = image
    return Decoded(canvas, sizes, torch.tensor(labels), torch.tensor(indices))
