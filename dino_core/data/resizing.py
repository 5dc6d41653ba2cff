"""Random boxes of images, resized to squares in batches.

Axes: N crops, B images on a common canvas of H x W pixels, S side of a crop, K pixels within reach of an output pixel.
Pictures are planes (3 N S S), so that each colour lies in one piece."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

TRIES = 10
"""A box that does not fit is drawn again; after this many, the largest central one is taken (torchvision)."""


def draw_boxes(
    sizes: Int[Tensor, "N 2"], scale: tuple[float, float], ratio: tuple[float, float], generator: torch.Generator
) -> Int[Tensor, "N 4"]:
    """Top, left, height and width of a random crop of each image of these heights and widths.

    Distributed as torchvision's RandomResizedCrop: the share of the area uniform in `scale`, width over height
    log-uniform in `ratio`, both sides rounded, then placed uniformly; ten tries to fit, else the largest central box
    of an allowed ratio."""
    height, width = (sizes[:, i, None].double() for i in (0, 1))
    share, shape = torch.rand(2, len(sizes), TRIES, generator=generator, dtype=torch.double)
    area = height * width * (scale[0] + (scale[1] - scale[0]) * share)
    aspect = torch.exp(math.log(ratio[0]) + (math.log(ratio[1]) - math.log(ratio[0])) * shape)
    wide, tall = torch.round(torch.sqrt(area * aspect)), torch.round(torch.sqrt(area / aspect))
    fits = (wide > 0) & (wide <= width) & (tall > 0) & (tall <= height)  # N TRIES
    first = fits.int().argmax(1, keepdim=True)
    wide, tall = wide.gather(1, first)[:, 0], tall.gather(1, first)[:, 0]
    height, width = height[:, 0], width[:, 0]
    down, across = torch.rand(2, len(sizes), generator=generator, dtype=torch.double)
    top, left = torch.floor(down * (height - tall + 1)), torch.floor(across * (width - wide + 1))

    narrow, broad = width / height < ratio[0], width / height > ratio[1]
    central_tall = torch.where(narrow, torch.round(width / ratio[0]), height)
    central_wide = torch.where(broad, torch.round(height * ratio[1]), width)
    drawn = torch.stack([top, left, tall, wide], 1)
    central = torch.stack([(height - central_tall) // 2, (width - central_wide) // 2, central_tall, central_wide], 1)
    return torch.where(fits.any(1, keepdim=True), drawn, central).long()


def windows(
    boxes: Int[Tensor, "N 4"], flipped: Bool[Tensor, " N"], places: Int[Tensor, "N 2"], large: int, small: int
) -> Int[Tensor, "N 4"]:
    """The part of each box that `small` pixels show of the crop of `large` pixels it becomes, from (down, across) on.

    A mirrored crop is counted from its other side.  Rounded to pixels of the image, at least one."""
    down, across = places.T
    across = torch.where(flipped, large - small - across, across)
    spans = []
    for start, length, offset in zip(boxes.T[:2], boxes.T[2:], (down, across), strict=True):
        first, last = (start + torch.round(length * pixel / large).long() for pixel in (offset, offset + small))
        first = torch.minimum(first, start + length - 1)
        spans.append((first, torch.maximum(last, first + 1) - first))
    (top, tall), (left, wide) = spans
    return torch.stack([top, left, tall, wide], 1)


def resized_crops(
    images: Float[Tensor, "3 B H W"],
    owners: Int[Tensor, " N"],
    boxes: Int[Tensor, "N 4"],
    flipped: Bool[Tensor, " N"],
    side: int,
) -> Float[Tensor, "3 N S S"]:
    """The box n of image owners[n] resized to a square (bicubic, antialiased), mirrored where asked, in [0, 1].

    A resize is linear down the image and across it, so a crop x becomes R x C^T, as torchvision's
    resized_crop(..., antialias=True) makes it.  R has few numbers in a row, and an embedding bag sums the lines of
    pixels that they weigh; C is multiplied as a matrix.  No image is copied for its crops."""
    _, _, height, width = images.shape
    device = images.device
    top, left, tall, wide = boxes.T
    rows, weights = resize_taps(top, tall, side, torch.zeros_like(flipped), device)  # N S K
    rows = rows.clamp_(0, height - 1) + (owners.to(device, non_blocking=True) * height)[:, None, None]
    columns, taps = resize_taps(left, wide, side, flipped, device)
    across = taps.new_zeros(len(boxes), side, width).scatter_add_(2, columns.clamp_(0, width - 1), taps).mT
    planes = images.new_empty(3, len(boxes), side, side)
    for plane, image in zip(planes, images, strict=True):
        lines = torch.nn.functional.embedding_bag(
            rows.flatten(0, 1), image.flatten(0, 1), mode="sum", per_sample_weights=weights.flatten(0, 1)
        )  # N*S W
        torch.bmm(lines.unflatten(0, (-1, side)), across, out=plane)
    return planes.clamp_(0, 1)


def resize_taps(
    start: Int[Tensor, " N"], length: Int[Tensor, " N"], side: int, flipped: Bool[Tensor, " N"], device: torch.device
) -> tuple[Int[Tensor, "N S K"], Float[Tensor, "N S K"]]:
    """Which pixels each output pixel looks at, and their weights, when pixels start..start+length become `side`.

    Output pixel i lies at c = start + (i + 1/2) length/side and gives pixel p the weight k((p + 1/2 - c) / w), made to
    sum to 1 over the pixels of the box, with w = max(1, length/side) and k = `keys_cubic`, as in Pillow and torch.
    Pixels outside the box (even of the image) weigh 0."""
    taps = 2 * math.ceil(2 * max(1.0, length.max().item() / side)) + 1
    start, length, flipped = (t.to(device, non_blocking=True)[:, None, None] for t in (start, length, flipped))
    shrink = length / side  # N 1 1
    out = torch.arange(side, device=device)[:, None]
    out = torch.where(flipped, side - 1 - out, out)  # N S 1
    centre = start + (out + 0.5) * shrink
    width = shrink.clamp(min=1)
    pixel = torch.floor(centre - 2 * width + 0.5) + torch.arange(taps, device=device)  # N S K
    weight = keys_cubic((pixel + 0.5 - centre) / width)
    weight *= (pixel >= start) & (pixel < start + length)
    weight /= weight.sum(-1, keepdim=True)
    return pixel.long(), weight


def keys_cubic(x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """The cubic convolution kernel of Keys (1981) with a = -1/2.

        k(x) = 3/2 |x|^3 - 5/2 |x|^2 + 1              for |x| <= 1
               -1/2 |x|^3 + 5/2 |x|^2 - 4 |x| + 2     for |x| <= 2, and 0 beyond

    The second line holds from 0 to 2 if (1 - |x|)^2 (2 |x| - 1), the difference of the two, is added below 1."""
    x = x.abs().clamp_(max=2)
    below = (1 - x).clamp_(min=0)
    return ((-0.5 * x + 2.5) * x - 4) * x + 2 + below * below * (2 * x - 1)
