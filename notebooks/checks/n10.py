"""10 Measuring: the neighbours' vote, effective rank, whether two numbers differ, linear CKA."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from dino_core.evaluation import knn
from dino_core.measure.spectrum import rankme
from lab.analysis import cka
from notebooks.exercises import Exercise, Mistake, Symptom


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed + 100))


def around(angles: list[float], lengths: list[float]) -> Tensor:
    """Features of two numbers: at so many degrees from the new one, so long."""
    turned = torch.tensor(angles).deg2rad()
    return torch.stack([turned.cos(), turned.sin()], 1) * torch.tensor(lengths)[:, None]


def tally(cosines: Tensor, labels: Tensor, k: int, weight: Callable[[Tensor], Tensor]) -> Tensor:
    best, place = cosines.topk(k)
    return torch.zeros(int(labels.max()) + 1).index_add_(0, labels[place], weight(best))


def votes(cosines: Tensor, labels: Tensor, k: int, weight: Callable[[Tensor], Tensor]) -> int:
    return int(tally(cosines, labels, k, weight).argmax())


def once(cosines: Tensor, labels: Tensor, k: int, temperature: float) -> int:
    """Of votes for the same label the last one counts."""
    best, place = cosines.topk(k)
    total = torch.zeros(int(labels.max()) + 1)
    total[labels[place]] += (best / temperature).exp()
    return int(total.argmax())


def cosines(x: Tensor, q: Tensor) -> Tensor:
    return normalize(x, dim=-1) @ normalize(q, dim=-1)


def scene(
    seed: int, angles: list[float], lengths: list[float], labels: list[int]
) -> tuple[Tensor, Tensor, Tensor]:
    """The same scene under another rotation: nothing but angles and lengths matters."""
    turn = torch.tensor(0.4 + seed).float()
    rotation = torch.stack(
        [torch.stack([turn.cos(), turn.sin()]), torch.stack([-turn.sin(), turn.cos()])]
    )
    return (
        around(angles, lengths) @ rotation,
        torch.tensor(labels),
        torch.tensor([2.0, 0.0]) @ rotation,
    )


def weighed(t: float) -> Callable[[Tensor], Tensor]:
    return lambda best: (best / t).exp()


def sorted_by(key: Tensor, labels: Tensor, some: slice) -> tuple[Tensor, Tensor]:
    """Some of the cosines and labels, in the order of a key, which is the cosine or minus it."""
    order = key.argsort()[some]
    return key[order] if some.start is None else -key[order], labels[order]


def shared_vote(cosine: Tensor, labels: Tensor, k: int, t: float, counted: Tensor) -> int:
    """Votes over how often each label is among those counted."""
    best, place = cosine.topk(k)
    total = torch.zeros(int(labels.max()) + 1).index_add_(0, labels[place], (best / t).exp())
    return int((total / counted.bincount(minlength=len(total)).clamp(min=1)).argmax())


def crowd(seed: int) -> list[tuple[Tensor, Tensor, Tensor, int, float]]:
    """Many small scenes by chance, with other k and temperatures: no wrong rule is right in all of them."""
    chance = torch.Generator().manual_seed(seed + 17)
    return [
        (
            torch.randn(9, 3, generator=chance) * (0.3 + 3 * torch.rand(9, 1, generator=chance)),
            torch.randint(0, 4, (9,), generator=chance),
            torch.randn(3, generator=chance),
            3 + place % 4,
            (0.07, 0.3, 1.0)[place % 3],
        )
        for place in range(40)
    ]


nearest_label = Exercise(
    "10.1",
    cases=lambda seed: [
        (*scene(seed, [2, 25, 30, 80], [1.0, 1.0, 1.0, 9.0], [0, 1, 1, 2]), 3, 0.07),  # the nearest one outweighs two
        (*scene(seed, [5, 20, 22, 24, 90], [0.2, 1.0, 1.0, 1.0, 5.0], [1, 0, 0, 0, 2]), 3, 1.0),  # two outweigh it
        (*scene(seed, [40, 41, 42, 43, 44, 45], [1.0] * 6, [2, 2, 0, 0, 0, 0]), 3, 0.07),  # only three are asked
        (*scene(seed, [10, 70, 70, 70, 170], [1.0, 1.0, 1.0, 1.0, 1.0], [1, 0, 0, 0, 2]), 3, 0.5),  # by cosine alone: a tie
        (*scene(seed, [1, 2, 3, 4, 30, 175], [1.0] * 6, [2, 1, 1, 0, 0, 0]), 5, 0.3),  # five are asked
        (*scene(seed, [5, 10, 40, 120], [1.0] * 4, [0, 1, 0, 2]), 3, 0.3),  # the first and the third against the second
        *crowd(seed),
    ],
    right=lambda x, labels, q, k, t: int(knn(x, labels, q[None], k=k, temperature=t)[0]),
    mistakes=[
        Mistake("half of it: these are the votes of each label. Return the label that has most.",
                lambda x, labels, q, k, t: torch.zeros(int(labels.max()) + 1).index_add_(
                    0, labels[cosines(x, q).topk(k).indices], (cosines(x, q).topk(k).values / t).exp()),
                half_finished=True),
        Mistake("each neighbour counts alike in your vote; it is weighed by exp(cosine / temperature).",
                lambda x, labels, q, k, t: votes(cosines(x, q), labels, k, torch.ones_like)),
        Mistake("you did not scale the features to length one: a long feature is not a near one.",
                lambda x, labels, q, k, t: votes(x @ q, labels, k, lambda w: (w / t).exp())),
        Mistake("you asked only the nearest one; k of them vote.",
                lambda x, labels, q, k, t: votes(cosines(x, q), labels, 1, lambda w: (w / t).exp())),
        Mistake("you asked all known images; only the k nearest vote.",
                lambda x, labels, q, k, t: votes(cosines(x, q), labels, len(x), lambda w: (w / t).exp())),
        Mistake("you return the place of the nearest image; its label is labels[place], and k of them vote.",
                lambda x, labels, q, k, t: int(cosines(x, q).argmax())),
        Mistake("you asked the farthest: topk gives the largest cosines, which are the nearest.",
                lambda x, labels, q, k, t: votes(-cosines(x, q), labels, k, lambda w: (w / t).exp())),
        Mistake("`votes[labels] += weights` counts a label that comes twice once. Use index_add_, or a loop.",
                lambda x, labels, q, k, t: once(cosines(x, q), labels, k, t)),
        Mistake("half of it: these are the labels of the k nearest. Let them vote, by exp(cosine / temperature).",
                lambda x, labels, q, k, t: labels[cosines(x, q).topk(k).indices], half_finished=True),
        Mistake("half of it: this is how many votes the first one has. Which label is it? argmax.",
                lambda x, labels, q, k, t: float(tally(cosines(x, q), labels, k, weighed(t)).max()), half_finished=True),
        Mistake("you multiplied by the temperature. Dividing by a small number lets the nearest count most.",
                lambda x, labels, q, k, t: votes(cosines(x, q), labels, k, lambda w: (w * t).exp())),
        Mistake("you left out the temperature: exp(cosine / temperature).",
                lambda x, labels, q, k, t: votes(cosines(x, q), labels, k, torch.exp)),
        Mistake("you weighed by the cosine; the weight is exp(cosine / temperature).",
                lambda x, labels, q, k, t: votes(cosines(x, q), labels, k, lambda w: w)),
        Mistake("you took the nearest by distance between the vectors as they are; their lengths must not count.",
                lambda x, labels, q, k, t: votes(-(x - q).norm(dim=1), labels, k, weighed(t))),
        Mistake("you wrote k = 3 into your function; it is given.",
                lambda x, labels, q, k, t: votes(cosines(x, q), labels, 3, weighed(t))),
        Mistake("you wrote a temperature of 0.07 into your function; it is given.",
                lambda x, labels, q, k, t: votes(cosines(x, q), labels, k, weighed(0.07))),
        Mistake("one neighbour too many votes in yours.",
                lambda x, labels, q, k, t: votes(cosines(x, q), labels, min(k + 1, len(x)), weighed(t))),
        Mistake("one neighbour too few votes in yours.",
                lambda x, labels, q, k, t: votes(cosines(x, q), labels, k - 1, weighed(t))),
        Mistake("you left the nearest one out, as if it were the image itself; the new image is not among the known.",
                lambda x, labels, q, k, t: votes(*sorted_by(-cosines(x, q), labels, slice(1, None)), min(k, len(x) - 1),
                                                 weighed(t))),
        Mistake("argsort counts up, so its first k are the farthest: take the last k, or descending=True.",
                lambda x, labels, q, k, t: votes(*sorted_by(cosines(x, q), labels, slice(k)), k, weighed(t))),
        Mistake("you divided the columns by their lengths. An image is a row: dim=-1.",
                lambda x, labels, q, k, t: votes(normalize(x, dim=0) @ normalize(q, dim=-1), labels, k, weighed(t))),
        Mistake("the sign in the exponent: near ones shall count much, far ones little.",
                lambda x, labels, q, k, t: votes(cosines(x, q), labels, k, lambda w: (-w / t).exp())),
        Mistake("you took the mean weight of a label's neighbours; their weights add up.",
                lambda x, labels, q, k, t: shared_vote(cosines(x, q), labels, k, t, labels[cosines(x, q).topk(k).indices])),
        Mistake("you divided the votes by how often a label is known; the sum of weights itself decides.",
                lambda x, labels, q, k, t: shared_vote(cosines(x, q), labels, k, t, labels)),
        Mistake("labels are names, not amounts: their mean means nothing.",
                lambda x, labels, q, k, t: int(labels[cosines(x, q).topk(k).indices].float().mean().round())),
        Mistake("you return the place among the neighbours; asked is the label.", lambda x, labels, q, k, t: 0),
    ],
    symptoms=[Symptom("a label is a whole number (int).", lambda found, *_: not isinstance(found, int))],
    hints=["Section 1 has every step as a loop.", "`cosines.topk(k)` gives values and places; `labels[place]` who votes for what.",
           "`votes.index_add_(0, labels[place], (weight / temperature).exp())` adds up; then `int(votes.argmax())`."],
    minutes=10,
    tolerance=1e-6,
)  # fmt: skip


def entropy(shares: Tensor) -> Tensor:
    return -(shares * shares.clamp_min(1e-12).log()).sum()


def shares_of(values: Tensor) -> Tensor:
    return values / values.sum()


effective_rank = Exercise(
    "10.2",
    cases=lambda seed: [(drawn(seed, 6, 3) + 1.5,), (drawn(seed + 1, 4, 8) * torch.linspace(0.2, 2, 8) + 0.5,)],
    right=lambda x: rankme(x).float(),
    mistakes=[
        Mistake("half of it: this is the entropy of the shares. Its exponential is a number of directions.",
                lambda x: entropy(shares_of(torch.linalg.svdvals(x))), half_finished=True),
        Mistake("you squared the singular values: RankMe takes them as they are (squares are variances).",
                lambda x: entropy(shares_of(torch.linalg.svdvals(x).square())).exp()),
        Mistake("you subtracted the mean first. RankMe doesn't: a collapsed network would have nothing left to measure.",
                lambda x: entropy(shares_of(torch.linalg.svdvals(x - x.mean(0)))).exp()),
        Mistake("you forgot to divide by the sum: shares sum to 1.", lambda x: entropy(torch.linalg.svdvals(x)).exp()),
        Mistake("you used logarithms of base 2 and the exponential of base e; both have to be of one kind.",
                lambda x: (entropy(shares_of(torch.linalg.svdvals(x))) / torch.log(torch.tensor(2.0))).exp()),
        Mistake("you counted the singular values that are not 0; that is the rank, not the effective one.",
                lambda x: torch.linalg.matrix_rank(x).float()),
        Mistake("the sign: an entropy is positive.", lambda x: (-entropy(shares_of(torch.linalg.svdvals(x)))).exp()),
        Mistake("you took a softmax for the shares: divide the singular values by their sum.",
                lambda x: entropy(torch.linalg.svdvals(x).softmax(0)).exp()),
        Mistake("you divided by the largest singular value: shares sum to 1.",
                lambda x: entropy(torch.linalg.svdvals(x) / torch.linalg.svdvals(x).max()).exp()),
        Mistake("you scaled the features to length one; RankMe takes them as they are.",
                lambda x: entropy(shares_of(torch.linalg.svdvals(normalize(x, dim=-1)))).exp()),
        Mistake("this is the participation ratio, 1/Σp²: a relative of RankMe, and smaller.",
                lambda x: 1 / shares_of(torch.linalg.svdvals(x)).square().sum()),
        Mistake("you divided by the number of directions; a number of directions is asked for, not a share.",
                lambda x: entropy(shares_of(torch.linalg.svdvals(x))).exp() / min(x.shape)),
        Mistake("half of it: these are the singular values. Make shares of them, and take exp of the shares' entropy.",
                lambda x: torch.linalg.svdvals(x), half_finished=True),
        Mistake("half of it: these are the shares. Take exp of their entropy.",
                lambda x: shares_of(torch.linalg.svdvals(x)), half_finished=True),
        Mistake("half of it, and in bits: exp of the entropy in nats is asked for.",
                lambda x: entropy(shares_of(torch.linalg.svdvals(x))) / torch.log(torch.tensor(2.0)), half_finished=True),
        Mistake("you raised 2 to an entropy in nats; exp belongs to ln, 2 ** to log2.",
                lambda x: 2 ** entropy(shares_of(torch.linalg.svdvals(x)))),
        Mistake("exp comes last, of the sum; you summed exponentials.",
                lambda x: torch.special.entr(shares_of(torch.linalg.svdvals(x))).exp().sum()),
        Mistake("you averaged -p ln p; an entropy is their sum.",
                lambda x: torch.special.entr(shares_of(torch.linalg.svdvals(x))).mean().exp()),
        Mistake("you took the logarithm of the entropy; its exponential is asked for.",
                lambda x: entropy(shares_of(torch.linalg.svdvals(x))).log()),
        Mistake("you divided by the length (norm) of the singular values; shares are of their sum.",
                lambda x: entropy(torch.linalg.svdvals(x) / torch.linalg.svdvals(x).norm()).exp()),
        Mistake("you squared the shares, which then no longer sum to 1.",
                lambda x: entropy(shares_of(torch.linalg.svdvals(x)).square()).exp()),
        Mistake("you took the deviations of the features; directions of their own are asked for: singular values.",
                lambda x: entropy(shares_of(x.std(0))).exp()),
        Mistake("you took the lengths of the rows; singular values are asked for.",
                lambda x: entropy(shares_of(x.norm(dim=1))).exp()),
        Mistake("you took the lengths of the columns; singular values are asked for.",
                lambda x: entropy(shares_of(x.norm(dim=0))).exp()),
        Mistake("the weights are missing: an entropy is -Σ p ln p, not the mean of -ln p.",
                lambda x: (-shares_of(torch.linalg.svdvals(x)).log().mean()).exp()),
        Mistake("p is missing before the logarithm: an entropy is -Σ p ln p.",
                lambda x: (-shares_of(torch.linalg.svdvals(x)).log().sum()).exp()),
        Mistake("this is the stable rank, Σ s² / s²max; RankMe is exp of an entropy.",
                lambda x: torch.linalg.svdvals(x).square().sum() / torch.linalg.svdvals(x)[0] ** 2),
        Mistake("this is the sum over the largest; RankMe is exp of an entropy.",
                lambda x: torch.linalg.svdvals(x).sum() / torch.linalg.svdvals(x)[0]),
        Mistake("you made shares of single features; singular values are asked for.",
                lambda x: entropy(x.abs() / x.abs().sum()).exp()),
        Mistake("this counts the directions that hold 90 %; RankMe is exp of an entropy.",
                lambda x: int((shares_of(torch.linalg.svdvals(x)).cumsum(0) < 0.9).sum()) + 1),
        Mistake("these are eigenvalues of the covariance: the mean was subtracted, and they are squares. RankMe takes "
                "singular values.",
                lambda x: entropy(shares_of(torch.linalg.eigvalsh(torch.cov(x.T)).clamp_min(0))).exp()),
        Mistake("you divided by the number of rows; shares are of the sum.",
                lambda x: entropy(torch.linalg.svdvals(x) / len(x)).exp()),
        Mistake("you used log10 and the exponential of base e; both have to be of one kind.",
                lambda x: (entropy(shares_of(torch.linalg.svdvals(x))) / torch.log(torch.tensor(10.0))).exp()),
        Mistake("what you add inside the logarithm is too large: 1e-12 is enough.",
                lambda x: (-(shares_of(torch.linalg.svdvals(x)) * (shares_of(torch.linalg.svdvals(x)) + 0.1).log()).sum()).exp()),
    ],
    hints=["Section 4, with the singular values of any matrix.", "`torch.linalg.svdvals(features)`; divide by the sum.",
           "torch.exp(-(shares * shares.log()).sum())"],
    tolerance=1e-3,
)  # fmt: skip


def deviation(a: float, n: int) -> float:
    return (a * (1 - a) / n) ** 0.5


def apart(a: float, b: float, n: int, by: float = 2) -> bool:
    return abs(a - b) > by * (deviation(a, n) ** 2 + deviation(b, n) ** 2) ** 0.5


def against(a: float, b: float, n: int, variance: float) -> bool:
    return abs(a - b) > 2 * variance**0.5


def comparisons(seed: int) -> list[tuple[float, float, int]]:
    """Differences of hardly any to five deviations, at several accuracies and sizes, either one first; none on a threshold."""
    sizes = [
        (p, n, many)
        for p in (0.55, 0.7, 0.9, 0.97)
        for n in (150 + seed, 400, 3000)
        for many in MANY
    ]
    sizes += [(0.55, 20, many) for many in (0.01, 0.05, 0.1, 0.2, 0.3, 0.4)]
    found = [
        (0.8, 0.8, 400),
        (0.999, 0.794, 8),
        (0.9999, 0.8859, 8),
        (0.9999, 0.85, 8),
        (0.85, 0.9999, 8),
        (0.99, 0.02, 50),
        (0.995, 0.5, 100),
    ]
    for place, (first, n, many) in enumerate(sizes):
        step = many * 2**0.5 * deviation(first, n)
        second = first - step if place % 2 else min(first + step, 0.999)
        told = abs(first - second) / (deviation(first, n) ** 2 + deviation(second, n) ** 2) ** 0.5
        if abs(told - round(told)) > 0.02 or told < 0.5:
            found.append((first, second, n))
    return found


MANY = (0.6, 1.25, 1.5, 1.85, 2.2, 2.7, 3.3, 4.5)
"""How many deviations two accuracies are apart, about."""


differs = Exercise(
    "10.3",
    cases=lambda seed: [
        (0.80, 0.814, 400 + seed),  # half a standard deviation of the difference: chance
        (0.80, 0.834, 400 + seed),  # 1.2: chance
        (0.80, 0.849, 400 + seed),  # 1.8: chance, though beyond two of one number
        (0.88, 0.80, 400 + seed),  # 3.1: a difference
        (0.80, 0.866, 400 + seed),  # 2.5: a difference, though less than two of both together
        (0.80, 0.88, 400 + seed),  # 3.1: the better one second
        (0.80, 0.8755, 400 + seed),  # 2.9: a difference, though less than three
        (0.80, 0.83, 4000 + seed),  # 3.5: a difference, on ten times the images
        (0.98, 0.957, 400 + seed),  # 1.9: chance, for the second has the larger deviation
        *comparisons(seed),
    ],
    right=lambda a, b, n: abs(a - b) > 2 * (deviation(a, n) ** 2 + deviation(b, n) ** 2) ** 0.5,
    mistakes=[
        Mistake("half of it: this is how many standard deviations they are apart. Compare it with 2.",
                lambda a, b, n: abs(a - b) / (deviation(a, n) ** 2 + deviation(b, n) ** 2) ** 0.5, half_finished=True),
        Mistake("you used the deviation of one number; both are uncertain, so their difference is more so.",
                lambda a, b, n: abs(a - b) > 2 * deviation(a, n)),
        Mistake("you took one standard deviation: one in three differences by chance alone is larger than that.",
                lambda a, b, n: abs(a - b) > (deviation(a, n) ** 2 + deviation(b, n) ** 2) ** 0.5),
        Mistake("your answer depends on which comes first; take the absolute difference.",
                lambda a, b, n: b - a > 2 * (deviation(a, n) ** 2 + deviation(b, n) ** 2) ** 0.5),
        Mistake("you ask only whether the first is better; either may be: take the absolute difference.",
                lambda a, b, n: a - b > 2 * (deviation(a, n) ** 2 + deviation(b, n) ** 2) ** 0.5),
        Mistake("you compare with a fixed number; how far chance goes depends on n and on the accuracies.",
                lambda a, b, n: abs(a - b) > 0.05),
        Mistake("4 points are two deviations of *one* number on 400 images; a difference of two has more, and n is not always 400.",
                lambda a, b, n: abs(a - b) > 0.04),
        Mistake("you took the first one's variance twice; each has its own, p(1 - p)/n with its own p.",
                lambda a, b, n: abs(a - b) > 2 * (2 * deviation(a, n) ** 2) ** 0.5),
        Mistake("you added the deviations themselves. Independent errors add as squares.",
                lambda a, b, n: abs(a - b) > 2 * (deviation(a, n) + deviation(b, n))),
        Mistake("you forgot the root: p(1 - p)/n is a variance.",
                lambda a, b, n: abs(a - b) > 2 * (deviation(a, n) ** 2 + deviation(b, n) ** 2)),
        Mistake("you forgot to divide by n: the more images, the smaller the deviation.",
                lambda a, b, n: abs(a - b) > 2 * (a * (1 - a) + b * (1 - b)) ** 0.5),
        Mistake("you took three deviations; two are asked for.",
                lambda a, b, n: abs(a - b) > 3 * (deviation(a, n) ** 2 + deviation(b, n) ** 2) ** 0.5),
        Mistake("half of it: this is the standard deviation of the difference. Is the difference more than twice as "
                "large?",
                lambda a, b, n: (deviation(a, n) ** 2 + deviation(b, n) ** 2) ** 0.5, half_finished=True),
        Mistake("half of it: this is the difference. Is it more than two standard deviations?",
                lambda a, b, n: abs(a - b), half_finished=True),
        Mistake("True is no answer to all: how far chance goes depends on n and on the accuracies.", lambda a, b, n: True),
        Mistake("False is no answer to all: some differences are larger than chance.", lambda a, b, n: False),
        Mistake("any difference at all is enough for yours; chance makes differences, too.",
                lambda a, b, n: a != b),
        Mistake("you divided by √n again: p(1 - p)/n has it already.",
                lambda a, b, n: against(a, b, n, (deviation(a, n) ** 2 + deviation(b, n) ** 2) / n)),
        Mistake("you used the second one's deviation alone; both are uncertain, so their difference is more so.",
                lambda a, b, n: against(a, b, n, deviation(b, n) ** 2)),
        Mistake("you took the larger of the two deviations; both are uncertain, and their squares add up.",
                lambda a, b, n: against(a, b, n, max(deviation(a, n), deviation(b, n)) ** 2)),
        Mistake("2 stands under your root (or beside squares): two deviations are 2 · √variance, and squared 4 · variance.",
                lambda a, b, n: (a - b) ** 2 > 2 * (deviation(a, n) ** 2 + deviation(b, n) ** 2)),
        Mistake("you pooled both to 2n images of one accuracy: that is the deviation of their mean, half that of their "
                "difference.",
                lambda a, b, n: against(a, b, n, (a + b) / 2 * (1 - (a + b) / 2) / (2 * n))),
        Mistake("you used the deviation of the mean accuracy once; the difference has the variances of both.",
                lambda a, b, n: against(a, b, n, (a + b) / 2 * (1 - (a + b) / 2) / n)),
        Mistake("(1 - p) is missing: the variance of a share is p(1 - p)/n.", lambda a, b, n: against(a, b, n, (a + b) / n)),
        Mistake("you subtracted the variances; those of independent numbers add up, for a difference, too.",
                lambda a, b, n: against(a, b, n, abs(deviation(a, n) ** 2 - deviation(b, n) ** 2))),
        Mistake("2/√n leaves out how large the accuracies are: p(1 - p)/n.", lambda a, b, n: abs(a - b) > 2 / n**0.5),
        Mistake("1/√n is right for p = 1/2 and one number only: p(1 - p)/n, of both.", lambda a, b, n: abs(a - b) > 1 / n**0.5),
        Mistake("you wrote 400 images into your function; n is given.", lambda a, b, n: apart(a, b, 400)),
        Mistake("accuracies are shares; a hundred times the difference is not comparable with their deviation.",
                lambda a, b, n: apart(a, b, n, 0.02)),
        Mistake("you took four deviations; two are asked for.", lambda a, b, n: apart(a, b, n, 4)),
        Mistake("only the second variance is divided by n in yours: brackets.",
                lambda a, b, n: against(a, b, n, a * (1 - a) + b * (1 - b) / n)),
        Mistake("** comes before /: x ** 1/2 is half of x, not its root. Write x ** 0.5.",
                lambda a, b, n: abs(a - b) > deviation(a, n) ** 2 + deviation(b, n) ** 2),
        Mistake("a ratio of accuracies says nothing about chance; compare their difference with its deviation.",
                lambda a, b, n: a / b > 1.02),
        Mistake("you took the mean of the two deviations; the deviation of the difference is larger than either.",
                lambda a, b, n: abs(a - b) > deviation(a, n) + deviation(b, n)),
        Mistake("1.645 deviations are the 5 % of one side; two are asked for.", lambda a, b, n: apart(a, b, n, 1.645)),
    ],
    hints=["First the variance of each, p(1 - p)/n.", "Add the two variances, and take the root.",
           "abs(first - second) > 2 * (first * (1 - first) / n + second * (1 - second) / n) ** 0.5"],
)  # fmt: skip


def described(seed: int, rows: int, columns: int) -> np.ndarray:
    random = np.random.default_rng(seed + 123)
    return random.normal(size=(rows, columns)) * random.uniform(0.5, 2, columns) + random.normal(
        size=columns
    )


def cross(x: np.ndarray, y: np.ndarray) -> float:
    return float(np.linalg.norm(y.T @ x))


def plain(x: np.ndarray, y: np.ndarray) -> float:
    return cross(x, y) ** 2 / (cross(x, x) * cross(y, y))


def centred(x: np.ndarray) -> np.ndarray:
    return x - x.mean(axis=0)


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def nuclear(x: np.ndarray, y: np.ndarray) -> float:
    return float(np.linalg.norm(centred(x).T @ centred(y), "nuc"))


def total(x: np.ndarray, y: np.ndarray) -> float:
    """The sum of the numbers of a product, instead of a norm."""
    return float((centred(x).T @ centred(y)).sum())


alike = Exercise(
    "10.4",
    cases=lambda seed: [(described(seed, 5, 3), described(seed + 1, 5, 2)), (described(seed + 2, 8, 2), described(seed + 3, 8, 4))],
    right=cka.linear,
    mistakes=[
        Mistake("half of it: this is the numerator. Divide by the norms of each with itself.",
                lambda x, y: cross(centred(x), centred(y)) ** 2, half_finished=True),
        Mistake("you did not take the mean of each column away: a mean that all rows share then passes for likeness.", plain),
        Mistake("you took the mean over features of each row; it is the mean over rows of each feature.",
                lambda x, y: plain(x - x.mean(1, keepdims=True), y - y.mean(1, keepdims=True))),
        Mistake("the numerator is the *square* of the norm.",
                lambda x, y: cross(centred(x), centred(y)) / (cross(centred(x), centred(x)) * cross(centred(y), centred(y)))),
        Mistake("you divided by the squares of the norms; the numerator is squared, the others are not.",
                lambda x, y: cross(centred(x), centred(y)) ** 2
                / (cross(centred(x), centred(x)) * cross(centred(y), centred(y))) ** 2),
        Mistake("you divided by the norms of the features, not of the features with themselves (xᵀx).",
                lambda x, y: cross(centred(x), centred(y)) ** 2
                / (np.linalg.norm(centred(x)) * np.linalg.norm(centred(y)))),
        Mistake("you subtracted one mean of all numbers; each column has its own.", lambda x, y: plain(x - x.mean(), y - y.mean())),
        Mistake("you divided each column by its deviation; CKA takes features as they are, but for their means.",
                lambda x, y: plain(centred(x) / x.std(0), centred(y) / y.std(0))),
        Mistake("norm(..., 2) of a matrix is its largest singular value; the root of the sum of all squares is asked for, which "
                "is the default.",
                lambda x, y: np.linalg.norm(centred(y).T @ centred(x), 2) ** 2
                / (np.linalg.norm(centred(x).T @ centred(x), 2) * np.linalg.norm(centred(y).T @ centred(y), 2))),
        Mistake("you took the means away in the first only; both have to be centred.",
                lambda x, y: cross(centred(x), y) ** 2 / (cross(centred(x), centred(x)) * cross(y, y))),
        Mistake("you took the means away above and not below; both have to be centred everywhere.",
                lambda x, y: cross(centred(x), centred(y)) ** 2 / (cross(x, x) * cross(y, y))),
        Mistake("you summed the numbers of the matrices; the norm is the root of the sum of their *squares*.",
                lambda x, y: total(x, y) ** 2 / (total(x, x) * total(y, y))),
        Mistake("you added the two norms below; they are multiplied.",
                lambda x, y: cross(centred(x), centred(y)) ** 2 / (cross(centred(x), centred(x)) + cross(centred(y), centred(y)))),
        Mistake("you divided by the first one's norm twice; each has its own.",
                lambda x, y: cross(centred(x), centred(y)) ** 2 / cross(centred(x), centred(x)) ** 2),
        Mistake("brackets are missing: a / b * c multiplies by c. Both norms belong below.",
                lambda x, y: cross(centred(x), centred(y)) ** 2 / cross(centred(x), centred(x)) * cross(centred(y), centred(y))),
        Mistake("you scaled each row to length one; CKA takes features as they are, but for their means.",
                lambda x, y: plain(unit(centred(x)), unit(centred(y)))),
        Mistake("you scaled each row to length one instead of taking the means away.", lambda x, y: plain(unit(x), unit(y))),
        Mistake("norm(..., 'nuc') is the sum of singular values; the root of the sum of squares is the default.",
                lambda x, y: nuclear(y, x) ** 2 / (nuclear(x, x) * nuclear(y, y))),
        Mistake("you averaged the squares above and summed them below; all three are sums.",
                lambda x, y: plain(centred(x), centred(y)) / x.shape[1] / y.shape[1]),
        Mistake("you compared the first with itself; the second is an argument, too.", lambda x, y: 1.0),
        Mistake("you divided only the numerator by the number of rows; in CKA it cancels.",
                lambda x, y: plain(centred(x), centred(y)) / len(x) ** 2),
    ],
    symptoms=[Symptom("CKA is a number from 0 to 1; yours is outside.", lambda found, *_: not 0 <= float(found) <= 1)],
    hints=["First take the mean of every column away, in both.",
           "np.linalg.norm(matrix) is the root of the sum of all squares.",
           "norm(y.T @ x)**2 / (norm(x.T @ x) * norm(y.T @ y))"],
)  # fmt: skip
