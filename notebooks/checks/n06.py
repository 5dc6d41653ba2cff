"""06 Patches: principal components, foreground, mutual nearest neighbours."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from notebooks.exercises import Exercise, Mistake, Symptom


def drawn(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed + 60).normal(size=shape)


def spread(seed: int, many: int, features: int) -> np.ndarray:
    """Points whose directions differ in spread, away from the origin."""
    return (
        drawn(seed, many, features)
        * np.linspace(1, 3, features)
        @ drawn(seed + 7, features, features)
        + 2
    )


def map_with_bright_border(seed: int, rows: int, columns: int) -> np.ndarray:
    scores = 0.6 + drawn(seed, rows, columns) * 0.1
    scores[1:-1, 1:-1] -= 1.6
    return scores


def map_with_one_bright_edge(seed: int) -> np.ndarray:
    """The ring's mean is above the map's, though its median, its upper row and its corner are below."""
    scores = 0.01 * drawn(seed, 6, 6)
    scores[ring(scores)] -= 0.2
    scores[-1, 1:-1] += 5
    scores[-1, [0, -1]] -= 2
    return scores


def map_with_bright_middle(seed: int, rows: int, columns: int) -> np.ndarray:
    return -map_with_bright_border(seed, rows, columns)


Decision = Callable[[np.ndarray], bool]


def edge(rows: bool, columns: bool, wide: int = 1, corners: bool = True) -> Decision:
    """Whether to turn a map, by a part of its border instead of the ring."""

    def decided(scores: np.ndarray) -> bool:
        found = np.zeros(scores.shape, dtype=bool)
        if rows:
            found[:wide] = found[-wide:] = True
        if columns:
            found[:, :wide] = found[:, -wide:] = True
        if not corners:
            found[[0, 0, -1, -1], [0, -1, 0, -1]] = False
        return bool(scores[found].mean() > scores.mean())

    return decided


def corners_twice(scores: np.ndarray) -> bool:
    border = np.concatenate([scores[0], scores[-1], scores[:, 0], scores[:, -1]])
    return bool(border.mean() > scores.mean())


DECISIONS: dict[str, Decision] = {
    "first row": lambda s: bool(s[0].mean() > s.mean()),
    "corner": lambda s: bool(s[0, 0] > s.mean()),
    "rows": edge(True, False),
    "columns": edge(False, True),
    "two wide": edge(True, True, wide=2),
    "no corners": edge(True, True, corners=False),
    "corners twice": corners_twice,
    "largest": lambda s: bool(s[ring(s)].max() > s.mean()),
    "most": lambda s: bool((s[ring(s)] > s.mean()).mean() > 0.5),
    "median": lambda s: bool(np.median(s[ring(s)]) > np.median(s)),
    "absolute": lambda s: bool(abs(s[ring(s)].mean()) > abs(s.mean())),
}
"""Wrong ways of asking whether a map's border is above its mean."""


def by(name: str) -> Callable[[np.ndarray, float], np.ndarray]:
    """The mask that such a decision leads to."""
    return lambda s, t: (-s if DECISIONS[name](s) else s) > t


def disputed(seed: int, name: str) -> np.ndarray:
    """A map on which this decision and the ring's differ."""
    for attempt in range(1000):
        scores = drawn(seed + 1000 * attempt, 6, 7)
        if DECISIONS[name](scores) != bool(scores[ring(scores)].mean() > scores.mean()):
            return scores
    raise RuntimeError(name)


def shares(values: np.ndarray) -> np.ndarray:
    return values / values.sum()


def eigenvalues(x: np.ndarray) -> np.ndarray:
    return np.linalg.eigvalsh(x.T @ x)[::-1]


explained = Exercise(
    "06.1",
    cases=lambda seed: [(spread(seed, 12, 3),), (spread(seed + 1, 30, 5),)],
    right=lambda x: shares(np.linalg.svd(x - x.mean(0), compute_uv=False) ** 2),
    mistakes=[
        Mistake("half of it: these are the eigenvalues. Divide by their sum to get shares.",
                lambda x: eigenvalues(x - x.mean(0)), half_finished=True),
        Mistake("half of it: these are the eigenvalues of the covariance. Divide by their sum to get shares.",
                lambda x: eigenvalues(x - x.mean(0)) / len(x), half_finished=True),
        Mistake("you did not centre the points: without subtracting the mean, the first direction points to the mean.",
                lambda x: shares(eigenvalues(x))),
        Mistake("the smallest comes first in what `eigh` gives; asked is the largest first.",
                lambda x: shares(eigenvalues(x - x.mean(0)))[::-1]),
        Mistake("you used singular values; variances are their squares.",
                lambda x: shares(np.linalg.svd(x - x.mean(0), compute_uv=False))),
        Mistake("you subtracted from each point its own mean over features (axis 1); the mean of a feature over points is axis 0.",
                lambda x: shares(eigenvalues(x - x.mean(1, keepdims=True)))),
        Mistake("these are the variances of the features themselves, sorted; the components are directions of their own.",
                lambda x: shares(np.sort(x.var(0))[::-1])),
        Mistake("you divided each feature by its deviation (correlations). Here a feature counts by its variance.",
                lambda x: shares(np.linalg.eigvalsh(np.corrcoef(x.T))[::-1])),
        Mistake("np.cov takes features in rows; yours are in columns: np.cov(points.T).",
                lambda x: shares(np.linalg.eigvalsh(np.cov(x))[::-1])),
        Mistake("you subtracted one mean of all numbers; each feature has its own, points.mean(axis=0).",
                lambda x: shares(eigenvalues(x - x.mean()))),
        Mistake("half of it: eigh gives eigenvalues and eigenvectors. Take the eigenvalues, and divide by their sum.",
                lambda x: tuple(np.linalg.eigh((x - x.mean(0)).T @ (x - x.mean(0)))), half_finished=True),
        Mistake("these are the directions; asked is how much variance lies along each: the eigenvalues, as shares.",
                lambda x: np.linalg.eigh((x - x.mean(0)).T @ (x - x.mean(0)))[1]),
        Mistake("half of it: these are the singular values. Square them, and divide by the sum.",
                lambda x: np.linalg.svd(x - x.mean(0), compute_uv=False), half_finished=True),
        Mistake("half of it: these are the eigenvalues of np.cov. Divide by their sum to get shares.",
                lambda x: eigenvalues(x - x.mean(0)) / (len(x) - 1), half_finished=True),
        Mistake("points @ points.T is a matrix of points (M M), with M values; the features' is points.T @ points.",
                lambda x: shares(np.linalg.eigvalsh((x - x.mean(0)) @ (x - x.mean(0)).T)[::-1])),
        Mistake("you squared the eigenvalues; they are variances already. Only singular values are squared.",
                lambda x: shares(eigenvalues(x - x.mean(0)) ** 2)),
        Mistake("these are the variances of the features themselves; the components are directions of their own.",
                lambda x: shares(x.var(0))),
        Mistake("these are the deviations of the features; the components are directions of their own, and variances are "
                "squares.",
                lambda x: shares(x.std(0))),
        Mistake("you scaled each point to length one. Here a point counts as far as it lies from the mean.",
                lambda x: shares(eigenvalues((x - x.mean(0)) / np.linalg.norm(x - x.mean(0), axis=1, keepdims=True)))),
        Mistake("shares are parts of the sum; you took a logarithm first.",
                lambda x: shares(np.log(eigenvalues(x - x.mean(0))))),
        Mistake("a softmax makes shares of scores; variances are divided by their sum.",
                lambda x: shares(np.exp(eigenvalues(x - x.mean(0)) - eigenvalues(x - x.mean(0))[0]))),
        Mistake("you subtracted the median; the mean is asked for.", lambda x: shares(eigenvalues(x - np.median(x, 0)))),
        Mistake("these are running sums: how much the first components hold together. Each one's own share is asked for.",
                lambda x: np.cumsum(shares(eigenvalues(x - x.mean(0))))),
        Mistake("you divided by the largest; shares are of the sum.",
                lambda x: eigenvalues(x - x.mean(0)) / eigenvalues(x - x.mean(0))[0]),
        Mistake("you divided by the number of features; shares are of the sum.",
                lambda x: eigenvalues(x - x.mean(0)) / x.shape[1]),
        Mistake("numerator and denominator differ: centred points above, points as they are below.",
                lambda x: eigenvalues(x - x.mean(0)) / (x**2).sum()),
        Mistake("eigenvalues of X.T @ X are M times variances; divide them by their own sum, not by that of the "
                "variances.",
                lambda x: eigenvalues(x - x.mean(0)) / x.var(0).sum()),
    ],
    symptoms=[Symptom("shares of the variance sum to 1; yours do not.", lambda found, *_: abs(float(np.sum(found)) - 1) > 1e-3)],
    hints=[
        "Section 3 has every step for two features.",
        "Centre with `points.mean(axis=0)`, then the eigenvalues of centred.T @ centred.",
        "`np.linalg.eigvalsh(...)[::-1]` sorts them from large to small; divide by their sum.",
    ],
    minutes=10,
)  # fmt: skip


def ring(scores: np.ndarray) -> np.ndarray:
    found = np.ones(scores.shape, dtype=bool)
    found[1:-1, 1:-1] = False
    return found


def turned(scores: np.ndarray) -> np.ndarray:
    return -scores if scores[ring(scores)].mean() > scores.mean() else scores


object_of = Exercise(
    "06.2",
    cases=lambda seed: [
        (map_with_bright_border(seed, 5, 6), 0.8),
        (map_with_bright_middle(seed + 1, 4, 5), 0.3),
        (map_with_bright_middle(seed + 2, 4, 5) + 5, 5.3),
        (map_with_one_bright_edge(seed), 0.1),
        (map_with_bright_border(seed + 4, 5, 5), 0.3),
        *((disputed(seed + 7 * again, name), 0.2) for name in DECISIONS for again in (0, 1)),
    ],
    right=lambda s, t: turned(s) > t,
    mistakes=[
        Mistake("half of it: this is the turned map. Compare it with the threshold.", lambda s, t: turned(s), half_finished=True),
        Mistake("you cut the map as it came, without choosing its sign.", lambda s, t: s > t),
        Mistake("you cut the mean off as well: the threshold is for the turned scores themselves.",
                lambda s, t: turned(s) - turned(s).mean() > t),
        Mistake("you turn every map; only those whose border is above the mean are to be turned.", lambda s, t: -s > t),
        Mistake("you chose the sign by the upper edge alone; the mean of the whole outermost ring decides.",
                lambda s, t: (-s if s[0].mean() > s.mean() else s) > t),
        Mistake("you kept what is below the threshold.", lambda s, t: turned(s) < t),
        Mistake("you took the absolute value: that makes the strongest background part of the object.", lambda s, t: np.abs(s) > t),
        Mistake("you asked whether the ring's mean is above 0; it is compared with the mean of the whole map.",
                lambda s, t: (-s if s[ring(s)].mean() > 0 else s) > t),
        Mistake("you compared the ring with the threshold; the sign is chosen by the mean of the whole map, before anything is "
                "cut.",
                lambda s, t: (-s if s[ring(s)].mean() > t else s) > t),
        Mistake("you turned the maps whose border is below the mean; those whose border is *above* it are to be turned.",
                lambda s, t: (s if s[ring(s)].mean() > s.mean() else -s) > t),
        Mistake("your mask holds the numbers 0 and 1. In brackets numbers are places; make it bool: what > gives, as it "
                "is.",
                lambda s, t: (turned(s) > t).astype(int)),
        Mistake("half of it: these are the scores above the threshold. A map of True and False is asked for: turned > "
                "threshold.",
                lambda s, t: turned(s)[turned(s) > t], half_finished=True),
        Mistake("these are the places; a map of True and False is asked for: turned > threshold.",
                lambda s, t: np.argwhere(turned(s) > t)),
        Mistake("these are scores, with the rest set to 0; a map of True and False is asked for.",
                lambda s, t: np.where(turned(s) > t, s, 0)),
        Mistake("your mask has lost its rows and columns; leave it in the map's shape.", lambda s, t: (turned(s) > t).ravel()),
        Mistake("half of it: this is the ring. Compare its mean with the map's, turn the map or not, and cut.",
                lambda s, t: ring(s), half_finished=True),
        Mistake("you chose the sign by one corner; the mean of the whole outermost ring decides.", by("corner")),
        Mistake("the left and right edges are missing in your ring.", by("rows")),
        Mistake("the upper and lower edges are missing in your ring.", by("columns")),
        Mistake("your ring is two patches wide; the outermost one alone is asked for: [1:-1, 1:-1].", by("two wide")),
        Mistake("the corners are missing in your ring.", by("no corners")),
        Mistake("the corners count twice in your ring. A mask counts each patch once.", by("corners twice")),
        Mistake("one bright patch on the border is enough in yours (any, max); the ring's mean decides.", by("largest")),
        Mistake("you counted patches of the ring (most of them, or their median); its mean decides.", by("most")),
        Mistake("you compared medians; the means of ring and map decide.", by("median")),
        Mistake("you compared the means without their signs; abs is too much.", by("absolute")),
        Mistake("you turned the mask, or the threshold too: not (score > threshold) is something else than -score > threshold.",
                lambda s, t: ~(s > t) if s[ring(s)].mean() > s.mean() else s > t),
        Mistake("you turned by 1 - score; a map is turned by -score, since it has no scale from 0 to 1.",
                lambda s, t: (1 - s if s[ring(s)].mean() > s.mean() else s) > t),
        Mistake("you turned by max - score; a map is turned by -score, or the threshold means something else.",
                lambda s, t: (s.max() - s if s[ring(s)].mean() > s.mean() else s) > t),
        Mistake("the border can belong to the object, though it helps to choose the sign; leave it in the mask.",
                lambda s, t: (turned(s) > t) & ~ring(s)),
        Mistake("you stretched the scores to 0...1 before cutting; the threshold is for the turned scores themselves.",
                lambda s, t: (turned(s) - turned(s).min()) / np.ptp(s) > t),
        Mistake("you decided by the cut mask; the sign is chosen by the scores' means, before anything is cut.",
                lambda s, t: (-s if (s > t)[ring(s)].mean() > 0.5 else s) > t),
        Mistake("you chose the sign by the whole map's mean; it is the border that has to be background.",
                lambda s, t: (-s if s.mean() > 0 else s) > t),
    ],
    hints=[
        "First a mask of the outermost ring: ones, and zeros inside `[1:-1, 1:-1]`.",
        "Compare the mean over the ring with the mean of the map, and multiply by -1 if it is greater.",
        "turned = -scores if scores[ring].mean() > scores.mean() else scores; then turned > threshold.",
    ],
    minutes=10,
)  # fmt: skip


def pairs(table: np.ndarray) -> list[tuple[int, int]]:
    rows, columns = table.shape
    best_of_row = [max(range(columns), key=lambda j: table[i, j]) for i in range(rows)]
    best_of_column = [max(range(rows), key=lambda i: table[i, j]) for j in range(columns)]
    return [(i, j) for i, j in enumerate(best_of_row) if best_of_column[j] == i]


def both_ways(table: np.ndarray) -> list[tuple[int, int]]:
    forth = [(i, int(j)) for i, j in enumerate(table.argmax(1))]
    return sorted(set(forth) | {(int(i), j) for j, i in enumerate(table.argmax(0))})


def greedy(table: np.ndarray) -> list[tuple[int, int]]:
    """The best pair, then the best of what is left, until one side is used up."""
    left, found = table.copy(), []
    for _ in range(min(table.shape)):
        row, column = (int(place) for place in np.unravel_index(left.argmax(), left.shape))
        found.append((row, column))
        left[row], left[:, column] = -np.inf, -np.inf
    return sorted(found)


mutual = Exercise(
    "06.3",
    cases=lambda seed: [(drawn(seed, 6, 5),), (drawn(seed + 1, 4, 7),)],
    right=pairs,
    mistakes=[
        Mistake("half of it: these are the nearest neighbours from A to B. Keep the pairs in which B chooses A too.",
                lambda t: [(i, int(j)) for i, j in enumerate(t.argmax(1))], half_finished=True),
        Mistake("you kept a pair if either chooses the other; both have to.", both_ways),
        Mistake("the pairs are the wrong way round: (row of A, column of B).", lambda t: [(j, i) for i, j in pairs(t)]),
        Mistake("you looked for the smallest entries: these are similarities, so the nearest has the largest.",
                lambda t: pairs(-t)),
        Mistake("you compared the two lists place by place; go to B and back: to_a[to_b[row]] == row.",
                lambda t: [(i, int(t.argmax(1)[i])) for i in range(min(t.shape)) if t.argmax(1)[i] == t.argmax(0)[i]]),
        Mistake("half of it: these are the rows that are chosen back. Give the pairs (row, column).",
                lambda t: [i for i, _ in pairs(t)], half_finished=True),
        Mistake("half of it: so many pairs there are. Return the pairs themselves, in a list.",
                lambda t: len(pairs(t)), half_finished=True),
        Mistake("half of it: this is a table of True and False. Give the pairs (row, column) where it is True.",
                lambda t: (t == t.max(1, keepdims=True)) & (t == t.max(0, keepdims=True)), half_finished=True),
        Mistake("half of it: rows and columns are in lists of their own. Zip them to pairs: list(zip(rows, columns)).",
                lambda t: ([i for i, _ in pairs(t)], [j for _, j in pairs(t)]), half_finished=True),
        Mistake("half of it: these are the columns that are chosen back. Give the pairs (row, column).",
                lambda t: [j for _, j in pairs(t)], half_finished=True),
        Mistake("half of it: this is one pair. All that choose each other are asked for.",
                lambda t: max(pairs(t), key=lambda pair: t[pair]), half_finished=True),
        Mistake("your return stands inside the loop: only the first pair comes out.", lambda t: pairs(t)[0]),
        Mistake("your pairs have lost their brackets: append the pair (row, column), not its two numbers.",
                lambda t: [place for pair in pairs(t) for place in pair]),
        Mistake("your pairs carry their similarity; only (row, column) is asked for.",
                lambda t: [(i, j, t[i, j]) for i, j in pairs(t)]),
        Mistake("these are the similarities; asked is where they stand: (row, column).",
                lambda t: [t[i, j] for i, j in pairs(t)]),
        Mistake("you count from 1; in Python the first row is 0.", lambda t: [(i + 1, j + 1) for i, j in pairs(t)]),
        Mistake("you made text of the pairs; give tuples of two numbers.", lambda t: [f"{i}-{j}" for i, j in pairs(t)]),
        Mistake("half of it: these are the nearest neighbours from B to A. Keep the pairs in which A chooses B too.",
                lambda t: [(int(i), j) for j, i in enumerate(t.argmax(0))], half_finished=True),
        Mistake("positive is not enough: each has to be the other's nearest.",
                lambda t: [(i, j) for i in range(len(t)) for j in range(t.shape[1]) if t[i, j] > 0]),
        Mistake("you matched one pair after the other (greedily), so that more find a partner; only those that choose "
                "each other count.",
                greedy),
    ],
    hints=[
        "Go to B and come back: who is at home again?",
        "`table.argmax(axis=1)` says for each row its column; `axis=0` for each column its row.",
        "Keep row if to_a[to_b[row]] == row; the pair is (row, int(to_b[row])).",
    ],
    minutes=10,
)  # fmt: skip
