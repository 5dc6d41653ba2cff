"""The loader: batches are pure functions of the step, whatever lies in the folder."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dino_core.config import Shapes
from dino_core.data.decoding import ImageError
from dino_core.data.loader import Loader, reduced
from dino_core.data.sources import FolderSource, Sample, ShapesSource
from dino_core.errors import DataError
from dino_core.evaluation.images import read_images
from tests.core.test_sources import broken, picture, save


class Numbers:
    """Images that show their own number; some can't be read; counts how often each is read."""

    name, classes = "numbers", ("even", "odd")

    def __init__(self, images: int, unreadable: tuple[int, ...] = (), side: int = 4) -> None:
        self.images, self.unreadable, self.side = images, unreadable, side
        self.reads = [0] * images

    def __len__(self) -> int:
        return self.images

    def read(self, index: int) -> Sample:
        self.reads[index] += 1
        if index in self.unreadable:
            raise ImageError(str(index), "is unreadable")
        return Sample(np.full((self.side, self.side, 3), index % 256, np.uint8), index % 2, str(index))


def loader(source: object, **options: object) -> Loader:
    given = {"batch_size": 4, "seed": 0, "decode_size": 96, "cache_mib": 64, "workers": 1, "on_skip": lambda *_: None}
    return Loader(source, **{**given, **options})


def same(one: object, other: object) -> bool:
    return all(
        torch.equal(getattr(one, name), getattr(other, name)) for name in ("images", "sizes", "labels", "indices")
    )


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 60), st.integers(1, 8), st.integers(0, 5), st.integers(0, 100))
def test_an_epoch_shows_each_image_at_most_once_and_all_but_the_last_few(images, batch_size, seed, epoch):
    if images < batch_size:
        return
    one = loader(Numbers(images), batch_size=batch_size, seed=seed)
    first = epoch * one.steps_per_epoch
    shown = torch.cat([one.batch(step).indices for step in range(first, first + one.steps_per_epoch)]).tolist()
    assert len(shown) == len(set(shown)) == images - images % batch_size


def test_a_batch_is_the_same_whatever_came_before():
    one, other = loader(Numbers(50)), loader(Numbers(50))
    for step in range(20):
        one.batch(step)
    assert all(same(one.batch(step), other.batch(step)) for step in (30, 7, 0, 12))


def test_epochs_and_seeds_shuffle_differently():
    one = loader(Numbers(50), batch_size=50)
    orders = [one.batch(0).indices, one.batch(1).indices, loader(Numbers(50), batch_size=50, seed=1).batch(0).indices]
    assert not any(torch.equal(a, b) for a, b in zip(orders, orders[1:] + orders[:1], strict=True))


@pytest.mark.parametrize("world_size", [2, 3, 6])
def test_ranks_side_by_side_are_the_batch_of_one_process(world_size):
    whole = loader(Numbers(100), batch_size=12)
    ranks = [
        loader(Numbers(100), batch_size=12 // world_size, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    for step in (0, 5, 8, 20):
        assert ranks[0].steps_per_epoch == whole.steps_per_epoch
        together = torch.cat([one.batch(step).indices for one in ranks])
        assert torch.equal(together, whole.batch(step).indices)


def test_labels_and_images_belong_to_their_indices():
    batch = loader(Numbers(50)).batch(3)
    assert torch.equal(batch.images[:, 0, 0, 0].long(), batch.indices)
    assert torch.equal(batch.labels, batch.indices % 2)


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_prefetched_batches_are_those_of_the_steps(workers):
    one = loader(ShapesSource(Shapes(images=40, size=16)), workers=workers)
    fetched = list(one.prefetch(7, 25))
    assert len(fetched) == 18
    assert all(same(batch, one.batch(step)) for step, batch in enumerate(fetched, 7))


def test_closing_the_prefetcher_leaves_no_thread():
    before = threading.active_count()
    batches = loader(Numbers(1000), workers=3).prefetch(0, 10_000)
    next(batches)
    assert threading.active_count() > before
    batches.close()
    assert threading.active_count() == before


def test_prefetching_reads_only_a_few_batches_ahead():
    source = Numbers(4000)
    batches = loader(source, workers=2).prefetch(0, 1000)
    next(batches)
    batches.close()
    assert sum(source.reads) <= 6 * 4


def test_an_error_in_a_thread_reaches_the_caller_and_leaves_no_thread():
    class Failing(Numbers):
        def read(self, index: int) -> Sample:
            raise RuntimeError("a bug in the source")

    before = threading.active_count()
    with pytest.raises(RuntimeError, match="a bug in the source"):
        list(loader(Failing(50)).prefetch(0, 10))
    assert threading.active_count() == before


def test_images_that_fit_in_memory_are_read_once():
    source = Numbers(40)
    one = loader(source)
    for step in range(5 * one.steps_per_epoch):
        one.batch(step)
    assert source.reads == [1] * 40


def test_the_cache_stays_below_its_bound():
    source = Numbers(40, side=128)
    one = loader(source, cache_mib=1, decode_size=128)  # 21 images of 48 KiB
    for step in range(2 * one.steps_per_epoch):
        one.batch(step)
    assert source.reads.count(1) == 2**20 // (3 * 128 * 128)
    assert sum(image.nbytes for image, _ in one._cache.values()) <= 2**20
    assert loader(Numbers(8), cache_mib=0).batch(0).images.shape == (4, 3, 4, 4)


def test_a_broken_image_is_replaced_by_the_next_readable_one_and_reported_once():
    reported: list[tuple[str, str]] = []
    one = loader(Numbers(20, unreadable=(3, 4, 19)), on_skip=lambda *what: reported.append(what))
    sound = loader(Numbers(20))
    for step in range(15):
        expected = sound.batch(step).indices
        for index, replacement in ((3, 5), (4, 5), (19, 0)):
            expected = torch.where(expected == index, replacement, expected)
        assert torch.equal(one.batch(step).indices, expected)
    assert sorted(reported) == [("19", "is unreadable"), ("3", "is unreadable"), ("4", "is unreadable")]
    assert one.skipped == 3


def test_skips_of_prefetched_batches_are_reported_on_the_thread_that_asks_for_them():
    threads: set[int] = set()
    one = loader(Numbers(20, unreadable=(1, 2)), workers=3, on_skip=lambda *_: threads.add(threading.get_ident()))
    list(one.prefetch(0, 10))
    assert threads == {threading.get_ident()}
    assert one.skipped == 2


def test_no_readable_image_at_all_is_one_sentence():
    with pytest.raises(DataError, match=r"none of the 8 images of numbers can be read\. One is \d: is unreadable"):
        loader(Numbers(8, unreadable=tuple(range(8)))).batch(0)


def test_fewer_images_than_a_batch_says_both_numbers():
    with pytest.raises(DataError, match=r"numbers has 7 images, fewer than one batch of 8\. Choose a batch size"):
        loader(Numbers(7), batch_size=4, world_size=2)


def test_a_folder_full_of_odd_and_broken_files_never_stops_a_run(tmp_path):
    broken(tmp_path)
    for number, (height, width) in enumerate([(20, 30), (1, 1), (300, 200), (2, 900), (900, 2), (64, 64)]):
        save(tmp_path / f"{number}.png", picture(height, width))
    save(tmp_path / "grey.png", picture()[..., 0])
    save(tmp_path / "deep.png", picture()[..., 0].astype(np.uint16) * 257)
    save(tmp_path / "cmyk.jpg", Image.fromarray(picture()).convert("CMYK"))
    save(tmp_path / "cutout.png", Image.fromarray(picture()).convert("RGBA"))
    save(tmp_path / "palette.gif", Image.fromarray(picture()).quantize(4))
    reported: list[str] = []
    source = FolderSource(tmp_path, whole=True)
    one = loader(source, batch_size=8, decode_size=64, on_skip=lambda name, _: reported.append(name))
    for batch in one.prefetch(0, 6):
        assert batch.images.shape[0] == 8
        assert max(batch.images.shape[2:]) <= 4 * 64
        for image, (height, width) in zip(batch.images, batch.sizes.tolist(), strict=True):
            assert not image[:, height:].any()
            assert not image[:, :, width:].any()
    assert set(reported) == {"truncated.jpg", "text.jpg", "empty.png", "huge.png", "torn.png"}
    assert len(reported) == 5


def test_where_no_image_can_be_measured_on_one_sentence_says_so(tmp_path):
    named: dict[str, str] = {}
    broken(tmp_path)
    (tmp_path / "whole.jpg").unlink()
    source = FolderSource(tmp_path, whole=True)
    with pytest.raises(DataError, match=r"none of the 5 images of .* can be read\. One is .*: "):
        read_images(source, 4, 32, broken=named)
    assert len(named) == 5


def test_images_of_several_sizes_share_a_canvas():
    class Sizes(Numbers):
        def read(self, index: int) -> Sample:
            return Sample(np.full((4 + index, 12 - index, 3), 9, np.uint8), -1, str(index))

    batch = loader(Sizes(6), batch_size=6).batch(0)
    assert batch.images.shape == (6, 3, 9, 12)
    for image, index, (height, width) in zip(batch.images, batch.indices.tolist(), batch.sizes.tolist(), strict=True):
        assert (height, width) == (4 + index, 12 - index)
        assert int((image == 9).sum()) == 3 * height * width == int((image != 0).sum())


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 300), st.integers(1, 300), st.integers(8, 100))
def test_reducing_keeps_proportions_and_bounds_both_sides(height, width, shorter_side):
    small = reduced(np.zeros((height, width, 3), np.uint8), shorter_side)
    assert min(small.shape[:2]) <= max(shorter_side, 1)
    assert max(small.shape[:2]) <= 4 * shorter_side
    share = min(1, shorter_side / min(height, width), 4 * shorter_side / max(height, width))
    assert small.shape[0] == pytest.approx(max(1, height * share), abs=0.51)
    assert small.shape[1] == pytest.approx(max(1, width * share), abs=0.51)
