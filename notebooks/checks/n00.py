"""00 A tour: nearest neighbours."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from notebooks.exercises import Exercise, Mistake


def likeness(vectors: Tensor) -> Tensor:
    """Cosines between rows, minus infinity for a row with itself."""
    unit = F.normalize(vectors, dim=1)
    return (unit @ unit.T).masked_fill(torch.eye(len(vectors), dtype=torch.bool), -torch.inf)


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


nearest = Exercise(
    "00.1",
    cases=lambda seed: [(crowd(seed), index) for index in range(12)],
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
    ],
    hints=["Section 2 divides each row by its length first; then one product gives all cosines.",
           "unit @ unit[index] are the cosines. Before argmax, put -torch.inf at place `index`."],
    praise="right, and itself left out.",
)  # fmt: skip


def hits(scores: Tensor, labels: Tensor) -> Tensor:
    return (labels[scores.argmax(1)] == labels).float()


def with_labels(seed: int) -> tuple[Tensor, Tensor]:
    return crowd(seed), torch.tensor([0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 2, 1])


leave_one_out = Exercise(
    "00.2",
    cases=lambda seed: [with_labels(seed), with_labels(seed + 7)],
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
    ],
    hints=["All cosines at once: unit @ unit.T is (N N); itself is on the diagonal.",
           "labels[likeness.argmax(dim=1)] are the neighbours' labels."],
    minutes=10,
)  # fmt: skip
