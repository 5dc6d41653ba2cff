"""07 DINOv2: masked patches, KoLeo, Sinkhorn."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import log_softmax, normalize

from dino_core.objective.targets import sinkhorn
from dino_core.objective.terms import koleo, masked_patch
from notebooks.exercises import Exercise, Mistake, Symptom


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed + 70))


def hidden(*rows: str) -> Tensor:
    return torch.tensor([[mark == "x" for mark in row] for row in rows])


def case(seed: int, masks: Tensor, prototypes: int) -> tuple[Tensor, Tensor, Tensor, float]:
    many = int(masks.sum())
    return (
        0.3 * drawn(seed, many, prototypes),
        (2 * drawn(seed + 1, many, prototypes)).softmax(-1),
        masks,
        0.1,
    )


def each(s: Tensor, t: Tensor, temperature: float) -> Tensor:
    return -(t * log_softmax(s / temperature, -1)).sum(-1)


ibot = Exercise(
    "07.1",
    cases=lambda seed: [
        case(seed, hidden("x.xx", ".x..", "...."), 5),
        case(seed + 2, hidden("xx....", "..x.x.", "......", "xxx..."), 3),
    ],
    right=lambda s, t, m, w: masked_patch(s, t, m, w),
    mistakes=[
        Mistake("half of it: these are the cross-entropies of the hidden patches. Weigh them by their crop, and add up.",
                lambda s, t, m, w: each(s, t, w), half_finished=True),
        Mistake("every hidden patch counts alike in your mean; every crop shall. A crop's patches share its weight: 1/n_v each.",
                lambda s, t, m, w: each(s, t, w).mean()),
        Mistake("you divided by the crops that hide something; crops without a mask count in V too.",
                lambda s, t, m, w: masked_patch(s, t, m, w) * len(m) / (m.sum(1) > 0).sum()),
        Mistake("you summed over crops; the loss is divided by their number V.",
                lambda s, t, m, w: masked_patch(s, t, m, w) * len(m)),
        Mistake("you forgot the student's temperature.", lambda s, t, m, w: masked_patch(s, t, m, 1.0)),
        Mistake("the sign: a cross-entropy is positive.", lambda s, t, m, w: -masked_patch(s, t, m, w)),
        Mistake("you divided by the number of patches N of a crop, not by how many of them are hidden.",
                lambda s, t, m, w: each(s, t, w).sum() / m.numel()),
        Mistake("you averaged over prototypes; they are summed over.", lambda s, t, m, w: masked_patch(s, t, m, w) / s.shape[1]),
        Mistake("you summed over all hidden patches: weigh them by their crop, 1/n_v each, and divide by the crops V.",
                lambda s, t, m, w: each(s, t, w).sum()),
        Mistake("you weighed by n_v; a crop's patches *share* its weight, 1/n_v each.",
                lambda s, t, m, w: (each(s, t, w) * torch.repeat_interleave(m.sum(1), m.sum(1))).sum() / len(m)),
        Mistake("you took the softmax of the targets: they are probabilities already.",
                lambda s, t, m, w: masked_patch(s, t.softmax(-1), m, w)),
        Mistake("you exchanged the two sides: the logarithm is of the student, the weights are the targets.",
                lambda s, t, m, w: (-((s / w).softmax(-1) * t.log()).sum(-1)
                * torch.repeat_interleave(1 / m.sum(1), m.sum(1))).sum() / len(m)),
    ],
    symptoms=[Symptom("the loss is one number; your result has axes left over.", lambda loss, *_: loss.ndim > 0)],
    hints=["First the cross-entropy of each hidden patch (M), as in section 1.",
           "`masks.sum(dim=1)` says how many each crop hides, and `torch.repeat_interleave(1 / hidden, hidden)` gives weights.",
           "(each * weight).sum() / len(masks)"],
    minutes=10,
    praise="right: this is dino_core.objective.terms.masked_patch.",
)  # fmt: skip


def distances(x: Tensor) -> Tensor:
    """(B B), infinite on the diagonal."""
    return torch.cdist(x, x) + torch.diag(torch.full((len(x),), torch.inf))


def unit(x: Tensor) -> Tensor:
    return normalize(x, dim=-1)


spread_out = Exercise(
    "07.2",
    cases=lambda seed: [(3 * drawn(seed, 5, 3),), (drawn(seed + 1, 8, 4) + 1,)],
    right=lambda x: koleo(x),
    mistakes=[
        Mistake("half of it: these are the distances to the nearest. Take minus the mean of their logarithms.",
                lambda x: distances(unit(x)).min(1).values, half_finished=True),
        Mistake("you left the points where they are; their lengths must not count: scale them to length one first.",
                lambda x: -distances(x).min(1).values.log().mean()),
        Mistake("the sign: minus the logarithm, so that a small loss means far apart.",
                lambda x: distances(unit(x)).min(1).values.log().mean()),
        Mistake("you took the mean over all others; only the nearest one counts.",
                lambda x: -torch.stack([d[d.isfinite()].log().mean() for d in distances(unit(x))]).mean()),
        Mistake("you took the farthest.", lambda x: -torch.cdist(unit(x), unit(x)).max(1).values.log().mean()),
        Mistake("you used squared distances: that doubles the loss.",
                lambda x: -distances(unit(x)).min(1).values.square().log().mean()),
        Mistake("you summed over images; the loss is their mean.", lambda x: -distances(unit(x)).min(1).values.log().sum()),
        Mistake("the logarithm belongs inside the mean: each image's distance counts by its logarithm.",
                lambda x: -distances(unit(x)).min(1).values.mean().log()),
        Mistake("you used 1 - cosine: that is half the squared distance.",
                lambda x: -(distances(unit(x)).min(1).values.square() / 2).log().mean()),
        Mistake("you scaled each feature over images (dim=0); a class token is a row, dim=-1.",
                lambda x: -distances(normalize(x, dim=0)).min(1).values.log().mean()),
        Mistake("you took the smallest of all distances; each image has a nearest one.", lambda x: -distances(unit(x)).min().log()),
        Mistake("you forgot the logarithm.", lambda x: -distances(unit(x)).min(1).values.mean()),
    ],
    symptoms=[Symptom("infinite: is each image its own nearest neighbour? Leave the diagonal out.",
                      lambda loss, *_: bool(torch.isinf(loss).any()))],
    hints=["Length one, all distances, the smallest of each row but its own.",
           "Put infinity on the diagonal before `.min(dim=1).values`.", "-others.min(dim=1).values.log().mean()"],
    minutes=10,
    praise="right: this is dino_core.objective.terms.koleo.",
)  # fmt: skip


def turned(x: Tensor, t: float, turns: int, rows_first: bool = False, flat: bool = False) -> Tensor:
    q = (x / t).exp()
    for _ in range(turns):
        for axis in (1, 0) if rows_first else (0, 1):
            q = q / q.sum(axis, keepdim=True) / (1 if flat else q.shape[1 - axis])
    return q


def plain(q: Tensor, turns: int) -> Tensor:
    """Rows and columns by turns, of any numbers."""
    for _ in range(turns):
        q = q / q.sum(0, keepdim=True) / q.shape[1]
        q = q / q.sum(1, keepdim=True) / q.shape[0]
    return q * q.shape[0]


balanced = Exercise(
    "07.3",
    cases=lambda seed: [(drawn(seed, 4, 3) * 0.1, 0.1, 3), (drawn(seed + 1, 5, 6) * 0.2, 0.2, 1)],
    right=lambda x, t, n: sinkhorn(x, t, n),
    mistakes=[
        Mistake("half of it: the rows have mass 1/B. Multiply by B, so that each image gets a distribution.",
                lambda x, t, n: turned(x, t, n), half_finished=True),
        Mistake("you did the rows first and the columns last, so the rows do not sum to 1.",
                lambda x, t, n: turned(x, t, n, rows_first=True) * len(x)),
        Mistake("this is the softmax: the columns were never balanced.", lambda x, t, n: (x / t).softmax(1)),
        Mistake("you balanced the columns only, once.", lambda x, t, n: (x / t).softmax(0)),
        Mistake("you forgot the temperature.", lambda x, t, n: sinkhorn(x, 1.0, n)),
        Mistake("you did one turn too many.", lambda x, t, n: sinkhorn(x, t, n + 1)),
        Mistake("you forgot the exponential: masses are exp(logit / temperature), and never negative.",
                lambda x, t, n: plain(x / t, n)),
        Mistake("you balanced the columns only, and the rows once at the end: both belong into each turn.",
                lambda x, t, n: turned(x, t, 1) * len(x) if n > 1 else torch.full_like(x, torch.inf)),
    ],
    symptoms=[Symptom("the rows of your result do not sum to 1.",
                      lambda q, *_: not torch.allclose(q.sum(-1), torch.ones(len(q)), atol=1e-4))],
    hints=["Section 3 is the loop.", "Columns: `q / q.sum(dim=0, keepdim=True) / q.shape[1]`. Rows: the same along dim=1.",
           "After the turns, multiply by q.shape[0]."],
    minutes=10,
    praise="right: this is dino_core.objective.targets.sinkhorn (which also works on many GPUs, and in logarithms).",
)  # fmt: skip
