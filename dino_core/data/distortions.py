"""The distortions of BYOL (Grill et al. 2020, Appendix B), on many crops at once, each by numbers of its own.

What is to be done is known on the CPU (`Distortions`), so crops are chosen by lists of indices and the device is never
waited for.  Written as few passes over the pixels, for memory is the cost; on a CPU a comparison or a `where` costs ten
times an addition, so there are none.

Axes: N crops of side S; pictures are planes (3 N S S) with values in [0, 1]."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dino_core import config

GREY = (0.2989, 0.587, 0.114)
"""Weights of red, green and blue in grey (ITU-R 601, as torchvision rounds them)."""
BLUR_REACH = 4
"""The blurs of a batch are cut at this many of the largest standard deviation."""
BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)


@dataclass(frozen=True)
class Distortions:
    """What is to be done to each of N crops; on the CPU."""

    jitter: Bool[Tensor, " N"]
    factors: Float[Tensor, "4 N"]
    """Of brightness, contrast and saturation (1 changes nothing), and turns of the hue (0 changes nothing)."""
    order: Int[Tensor, "4 N"]
    """Which of the four is done first, second, third, last."""
    grey: Bool[Tensor, " N"]
    blur: Bool[Tensor, " N"]
    sigma: Float[Tensor, " N"]
    solarize: Bool[Tensor, " N"]

    def of(self, part: Int[Tensor, " M"]) -> Distortions:
        """Those of some of the crops."""
        return Distortions(*(getattr(self, field.name)[..., part] for field in fields(self)))

    def coloured_as(self, other: Distortions) -> Distortions:
        """With the jitter and grey of as many others."""
        return replace(self, jitter=other.jitter, factors=other.factors, order=other.order, grey=other.grey)


def draw_distortions(
    crops: config.Crops, blur: Float[Tensor, " N"], solarize: Float[Tensor, " N"], generator: torch.Generator
) -> Distortions:
    """Numbers for as many crops as there are probabilities of a blur and of a solarization."""
    n = len(blur)

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(n, generator=generator)

    def chance(probability: float | Tensor) -> Tensor:
        return torch.rand(n, generator=generator) < probability

    spreads = (crops.brightness, crops.contrast, crops.saturation)
    return Distortions(
        jitter=chance(crops.jitter),
        factors=torch.stack([*(uniform(max(0.0, 1 - s), 1 + s) for s in spreads), uniform(-crops.hue, crops.hue)]),
        order=torch.rand(4, n, generator=generator).argsort(0),
        grey=chance(crops.grey),
        blur=chance(blur),
        sigma=uniform(*crops.blur_sigma),
        solarize=chance(solarize),
    )


def distort(planes: Float[Tensor, "3 N S S"], d: Distortions) -> None:
    """Colour jitter, grey, blur and solarization, in this order, each of the crops it was drawn for; in place."""
    by_hue = (d.order == HUE).int().argmax(0)  # in which of the four turns
    ranked = by_hue.argsort(stable=True)
    jittered = ranked[d.jitter[ranked]]
    _change(planes, jittered, lambda x: jitter(x, d.factors[:, jittered], d.order[:, jittered]))
    _change(planes, _chosen(d.grey), lambda x: grey_of(x).expand_as(x))
    _change(planes, _chosen(d.blur), lambda x: blurred(x, d.sigma[d.blur]))
    _change(planes, _chosen(d.solarize), solarized)


def _chosen(mask: Tensor) -> Tensor:
    return mask.nonzero()[:, 0]


def _change(planes: Tensor, subset: Tensor, change: Callable[[Tensor], Tensor]) -> None:
    """Replace some of the crops by what `change` makes of them."""
    if len(subset):
        index = subset.to(planes.device, non_blocking=True)
        planes.index_copy_(1, index, change(planes.index_select(1, index)))


def jitter(
    x: Float[Tensor, "3 N S S"], factors: Float[Tensor, "4 N"], order: Int[Tensor, "4 N"]
) -> Float[Tensor, "3 N S S"]:
    """Brightness, contrast, saturation and hue, in each crop's own order; in place.

    The crops come sorted by when their hue is turned, so that those whose turn it is lie side by side.  The other
    three, all blends with something grey, are done to all crops at once, each crop by its own."""
    linear = order.T[order.T != HUE].view(-1, 3).T  # 3 N
    end = 0
    for turn in range(4):
        start, end = end, end + int((order[turn] == HUE).sum())
        if end > start:
            x[:, start:end] = hue_turned(x[:, start:end], factors[HUE, start:end])
        if turn < 3:
            blend(x, linear[turn], factors.gather(0, linear[turn][None])[0])
    return x


def blend(x: Float[Tensor, "3 N S S"], operation: Int[Tensor, " N"], factor: Float[Tensor, " N"]) -> None:
    """Each crop by its own operation: x <- clamp(f x + (1 - f) y), where y is black (brightness), the crop's mean grey
    (contrast) or each pixel's grey (saturation); in place."""
    to_mean, to_grey = ((1 - factor) * (operation == one) for one in (CONTRAST, SATURATION))
    factor, to_mean, to_grey = (
        torch.stack([factor, to_mean, to_grey]).to(x.device, non_blocking=True)[..., None, None].unbind()
    )
    grey = grey_of(x)
    shift = torch.addcmul(to_mean * grey.mean((1, 2), keepdim=True), grey, to_grey)
    torch.addcmul(shift, x, factor, out=x).clamp_(0, 1)


def grey_of(x: Float[Tensor, "3 N S S"]) -> Float[Tensor, "N S S"]:
    red, green, blue = x
    return (red * GREY[0]).add_(green, alpha=GREY[1]).add_(blue, alpha=GREY[2])


def hue_turned(x: Float[Tensor, "3 N S S"], turns: Float[Tensor, " N"]) -> Float[Tensor, "3 N S S"]:
    """Hue turned by a share of the colour circle, at equal saturation and value (HSV)."""
    red, green, blue = x
    second, third = torch.maximum(green, blue), torch.minimum(green, blue)
    high, middle = torch.maximum(red, second), torch.minimum(red, second)
    low = torch.minimum(middle, third)
    chroma = high - low
    blue_over_green, red_is_less = _step(blue - green), _step(second - red)
    # in sixths of the circle: |k + (middle - third) / chroma|, k = 0, -6, -2 or 4 says in which third the hue lies
    hue = (blue_over_green * 12).sub_(2).mul_(red_is_less).sub_(blue_over_green, alpha=6)
    hue.add_((middle - third).div_(chroma.clamp(min=1e-20))).abs_()
    hue.add_((6 * turns).to(x.device, non_blocking=True)[:, None, None])
    hue.sub_((hue * (1 / 6)).floor_(), alpha=6)
    out = torch.empty_like(x)
    torch.sub(hue, 3, out=out[0]).abs_().sub_(1)  # red is full around 0, green around 2, blue around 4
    torch.sub(hue, 2, out=out[1]).abs_().neg_().add_(2)
    torch.sub(hue, 4, out=out[2]).abs_().neg_().add_(2)
    return torch.addcmul(low, out.clamp_(0, 1), chroma, out=out)


def _step(x: Tensor) -> Tensor:
    """1 where x > 0, else 0; in place."""
    return x.mul_(1e38).clamp_(0, 1)


def blurred(x: Float[Tensor, "3 N S S"], sigma: Float[Tensor, " N"]) -> Float[Tensor, "3 N S S"]:
    """Gaussian blur with a standard deviation per crop, in pixels; edges are reflected."""
    weights = blur_weights(sigma, x.shape[-1], x.device)
    out = torch.empty_like(x)
    for plane, result in zip(x, out, strict=True):
        torch.bmm(torch.bmm(weights, plane), weights.mT, out=result)
    return out


def blur_weights(sigma: Float[Tensor, " N"], side: int, device: torch.device) -> Float[Tensor, "N S S"]:
    """Matrices that blur a line of `side` pixels, reflected at its ends: offset k weighs exp(-k^2 / 2 sigma^2) over the
    sum of all."""
    reach = min(side - 1, math.ceil(BLUR_REACH * sigma.max().item()))
    offsets = torch.arange(-reach, reach + 1, device=device)
    kernel = torch.softmax(-0.5 * (offsets / sigma.to(device, non_blocking=True)[:, None]) ** 2, 1)  # N K
    pixel = (torch.arange(side, device=device)[:, None] + offsets).abs()  # S K
    pixel = (side - 1) - (side - 1 - pixel).abs()
    seen = torch.nn.functional.one_hot(pixel, side).float()  # S K S
    return torch.einsum("nk,ikp->nip", kernel, seen)


def solarized(x: Float[Tensor, "3 N S S"]) -> Float[Tensor, "3 N S S"]:
    """The bright half inverted: min(x, 1 - x), which on bytes is Pillow's `solarize` with its threshold of 128."""
    return torch.minimum(x, 1 - x)
