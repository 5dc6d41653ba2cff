"""Multi-crop (Caron et al. 2020; 2021, Sec. 3.2): large and small crops of each image, distorted, in whole batches.

Every number is drawn on the CPU, so that a seed gives the same crops on every device; then batches are worked on where
the images are, each crop by its own numbers.  In the order of the paper's code: crop and resize, mirror, colour jitter,
grey, blur, solarize, normalise.  Shared colours are the same numbers for all crops of an image; contrast is then still about
a crop's own mean, where the released code is about the image's.

Axes: V crops of a kind, B images, N = V B, H and W of the canvas, S side of a crop."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dino_core import config
from dino_core.data.distortions import Distortions, distort, draw_distortions
from dino_core.data.masks import BlockMasks
from dino_core.data.resizing import draw_boxes, resized_crops, windows
from dino_core.data.views import Batch, Boxes, Decoded

CPU_PIXELS = 2**18
"""Pixels of crops that a CPU works on at once."""
Cuts = tuple[Int[Tensor, " N"], Int[Tensor, "N 4"], Bool[Tensor, " N"]]
"""Of each crop the image it is of, its box, and whether it is mirrored; on the CPU."""


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
        images, sizes = _planes(decoded.images), decoded.sizes
        colours = self._distortions(len(sizes), (0.0,), (0.0,), generator) if c.shared_colours else None
        blur = c.global_blur[:1] + c.global_blur[1:] * (c.global_crops - 1)
        solarize = c.solarize[:1] + c.solarize[1:] * (c.global_crops - 1)
        seen = self._cuts(sizes, c.global_crops, c.global_scale, generator)
        drawn = self._distortions(len(sizes), blur, solarize, generator, colours)
        large, boxes = self._views(images, sizes, seen, large_side, drawn)
        anchors = None
        if anchor_side is not None:
            scaled = replace(drawn, sigma=drawn.sigma * anchor_side / large_side)
            wanted = scaled if self.gram is not None and self.gram.distorted else None
            anchors = self._cut(images, seen, anchor_side, wanted).unflatten(0, (-1, len(sizes)))
        if c.local_within_global:
            seen = self._windows(seen, len(sizes), large_side, small_side, generator)
        else:
            seen = self._cuts(sizes, c.local_crops, c.local_scale, generator)
        blur, solarize = (c.local_blur,) * c.local_crops, (0.0,) * c.local_crops
        drawn = self._distortions(len(sizes), blur, solarize, generator, colours)
        small, small_boxes = self._views(images, sizes, seen, small_side, drawn)
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

    def _cuts(
        self, sizes: Int[Tensor, "B 2"], views: int, scale: tuple[float, float], generator: torch.Generator
    ) -> Cuts:
        """Where this rank's crops of one kind are cut, drawn for the images of all ranks."""
        batch = len(sizes)
        everybodys = sizes.new_ones(batch * self.world_size, 2)
        everybodys[self.rank * batch : (self.rank + 1) * batch] = sizes
        boxes = draw_boxes(everybodys.repeat(views, 1), scale, self.crops.ratio, generator)
        flipped = torch.rand(len(boxes), generator=generator) < self.crops.flip
        ours = self._ours(views, batch)
        return torch.arange(batch).repeat(views), boxes[ours], flipped[ours]

    def _windows(
        self, seen: Cuts, batch: int, large: int, small: int, generator: torch.Generator
    ) -> tuple[Int[Tensor, " M"], Int[Tensor, "M 4"], Bool[Tensor, " M"]]:
        """Local crops inside of the global crops, as many of each, mirrored with them.

        Anywhere at whole patches (the released code never reaches the right and lower border, and counts in 16 px)."""
        patch, views = self.patch or 1, self.crops.local_crops
        places = (large - small) // patch + 1
        down_across = torch.randint(places, (views * batch * self.world_size, 2), generator=generator) * patch
        each = views // self.crops.global_crops
        owners, boxes, flipped = (
            part.unflatten(0, (-1, batch)).repeat_interleave(each, 0).flatten(0, 1) for part in seen
        )
        return owners, windows(boxes, flipped, down_across[self._ours(views, batch)], large, small), flipped

    def _distortions(
        self,
        batch: int,
        blur: tuple[float, ...],
        solarize: tuple[float, ...],
        generator: torch.Generator,
        colours: Distortions | None = None,
    ) -> Distortions:
        """Of as many crops of each image as there are probabilities; with one image's `colours` for all of its crops."""
        blurs, solarizations = (torch.tensor(p).repeat_interleave(batch * self.world_size) for p in (blur, solarize))
        drawn = draw_distortions(self.crops, blurs, solarizations, generator).of(self._ours(len(blur), batch))
        return drawn if colours is None else drawn.coloured_as(colours.of(torch.arange(batch).repeat(len(blur))))

    def _ours(self, views: int, batch: int) -> Int[Tensor, " N"]:
        """This rank's images among those of all ranks, view by view."""
        everybodys = torch.arange(views * batch * self.world_size).view(views, batch * self.world_size)
        return everybodys[:, self.rank * batch : (self.rank + 1) * batch].flatten()

    def _views(
        self, images: Float[Tensor, "3 B H W"], sizes: Int[Tensor, "B 2"], cuts: Cuts, side: int, drawn: Distortions
    ) -> tuple[Float[Tensor, "V B 3 S S"], Boxes]:
        """Crops of one kind, and where they come from."""
        owners, boxes, flipped = cuts
        crops, corners = self._cut(images, cuts, side, drawn), _corners(boxes, sizes[owners])
        crops, corners, flipped = (x.unflatten(0, (-1, len(sizes))) for x in (crops, corners, flipped))
        return crops, Boxes(corners, flipped)

    def _cut(
        self,
        images: Float[Tensor, "3 B H W"],
        cuts: Cuts,
        side: int,
        distortions: Distortions | None,
    ) -> Float[Tensor, "N 3 S S"]:
        """Crops cut, distorted where asked, and normalised, as many at once as the device likes."""
        owners, boxes, flipped = cuts
        crops = torch.empty(len(owners), 3, side, side, device=images.device)
        if not len(owners):
            return crops
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
