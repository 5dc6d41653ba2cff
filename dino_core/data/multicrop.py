"""Multi-crop (Caron et al. 2020; 2021, Sec. 3.2): large and small crops of each image, distorted, in whole batches.

Every number is drawn on the CPU, so that a seed gives the same crops on every device; then batches are worked on where
the images are, each crop by its own numbers.  In the order of the paper's code: crop and resize, mirror, colour jitter,
grey, blur, solarize, normalise.

Axes: V crops of a kind, B images, N = V B, H and W of the canvas, S side of a crop."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dino_core import config
from dino_core.data.distortions import Distortions, distort, draw_distortions
from dino_core.data.masks import BlockMasks
from dino_core.data.resizing import draw_boxes, resized_crops
from dino_core.data.views import Batch, Boxes, Decoded

CPU_PIXELS = 2**18
"""Pixels of crops that a CPU works on at once."""


class MultiCrop:
    """`multicrop(decoded, generator)` gives the batch of views; the generator is one of the CPU.

    Several ranks give the same seed: each draws for the global batch and keeps its share, so that an image gets the
    same crops whatever the number of ranks."""

    def __init__(
        self,
        crops: config.Crops,
        rank: int = 0,
        world_size: int = 1,
        *,
        ibot: config.Ibot | None = None,
        gram: config.Gram | None = None,
        patch: int | None = None,
    ) -> None:
        """Given `ibot` and the side of a `patch` in pixels, global crops come with masks; given `gram`, with anchor crops."""
        self.crops, self.rank, self.world_size = crops, rank, world_size
        self.patch, self.gram = patch, gram
        self.masks = BlockMasks(ibot, rank, world_size) if ibot is not None and patch is not None else None

    @torch.no_grad()
    def __call__(self, decoded: Decoded, generator: torch.Generator) -> Batch:
        c = self.crops
        large_side, small_side, anchor_side = self.sides(generator)
        images = _planes(decoded.images)
        blur = c.global_blur[:1] + c.global_blur[1:] * (c.global_crops - 1)
        solarize = c.solarize[:1] + c.solarize[1:] * (c.global_crops - 1)
        sizes = decoded.sizes
        large, boxes, anchors = self._views(
            images, sizes, large_side, c.global_scale, blur, solarize, generator, anchor_side
        )
        blur, solarize = (c.local_blur,) * c.local_crops, (0.0,) * c.local_crops
        small, small_boxes, _ = self._views(images, sizes, small_side, c.local_scale, blur, solarize, generator)
        masks, masked = self._masks(len(sizes), large_side, generator)
        masks = None if masks is None else masks.to(images.device, non_blocking=True)
        return Batch(large, small, boxes, small_boxes, decoded.labels, decoded.indices, masks, masked, anchors)

    def sides(self, generator: torch.Generator) -> tuple[int, int, int | None]:
        """Of this step's global, local and anchor crops, the same on every rank; one draw where resolutions are mixed."""
        crops, anchor = self.crops, None if self.gram is None else self.gram.size
        if not crops.mixed:
            return crops.global_size, crops.local_size, anchor
        shares = torch.tensor([share for *_, share in crops.mixed], dtype=torch.float64)
        large, small, size, _ = crops.mixed[int(torch.multinomial(shares, 1, generator=generator))]
        return large, small, None if self.gram is None else size or anchor

    def _masks(
        self, images: int, side: int, generator: torch.Generator
    ) -> tuple[Bool[Tensor, "V B N"] | None, Int[Tensor, " M"] | None]:
        """Hidden patches of the global crops, and their places; both on the CPU."""
        if self.masks is None or self.patch is None:
            return None, None
        grid = side // self.patch, side // self.patch
        masks = self.masks(self.crops.global_crops, images, grid, generator)
        return masks, masks.flatten().nonzero()[:, 0]

    def _views(
        self,
        images: Float[Tensor, "3 B H W"],
        sizes: Int[Tensor, "B 2"],
        side: int,
        scale: tuple[float, float],
        blur: tuple[float, ...],
        solarize: tuple[float, ...],
        generator: torch.Generator,
        anchor_side: int | None = None,
    ) -> tuple[Float[Tensor, "V B 3 S S"], Boxes, Float[Tensor, "V B 3 A A"] | None]:
        """Crops of one kind: as many as there are probabilities of a blur and of a solarization; and the same at another size."""
        views, batch = len(blur), len(sizes)
        if not views:
            none = images.new_empty(0, batch, 3, side, side)
            return none, Boxes(torch.zeros(0, batch, 4), torch.zeros(0, batch, dtype=torch.bool)), None
        ours = slice(self.rank * batch, (self.rank + 1) * batch)
        everybodys = sizes.new_ones(batch * self.world_size, 2)
        everybodys[ours] = sizes
        boxes = draw_boxes(everybodys.repeat(views, 1), scale, self.crops.ratio, generator)
        flipped = torch.rand(len(boxes), generator=generator) < self.crops.flip
        blurs, solarizations = (torch.tensor(p).repeat_interleave(len(everybodys)) for p in (blur, solarize))
        distortions = draw_distortions(self.crops, blurs, solarizations, generator)

        kept = torch.arange(len(boxes)).view(views, -1)[:, ours].flatten()
        boxes, flipped, distortions = boxes[kept], flipped[kept], distortions.of(kept)
        owners = torch.arange(batch).repeat(views)
        sizes = sizes[owners]

        geometry = owners, boxes, flipped
        crops, anchors = self._cut(images, geometry, side, distortions), None
        if anchor_side is not None:
            scaled = replace(distortions, sigma=distortions.sigma * anchor_side / side)
            wanted = scaled if self.gram is not None and self.gram.distorted else None
            anchors = self._cut(images, geometry, anchor_side, wanted).unflatten(0, (views, batch))
        corners, flipped, crops = (x.unflatten(0, (views, batch)) for x in (_corners(boxes, sizes), flipped, crops))
        return crops, Boxes(corners, flipped), anchors

    def _cut(
        self,
        images: Float[Tensor, "3 B H W"],
        geometry: tuple[Int[Tensor, " N"], Int[Tensor, "N 4"], Bool[Tensor, " N"]],
        side: int,
        distortions: Distortions | None,
    ) -> Float[Tensor, "N 3 S S"]:
        """Crops cut, distorted where asked, and normalised, as many at once as the device likes."""
        owners, boxes, flipped = geometry
        crops = torch.empty(len(owners), 3, side, side, device=images.device)
        for part in torch.arange(len(owners)).split(_at_once(images.device, side)):
            planes = resized_crops(images, owners[part], boxes[part], flipped[part], side)
            if distortions is not None:
                distort(planes, distortions.of(part))
            normalise(planes, self.crops.mean, self.crops.std, crops[part[0] : part[-1] + 1])
        return crops


def _at_once(device: torch.device, side: int) -> int:
    """How many crops to work on at once: a CPU is fastest on what its caches hold, a GPU on everything."""
    return max(1, CPU_PIXELS // side**2) if device.type == "cpu" else 2**31


def _planes(images: Tensor) -> Float[Tensor, "3 B H W"]:
    planes = torch.empty_like(images.transpose(0, 1), dtype=torch.float32, memory_format=torch.contiguous_format)
    return planes.copy_(images.transpose(0, 1)).div_(255)


def _corners(boxes: Int[Tensor, "N 4"], sizes: Int[Tensor, "N 2"]) -> Float[Tensor, "N 4"]:
    """Left, top, right and bottom as shares of the image."""
    top, left, tall, wide = boxes.T
    height, width = sizes.T
    return torch.stack([left / width, top / height, (left + wide) / width, (top + tall) / height], 1)


def normalise(
    planes: Float[Tensor, "3 N S S"], mean: tuple[float, ...], std: tuple[float, ...], out: Float[Tensor, "N 3 S S"]
) -> None:
    """Crop by crop, each colour less its mean, over its standard deviation; into `out`."""
    for colour, (m, s) in enumerate(zip(mean, std, strict=True)):
        torch.mul(planes[colour], 1 / s, out=out[:, colour]).sub_(m / s)
