"""Views are cut in the order of the steps, each once, ahead on a GPU; stopping early stops the decoding."""

from __future__ import annotations

from collections.abc import Generator

import pytest
import torch

from dino_core.data.ahead import cut_ahead
from dino_core.data.multicrop import MultiCrop
from dino_core.data.views import Batch, Decoded
from dino_core.errors import DataError
from dino_core.seeds import generator
from tests.core.test_multicrop import decoded, pictures, small_crops

CUDA = pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"))
CUT = MultiCrop(small_crops())


def given(count: int, told: list[str], broken: bool = False) -> Generator[Decoded, None, None]:
    try:
        for _ in range(count):
            yield decoded(pictures(3, 40, 40))
        if broken:
            raise DataError("no more")
    finally:
        told.append("closed")


def cut(device: str):
    return lambda images, step: CUT(images.to(torch.device(device)), generator(0, "crops", step))


@pytest.mark.parametrize("device", ["cpu", CUDA])
def test_each_step_has_the_views_of_its_own_draw(device):
    told: list[str] = []
    batches = list(cut_ahead(cut(device), given(4, told), 7, torch.device(device)))
    assert told == ["closed"]
    for step, batch in enumerate(batches, 7):
        assert torch.allclose(batch.globals.cpu(), cut("cpu")(decoded(pictures(3, 40, 40)), step).globals, atol=1e-3)
    assert len(batches) == 4


@pytest.mark.parametrize("device", ["cpu", CUDA])
def test_who_stops_early_lets_go_of_the_images_and_errors_arrive(device):
    told: list[str] = []
    batches = cut_ahead(cut(device), given(9, told), 0, torch.device(device))
    assert isinstance(next(batches), Batch)
    batches.close()
    assert told == ["closed"]
    with pytest.raises(DataError, match="no more"):
        list(cut_ahead(cut(device), given(2, told, broken=True), 0, torch.device(device)))
