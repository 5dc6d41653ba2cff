"""Which patches are hidden from the student: blocks, as in BEiT, iBOT and DINOv2.

Half of the global crops of a whole batch get a mask, the i-th of n with exactly the share p_i of its patches hidden, p
going evenly from the smallest to the largest ratio; who gets which is shuffled.  All of it is drawn on the CPU for the
batch of all ranks, so that a crop gets the same mask whatever the number of ranks, and the number of hidden patches is
known without asking the device.

Axes: V global crops, B images of this rank, N patches, M hidden patches."""

from __future__ import annotations

import math
import random

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from dino_core import config

SMALLEST = 4
"""Patches of the smallest block that is tried (BEiT, Bao et al. 2021, Algorithm 1)."""
ASPECT = (0.3, 1 / 0.3)
"""Height over width of a block, log-uniform."""
TRIES = 10
"""Blocks that are tried before the rest is hidden one by one."""


class BlockMasks:
    """`masks(views, images, generator)` says for each global crop of this rank which patches are hidden."""

    def __init__(self, ibot: config.Ibot, rank: int = 0, world_size: int = 1) -> None:
        self.ibot, self.rank, self.world_size = ibot, rank, world_size

    def __call__(
        self, views: int, images: int, grid: tuple[int, int], generator: torch.Generator
    ) -> Bool[Tensor, "V B N"]:
        """On the CPU; `images` are this rank's."""
        everybodys = views * images * self.world_size
        counts = hidden_counts(everybodys, math.prod(grid), self.ibot.mask_share, self.ibot.mask_ratio)
        order = torch.randperm(everybodys, generator=generator)
        seeds = torch.randint(2**62, (everybodys,), generator=generator)
        given = torch.zeros(everybodys, dtype=torch.long)
        given[order[: len(counts)]] = torch.tensor(counts, dtype=torch.long)
        ours = slice(self.rank * images, (self.rank + 1) * images)
        plan = torch.stack([given, seeds], 1).view(views, -1, 2)[:, ours].flatten(0, 1).tolist()
        masks = np.stack([block_mask(grid, count, random.Random(seed), self.ibot.shift) for count, seed in plan])
        return torch.from_numpy(masks).view(views, images, -1)


def hidden_counts(crops: int, patches: int, share: float, ratio: tuple[float, float]) -> list[int]:
    """How many patches each masked crop hides: int(N p_i) for p_i = low + (high - low) i/n, i = 1 … n = int(share · crops)."""
    low, high = ratio
    masked = int(crops * share)
    return [int(patches * (low + (high - low) * i / masked)) for i in range(1, masked + 1)]


def block_mask(grid: tuple[int, int], count: int, draw: random.Random, shift: bool = False) -> Bool[np.ndarray, " N"]:
    """Exactly `count` of the patches: rectangles as long as one fits, and what is missing then, one by one.

    A rectangle is kept if it hides at least one more patch and no more than are wanted; none covers more than half of
    the image (BEiT; DINOv3's code completes the count, DINOv2's may fall short).  `shift` then rolls the mask by a
    random offset around the edges."""
    rows, columns = grid
    mask = np.zeros(grid, dtype=bool)
    missing = count
    while missing and (block := _block(mask, missing, draw)) is not None:
        mask[block] = True
        missing = count - int(mask.sum())
    flat = mask.reshape(-1)
    flat[draw.sample(np.flatnonzero(~flat).tolist(), missing)] = True
    return np.roll(mask, (draw.randrange(rows), draw.randrange(columns)), (0, 1)).reshape(-1) if shift else flat


def _block(mask: Bool[np.ndarray, "r c"], missing: int, draw: random.Random) -> tuple[slice, slice] | None:
    """A rectangle that hides from 1 to `missing` more patches, or None after some tries."""
    rows, columns = mask.shape
    largest = min(missing, mask.size / 2)
    for _ in range(TRIES):
        area = draw.uniform(min(SMALLEST, largest), largest)
        aspect = math.exp(draw.uniform(math.log(ASPECT[0]), math.log(ASPECT[1])))
        tall, wide = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if not (0 < tall < rows and 0 < wide < columns):
            continue
        top, left = draw.randint(0, rows - tall), draw.randint(0, columns - wide)
        block = slice(top, top + tall), slice(left, left + wide)
        if 0 < tall * wide - int(mask[block].sum()) <= missing:
            return block
    return None
