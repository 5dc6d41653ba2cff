"""11 Your own: uniformity of class tokens, overlap of boxes."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize
from torchvision.ops import box_iou

from notebooks.exercises import Exercise, Mistake, Symptom


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed + 110))


def pairs(x: Tensor) -> Tensor:
    """Squared distances of different rows, by the list."""
    return torch.nn.functional.pdist(x).square()


def unit(x: Tensor) -> Tensor:
    return normalize(x, dim=-1)


uniform = Exercise(
    "11.1",
    cases=lambda seed: [(2 * drawn(seed, 5, 3),), (drawn(seed + 1, 7, 4) + 0.5,)],
    right=lambda x: (-2 * pairs(unit(x))).exp().mean().log(),
    mistakes=[
        Mistake("half of it: this is the mean over pairs. Take its logarithm.",
                lambda x: (-2 * pairs(unit(x))).exp().mean(), half_finished=True),
        Mistake("you counted each image with itself: those pairs have distance 0 and pull the mean up.",
                lambda x: (-2 * torch.cdist(unit(x), unit(x)).square()).exp().mean().log()),
        Mistake("you left the points where they are; scale them to length one first.",
                lambda x: (-2 * pairs(x)).exp().mean().log()),
        Mistake("you used the distance, not its square.", lambda x: (-2 * pairs(unit(x)).sqrt()).exp().mean().log()),
        Mistake("you forgot the 2 in the exponent.", lambda x: (-pairs(unit(x))).exp().mean().log()),
        Mistake("the sign in the exponent: near pairs shall count much, far ones little.",
                lambda x: (2 * pairs(unit(x))).exp().mean().log()),
        Mistake("the logarithm is of the mean; you took the mean of the logarithms, which is the mean of -2 d².",
                lambda x: (-2 * pairs(unit(x))).mean()),
        Mistake("you summed over pairs; the mean is asked for.", lambda x: (-2 * pairs(unit(x))).exp().sum().log()),
        Mistake("torch.triu_indices takes the diagonal along: those pairs have distance 0. Give it offset=1.",
                lambda x: torch.cat([(-2 * pairs(unit(x))).exp(), torch.ones(len(x))]).mean().log()),
        Mistake("you set the diagonal to 0 and counted it in the mean; divide by the B (B - 1) pairs that are left.",
                lambda x: ((-2 * pairs(unit(x))).exp().mean() * (len(x) - 1) / len(x)).log()),
        Mistake("you used the cosine; d² = 2 - 2 cosine.", lambda x: (2 * pairs(unit(x)) / 2 - 2).exp().mean().log()),
    ],
    symptoms=[Symptom("the result is one number; yours has axes left over.", lambda u, *_: u.ndim > 0)],
    hints=["Length one; squared distances of all pairs; leave out the diagonal.",
           "`(x[:, None] - x[None]).square().sum(dim=-1)` and `~torch.eye(B, dtype=torch.bool)`.",
           "(-2 * squared[others]).exp().mean().log()"],
    minutes=10,
)  # fmt: skip


def boxes(seed: int, count: int) -> Tensor:
    """left, top, right, bottom as shares of the image; large enough to meet often."""
    corners = (
        torch.rand(count, 2, 2, generator=torch.Generator().manual_seed(seed + 111))
        .sort(dim=1)
        .values
    )
    corners[:, 1] += 0.1
    return corners.flatten(1)


def apart(seed: int) -> tuple[Tensor, Tensor]:
    """Three pairs: one that meets, one that is apart in x alone, one that is apart in both."""
    shift = 0.01 * seed
    one = torch.tensor([[0.0, 0.0, 0.6, 0.6], [0.0, 0.1, 0.3, 0.6], [0.0, 0.0, 0.2, 0.3]])
    other = torch.tensor(
        [[0.2 + shift, 0.1, 0.9, 0.5], [0.5, 0.2, 0.9, 0.7], [0.4, 0.6 + shift, 0.9, 0.9]]
    )
    return one, other


def area(b: Tensor) -> Tensor:
    return (b[..., 2:] - b[..., :2]).prod(-1)


def shared(a: Tensor, b: Tensor, clamp: bool = True) -> Tensor:
    sides = torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])
    return (sides.clamp(min=0) if clamp else sides).prod(-1)


overlap = Exercise(
    "11.2",
    cases=lambda seed: [apart(seed), (boxes(seed, 6), boxes(seed + 1, 6))],
    right=lambda a, b: box_iou(a, b).diagonal(),
    mistakes=[
        Mistake("half of it: this is the area that both share. Divide by the area that either covers.", shared, half_finished=True),
        Mistake("boxes that do not meet must give 0: clamp each side of the intersection at 0 before you multiply.",
                lambda a, b: shared(a, b, False) / (area(a) + area(b) - shared(a, b, False))),
        Mistake("you clamped the product: two negative sides make a positive area. Clamp each side.",
                lambda a, b: shared(a, b, False).clamp(min=0) / (area(a) + area(b) - shared(a, b, False).clamp(min=0))),
        Mistake("you divided by the sum of the areas: what both share is counted twice there.",
                lambda a, b: shared(a, b) / (area(a) + area(b))),
        Mistake("you divided by the first box's area: that depends on which comes first.", lambda a, b: shared(a, b) / area(a)),
        Mistake("you divided by the smaller box's area: a small box inside a large one would get 1.",
                lambda a, b: shared(a, b) / torch.minimum(area(a), area(b))),
        Mistake("right and bottom are places, not width and height: a box's sides are right - left and bottom - top.",
                lambda a, b: shared(a, b) / (a[..., 2:].prod(-1) + b[..., 2:].prod(-1) - shared(a, b))),
        Mistake("you divided by the box around both; divide by what either covers.",
                lambda a, b: shared(a, b) / (torch.maximum(a[..., 2:], b[..., 2:]) -
                torch.minimum(a[..., :2], b[..., :2])).prod(-1)),
        Mistake("you compared each box with every other one (box_iou); box i belongs to other i.", box_iou),
        Mistake("this is the mean over pairs of boxes; one number for each pair is asked for.",
                lambda a, b: box_iou(a, b).diagonal().mean()),
    ],
    symptoms=[Symptom("an overlap lies between 0 and 1.", lambda o, *_: bool(((o < -1e-6) | (o > 1 + 1e-6)).any()))],
    hints=["The intersection is a box, too: from the greater left to the smaller right.",
           "`torch.maximum(boxes[..., :2], others[..., :2])` is its upper left corner; clamp its sides at 0.",
           "shared / (area of one + area of the other - shared)"],
    minutes=10,
)  # fmt: skip
