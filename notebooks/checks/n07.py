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


def case(
    seed: int, masks: Tensor, prototypes: int, temperature: float
) -> tuple[Tensor, Tensor, Tensor, float]:
    many = int(masks.sum())
    return (
        0.3 * drawn(seed, many, prototypes),
        (2 * drawn(seed + 1, many, prototypes)).softmax(-1),
        masks,
        temperature,
    )


def each(s: Tensor, t: Tensor, temperature: float) -> Tensor:
    return -(t * log_softmax(s / temperature, -1)).sum(-1)


def shared(each_patch: Tensor, masks: Tensor) -> Tensor:
    """Each crop's hidden patches share its weight, 1/V."""
    return (each_patch * torch.repeat_interleave(1 / masks.sum(1), masks.sum(1))).sum() / len(masks)


def crossed(log_p: Tensor, targets: Tensor) -> Tensor:
    return -(targets * log_p).sum(-1)


ibot = Exercise(
    "07.1",
    cases=lambda seed: [
        case(seed, hidden("x.xx", ".x..", "...."), 5, 0.1),
        case(seed + 2, hidden("xx....", "..x.x.", "......", "xxx..."), 3, 0.2),
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
        Mistake("half of it: these are weighed, but only averaged over patches. Sum them, and divide by the crops V.",
                lambda s, t, m, w: (each(s, t, w) * torch.repeat_interleave(1 / m.sum(1), m.sum(1))).mean(), half_finished=True),
        Mistake("the logarithm is missing: the student's side is the logarithm of its softmax.",
                lambda s, t, m, w: shared(crossed((s / w).softmax(-1), t), m)),
        Mistake("your softmax runs over patches. It runs over prototypes, the last axis (dim=-1).",
                lambda s, t, m, w: shared(crossed(log_softmax(s / w, 0), t), m)),
        Mistake("you took a softmax of the student's softmax: log_softmax takes the scores themselves.",
                lambda s, t, m, w: shared(crossed(log_softmax((s / w).softmax(-1), -1), t), m)),
        Mistake("you gave every crop the sum over its patches; its patches share its weight: 1/n_v each.",
                lambda s, t, m, w: each(s, t, w).sum() / len(m)),
        Mistake("you counted the hidden ones in each column; a crop is a row of masks: masks.sum(dim=1).",
                lambda s, t, m, w: (each(s, t, w) * torch.repeat_interleave(1 / m.sum(0).clamp(min=1), m.sum(0))).sum() / len(m)),
        Mistake("you divided by the visible patches of a crop; its hidden ones share its weight.",
                lambda s, t, m, w: (each(s, t, w) * torch.repeat_interleave(1 / (~m).sum(1), m.sum(1))).sum() / len(m)),
        Mistake("you divided by the patches N of a crop, in the end; it is divided by the number of crops V.",
                lambda s, t, m, w: shared(each(s, t, w), m) * len(m) / m.shape[1]),
        Mistake("you divided by V twice.", lambda s, t, m, w: shared(each(s, t, w), m) / len(m)),
        Mistake("the targets are finished probabilities; you took a temperature and a softmax of them again.",
                lambda s, t, m, w: shared(each(s, (t / w).softmax(-1), w), m)),
        Mistake("this is KL(targets || student); the loss is the cross-entropy, KL + H.",
                lambda s, t, m, w: shared(each(s, t, w) - torch.special.entr(t).sum(-1), m)),
        Mistake("you compared scores and targets by their squared difference; the loss is a cross-entropy.",
                lambda s, t, m, w: (s - t).square().mean()),
        Mistake("you divided the log-probabilities by the temperature; it divides the scores, inside the softmax.",
                lambda s, t, m, w: shared(each(s, t, 1.0) / w, m)),
        Mistake("you took the root of the weights 1/n_v.",
                lambda s, t, m, w: (each(s, t, w) * torch.repeat_interleave(m.sum(1) ** -0.5, m.sum(1))).sum() / len(m)),
        Mistake("you used hard labels (argmax): that throws away what the targets say of all other prototypes.",
                lambda s, t, m, w: shared(-log_softmax(s / w, -1).gather(1, t.argmax(-1, keepdim=True))[:, 0], m)),
        Mistake("the logarithm is outside your sum; it is of each probability of the student.",
                lambda s, t, m, w: shared(-(t * (s / w).softmax(-1)).sum(-1).log(), m)),
        Mistake("every weight went to every patch (broadcasting): a patch has the weight of its own crop, "
                "torch.repeat_interleave.",
                lambda s, t, m, w: (each(s, t, w)[None] / m.sum(1).clamp(min=1)[:, None]).sum() / len(m)),
        Mistake("you averaged over prototypes and patches together: sum over prototypes, and each crop's patches share "
                "its weight.",
                lambda s, t, m, w: each(s, t, w).mean() / s.shape[1]),
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
    return alone(torch.cdist(x, x))


def alone(table: Tensor) -> Tensor:
    """Without each row itself: infinite on the diagonal."""
    return table + torch.diag(torch.full((len(table),), torch.inf))


def unit(x: Tensor) -> Tensor:
    return normalize(x, dim=-1)


spread_out = Exercise(
    "07.2",
    cases=lambda seed: [(3 * drawn(seed, 5, 3),), (drawn(seed + 1, 8, 4) + 1,), (torch.eye(3) + 0.1 * drawn(seed, 3, 3),)],
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
        Mistake("each image is its own nearest in yours, and what you add against ln 0 hides it. Put infinity on the "
                "diagonal.",
                lambda x: -(torch.cdist(unit(x), unit(x)).min(1).values + 1e-8).log().mean()),
        Mistake("you put 1 on the diagonal; where all others are farther than 1, an image is nearest to itself. Put "
                "infinity there.",
                lambda x: -(torch.cdist(unit(x), unit(x)) + torch.eye(len(x))).min(1).values.log().mean()),
        Mistake("this is the largest cosine; asked is the distance of the nearest, and its logarithm.",
                lambda x: -(unit(x) @ unit(x).T - 3 * torch.eye(len(x))).max(1).values.mean()),
        Mistake("you took the logarithm of the cosine; it is of the distance, √(2 - 2 cosine).",
                lambda x: -(unit(x) @ unit(x).T - 3 * torch.eye(len(x))).max(1).values.log().mean()),
        Mistake("you added up absolute differences; the distance is the root of the sum of squares.",
                lambda x: -alone(torch.cdist(unit(x), unit(x), p=1)).min(1).values.log().mean()),
        Mistake("you divided by one length of all; each class token has its own: dim=-1, keepdim=True.",
                lambda x: -distances(x / x.norm()).min(1).values.log().mean()),
        Mistake("ln(1 + d) hardly punishes what is near; ln d grows without bound there.",
                lambda x: -distances(unit(x)).min(1).values.log1p().mean()),
        Mistake("you took the exponential of minus the distance; minus its logarithm is asked for.",
                lambda x: (-distances(unit(x)).min(1).values).exp().mean()),
        Mistake("you took 1/d; minus ln d is asked for.", lambda x: (1 / distances(unit(x)).min(1).values).mean()),
        Mistake("you multiplied the distance by the number of images, as the estimator of the entropy does; the loss "
                "leaves it out.",
                lambda x: -(len(x) * distances(unit(x)).min(1).values).log().mean()),
        Mistake("this is the second nearest other image: with infinity on the diagonal the nearest one comes first.",
                lambda x: -distances(unit(x)).topk(2, largest=False).values[:, 1].log().mean()),
        Mistake("topk takes the largest unless told otherwise: largest=False.",
                lambda x: -torch.cdist(unit(x), unit(x)).topk(2).values[:, 1].log().mean()),
        Mistake("you took the angle; the distance is the straight line.",
                lambda x: -alone((unit(x) @ unit(x).T).clamp(-1, 1).arccos()).min(1).values.log().mean()),
        Mistake("you looked for the nearest among later images only; all others count.",
                lambda x: -torch.stack([torch.cdist(unit(x), unit(x))[i, i + 1 :].min() for i in range(len(x) - 1)]).log().mean()),
        Mistake("you divided by B - 1; the mean is over all B images.",
                lambda x: -distances(unit(x)).min(1).values.log().sum() / (len(x) - 1)),
        Mistake("you divided by the *squared* length; that does not make it one.",
                lambda x: -distances(x / x.square().sum(1, keepdim=True)).min(1).values.log().mean()),
        Mistake("you took the median over images; the mean is asked for.",
                lambda x: -distances(unit(x)).min(1).values.log().median()),
    ],
    symptoms=[Symptom("infinite, for ln 0 or ln ∞: leave each image itself out (∞ on the diagonal), take the smallest, then the "
                      "logarithm.",
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


def rows_first(x: Tensor, t: float, turns: int) -> Tensor:
    """Softmax, columns, and so on, with rows once more at the end."""
    q = (x / t).softmax(1)
    for _ in range(turns):
        q = normalize(normalize(q, p=1, dim=0), p=1, dim=1)
    return q


balanced = Exercise(
    "07.3",
    cases=lambda seed: [(drawn(seed, 4, 3) * 0.1, 0.1, 3), (drawn(seed + 1, 5, 6) * 0.2, 0.2, 1),
                        (drawn(seed + 2, 3, 5) * 0.3, 0.2, 2)],
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
        Mistake("your loop ends after its first turn (is the return inside it?), or holds one step only: columns and rows both, "
                "`turns` times.",
                lambda x, t, n: turned(x, t, 1) * len(x) if n > 1 else torch.full_like(x, torch.inf)),
        Mistake("you did one turn too few.", lambda x, t, n: sinkhorn(x, t, n - 1) if n > 1 else (x / t).exp() * len(x)),
        Mistake("you began with the rows (a softmax does that, too); each turn begins with the columns of "
                "exp(logit / temperature).",
                rows_first),
        Mistake("you took the softmax before the turns, and its exponential again: one of them is enough.",
                lambda x, t, n: sinkhorn((x / t).softmax(1), 1.0, n)),
        Mistake("you subtracted the mean of each column, which is centering; Sinkhorn divides the columns of exp(logit / "
                "temperature).",
                lambda x, t, n: ((x - x.mean(0)) / t).softmax(1)),
        Mistake("at the end you multiplied by K; rows have mass 1/B, so multiply by B.",
                lambda x, t, n: turned(x, t, n) * x.shape[1]),
        Mistake("you exchanged rows and columns: logits are (B K), a column is a prototype, dim=0 sums over images.",
                lambda x, t, n: sinkhorn(x.T, t, n).T),
        Mistake("you divided all by one sum; columns and rows are balanced one after the other.",
                lambda x, t, n: (x / t).exp() / (x / t).exp().sum()),
    ],
    symptoms=[Symptom("the rows of your result do not sum to 1: rows come last in each turn, and at the end all is multiplied "
                      "by B.",
                      lambda q, *_: not torch.allclose(q.sum(-1), torch.ones(len(q)), atol=1e-4))],
    hints=["Section 3 is the loop.", "Columns: `q / q.sum(dim=0, keepdim=True) / q.shape[1]`. Rows: the same along dim=1.",
           "After the turns, multiply by q.shape[0]."],
    minutes=10,
    praise="right: this is dino_core.objective.targets.sinkhorn (which also works on many GPUs, and in logarithms).",
)  # fmt: skip
