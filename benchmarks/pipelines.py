"""Multi-crop as others do it: the same distribution of views as `dino_core.config.Crops`, image by image or in batches.

Each builds a function from a list of images (H W 3 uint8 arrays) to the views of each kind, normalised: (2 B 3 h w) and
(L B 3 h w).  Resizing is bicubic; albumentations (OpenCV) does not smooth before it makes smaller, which is cheaper."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageFilter, ImageOps
from torch import Tensor

from dino_core.config import Crops

Views = tuple[Tensor, Tensor]
Pipeline = Callable[[Sequence[np.ndarray]], Views]
Kind = tuple[int, tuple[float, float], float, float]
"""Size, scale, probability of a blur, probability of a solarization."""


def kinds(c: Crops) -> tuple[list[Kind], list[Kind]]:
    """The global crops and the local ones."""
    large = [
        (c.global_size, c.global_scale, c.global_blur[min(i, 1)], c.solarize[min(i, 1)]) for i in range(c.global_crops)
    ]
    return large, [(c.local_size, c.local_scale, c.local_blur, 0.0)] * c.local_crops


def one_by_one(c: Crops, build: Callable[[Crops, Kind], Callable], prepare: Callable) -> Pipeline:
    """A pipeline from one that takes an image and gives a view."""
    transforms = [[build(c, kind) for kind in group] for group in kinds(c)]

    def pipeline(images: Sequence[np.ndarray]) -> Views:
        ready = [prepare(image) for image in images]
        large, small = (
            torch.stack([torch.stack([t(image) for image in ready]) for t in group]) for group in transforms
        )
        return large, small

    return pipeline


@dataclass(frozen=True)
class PillowBlur:
    """A Gaussian blur with a random radius."""

    sigma: tuple[float, float]

    def __call__(self, image: Image.Image) -> Image.Image:
        return image.filter(ImageFilter.GaussianBlur(random.uniform(*self.sigma)))


def pillow_transform(c: Crops, kind: Kind) -> Callable:
    """torchvision's first transforms on Pillow images, blur and solarization by Pillow, as in the code released with DINO."""
    from torchvision import transforms as T

    size, scale, blurred, solarized = kind
    return T.Compose(
        [
            T.RandomResizedCrop(size, scale, c.ratio, T.InterpolationMode.BICUBIC),
            T.RandomHorizontalFlip(c.flip),
            T.RandomApply([T.ColorJitter(c.brightness, c.contrast, c.saturation, c.hue)], c.jitter),
            T.RandomGrayscale(c.grey),
            T.RandomApply([PillowBlur(c.blur_sigma)], blurred),
            T.RandomApply([ImageOps.solarize], solarized),
            T.ToTensor(),
            T.Normalize(c.mean, c.std),
        ]
    )


class PillowViews:
    """A Pillow image to the list of its views, the global ones first."""

    def __init__(self, c: Crops) -> None:
        self.transforms = [pillow_transform(c, kind) for group in kinds(c) for kind in group]

    def __call__(self, image: Image.Image) -> list[Tensor]:
        return [transform(image) for transform in self.transforms]


def torchvision_pil(c: Crops) -> Pipeline:
    return one_by_one(c, pillow_transform, Image.fromarray)


def torchvision_v2(c: Crops) -> Pipeline:
    """torchvision's second transforms on byte tensors."""
    from torchvision.transforms import v2

    def build(c: Crops, kind: Kind) -> Callable:
        size, scale, blurred, solarized = kind
        return v2.Compose(
            [
                v2.RandomResizedCrop(size, scale, c.ratio, v2.InterpolationMode.BICUBIC, antialias=True),
                v2.RandomHorizontalFlip(c.flip),
                v2.RandomApply([v2.ColorJitter(c.brightness, c.contrast, c.saturation, c.hue)], c.jitter),
                v2.RandomGrayscale(c.grey),
                v2.RandomApply([v2.GaussianBlur(9, c.blur_sigma)], blurred),
                v2.RandomSolarize(128, solarized),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(c.mean, c.std),
            ]
        )

    return one_by_one(c, build, lambda image: torch.from_numpy(image).permute(2, 0, 1).contiguous())


def albumentations(c: Crops) -> Pipeline:
    """albumentations (OpenCV) on arrays."""
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    import albumentations as A
    import cv2

    cv2.setNumThreads(torch.get_num_threads())

    def build(c: Crops, kind: Kind) -> Callable:
        size, scale, blurred, solarized = kind
        composed = A.Compose(
            [
                A.RandomResizedCrop((size, size), scale, c.ratio, cv2.INTER_CUBIC),
                A.HorizontalFlip(p=c.flip),
                A.ColorJitter(
                    (1 - c.brightness, 1 + c.brightness),
                    (1 - c.contrast, 1 + c.contrast),
                    (1 - c.saturation, 1 + c.saturation),
                    (-c.hue, c.hue),
                    p=c.jitter,
                ),
                A.ToGray(p=c.grey),
                A.GaussianBlur(blur_limit=0, sigma_limit=c.blur_sigma, p=blurred),
                A.Solarize(threshold_range=(0.5, 0.5), p=solarized),
                A.Normalize(c.mean, c.std),
                A.ToTensorV2(),
            ]
        )
        return lambda image: composed(image=image)["image"]

    return one_by_one(c, build, lambda image: image)


def lightly_transform(c: Crops) -> Callable:
    """A Pillow image to a list of its views."""
    from lightly.transforms import DINOTransform

    return DINOTransform(
        global_crop_size=c.global_size,
        global_crop_scale=c.global_scale,
        local_crop_size=c.local_size,
        local_crop_scale=c.local_scale,
        n_local_views=c.local_crops,
        cj_strength=0.5,
        gaussian_blur=(*c.global_blur, c.local_blur),
        sigmas=c.blur_sigma,
        solarization_prob=c.solarize[1],
    )


def lightly(c: Crops) -> Pipeline:
    """lightly's `DINOTransform` on Pillow images."""
    transform = lightly_transform(c)

    def pipeline(images: Sequence[np.ndarray]) -> Views:
        views = list(zip(*(transform(Image.fromarray(image)) for image in images), strict=True))
        large, small = (torch.stack([torch.stack(v) for v in group]) for group in (views[:2], views[2:]))
        return large, small

    return pipeline


def kornia(c: Crops) -> Pipeline:
    """kornia in batches, with parameters of each image's own."""
    import kornia.augmentation as K

    def build(kind: Kind) -> Callable:
        size, scale, blurred, solarized = kind
        return torch.nn.Sequential(
            K.RandomResizedCrop((size, size), scale, c.ratio, resample="bicubic"),
            K.RandomHorizontalFlip(p=c.flip),
            K.ColorJitter(c.brightness, c.contrast, c.saturation, c.hue, p=c.jitter),
            K.RandomGrayscale(p=c.grey),
            K.RandomGaussianBlur((9, 9), c.blur_sigma, p=blurred),
            K.RandomSolarize(0.0, 0.0, p=solarized),
            K.Normalize(torch.tensor(c.mean), torch.tensor(c.std)),
        )

    transforms = [[build(kind) for kind in group] for group in kinds(c)]

    def pipeline(images: Sequence[np.ndarray]) -> Views:
        batch = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255
        large, small = (torch.stack([transform(batch) for transform in group]) for group in transforms)
        return large, small

    return pipeline


PIPELINES: dict[str, Callable[[Crops], Pipeline]] = {
    "torchvision PIL": torchvision_pil,
    "torchvision v2": torchvision_v2,
    "lightly": lightly,
    "albumentations": albumentations,
    "kornia": kornia,
}
