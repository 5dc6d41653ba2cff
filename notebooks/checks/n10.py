"""10 Measuring: the neighbours' vote, effective rank, whether two numbers differ, linear CKA."""

from __future__ import annotations

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


def votes(cosines: Tensor, labels: Tensor, k: int, weight) -> int:
    best, place = cosines.topk(k)
    total = torch.zeros(int(labels.max()) + 1).index_add_(0, labels[place], weight(best))
    return int(total.argmax())


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


nearest_label = Exercise(
    "10.1",
    cases=lambda seed: [
        (*scene(seed, [2, 25, 30, 80], [1.0, 1.0, 1.0, 9.0], [0, 1, 1, 2]), 3, 0.07),  # the nearest one outweighs two
        (*scene(seed, [5, 20, 22, 24, 90], [0.2, 1.0, 1.0, 1.0, 5.0], [1, 0, 0, 0, 2]), 3, 1.0),  # two outweigh it
        (*scene(seed, [40, 41, 42, 43, 44, 45], [1.0] * 6, [2, 2, 0, 0, 0, 0]), 3, 0.07),  # only three are asked
        (*scene(seed, [10, 70, 70, 70, 170], [1.0, 1.0, 1.0, 1.0, 1.0], [1, 0, 0, 0, 2]), 3, 0.5),  # by cosine alone: a tie
        (*scene(seed, [1, 2, 3, 4, 30, 175], [1.0] * 6, [2, 1, 1, 0, 0, 0]), 5, 0.3),  # five are asked
        (*scene(seed, [5, 10, 40, 120], [1.0] * 4, [0, 1, 0, 2]), 3, 0.3),  # the first and the third against the second
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
    ],
    hints=["Section 4, with the singular values of any matrix.", "`torch.linalg.svdvals(features)`; divide by the sum.",
           "torch.exp(-(shares * shares.log()).sum())"],
    tolerance=1e-3,
)  # fmt: skip


def deviation(a: float, n: int) -> float:
    return (a * (1 - a) / n) ** 0.5


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
    ],
    symptoms=[Symptom("CKA is a number from 0 to 1; yours is outside.", lambda found, *_: not 0 <= float(found) <= 1)],
    hints=["First take the mean of every column away, in both.",
           "np.linalg.norm(matrix) is the root of the sum of all squares.",
           "norm(y.T @ x)**2 / (norm(x.T @ x) * norm(y.T @ y))"],
)  # fmt: skip
