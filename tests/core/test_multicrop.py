"""Multi-crop: each operation is torchvision's, and the whole is distributed as its pipeline for single images."""

from __future__ import annotations

import dataclasses
import itertools
import math
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as tv

from dino_core import config
from dino_core.data import distortions, multicrop
from dino_core.data.distortions import (
    BRIGHTNESS,
    CONTRAST,
    HUE,
    SATURATION,
    Distortions,
    blend,
    blur_weights,
    blurred,
    distort,
    draw_distortions,
    grey_of,
    hue_turned,
    jitter,
    solarized,
)
from dino_core.data.multicrop import MultiCrop
from dino_core.data.resizing import draw_boxes, keys_cubic, resized_crops
from dino_core.data.views import Batch, Decoded

PLAIN = {"jitter": 0.0, "grey": 0.0, "global_blur": (0.0, 0.0), "local_blur": 0.0, "solarize": (0.0, 0.0)}
CPU = torch.device("cpu")
TORCHVISION = {
    BRIGHTNESS: tv.adjust_brightness,
    CONTRAST: tv.adjust_contrast,
    SATURATION: tv.adjust_saturation,
    HUE: tv.adjust_hue,
}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(images: int, height: int, width: int, seed: int = 0) -> Tensor:
    """Smooth colour pictures (images 3 height width), bytes."""
    small = torch.rand(images, 3, 5, 6, generator=seeded(seed))
    large = torch.nn.functional.interpolate(small, (height, width), mode="bicubic", align_corners=False)
    return (large.clamp(0, 1) * 255).round().byte()


def decoded(images: Tensor, sizes: list[tuple[int, int]] | None = None) -> Decoded:
    count, _, height, width = images.shape
    sizes = sizes or [(height, width)] * count
    return Decoded(images, torch.tensor(sizes), torch.full((count,), -1), torch.arange(count))


def reference(image: Tensor, crops: config.Crops) -> list[Tensor]:
    """What multi-crop means: the views of one image (3 H W, bytes) by torchvision's transforms, one after another.

    Draws from torch's global generator."""

    def view(side: int, scale: tuple[float, float], blur: float, solarize: float) -> v2.Compose:
        colour = v2.ColorJitter(crops.brightness, crops.contrast, crops.saturation, crops.hue)
        reach = 2 * min(side - 1, math.ceil(4 * crops.blur_sigma[1])) + 1
        return v2.Compose(
            [
                v2.ToDtype(torch.float32, scale=True),
                v2.RandomResizedCrop(side, scale, crops.ratio, v2.InterpolationMode.BICUBIC, antialias=True),
                v2.Lambda(partial(torch.clamp, min=0, max=1)),
                v2.RandomHorizontalFlip(crops.flip),
                v2.RandomApply([colour], crops.jitter),
                v2.RandomGrayscale(crops.grey),
                v2.RandomApply([v2.GaussianBlur(reach, crops.blur_sigma)], blur),
                v2.RandomSolarize(128 / 255, solarize),
                v2.Normalize(crops.mean, crops.std),
            ]
        )

    views = [
        view(crops.global_size, crops.global_scale, crops.global_blur[min(i, 1)], crops.solarize[min(i, 1)])
        for i in range(crops.global_crops)
    ]
    views += [view(crops.local_size, crops.local_scale, crops.local_blur, 0.0)] * crops.local_crops
    return [one(image) for one in views]


# ------------------------------------------------------------------------------------------- crop and resize


@pytest.mark.parametrize("side", [7, 32, 96, 150])
def test_a_resized_crop_is_that_of_torchvision(side):
    sizes = torch.tensor([[90, 110], [60, 70], [13, 110], [90, 20], [64, 64], [1, 1]])
    images = torch.rand(3, len(sizes), 90, 110, generator=seeded())
    owners = torch.arange(len(sizes)).repeat(4)
    boxes = draw_boxes(sizes[owners], (0.05, 1.0), (3 / 4, 4 / 3), seeded(1))
    flipped = torch.rand(len(owners), generator=seeded(2)) < 0.5
    found = resized_crops(images, owners, boxes, flipped, side)
    for n, (top, left, tall, wide) in enumerate(boxes.tolist()):
        expected = tv.resized_crop(
            images[:, owners[n]], top, left, tall, wide, [side, side], v2.InterpolationMode.BICUBIC, antialias=True
        ).clamp(0, 1)
        expected = expected.flip(-1) if flipped[n] else expected
        assert torch.allclose(found[:, n], expected, atol=2e-5)


def test_what_lies_beyond_an_image_on_its_canvas_is_never_seen():
    images = torch.full((3, 1, 40, 50), torch.nan)
    images[:, :, :20, :30] = 0.25
    boxes = torch.tensor([[0, 0, 20, 30], [5, 5, 15, 25], [19, 29, 1, 1]])
    inside = images.nan_to_num(0)
    crops = resized_crops(inside, torch.zeros(3, dtype=torch.long), boxes, torch.zeros(3, dtype=torch.bool), 16)
    assert torch.allclose(crops, torch.full_like(crops, 0.25), atol=1e-6)


def test_the_cubic_kernel_is_that_of_its_definition():
    x = torch.linspace(-3, 3, 1001, dtype=torch.double)
    a = x.abs()
    expected = torch.where(a <= 1, 1.5 * a**3 - 2.5 * a**2 + 1, -0.5 * a**3 + 2.5 * a**2 - 4 * a + 2)
    assert torch.allclose(keys_cubic(x), torch.where(a < 2, expected, 0.0), atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 300),
    st.integers(1, 300),
    st.sampled_from([(0.4, 1.0), (0.05, 0.4), (1.0, 1.0), (0.001, 0.01)]),
    st.integers(0, 10**6),
)
def test_boxes_lie_inside_the_image_and_are_never_empty(height, width, scale, seed):
    boxes = draw_boxes(torch.tensor([[height, width]] * 20), scale, (3 / 4, 4 / 3), seeded(seed))
    top, left, tall, wide = boxes.T
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2:] >= 1).all()
    assert (top + tall <= height).all()
    assert (left + wide <= width).all()


@pytest.mark.parametrize(("height", "width"), [(96, 96), (50, 120), (10, 300), (300, 10), (4, 4)])
@pytest.mark.parametrize("scale", [(0.4, 1.0), (0.05, 0.4)])
def test_boxes_are_distributed_as_torchvision_draws_them(height, width, scale):
    torch.manual_seed(0)
    draw = v2.RandomResizedCrop(8, scale, (3 / 4, 4 / 3))
    image = torch.zeros(3, height, width)
    theirs = [draw.make_params([image]) for _ in range(1500)]
    theirs = np.array([[p["top"], p["left"], p["height"], p["width"]] for p in theirs], float)
    ours = draw_boxes(torch.tensor([[height, width]] * 12000), scale, (3 / 4, 4 / 3), seeded()).numpy().astype(float)
    for described in (
        lambda b: b[:, 2] * b[:, 3] / (height * width),
        lambda b: b[:, 3] / b[:, 2],
        lambda b: b[:, 0] / height,
        lambda b: (b[:, 1] + b[:, 3] / 2) / width,
    ):
        one, other = described(ours), described(theirs)
        points = np.unique(np.concatenate([one, other]))
        gap = np.abs([(one <= p).mean() - (other <= p).mean() for p in points[:: max(1, len(points) // 200)]]).max()
        assert gap < 0.055  # Kolmogorov-Smirnov: p = 0.001


def test_an_image_too_long_for_any_box_gives_its_middle():
    boxes = draw_boxes(torch.tensor([[10, 300], [300, 10]]), (0.9, 1.0), (3 / 4, 4 / 3), seeded())
    assert boxes.tolist() == [[0, 143, 10, 13], [143, 0, 13, 10]]


# ----------------------------------------------------------------------------------------------- distortions


@pytest.mark.parametrize("operation", [BRIGHTNESS, CONTRAST, SATURATION])
def test_a_blend_is_that_of_torchvision(operation):
    factors = torch.tensor([0.0, 0.6, 1.0, 1.3, 2.0])
    x = torch.rand(3, 5, 12, 12, generator=seeded())
    expected = [TORCHVISION[operation](x[:, n], factors[n].item()) for n in range(5)]
    found = x.clone()
    blend(found, torch.full((5,), operation), factors)
    assert torch.allclose(found, torch.stack(expected, 1), atol=1e-6)


def test_hue_is_turned_as_by_torchvision():
    turns = torch.tensor([-0.5, -0.1, 0.0, 0.07, 0.33, 0.5])
    x = torch.rand(3, 6, 16, 16, generator=seeded())
    x[:, :, :2] = x[:1, :, :2]  # greys
    x[:2, :, 2:4] = x[:1, :, 2:4]  # ties of two colours
    x[1:, :, 4:6] = x[1:2, :, 4:6]
    x[:, :, 6] = 0
    x[:, :, 7] = 1
    expected = torch.stack([tv.adjust_hue(x[:, n], turns[n].item()) for n in range(6)], 1)
    assert torch.allclose(hue_turned(x.clone(), turns), expected, atol=1e-5)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6))
def test_every_crop_is_jittered_in_its_own_order(seed):
    n, generator = 12, seeded(seed)
    d = draw_distortions(config.Crops(jitter=1.0, grey=0.0), torch.zeros(n), torch.zeros(n), generator)
    x = torch.rand(3, n, 6, 6, generator=generator)
    found = x.clone()
    distort(found, d)
    for crop in range(n):
        expected = x[:, crop]
        for operation in d.order[:, crop].tolist():
            expected = TORCHVISION[operation](expected, d.factors[operation, crop].item())
        assert torch.allclose(found[:, crop], expected, atol=2e-5)


def test_all_orders_of_the_jitter_come_equally_often():
    d = draw_distortions(config.Crops(), torch.zeros(24_000), torch.zeros(24_000), seeded())
    orders, counts = np.unique(d.order.T.numpy(), axis=0, return_counts=True)
    assert len(orders) == 24
    assert counts.min() > 850
    assert counts.max() < 1150


def test_grey_is_that_of_torchvision():
    x = torch.rand(3, 4, 9, 9, generator=seeded())
    expected = tv.rgb_to_grayscale(x.transpose(0, 1), num_output_channels=1)[:, 0]
    assert torch.allclose(grey_of(x), expected, atol=1e-6)


@pytest.mark.parametrize("side", [5, 9, 32])
def test_a_blur_is_the_gaussian_of_torchvision_with_reflected_edges(side):
    sigma = torch.tensor([0.1, 0.5, 1.0, 2.0])
    x = torch.rand(3, 4, side, side, generator=seeded())
    kernel = 2 * min(side - 1, 8) + 1
    expected = [tv.gaussian_blur(x[:, n], [kernel, kernel], [sigma[n].item()] * 2) for n in range(4)]
    assert torch.allclose(blurred(x, sigma), torch.stack(expected, 1), atol=1e-5)
    assert torch.allclose(blur_weights(sigma, side, CPU).sum(-1), torch.ones(4, side), atol=1e-5)


def test_solarization_is_that_of_pillow_on_every_byte():
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    expected = np.asarray(ImageOps.solarize(Image.fromarray(levels), threshold=128))
    x = torch.from_numpy(levels).float().div(255).expand(3, 1, 16, 16)
    assert torch.equal(solarized(x)[0, 0].mul(255).round().byte(), torch.from_numpy(expected))


def test_distortions_come_in_the_order_of_the_paper_each_on_its_own_crops():
    n = 8
    x = torch.rand(3, n, 12, 12, generator=seeded())
    every, bits = torch.ones(n), torch.arange(n)
    factors = torch.stack([1.3 * every, 0.7 * every, 1.2 * every, 0.05 * every])
    order = torch.arange(4)[:, None].repeat(1, n)
    d = Distortions(bits >= 0, factors, order, bits & 1 > 0, bits & 2 > 0, 1.5 * every, bits & 4 > 0)
    found = x.clone()
    distort(found, d)
    for crop in range(n):
        expected = x[:, crop]
        for operation in range(4):
            expected = TORCHVISION[operation](expected, factors[operation, crop].item())
        expected = tv.rgb_to_grayscale(expected, 3) if crop & 1 else expected
        expected = tv.gaussian_blur(expected, [13, 13], [1.5, 1.5]) if crop & 2 else expected
        expected = torch.minimum(expected, 1 - expected) if crop & 4 else expected
        assert torch.allclose(found[:, crop], expected, atol=2e-5)


def test_nothing_is_touched_that_was_not_chosen():
    n = 6
    none = torch.zeros(n, dtype=torch.bool)
    x = torch.rand(3, n, 8, 8, generator=seeded())
    found = x.clone()
    distort(
        found,
        Distortions(none, torch.ones(4, n), torch.arange(4)[:, None].repeat(1, n), *[none] * 2, torch.ones(n), none),
    )
    assert torch.equal(found, x)


def test_colours_stay_between_black_and_white():
    d = draw_distortions(
        config.Crops(brightness=0.9, contrast=0.9, saturation=0.9, hue=0.5), torch.ones(40), torch.ones(40), seeded()
    )
    x = torch.rand(3, 40, 10, 10, generator=seeded(1))
    distort(x, d)
    assert x.min() >= 0
    assert x.max() <= 1 + 1e-6


def test_jitter_of_one_crop_needs_no_neighbours():
    x = torch.rand(3, 1, 8, 8, generator=seeded())
    factors, order = torch.tensor([[1.2], [0.8], [1.1], [0.1]]), torch.tensor([[3], [0], [1], [2]])
    expected = x[:, 0]
    for operation in order[:, 0].tolist():
        expected = TORCHVISION[operation](expected, factors[operation, 0].item())
    assert torch.allclose(jitter(x.clone(), factors, order)[:, 0], expected, atol=1e-5)


# -------------------------------------------------------------------------------------------------- together


def small_crops(**options: object) -> config.Crops:
    return config.Crops(**{"global_size": 32, "local_size": 16, "local_crops": 3, **options})


def test_a_batch_has_all_views_with_their_boxes():
    batch = MultiCrop(small_crops(global_crops=3))(decoded(pictures(5, 40, 50)), seeded())
    assert batch.globals.shape == (3, 5, 3, 32, 32)
    assert batch.locals.shape == (3, 5, 3, 16, 16)
    for boxes, scale in ((batch.global_boxes, (0.4, 1.0)), (batch.local_boxes, (0.05, 0.4))):
        left, top, right, bottom = boxes.corners.unbind(-1)
        area = (right - left) * (bottom - top)
        assert boxes.flipped.shape == (3, 5)
        assert (boxes.corners >= 0).all()
        assert (boxes.corners <= 1).all()
        assert (area > 0.9 * scale[0]).all()
        assert (area < 1.1 * scale[1]).all()
    assert torch.equal(batch.indices, torch.arange(5))


@pytest.mark.parametrize("options", [{"local_crops": 0}, {"global_crops": 1}])
def test_a_kind_of_crops_may_be_left_out(options):
    batch = MultiCrop(small_crops(**options))(decoded(pictures(4, 40, 40)), seeded())
    assert batch.globals.shape[0] == options.get("global_crops", 2)
    assert batch.locals.shape[0] == options.get("local_crops", 3)
    assert batch.local_boxes.corners.shape == (batch.locals.shape[0], 4, 4)
    assert isinstance(batch.part(1, 3), Batch)


def test_boxes_say_where_in_which_image_a_crop_came_from():
    images = pictures(6, 60, 80)
    sizes = [(60, 80), (30, 80), (60, 40), (33, 47), (60, 60), (20, 20)]
    crops = small_crops(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), **PLAIN)
    batch = MultiCrop(crops)(decoded(images, sizes), seeded())
    for views, boxes in ((batch.globals, batch.global_boxes), (batch.locals, batch.local_boxes)):
        for view, corners, flipped in zip(views, boxes.corners, boxes.flipped, strict=True):
            for b, (height, width) in enumerate(sizes):
                left, top, right, bottom = (corners[b] * torch.tensor([width, height] * 2)).round().int().tolist()
                cut = images[b, :, top:bottom, left:right].float().div(255)
                side = view.shape[-1]
                expected = tv.resize(cut, [side, side], v2.InterpolationMode.BICUBIC, antialias=True).clamp(0, 1)
                expected = expected.flip(-1) if flipped[b] else expected
                assert torch.allclose(view[b], expected, atol=2e-5)


def test_the_same_seed_gives_the_same_crops_and_another_others():
    images = decoded(pictures(4, 40, 40))
    one, again, other = (MultiCrop(small_crops())(images, seeded(seed)) for seed in (0, 0, 1))
    assert torch.equal(one.globals, again.globals)
    assert torch.equal(one.locals, again.locals)
    assert not torch.equal(one.globals, other.globals)


def test_working_on_a_few_crops_at_once_changes_nothing(monkeypatch):
    images = decoded(pictures(9, 40, 40))
    whole = MultiCrop(small_crops())(images, seeded())
    monkeypatch.setattr(multicrop, "CPU_PIXELS", 4 * 32**2)
    parts = MultiCrop(small_crops())(images, seeded())
    assert torch.allclose(whole.globals, parts.globals, atol=1e-4)
    assert torch.allclose(whole.locals, parts.locals, atol=1e-4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_the_crops_of_the_cpu_and_is_never_waited_for():
    images = decoded(pictures(8, 64, 64))
    expected = MultiCrop(small_crops())(images, seeded())
    on_gpu = images.to(torch.device("cuda"))
    torch.cuda.set_sync_debug_mode("error")
    try:
        found = MultiCrop(small_crops())(on_gpu, seeded())
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.allclose(found.globals.cpu(), expected.globals, atol=1e-3)
    assert torch.allclose(found.locals.cpu(), expected.locals, atol=1e-3)


def described(views: Tensor, crops: config.Crops) -> dict[str, Tensor]:
    """Statistics of views (N 3 S S), each a number a view."""
    std, mean = torch.tensor(crops.std)[:, None, None], torch.tensor(crops.mean)[:, None, None]
    x = views * std + mean
    rows = x.diff(dim=-2).square().mean((1, 2, 3))
    return {
        **{f"mean of {c}": x[:, i].mean((1, 2)) for i, c in enumerate(("red", "green", "blue"))},
        "spread": x.std((1, 2, 3)),
        "colourfulness": (x.amax(1) - x.amin(1)).mean((1, 2)).mul(1e4).round(),  # so that grey is grey
        "grey": ((x - x.mean(1, keepdim=True)).abs().amax((1, 2, 3)) < 1e-4).float(),
        "edges": (rows + 1e-9).log(),
        "largest": x.amax((1, 2, 3)).mul(100).round(),  # so that white is white
        "left to right": x[..., : x.shape[-1] // 2].mean((1, 2, 3)) - x[..., x.shape[-1] // 2 :].mean((1, 2, 3)),
    }


@pytest.mark.slow
def test_views_are_distributed_as_those_of_the_reference_on_single_images():
    crops = small_crops(local_crops=1, solarize=(0.0, 0.5), grey=0.3)
    image = pictures(1, 48, 56, seed=3)
    noise = torch.randint(-20, 21, image.shape, generator=seeded(4))
    image = (image.int() + noise).clamp(0, 255).byte()  # fine detail, so that a blur shows
    torch.manual_seed(0)
    draws = [reference(image[0], crops) for _ in range(500)]
    batch = MultiCrop(crops)(decoded(image.repeat(2400, 1, 1, 1)), seeded())
    ours = [*batch.globals, *batch.locals]
    for view, found in enumerate(ours):
        expected = described(torch.stack([draw[view] for draw in draws]), crops)
        for name, one in described(found, crops).items():
            other, one = expected[name].numpy(), one.numpy()
            points = np.quantile(np.concatenate([one, other]), np.linspace(0, 1, 101))
            gap = np.abs([(one <= p).mean() - (other <= p).mean() for p in points]).max()
            assert gap < 0.1, f"{name} of view {view}"  # Kolmogorov-Smirnov: p = 0.001 each, of 27


def test_no_operation_of_the_jitter_is_missing():
    assert sorted(TORCHVISION) == [BRIGHTNESS, CONTRAST, SATURATION, HUE] == [0, 1, 2, 3]
    assert sum(distortions.GREY) == pytest.approx(1, abs=1e-3)


# ------------------------------------------------------------------------------------------------ options of DINOv3's code


def test_all_crops_of_an_image_may_share_jitter_and_grey():
    """Of an image of one colour, crops are of one colour; which one it is differs between images alone."""
    flat = torch.tensor([[200, 60, 30], [30, 90, 220], [90, 200, 60]], dtype=torch.uint8)[:, :, None, None].expand(
        3, 3, 40, 40
    )
    crops = config.Crops(
        global_size=32, local_size=16, local_crops=2, jitter=1.0, solarize=(0.0, 0.0), shared_colours=True
    )
    for shared in (True, False):
        batch = MultiCrop(dataclasses.replace(crops, shared_colours=shared))(decoded(flat), seeded(1))
        colours = torch.cat([batch.globals.mean((-1, -2)), batch.locals.mean((-1, -2))])  # S B 3
        spread = (colours - colours[0]).abs().amax((0, 2))
        assert (spread < 1e-3).all() == shared
        assert (colours[0, 0] - colours[0, 1]).abs().max() > 0.1
    whole = MultiCrop(crops)(decoded(flat[:2]), seeded(2))
    halves = [MultiCrop(crops, rank, 2)(decoded(flat[rank : rank + 1]), seeded(2)) for rank in (0, 1)]
    torch.testing.assert_close(torch.cat([half.locals for half in halves], 1), whole.locals)


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_local_crops_may_be_windows_of_the_global_ones_at_whole_patches(flip):
    crops = config.Crops(global_size=64, local_size=32, local_crops=4, flip=flip, local_within_global=True, **PLAIN)
    places = set()
    for seed in range(6):
        batch = MultiCrop(crops, patch=16)(decoded(pictures(2, 200, 240)), seeded(seed))
        assert batch.local_boxes.flipped.eq(bool(flip)).all()
        for view, image in itertools.product(range(4), range(2)):
            whole, part = batch.globals[view // 2, image], batch.locals[view, image]
            apart = {
                (y, x): float((whole[:, y : y + 32, x : x + 32] - part).abs().mean())
                for y in (0, 16, 32)
                for x in (0, 16, 32)
            }
            place = min(apart, key=lambda at: apart[at])
            assert apart[place] < 0.05, apart
            places.add(place)
    assert len(places) == 9


def test_windows_are_shared_out_over_ranks_and_to_as_many_of_each_global_crop():
    crops = config.Crops(global_size=32, local_size=16, local_crops=4, local_within_global=True)
    images = pictures(4, 60, 80)
    whole = MultiCrop(crops, patch=8)(decoded(images), seeded())
    halves = [MultiCrop(crops, r, 2, patch=8)(decoded(images[2 * r : 2 * r + 2]), seeded()) for r in (0, 1)]
    torch.testing.assert_close(torch.cat([half.locals for half in halves], 1), whole.locals)
    with pytest.raises(config.ConfigError, match="3 local crops can't be shared out to 2 global crops"):
        config.Crops(local_crops=3, local_within_global=True)
