"""KoLeo of the student's global views, among the images of one rank, of a group, or of all ranks.

Axes: V global views, B images of this rank, P images of all ranks, D features."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from dino_core import config
from dino_core.errors import ConfigError
from dino_core.objective.terms import koleo
from dino_core.parallel import gather_with_gradient, rank, world_size


def spread(views: Float[Tensor, "V B D"], options: config.Koleo) -> Float[Tensor, ""]:
    """The sum over views: each crop looks for neighbours among crops of its own kind (DINOv2, Sec. 4)."""
    return torch.stack([_spread(view, options) for view in views]).sum()


def _spread(cls: Float[Tensor, "B D"], options: config.Koleo) -> Float[Tensor, ""]:
    if not options.over_ranks:
        return koleo(cls, neighbours=options.neighbours)
    everybody = gather_with_gradient(cls)
    group = options.group or len(everybody)
    check_group(group, len(cls), world_size())
    if group < len(cls):
        return torch.stack([koleo(part, neighbours=options.neighbours) for part in cls.split(group)]).mean()
    start = rank() * len(cls) // group * group
    mine = rank() * len(cls) - start
    return koleo(cls, neighbours=options.neighbours, among=everybody[start : start + group], first=mine)


def check_group(group: int, images: int, ranks: int) -> None:
    """Raises `ConfigError` where groups are neither whole ranks of so many images nor whole parts of one."""
    if (group % images and images % group) or (ranks * images) % group:
        raise ConfigError(
            f"koleo.group is {group}; it must hold whole ranks of {images} images, or divide them, and divide all "
            f"{ranks * images}. With {ranks} ranks, choose another."
        )
