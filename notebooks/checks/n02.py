"""02 The objective by hand: targets, the moving centre, the cross-entropy between views."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div, log_softmax

from dino_core.objective.terms import cross_view
from notebooks.exercises import Exercise, Mistake, Symptom


def scores(seed: int, *shape: int) -> Tensor:
    """Cosines, as a head gives them."""
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed + 20)) * 1.2 - 0.6


def rows_sum_to_one(p: Any) -> bool:
    return torch.allclose(p.sum(-1), torch.ones(p.shape[:-1]), atol=1e-4)


def centred(logits: Tensor, centre: Tensor, temperature: float) -> Tensor:
    return ((logits - centre) / temperature).softmax(-1)


targets_of = Exercise(
    "02.1",
    cases=lambda seed: [
        (scores(seed, 3, 4), scores(seed + 1, 4), 0.04),
        (scores(seed + 2, 2, 3, 6), scores(seed + 3, 6), 0.1),
    ],
    right=centred,
    mistakes=[
        Mistake("half of it: the scores are centred and sharpened, but they are not probabilities yet. Take the softmax.",
                lambda x, c, t: (x - c) / t, half_finished=True),
        Mistake("you divided by the temperature before subtracting the centre. The centre is a mean of scores, so it is "
                "subtracted from scores: (score - centre) / temperature.",
                lambda x, c, t: (x / t - c).softmax(-1)),
        Mistake("you added the centre. It is subtracted: what every image likes shall count for nothing.",
                lambda x, c, t: ((x + c) / t).softmax(-1)),
        Mistake("you left out the centre, or made it one number for all prototypes, which a softmax does not notice.",
                lambda x, c, t: (x / t).softmax(-1)),
        Mistake("you left out the temperature.", lambda x, c, t: (x - c).softmax(-1)),
        Mistake("you multiplied by the temperature. Dividing by a small number sharpens, multiplying flattens.",
                lambda x, c, t: ((x - c) * t).softmax(-1)),
        Mistake("your softmax runs over the first axis. It runs over prototypes, the last axis (dim=-1).",
                lambda x, c, t: ((x - c) / t).softmax(0)),
        Mistake("you returned log-probabilities (log_softmax). Targets are probabilities.",
                lambda x, c, t: ((x - c) / t).log_softmax(-1)),
        Mistake("you subtracted the mean of these scores. The centre is given: a mean over many batches.",
                lambda x, c, t: ((x - x.mean(0)) / t).softmax(-1)),
        Mistake("without brackets only the centre is divided by the temperature: (logits - centre) / temperature.",
                lambda x, c, t: (x - c / t).softmax(-1)),
        Mistake("you divided by the sum, but scores may be negative, and so would be your probabilities: take the "
                "softmax.",
                lambda x, c, t: (x - c) / (x - c).sum(-1, keepdim=True)),
        Mistake("half of it: these are the exponentials. Divide each row by its sum, and it is a softmax.",
                lambda x, c, t: ((x - c) / t).exp(), half_finished=True),
        Mistake("you divided by the sum of all; each row has a sum of its own: sum(dim=-1, keepdim=True).",
                lambda x, c, t: ((x - c) / t).exp() / ((x - c) / t).exp().sum()),
        Mistake("you took the sigmoid of each score by itself. Prototypes compete: softmax.",
                lambda x, c, t: ((x - c) / t).sigmoid()),
        Mistake("the centre is subtracted from scores, before the softmax; you subtracted it from probabilities.",
                lambda x, c, t: (x / t).softmax(-1) - c),
        Mistake("the temperature divides scores, inside the softmax; you divided the probabilities.",
                lambda x, c, t: (x - c).softmax(-1) / t),
        Mistake("your softmax runs over axis 1, which is not the last one where there are views: dim=-1.",
                lambda x, c, t: ((x - c) / t).softmax(1)),
    ],
    symptoms=[Symptom("the rows of your result do not sum to 1, so they are no probabilities. The softmax over prototypes, dim=-1, "
                      "comes last.",
                      lambda p, *_: not rows_sum_to_one(p))],
    hints=[
        "Three things happen to a row of scores, in the order of section 3: one subtraction, one division, one softmax.",
        "`logits - centre` works for any leading axes: (... K) minus (K).",
        "((logits - centre) / temperature).softmax(dim=...) over the axis of prototypes, which is the last.",
    ],
    praise="right, for (B K) and (T B K) alike.",
)  # fmt: skip


def both(x: Tensor, c: Tensor, t: float = 0.04, m: float = 0.9) -> tuple[Tensor, Tensor]:
    return centred(x, c, t), m * c + (1 - m) * x.mean((0, 1))


def moved_first(x: Tensor, c: Tensor, t: float = 0.04, m: float = 0.9) -> tuple[Tensor, Tensor]:
    after = both(x, c, t, m)[1]
    return centred(x, after, t), after


teachers_side = Exercise(
    "02.2",
    cases=lambda seed: [
        (scores(seed, 2, 3, 4), scores(seed + 1, 4), 0.04, 0.9),
        (scores(seed + 2, 2, 2, 5), scores(seed + 3, 5), 0.07, 0.99),
    ],
    right=both,
    mistakes=[
        Mistake("you wrote 0.04 and 0.9 into your function; take the temperature and the momentum that you are given.",
                lambda x, c, t, m: both(x, c, 0.04, 0.9)),
        Mistake("half of it: the targets are right. Return the centre of the next step beside them.",
                lambda x, c, t, m: centred(x, c, t), half_finished=True),
        Mistake("half of it: the targets are right, but the centre you return is the old one; it has to move.",
                lambda x, c, t, m: (centred(x, c, t), c), half_finished=True),
        Mistake("the centre was updated before it was used: the targets of a step read the centre from before that step.",
                moved_first),
        Mistake("the momentum is the wrong way round: m = 0.9 keeps nine tenths of the old centre.",
                lambda x, c, t, m: (centred(x, c, t), (1 - m) * c + m * x.mean((0, 1)))),
        Mistake("you averaged the targets. The centre is a mean of scores (logits), before centre, temperature and softmax.",
                lambda x, c, t, m: (centred(x, c, t), m * c + (1 - m) * centred(x, c, t).mean((0, 1)))),
        Mistake("you averaged the centred scores. The new mean is of the scores as they are; otherwise the centre follows "
                "the distance to itself.",
                lambda x, c, t, m: (centred(x, c, t), m * c + (1 - m) * (x - c).mean((0, 1)))),
        Mistake("you returned the mean of this batch alone: the centre is a moving average, m·centre + (1 - m)·mean.",
                lambda x, c, t, m: (centred(x, c, t), x.mean((0, 1)))),
        Mistake("you averaged over images only. Both views count: the mean runs over the axes T and B.",
                lambda x, c, t, m: (centred(x, c, t), m * c + (1 - m) * x.mean(1))),
        Mistake("you centred the targets by dividing before subtracting: (score - centre) / temperature, in this order.",
                lambda x, c, t, m: ((x / t - c).softmax(-1), both(x, c, t, m)[1])),
        Mistake("you averaged over prototypes too: every prototype has a centre of its own. The mean runs over the axes T and B.",
                lambda x, c, t, m: (centred(x, c, t), m * c + (1 - m) * x.mean())),
        Mistake("half of it: this is the next centre. Return the targets before it.",
                lambda x, c, t, m: both(x, c, t, m)[1], half_finished=True),
        Mistake("half of it: your targets are no probabilities yet: the softmax is missing.",
                lambda x, c, t, m: ((x - c) / t, both(x, c, t, m)[1]), half_finished=True),
        Mistake("you summed the scores over views and images; the centre moves towards their mean.",
                lambda x, c, t, m: (centred(x, c, t), m * c + (1 - m) * x.sum((0, 1)))),
        Mistake("you divided the scores by the temperature before averaging them. The centre is a mean of scores as they "
                "are.",
                lambda x, c, t, m: (centred(x, c, t), m * c + (1 - m) * (x / t).mean((0, 1)))),
        Mistake("the old centre comes in whole: the two shares, m and 1 - m, must sum to 1.",
                lambda x, c, t, m: (centred(x, c, t), c + (1 - m) * x.mean((0, 1)))),
        Mistake("both got the share 1 - m; the old centre's is m.",
                lambda x, c, t, m: (centred(x, c, t), (1 - m) * (c + x.mean((0, 1))))),
        Mistake("you took the median of the scores; the centre is a mean.",
                lambda x, c, t, m: (centred(x, c, t), m * c + (1 - m) * x.flatten(0, 1).median(0).values)),
        Mistake("your softmax runs over views. It runs over prototypes, the last axis (dim=-1).",
                lambda x, c, t, m: (((x - c) / t).softmax(0), both(x, c, t, m)[1])),
        Mistake("your softmax runs over images. It runs over prototypes, the last axis (dim=-1).",
                lambda x, c, t, m: (((x - c) / t).softmax(1), both(x, c, t, m)[1])),
        Mistake("you glued both together; return two things, with a comma between them.",
                lambda x, c, t, m: torch.cat([centred(x, c, t).flatten(), both(x, c, t, m)[1]])),
    ],
    hints=[
        "Two lines: what is read, then what is written. Section 8 has both.",
        "The targets are those of 02.1 with the centre you were given.",
        "`logits.mean(dim=(0, 1))` is the mean over views and images; it moves the centre by 1 - momentum.",
    ],
    praise="right: read first, written afterwards.",
)  # fmt: skip


def whole(s: Tensor, t: Tensor, c: Tensor, warm: float = 0.1, cold: float = 0.04) -> Tensor:
    return cross_view(s, centred(t, c, cold), warm)


def pairs_of(s: Tensor, t: Tensor, c: Tensor, warm: float = 0.1, cold: float = 0.04) -> Tensor:
    return -torch.einsum("sbk,tbk->st", log_softmax(s / warm, -1), centred(t, c, cold)) / s.shape[1]


def off_diagonal(pairs: Tensor) -> Tensor:
    return pairs * torch.ones_like(pairs).fill_diagonal_(0)


def reverse(s: Tensor, t: Tensor, c: Tensor, warm: float = 0.1, cold: float = 0.04) -> Tensor:
    """Cross-entropy with the two sides exchanged."""
    pairs = (
        -torch.einsum("sbk,tbk->st", (s / warm).softmax(-1), ((t - c) / cold).log_softmax(-1))
        / s.shape[1]
    )
    return off_diagonal(pairs).sum() / (pairs.numel() - len(t))


def over_images(s: Tensor, t: Tensor, c: Tensor, warm: float, cold: float) -> Tensor:
    targets, log_p = ((t - c) / cold).softmax(1), log_softmax(s / warm, 1)
    pairs = -torch.einsum("sbk,tbk->st", log_p, targets) / s.shape[1]
    return off_diagonal(pairs).sum() / (pairs.numel() - len(t))


def divergence(s: Tensor, t: Tensor, c: Tensor, warm: float = 0.1, cold: float = 0.04) -> Tensor:
    p = centred(t, c, cold)
    negative_entropy = (p * ((t - c) / cold).log_softmax(-1)).sum(-1).mean(-1)  # T
    pairs = pairs_of(s, t, c, warm, cold) + negative_entropy
    return off_diagonal(pairs).sum() / (pairs.numel() - len(t))


def of(log_p: Tensor, targets: Tensor) -> Tensor:
    """The mean over pairs of different views of -Σ target · log_p, whatever these are."""
    pairs = -torch.einsum("sbk,tbk->st", log_p, targets) / log_p.shape[1]
    return off_diagonal(pairs).sum() / (pairs.numel() - len(targets))


def by_pair(s: Tensor, t: Tensor, one: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """The mean of another loss over pairs of different views."""
    return torch.stack(
        [one(s[i], t[j]) for i in range(len(s)) for j in range(len(t)) if i != j]
    ).mean()


objective = Exercise(
    "02.3",
    cases=lambda seed: [
        (scores(seed, 4, 3, 5), scores(seed + 1, 2, 3, 5), scores(seed + 2, 5) / 3, 0.1, 0.04),
        (scores(seed + 3, 2, 2, 4), scores(seed + 4, 2, 2, 4), scores(seed + 5, 4) / 3, 0.2, 0.07),
    ],
    right=whole,
    mistakes=[
        Mistake("half of it: this is the matrix of losses of each pair (S T). Leave out a view with itself, and take the mean.",
                pairs_of, half_finished=True),
        Mistake("you centred the student. The centre belongs to the teacher alone; the student's distribution is "
                "softmax(score / 0.1). Centred too, the student could not learn what the centre takes away.",
                lambda s, t, c, w, k: whole(s - c, t, c, w, k)),
        Mistake("you forgot the centre of the teacher.", lambda s, t, c, w, k: whole(s, t, 0 * c, w, k)),
        Mistake("you divided by the temperature before subtracting the centre.",
                lambda s, t, c, w, k: cross_view(s, (t / k - c).softmax(-1), w)),
        Mistake("you exchanged the temperatures: 0.04 is the teacher's, whose targets shall be the sharper ones.",
                lambda s, t, c, w, k: whole(s, t, c, k, w)),
        Mistake("you used the student's temperature for both: the teacher is not sharpened.",
                lambda s, t, c, w, k: whole(s, t, c, w, w)),
        Mistake("you kept the pairs of a view with itself. The student would be asked to copy what the teacher says of the "
                "same crop.", lambda s, t, c, w, k: pairs_of(s, t, c, w, k).mean()),
        Mistake("you left the pairs of a view with itself out of the sum and counted them in the mean: divide by the number "
                "of pairs that are left.", lambda s, t, c, w, k: off_diagonal(pairs_of(s, t, c, w, k)).mean()),
        Mistake("you summed over images; the loss is the mean over images and pairs.",
                lambda s, t, c, w, k: whole(s, t, c, w, k) * s.shape[1]),
        Mistake("you summed over pairs; the loss is the mean over pairs and images.",
                lambda s, t, c, w, k: off_diagonal(pairs_of(s, t, c, w, k)).sum()),
        Mistake("you exchanged the two sides of the cross-entropy: the logarithm is of the student, the weights are the "
                "teacher's.", reverse),
        Mistake("this is KL(teacher || student). The loss is the cross-entropy, KL + H. Their gradients are equal, but the "
                "number that is logged is the cross-entropy.", divergence),
        Mistake("the sign: a cross-entropy is positive.", lambda s, t, c, w, k: -whole(s, t, c, w, k)),
        Mistake("you averaged over prototypes too; they are summed over: divide by images and pairs, not by K.",
                lambda s, t, c, w, k: whole(s, t, c, w, k) / s.shape[2]),
        Mistake("you compared each view with itself, and with nothing else: these are the very pairs to leave out.",
                lambda s, t, c, w, k: pairs_of(s, t, c, w, k).diagonal().mean()),
        Mistake("only the local views predict in yours. The global ones do, too: each predicts the other.",
                lambda s, t, c, w, k: pairs_of(s, t, c, w, k)[len(t) :].sum() / max(1, (len(s) - len(t)) * len(t))),
        Mistake("your softmax runs over images. It runs over prototypes, the last axis (dim=-1).",
                lambda s, t, c, w, k: over_images(s, t, c, w, k)),
        Mistake("the logarithm is missing: the student's side is the logarithm of its softmax.",
                lambda s, t, c, w, k: of((s / w).softmax(-1), centred(t, c, k))),
        Mistake("you took a softmax of the student's softmax: log_softmax takes the scores themselves.",
                lambda s, t, c, w, k: of(log_softmax((s / w).softmax(-1), -1), centred(t, c, k))),
        Mistake("you took a second softmax of the targets: they are probabilities already.",
                lambda s, t, c, w, k: of(log_softmax(s / w, -1), centred(t, c, k).softmax(-1))),
        Mistake("your targets are scores; they have to be probabilities: softmax((teacher - centre) / temperature).",
                lambda s, t, c, w, k: of(log_softmax(s / w, -1), (t - c) / k)),
        Mistake("you compared the scores by their squared difference; the loss is a cross-entropy of distributions.",
                lambda s, t, c, w, k: by_pair(s, t, lambda a, b: (a - b).square().mean())),
        Mistake("you compared the probabilities by their squared difference; the loss is a cross-entropy.",
                lambda s, t, c, w, k: by_pair((s / w).softmax(-1), centred(t, c, k), lambda a, b: (a - b).square().mean())),
        Mistake("you used hard labels (argmax): that throws away what the teacher says of all other prototypes.",
                lambda s, t, c, w, k: by_pair(s / w, centred(t, c, k), lambda a, b: cross_entropy(a, b.argmax(-1)))),
        Mistake("cross_entropy takes the student's scores first and the targets second; yours are the other way round.",
                lambda s, t, c, w, k: by_pair((s / w).softmax(-1), centred(t, c, k), lambda a, b: cross_entropy(b, a))),
        Mistake("only the global views predict in yours; the local ones do, too.",
                lambda s, t, c, w, k: whole(s[: len(t)], t, c, w, k)),
        Mistake("you took only the pairs whose student's view comes later; all different ones count.",
                lambda s, t, c, w, k: pairs_of(s, t, c, w, k)[torch.ones(len(s), len(t)).tril(-1).bool()].mean()),
        Mistake("you left out the wrong pairs: the *first* student views are those the teacher saw.",
                lambda s, t, c, w, k: of(log_softmax(s / w, -1).flip(0), centred(t, c, k).flip(0))),
        Mistake("T pairs are left out, one for each of the teacher's views; you divided as if there were S of them.",
                lambda s, t, c, w, k: off_diagonal(pairs_of(s, t, c, w, k)).sum() / max(1, len(s) * len(t) - len(s))),
        Mistake("you summed over images and pairs; the loss is the mean over both.",
                lambda s, t, c, w, k: off_diagonal(pairs_of(s, t, c, w, k)).sum() * s.shape[1]),
        Mistake("you summed over images and forgot the minus: a cross-entropy is positive, and a mean over images.",
                lambda s, t, c, w, k: -whole(s, t, c, w, k) * s.shape[1]),
        Mistake("your student's softmax runs over images. It runs over prototypes, the last axis (dim=-1).",
                lambda s, t, c, w, k: of(log_softmax(s / w, 1), centred(t, c, k))),
        Mistake("this is the teacher's own entropy; the student plays no part in it.",
                lambda s, t, c, w, k: torch.special.entr(centred(t, c, k)).sum(-1).mean()),
        Mistake("kl_div averages over prototypes too unless told otherwise, and leaves the entropy out. Write the sum "
                "yourself.",
                lambda s, t, c, w, k: by_pair(log_softmax(s / w, -1), centred(t, c, k),
                                                lambda a, b: kl_div(a, b, reduction="sum") / a.numel())),
        Mistake("you added up over the student's views; the loss is the mean over pairs.",
                lambda s, t, c, w, k: whole(s, t, c, w, k) * len(s)),
    ],
    symptoms=[Symptom("the loss is one number; your result has axes left over.", lambda loss, *_: loss.ndim > 0)],
    hints=[
        "Targets first (02.1), then the student's log_softmax, then the matrix of pairs of section 5.",
        'torch.einsum("sbk,tbk->st", log_p, targets) sums over images and prototypes; what is left is a pair.',
        "`torch.ones_like(pairs).fill_diagonal_(0)` marks the pairs of different views. Divide the sum by their number.",
    ],
    minutes=15,
    praise="right: this is dino_core.objective.terms.cross_view on centred targets.",
)  # fmt: skip
