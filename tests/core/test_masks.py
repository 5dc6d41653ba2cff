"""Which patches are hidden: how many, from whom, in blocks, and the same however many ranks share the batch."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dino_core import config
from dino_core.data.masks import BlockMasks, block_mask, hidden_counts
from dino_core.data.multicrop import MultiCrop
from tests.core.test_multicrop import decoded, pictures, seeded


def test_half_of_the_crops_are_masked_with_shares_that_rise_evenly():
    """DINOv3: the i-th of n masked crops hides int(N (0.1 + 0.4 i/n)) patches."""
    counts = hidden_counts(64, 256, 0.5, (0.1, 0.5))
    assert len(counts) == 32
    assert counts == sorted(counts)
    assert (counts[0], counts[-1]) == (int(256 * (0.1 + 0.4 / 32)), 128)
    masks = BlockMasks(config.Ibot())(2, 32, (16, 16), seeded())
    assert masks.shape == (2, 32, 256)
    assert sorted(masks.sum(-1).flatten().tolist())[32:] == counts
    assert int((masks.sum(-1) == 0).sum()) == 32
    assert masks.sum(-1).flatten().tolist() != sorted(masks.sum(-1).flatten().tolist())
    weights = 1 / masks.sum(-1, keepdim=True).clamp(min=1) * masks
    assert float(weights.sum()) == pytest.approx(32)  # each masked crop weighs 1


def test_masks_of_a_step_are_those_of_its_generator():
    one, again, other = (BlockMasks(config.Ibot())(2, 8, (6, 6), seeded(s)) for s in (0, 0, 1))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


@pytest.mark.parametrize("world", [2, 4])
def test_ranks_share_out_the_masks_of_the_whole_batch(world):
    whole = BlockMasks(config.Ibot())(2, 8, (6, 6), seeded(3))
    shares = [BlockMasks(config.Ibot(), rank, world)(2, 8 // world, (6, 6), seeded(3)) for rank in range(world)]
    assert torch.equal(torch.cat(shares, 1), whole)


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 20), st.integers(1, 20), st.floats(0, 0.99), st.integers(0, 10**6), st.booleans())
def test_exactly_as_many_patches_are_hidden_as_were_asked_for(rows, columns, share, seed, shift):
    count = int(rows * columns * share)
    mask = block_mask((rows, columns), count, random.Random(seed), shift)
    assert mask.shape == (rows * columns,)
    assert mask.sum() == count


def test_hidden_patches_lie_together():
    """Of a hidden patch's right neighbours far more are hidden than by chance."""
    draw, together, chance = random.Random(0), [], []
    for _ in range(100):
        mask = block_mask((14, 14), 59, draw).reshape(14, 14)
        together.append((mask[:, :-1] & mask[:, 1:]).sum() / mask[:, :-1].sum())
        chance.append(mask.mean())
    assert np.mean(together) > 2 * np.mean(chance)


def test_every_place_is_hidden_about_equally_often_once_masks_are_shifted():
    draw = random.Random(1)
    plain, shifted = (np.mean([block_mask((8, 8), 20, draw, shift) for _ in range(800)], 0) for shift in (False, True))
    assert shifted.std() < 0.5 * plain.std()
    assert shifted.mean() == pytest.approx(20 / 64)


def test_multicrop_gives_masks_beside_crops_that_are_the_same_without():
    crops = config.Crops(global_size=32, local_size=16, local_crops=2)
    images = decoded(pictures(4, 40, 50))
    plain = MultiCrop(crops)(images, seeded())
    masked = MultiCrop(crops, ibot=config.Ibot(), patch=8)(images, seeded())
    assert torch.equal(plain.globals, masked.globals)
    assert plain.masks is plain.masked is None
    assert masked.masks.shape == (2, 4, 16)
    assert torch.equal(masked.masked, masked.masks.flatten().nonzero()[:, 0])
    part = masked.part(1, 3)
    assert torch.equal(part.masks, masked.masks[:, 1:3])
    assert torch.equal(part.masked, part.masks.flatten().nonzero()[:, 0])
    assert torch.equal(part.masked_images, part.masks.nonzero()[:, 1])


def test_impossible_shares_are_refused():
    for wrong in ({"mask_ratio": (0.5, 0.1)}, {"mask_ratio": (0.1, 1.0)}, {"mask_share": 0.0}):
        with pytest.raises(config.ConfigError, match="expected 0 <= low <= high < 1"):
            config.Ibot(**wrong)
