"""00 A tour: nearest neighbours."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from notebooks.exercises import Exercise, Mistake


def unit(vectors: Tensor) -> Tensor:
    return F.normalize(vectors, dim=1)


def likeness(vectors: Tensor) -> Tensor:
    """Cosines between rows, minus infinity for a row with itself."""
    return (unit(vectors) @ unit(vectors).T).masked_fill(
        torch.eye(len(vectors), dtype=torch.bool), -torch.inf
    )


def unscaled(vectors: Tensor) -> Tensor:
    return (vectors @ vectors.T).masked_fill(torch.eye(len(vectors), dtype=torch.bool), -torch.inf)


def far(vectors: Tensor) -> Tensor:
    """Minus the Euclidean distance of rows as they are."""
    return (-torch.cdist(vectors, vectors)).masked_fill(
        torch.eye(len(vectors), dtype=torch.bool), -torch.inf
    )


def crowd(seed: int) -> Tensor:
    """Six directions, two rows each a little apart, and lengths so different that products and distances mislead."""
    chance = torch.Generator().manual_seed(seed + 5)
    directions = F.normalize(torch.randn(6, 4, generator=chance), dim=1)
    rows = directions.repeat(2, 1) + 0.05 * torch.randn(12, 4, generator=chance)
    rows = rows * torch.tensor([0.5, 1.0, 1.0, 3.0])  # one feature larger than the others
    return (
        rows * torch.tensor([0.2, 5.0, 1.0, 3.0, 0.5, 1.0, 4.0, 0.3, 6.0, 0.2, 2.0, 7.0])[:, None]
    )


def triangle(seed: int) -> Tensor:
    """Three rows that look away from each other: all cosines are negative, and the largest is not the one nearest to 0."""
    angles = (torch.tensor([0.0, 130.0, 235.0]) + 10 * seed).deg2rad()
    return torch.stack([angles.cos(), angles.sin()], 1) * torch.tensor([[1.0], [2.0], [0.5]])


nearest = Exercise(
    "00.1",
    cases=lambda seed: [(crowd(seed), index) for index in range(12)] + [(triangle(seed), index) for index in range(3)],
    right=lambda vectors, index: int(likeness(vectors)[index].argmax()),
    mistakes=[
        Mistake("half of it: these are the cosines with all rows. Which row has the largest, leaving out itself?",
                lambda x, i: F.normalize(x, dim=1) @ F.normalize(x[i], dim=0), half_finished=True),
        Mistake("every row is nearest to itself: its cosine is 1. Set its cosine to minus infinity, for example.",
                lambda x, i: i),
        Mistake("you compare dot products. Long vectors win those; divide by the lengths, or the angle does not count.",
                lambda x, i: int(unscaled(x)[i].argmax())),
        Mistake("you compare distances between the vectors as they are. Asked for is the angle: the same direction counts as near "
                "whatever the lengths.", lambda x, i: int(far(x)[i].argmax())),
        Mistake("this is the farthest row: argmax of the cosine, not argmin.",
                lambda x, i: int((-likeness(x)[i]).masked_fill(torch.arange(len(x)) == i, -torch.inf).argmax())),
        Mistake("half of it: this is the largest cosine. Asked for is which row has it: argmax.",
                lambda x, i: likeness(x)[i].max(), half_finished=True),
        Mistake("without row `index` all rows behind it have moved up by one: your place is in the shorter list. Keep the row, "
                "and put minus "
                "infinity there.", lambda x, i: int(likeness(x)[i].argmax()) - int(likeness(x)[i].argmax() > i)),
        Mistake("you divided the columns by their lengths. A vector is a row: dim=1.",
                lambda x, i: int(unscaled(x / x.norm(dim=0))[i].argmax())),
        Mistake("half of it: these are two places, and the first is the row itself. Return the second, as an int.",
                lambda x, i: (unit(x) @ unit(x)[i]).topk(2).indices, half_finished=True),
        Mistake("half of it: this is the nearest row itself. Asked for is its place, an int: argmax.",
                lambda x, i: x[likeness(x)[i].argmax()], half_finished=True),
        Mistake("argsort counts up from the smallest cosine: your second place is the second farthest. Take the last but "
                "one.",
                lambda x, i: int((unit(x) @ unit(x)[i]).argsort()[1])),
        Mistake("you divided by the sum of absolute values; the length of a vector is the root of its sum of squares "
                "(norm).",
                lambda x, i: int(unscaled(F.normalize(x, p=1, dim=1))[i].argmax())),
        Mistake("you took the cosine without its sign: a row that looks the other way is the farthest, not near.",
                lambda x, i: int((unit(x) @ unit(x)[i]).abs().masked_fill(torch.arange(len(x)) == i, -1).argmax())),
        Mistake("you set the row's own cosine to 0, which wins where all others are negative. Minus infinity never wins.",
                lambda x, i: int((unit(x) @ unit(x)[i]).masked_fill(torch.arange(len(x)) == i, 0).argmax())),
    ],
    hints=["Section 2 divides each row by its length first; then one product gives all cosines.",
           "unit @ unit[index] are the cosines. Before argmax, put -torch.inf at place `index`."],
    praise="right, and itself left out.",
)  # fmt: skip


def hits(scores: Tensor, labels: Tensor) -> Tensor:
    return (labels[scores.argmax(1)] == labels).float()


def with_labels(seed: int, labels: str) -> tuple[Tensor, Tensor]:
    return crowd(seed), torch.tensor([int(label) for label in labels])


leave_one_out = Exercise(
    "00.2",
    cases=lambda seed: [
        with_labels(seed, "012012012021"),
        with_labels(seed + 7, "012012210102"),
        with_labels(seed + 14, "001122011220"),
        with_labels(seed + 21, "001122001121"),
    ],
    right=lambda x, y: hits(likeness(x), y).mean(),
    mistakes=[
        Mistake("half of it: this says which rows are right. Their share is the mean.",
                lambda x, y: hits(likeness(x), y), half_finished=True),
        Mistake("half of it: these are the neighbours' labels. Compare them with the rows' own and take the share that agrees.",
                lambda x, y: y[likeness(x).argmax(1)], half_finished=True),
        Mistake("100 %: each row has found itself. Leave it out (fill_diagonal_).", lambda x, y: torch.tensor(1.0)),
        Mistake("this is a number of rows; a share is asked for, from 0 to 1.", lambda x, y: hits(likeness(x), y).sum()),
        Mistake("this is in percent; a share is asked for, from 0 to 1.", lambda x, y: 100 * hits(likeness(x), y).mean()),
        Mistake("you compare dot products; divide each row by its length first.", lambda x, y: hits(unscaled(x), y).mean()),
        Mistake("you compare distances between the vectors as they are; divide each row by its length first.",
                lambda x, y: hits(far(x), y).mean()),
        Mistake("half of it: these are the cosines of all pairs. Where is the largest of each row, and has that row the "
                "same label?",
                lambda x, y: likeness(x), half_finished=True),
        Mistake("half of it: these are the neighbours' places. Look up their labels, and compare them with the rows' own.",
                lambda x, y: likeness(x).argmax(1), half_finished=True),
        Mistake("you compared the neighbour's place with the label; its label is labels[place].",
                lambda x, y: (likeness(x).argmax(1) == y).float().mean()),
        Mistake("you counted two neighbours of each row, and the first of them is the row itself. Leave it out, and take "
                "one.",
                lambda x, y: (y[(unit(x) @ unit(x).T).topk(2).indices] == y[:, None]).float().mean()),
        Mistake("// rounds down: a share below 1 becomes 0. Divide by /.", lambda x, y: hits(likeness(x), y).sum() // len(y)),
        Mistake("you divided by N - 1. Each row has N - 1 others, but N rows are asked.",
                lambda x, y: hits(likeness(x), y).sum() / (len(y) - 1)),
        Mistake("you divided by the number of classes; rows are counted, so divide by the number of rows.",
                lambda x, y: hits(likeness(x), y).sum() / len(y.unique())),
        Mistake("this is the share of wrong answers; the share of right ones is asked for: == instead of !=.",
                lambda x, y: 1 - hits(likeness(x), y).mean()),
        Mistake("you divided the columns by their lengths. A vector is a row: dim=1.",
                lambda x, y: hits(unscaled(x / x.norm(dim=0)), y).mean()),
        Mistake("this is how near the nearest rows are (a cosine). Asked for is how often they have the same label.",
                lambda x, y: likeness(x).max(1).values.mean()),
        Mistake("you took the farthest row: argmax of the cosine, not argmin.",
                lambda x, y: hits(-unit(x) @ unit(x).T, y).mean()),
    ],
    hints=["All cosines at once: unit @ unit.T is (N N); itself is on the diagonal.",
           "labels[likeness.argmax(dim=1)] are the neighbours' labels."],
    minutes=10,
)  # fmt: skip
