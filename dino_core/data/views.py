"""What a training step sees: a batch of views, each crop remembering where it came from.

Axes: V global crops, L local crops, B images, N patches."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor


@dataclass(frozen=True)
class Boxes:
    """Where crops came from: left, top, right, bottom as shares of the source image, and whether they were mirrored."""

    corners: Float[Tensor, "V B 4"]
    flipped: Bool[Tensor, "V B"]


@dataclass(frozen=True)
class Batch:
    globals: Float[Tensor, "V B 3 H W"]
    locals: Float[Tensor, "L B 3 h w"]
    global_boxes: Boxes
    local_boxes: Boxes
    labels: Int[Tensor, " B"]
    """-1 where the source has no label."""
    indices: Int[Tensor, " B"]
    masks: Bool[Tensor, "V B N"] | None = None
    """Patches hidden from the student (iBOT)."""
    masked: Int[Tensor, " M"] | None = None
    """Where `masks` is true, as places in its V·B·N patches; on the CPU, so that their number is known."""
    anchors: Float[Tensor, "V B 3 A A"] | None = None
    """The global crops once more, at another size and without distortions, for the Gram anchor."""

    @property
    def images(self) -> int:
        return self.globals.shape[1]

    def part(self, start: int, stop: int) -> Batch:
        """The images `start` to `stop` of this batch, for gradient accumulation."""
        cut = slice(start, stop)
        large, small = (Boxes(b.corners[:, cut], b.flipped[:, cut]) for b in (self.global_boxes, self.local_boxes))
        labels, indices = self.labels[cut], self.indices[cut]
        masks = None if self.masks is None else self.masks[:, cut]
        masked = None
        if self.masks is not None and self.masked is not None:
            patches = self.masks.shape[2]
            view, image = self.masked // (self.images * patches), self.masked // patches % self.images
            place = (view * (stop - start) + image - start) * patches + self.masked % patches
            masked = place[(image >= start) & (image < stop)]
        views = self.globals[:, cut], self.locals[:, cut]
        anchors = None if self.anchors is None else self.anchors[:, cut]
        return Batch(*views, large, small, labels, indices, masks, masked, anchors)

    @property
    def masked_images(self) -> Int[Tensor, " M"] | None:
        """Which image each masked patch is of; on the CPU."""
        if self.masks is None or self.masked is None:
            return None
        return self.masked // self.masks.shape[2] % self.images


@dataclass(frozen=True)
class Decoded:
    """Images as the loader gives them: bytes on a common canvas, each filling its top left corner."""

    images: UInt8[Tensor, "B 3 H W"]
    sizes: Int[Tensor, "B 2"]
    """Height and width of each image on the canvas."""
    labels: Int[Tensor, " B"]
    indices: Int[Tensor, " B"]

    def to(self, device: torch.device) -> Decoded:
        """On another device; sizes stay on the CPU, where crop boxes are drawn."""
        move = (t.to(device, non_blocking=True) for t in (self.images, self.labels, self.indices))
        images, labels, indices = move
        return Decoded(images, self.sizes, labels, indices)
