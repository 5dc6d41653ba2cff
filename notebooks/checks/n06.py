"""06 Patches: principal components, foreground, mutual nearest neighbours."""

from __future__ import annotations

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
    ],
    right=lambda s, t: turned(s) > t,
    mistakes=[
        Mistake("half of it: this is the turned map. Compare it with the threshold.", lambda s, t: turned(s), half_finished=True),
        Mistake("you cut the map as it came, without choosing its sign.", lambda s, t: s > t),
        Mistake("you cut the mean off as well: the threshold is for the turned scores themselves.",
                lambda s, t: turned(s) - turned(s).mean() > t),
        Mistake("you turn every map; only those whose border is above the mean are to be turned.", lambda s, t: -s > t),
        Mistake("you chose the sign by an edge, a corner or a median; the mean of the whole outermost ring decides.",
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
    ],
    hints=[
        "Go to B and come back: who is at home again?",
        "`table.argmax(axis=1)` says for each row its column; `axis=0` for each column its row.",
        "Keep row if to_a[to_b[row]] == row; the pair is (row, int(to_b[row])).",
    ],
    minutes=10,
)  # fmt: skip
