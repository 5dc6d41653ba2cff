"""05 Attention heads: a row of softmax, the fewest patches, overlap."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lab.analysis import attention
from notebooks.exercises import Exercise, Mistake, Symptom


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed + 50))


def row(q: Tensor, k: Tensor, scale: float) -> Tensor:
    return (k @ q * scale).softmax(0)


attention_row = Exercise(
    "05.1",
    cases=lambda seed: [(drawn(seed, 4), drawn(seed + 1, 6, 4)), (drawn(seed + 2, 9), drawn(seed + 3, 5, 9))],
    right=lambda q, k: torch.nn.functional.scaled_dot_product_attention(
        q[None, None], k[None], torch.eye(len(k))[None]
    )[0, 0],
    mistakes=[
        Mistake("half of it: these are the scores <q, k>/√d. Take the softmax over the tokens.",
                lambda q, k: k @ q / len(q) ** 0.5, half_finished=True),
        Mistake("you forgot to divide by √d: with many features the softmax would see nothing but the largest score.",
                lambda q, k: row(q, k, 1.0)),
        Mistake("you divided by d; it is √d, since a sum of d products spreads like √d.", lambda q, k: row(q, k, 1 / len(q))),
        Mistake("you divided by the root of the number of tokens; d is the number of features.",
                lambda q, k: row(q, k, len(k) ** -0.5)),
        Mistake("you used cosines: queries and keys are not scaled to length one.",
                lambda q, k: row(q / q.norm(), k / k.norm(dim=1, keepdim=True), len(q) ** -0.5)),
        Mistake("you multiplied by √d; it is divided by.", lambda q, k: row(q, k, len(q) ** 0.5)),
        Mistake("you returned log-probabilities; a row of attention sums to 1.", lambda q, k: row(q, k, len(q) ** -0.5).log()),
        Mistake("you divided the scores by their sum; they may be negative, and so would be your weights: take the "
                "softmax.",
                lambda q, k: (k @ q) / (k @ q).sum()),
        Mistake("you wrote d = 4 into your function; it is the number of features of the query that is given.",
                lambda q, k: row(q, k, 0.5)),
        Mistake("you divided by the root of all numbers in the keys; d is the number of features.",
                lambda q, k: row(q, k, k.numel() ** -0.5)),
        Mistake("you used cosines, without any division: queries and keys are not scaled, the scores are divided by √d.",
                lambda q, k: row(q / q.norm(), k / k.norm(dim=1, keepdim=True), 1.0)),
        Mistake("you compared by distance; attention compares by the dot product of query and key.",
                lambda q, k: (-(k - q).norm(dim=1) / len(q) ** 0.5).softmax(0)),
        Mistake("you divided by a root of the root: √d is d ** 0.5.", lambda q, k: row(q, k, len(q) ** -0.25)),
        Mistake("** comes before /: x ** 1/2 is half of x. Write x ** 0.5.", lambda q, k: row(q, k, 1 / len(q) / 2)),
        Mistake("you divided by the query's length; it is divided by √d, the root of the number of features.",
                lambda q, k: row(q, k, 1 / float(q.norm()))),
        Mistake("these are products of single features. Add them up: one score a token, keys @ query.",
                lambda q, k: (k * q / len(q) ** 0.5).softmax(0)),
        Mistake("a softmax over features tells nothing about tokens: add the products up first, keys @ query.",
                lambda q, k: (k * q / len(q) ** 0.5).softmax(-1)),
        Mistake("you divided after the softmax; the scores are divided, before it.",
                lambda q, k: row(q, k, 1.0) / len(q) ** 0.5),
        Mistake("one step too far: you mixed the tokens with these weights. The weights themselves are asked for.",
                lambda q, k: row(q, k, len(q) ** -0.5) @ k),
        Mistake("this is how keys attend to keys; one row is asked for, that of the query.",
                lambda q, k: (k @ k.T / len(q) ** 0.5).softmax(-1)),
        Mistake("you took the sigmoid of each score by itself. Tokens compete: softmax.",
                lambda q, k: (k @ q / len(q) ** 0.5).sigmoid()),
        Mistake("half of it: these are the exponentials of the scores. Divide by their sum, and it is a softmax.",
                lambda q, k: (k @ q / len(q) ** 0.5).exp(), half_finished=True),
    ],
    symptoms=[Symptom("a row of attention is one weight a token, and they sum to 1; yours do not. The softmax over tokens "
                      "comes last.", lambda a, *_: abs(float(a.sum()) - 1) > 1e-4)],
    hints=["Section 1: dot products, a division, a softmax.", "`keys @ query` is one score a token.",
           "(keys @ query / query.shape[0] ** 0.5).softmax(dim=0)"],
    minutes=10,
)  # fmt: skip


def weights(seed: int, *values: float) -> np.ndarray:
    """The same weights in another order and scale."""
    shuffled = np.random.default_rng(seed + 3).permutation(len(values))
    return np.array(values)[shuffled] * 0.5 / (1 + 0.1 * seed)


def first(w: np.ndarray, count: int) -> np.ndarray:
    kept = np.zeros(len(w), dtype=bool)
    kept[np.argsort(-w)[:count]] = True
    return kept


def needed(w: np.ndarray, mass: float) -> int:
    return int(attention.mass_mask(w, mass).sum())


def summed(w: np.ndarray) -> np.ndarray:
    return np.cumsum(w) / w.sum()


fewest = Exercise(
    "05.2",
    cases=lambda seed: [
        (weights(seed, 0.02, 0.35, 0.13, 0.3, 0.15, 0.05), 0.6),  # two: 0.65
        (weights(seed, 0.31, 0.27, 0.21, 0.11, 0.07, 0.03), 0.7),  # three: 0.79
        (weights(seed, 0.14, 0.13, 0.12, 0.11, 0.1, 0.09, 0.09, 0.08, 0.07, 0.07), 0.75),  # seven: 0.78
        (weights(seed, 0.4, 0.25, 0.15, 0.08, 0.05, 0.03, 0.02, 0.02), 0.6),  # two: 0.65
        (weights(seed, 0.5, 0.2, 0.1, 0.1, 0.06, 0.04), 0.45),  # one
        (weights(seed, 0.24, 0.22, 0.2, 0.18, 0.16), 0.9),  # all five
        (weights(seed, 0.3, 0.22, 0.17, 0.1, 0.07, 0.05, 0.04, 0.03, 0.02), 0.85),  # five: 0.86
    ],
    right=lambda w, m: attention.mass_mask(w, m),
    mistakes=[
        Mistake("half of it: these are the places of the patches that are kept. Give a mask: True at these places.",
                lambda w, m: np.argsort(-w)[: needed(w, m)], half_finished=True),
        Mistake("you began with the smallest weights; the fewest patches are those with the largest.",
                lambda w, m: ~first(w, len(w) - needed(-w + w.max() + w.min(), m))),
        Mistake("you forgot that the weights do not sum to 1; `mass` is a share of their sum.",
                lambda w, m: first(w, int((np.cumsum(np.sort(w)[::-1]) < m).sum()) + 1)),
        Mistake("you kept the patches above the threshold `mass` times the largest weight; asked is a share of the sum.",
                lambda w, m: w >= m * w.max()),
        Mistake("you kept the patches above the mean weight, whatever `mass` is; where all are alike, these hold half.",
                lambda w, m: w > w.mean()),
        Mistake("you kept that share of the *patches*; asked is a share of their weight.",
                lambda w, m: first(w, round(m * len(w)))),
        Mistake("one patch too few: the patches you keep hold less than the share. The one that crosses it belongs to them.",
                lambda w, m: first(w, needed(w, m) - 1)),
        Mistake("half of it: so many patches are enough. Give a mask: True at their places.",
                lambda w, m: needed(w, m), half_finished=True),
        Mistake("the mask is in the order of the sorted weights; it has to be in the order of the patches: kept[order[:count]] "
                "= True.",
                lambda w, m: np.arange(len(w)) < needed(w, m)),
        Mistake("one patch too many: without the last one they hold the share already.", lambda w, m: first(w, needed(w, m) + 1)),
        Mistake("you kept the patches above a quantile: that is a share of the *patches*; asked is a share of their weight.",
                lambda w, m: w > np.quantile(w, 1 - m)),
        Mistake("your mask holds the numbers 0 and 1. In brackets numbers are places: weights[mask] would pick the first "
                "two over and over. Make it bool.",
                lambda w, m: attention.mass_mask(w, m).astype(int)),
        Mistake("half of it: these are the running shares. How many are needed, and which patches are they?",
                lambda w, m: summed(np.sort(w)[::-1]), half_finished=True),
        Mistake("half of it: these are the weights of the patches that are kept. Give a mask: True at their places.",
                lambda w, m: w[attention.mass_mask(w, m)], half_finished=True),
        Mistake("these are the weights with the rest set to 0. Give a mask: True where a patch is kept.",
                lambda w, m: np.where(attention.mass_mask(w, m), w, 0)),
        Mistake("you added up in the order of the patches; the largest come first: np.argsort(-weights).",
                lambda w, m: summed(w) <= m),
        Mistake("you added up in the order of the patches, not from the largest; the last one that is needed you have.",
                lambda w, m: summed(w) - w / w.sum() < m),
        Mistake("you compared single weights with the share; the share is held by all kept patches together: np.cumsum.",
                lambda w, m: w / w.sum() > m),
        Mistake("the mask is in the order of the sorted weights, and the patch that crosses the share is missing.",
                lambda w, m: summed(np.sort(w)[::-1]) <= m),
        Mistake("argsort gives places, not ranks: order < count marks others. kept[order[:count]] = True.",
                lambda w, m: np.argsort(-w) < needed(w, m)),
        Mistake("you kept what lies above a quantile of the weights, counted in *patches*; asked is a share of their "
                "weight.",
                lambda w, m: w >= np.sort(w)[min(len(w) - 1, int(len(w) * m))]),
        Mistake("you squared the weights: then the largest hold more than they do.", lambda w, m: attention.mass_mask(w**2, m)),
        Mistake("you divided by the largest weight; a share is of the sum.",
                lambda w, m: first(w, min(len(w), int((np.cumsum(np.sort(w)[::-1] / w.max()) < m).sum()) + 1))),
        Mistake("you kept what is above half of the largest weight; asked is a share of the sum.",
                lambda w, m: w > w.max() / 2),
    ],
    symptoms=[Symptom("a mask is of bool; yours holds something else.", lambda found, *_: np.asarray(found).dtype != bool)],
    hints=["Largest first, running sum, and stop when it reaches the share.",
           "`np.argsort(-weights)` sorts; `np.cumsum(...) / weights.sum()` is the running share.",
           "(running < mass).sum() patches are not enough: one more. Then kept[order[:count]] = True."],
    minutes=10,
)  # fmt: skip


def masks(seed: int, found: str, wanted: str) -> tuple[np.ndarray, np.ndarray]:
    """The same overlap in another order."""
    shuffled = np.random.default_rng(seed + 11).permutation(len(found))
    first, second = (np.array([mark == "x" for mark in row])[shuffled] for row in (found, wanted))
    return first, second


overlap_of = Exercise(
    "05.3",
    cases=lambda seed: [
        masks(seed, "xxxxx.......", "...xxxx....."),  # both 2, either 7, agree on 7 of 12
        masks(seed + 1, "xxxxxxxx............", "......xxxxx........."),
        masks(seed + 2, "xxx..............", "..xxxxxxxx......."),
        masks(seed + 3, ".xxxxxx....", "xxxxxxx...."),
    ],
    right=lambda a, b: float(attention.jaccard(a, b)),
    mistakes=[
        Mistake("half of it: this is how many patches both cover. Divide by how many either covers.",
                lambda a, b: (a & b).sum(), half_finished=True),
        Mistake("you divided by the object alone: that is recall, and a mask of everything would get 1.",
                lambda a, b: (a & b).sum() / b.sum()),
        Mistake("you divided by what was found alone: that is precision, and a single patch could get 1.",
                lambda a, b: (a & b).sum() / a.sum()),
        Mistake("you divided by the number of all patches.", lambda a, b: (a & b).sum() / len(a)),
        Mistake("you counted patches on which both agree, background too: that is accuracy; small objects would not matter.",
                lambda a, b: (a == b).mean()),
        Mistake("this is Dice, 2·both/(sum of sizes): a relative of Jaccard, always at least as large.",
                lambda a, b: 2 * (a & b).sum() / (a.sum() + b.sum())),
        Mistake("you divided by the sum of the two sizes: what both cover is counted twice there. Divide by what either covers.",
                lambda a, b: (a & b).sum() / (a.sum() + b.sum())),
        Mistake("half of it: this is how many patches either covers. It is what you divide by.",
                lambda a, b: (a | b).sum(), half_finished=True),
        Mistake("half of it: these are the two counts. Divide the first by the second.",
                lambda a, b: ((a & b).sum(), (a | b).sum()), half_finished=True),
        Mistake("half of it: this says of each patch whether both cover it. Count: .sum().",
                lambda a, b: a & b, half_finished=True),
        Mistake("a patch by itself has no overlap, and 0/0 is none: count first, sum() / sum().",
                lambda a, b: (a & b) / np.maximum(a | b, 1)),
        Mistake("you divided by the smaller mask: a single patch inside the object would get 1.",
                lambda a, b: (a & b).sum() / min(a.sum(), b.sum())),
        Mistake("you divided by the larger mask; divide by what either covers, which is more.",
                lambda a, b: (a & b).sum() / max(a.sum(), b.sum())),
        Mistake("you divided by what exactly one of them covers (^, xor); what both cover belongs to it: |.",
                lambda a, b: (a & b).sum() / (a ^ b).sum()),
        Mistake("this is the cosine of the masks: you divided by the root of the product of their sizes.",
                lambda a, b: (a & b).sum() / (a.sum() * b.sum()) ** 0.5),
        Mistake("you divided by the product of the sizes; divide by what either covers.",
                lambda a, b: (a & b).sum() / (a.sum() * b.sum())),
        Mistake("you added 1 below, against 0/0: that changes every value. An eps has to be tiny.",
                lambda a, b: (a & b).sum() / ((a | b).sum() + 1)),
        Mistake("these are only the two sizes divided; what both cover plays no part.", lambda a, b: a.sum() / b.sum()),
        Mistake("this is the overlap of the *background*: without ~.", lambda a, b: (~a & ~b).sum() / (~a | ~b).sum()),
        Mistake("you averaged with the overlap of the background, as mean IoU over two classes does; the object's alone "
                "is asked for.",
                lambda a, b: ((a & b).sum() / (a | b).sum() + (~a & ~b).sum() / (~a | ~b).sum()) / 2),
    ],
    symptoms=[Symptom("the overlap is one number.", lambda found, *_: np.ndim(found) > 0)],
    hints=["`&` is both, `|` is either.", "(found & wanted).sum() counts what both cover.", "… divided by (found | wanted).sum()."],
)  # fmt: skip
