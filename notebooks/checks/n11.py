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


def of(squared: Tensor) -> Tensor:
    """What uniformity makes of squared distances."""
    return (-2 * squared).exp().mean().log()


def besides(table: Tensor) -> Tensor:
    """(B, B - 1): each row without its own place."""
    return table[~torch.eye(len(table), dtype=torch.bool)].view(len(table), -1)


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
        Mistake("you forgot the 2 in the exponent (1 - cosine, too, is only half of d²).",
                lambda x: (-pairs(unit(x))).exp().mean().log()),
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
        Mistake("half of it: these are the terms of the pairs. Take their mean, and its logarithm.",
                lambda x: (-2 * pairs(unit(x))).exp(), half_finished=True),
        Mistake("the sign: uniformity is the logarithm itself, which is negative, not minus it.",
                lambda x: -of(pairs(unit(x)))),
        Mistake("you divided by 2 in the exponent; it is multiplied by 2.", lambda x: (-pairs(unit(x)) / 2).exp().mean().log()),
        Mistake("you averaged the squared differences over features; d² is their sum.",
                lambda x: of(pairs(unit(x)) / x.shape[1])),
        Mistake("you scaled each feature over images (dim=0); a class token is a row, dim=-1.",
                lambda x: of(pairs(normalize(x, dim=0)))),
        Mistake("you divided by one length of all; each class token has its own: dim=-1, keepdim=True.",
                lambda x: of(pairs(x / x.norm()))),
        Mistake("only the nearest counts in yours, as in KoLeo; uniformity takes all pairs.",
                lambda x: of(besides(torch.cdist(unit(x), unit(x))).min(1).values.square())),
        Mistake("you summed over pairs, in both orders; the mean is asked for.",
                lambda x: (2 * (-2 * pairs(unit(x))).exp().sum()).log()),
        Mistake("logarithm and exponential undo each other in your sum; the logarithm comes last, of the mean.",
                lambda x: (-2 * pairs(unit(x))).sum()),
        Mistake("you added up absolute differences; d² is the sum of squares.",
                lambda x: of(torch.nn.functional.pdist(unit(x), p=1).square())),
        Mistake("you squared d² again.", lambda x: of(pairs(unit(x)).square())),
        Mistake("the 2 got squared: -(2 d)² is -4 d².", lambda x: of(2 * pairs(unit(x)))),
        Mistake("you took the median over pairs; the mean is asked for.", lambda x: (-2 * pairs(unit(x))).exp().median().log()),
        Mistake("you took a logarithm for each image and then the mean; one logarithm of the mean over all pairs is "
                "asked for.",
                lambda x: (-2 * besides(torch.cdist(unit(x), unit(x)).square())).exp().mean(1).log().mean()),
        Mistake("ln(1 + x) is something else than ln x.", lambda x: (-2 * pairs(unit(x))).exp().mean().log1p()),
        Mistake("logsumexp is of a sum: subtract the logarithm of the number of *pairs*, not of images.",
                lambda x: (-2 * pairs(unit(x))).logsumexp(0) - torch.tensor(len(x)).log()),
        Mistake("exp and mean are exchanged, and the logarithm is missing: ln of the mean of exp(-2 d²).",
                lambda x: (-2 * pairs(unit(x))).mean().exp()),
        Mistake("the exponential is missing: ln of the mean of exp(-2 d²).", lambda x: -2 * pairs(unit(x)).mean().log()),
        Mistake("you compared each image with the next one only; all pairs count.",
                lambda x: of((unit(x)[1:] - unit(x)[:-1]).square().sum(1))),
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


def over(both: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union, whatever the intersection is."""
    return both / (area(a) + area(b) - both)


def iou(a: Tensor, b: Tensor) -> Tensor:
    return over(shared(a, b), a, b)


def meeting(a: Tensor, b: Tensor) -> Tensor:
    """Sides of the intersection, negative where there is none."""
    return torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])


def around(a: Tensor, b: Tensor) -> Tensor:
    """Sides of the box around both."""
    return torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])


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
        Mistake("half of it: this is the area that either covers. It is what you divide by.",
                lambda a, b: area(a) + area(b) - shared(a, b), half_finished=True),
        Mistake("half of it: this says whether they meet. How much of what either covers do they share?",
                lambda a, b: shared(a, b) > 0, half_finished=True),
        Mistake("minimum and maximum are exchanged: the intersection goes from the *greater* left to the *smaller* right.",
                lambda a, b: over(around(a, b).clamp(min=0).prod(-1), a, b)),
        Mistake("you added the sides of the intersection; its area is their product.",
                lambda a, b: over(meeting(a, b).clamp(min=0).sum(-1), a, b)),
        Mistake("this is Dice, 2 · shared / (sum of areas): a relative, always at least as large.",
                lambda a, b: 2 * shared(a, b) / (area(a) + area(b))),
        Mistake("you divided by the other box's area: that depends on which comes first.", lambda a, b: shared(a, b) / area(b)),
        Mistake("you divided by the larger box's area; what either covers is more, unless one lies in the other.",
                lambda a, b: shared(a, b) / torch.maximum(area(a), area(b))),
        Mistake("you took the sides' absolute values: boxes that are apart would share something. Clamp at 0.",
                lambda a, b: over(meeting(a, b).abs().prod(-1), a, b)),
        Mistake("you added 1 to each side, as for pixels; here sides are shares of the image.",
                lambda a, b: iou(*(box + torch.tensor([0, 0, 1, 1]) for box in (a, b)))),
        Mistake("you added what both share once more; it is counted twice in the sum of areas, so subtract it.",
                lambda a, b: shared(a, b) / (area(a) + area(b) + shared(a, b))),
        Mistake("you subtracted what both share twice; in the sum of areas it is counted once too often.",
                lambda a, b: shared(a, b) / (area(a) + area(b) - 2 * shared(a, b))),
        Mistake("you divided by the root of the product of the areas; divide by what either covers.",
                lambda a, b: shared(a, b) / (area(a) * area(b)).sqrt()),
        Mistake("you divided by the product of the areas; divide by what either covers.",
                lambda a, b: shared(a, b) / (area(a) * area(b))),
        Mistake("what you add against 0/0 is too large; boxes have an area, so nothing is needed.",
                lambda a, b: shared(a, b) / (area(a) + area(b) - shared(a, b) + 0.1)),
        Mistake("you added up over all pairs before dividing; each pair has its own overlap.",
                lambda a, b: shared(a, b).sum() / (area(a) + area(b) - shared(a, b)).sum()),
        Mistake("you took right and bottom for width and height; they are places: left, top, right, bottom.",
                lambda a, b: box_iou(*(torch.cat([box[:, :2], box[:, :2] + box[:, 2:]], 1) for box in (a, b))).diagonal()),
        Mistake("you looked at one direction only (left and right); a box has top and bottom, too.",
                lambda a, b: meeting(a, b)[..., 0].clamp(min=0) / around(a, b)[..., 0]),
        Mistake("this is the generalised overlap (GIoU), negative for boxes apart; plain intersection over union is "
                "asked for.",
                lambda a, b: over(shared(a, b), a, b) - 1 + (area(a) + area(b) - shared(a, b)) / around(a, b).prod(-1)),
        Mistake("boxes that do not meet get -1 in yours; they share nothing, 0.",
                lambda a, b: torch.where(shared(a, b) > 0, over(shared(a, b), a, b), -1.0)),
        Mistake("boxes that do not meet get NaN in yours; they share nothing, 0.",
                lambda a, b: torch.where(shared(a, b) > 0, over(shared(a, b), a, b), torch.nan)),
        Mistake("the order is left, top, right, bottom; you took left, right, top, bottom.",
                lambda a, b: iou(a[..., [0, 2, 1, 3]], b[..., [0, 2, 1, 3]])),
        Mistake("your product runs over boxes (dim=0); it is over the two sides of each, dim=-1.",
                lambda a, b: meeting(a, b).clamp(min=0).prod(0)),
    ],
    symptoms=[Symptom("an overlap lies between 0 and 1: what both share, over what either covers.",
                      lambda o, *_: bool(((o < -1e-6) | (o > 1 + 1e-6)).any()))],
    hints=["The intersection is a box, too: from the greater left to the smaller right.",
           "`torch.maximum(boxes[..., :2], others[..., :2])` is its upper left corner; clamp its sides at 0.",
           "shared / (area of one + area of the other - shared)"],
    minutes=10,
)  # fmt: skip
