"""UMAP and t-SNE of what a checkpoint says, each checkpoint begun from its neighbour's layout: called in the worker's process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from dino_core.errors import RunError
from lab import background, cache
from lab.analysis import layout as plane
from lab.analysis.similarity import normalised
from lab.crowd import rows_of

EPOCHS = 300
"""Of UMAP's optimisation."""
NEIGHBOURS = 15
"""UMAP's default (McInnes et al. 2018)."""
PERPLEXITY = 30.0
"""t-SNE's usual (van der Maaten & Hinton 2008)."""


def layout(question: dict[str, Any]) -> dict[str, Any]:
    """Lay out every checkpoint of a chain, the anchor first; each begins where the one before it ended, and is turned towards it.

    `chain` has for each a `crowd` or `gathered` (a question to `lab.seeing` or `lab.gathering`), or the file of a `probe`, and
    the `entry` of its layout."""
    entry, before = Path(question["entry"]), None
    for number, link in enumerate(question["chain"]):
        known = cache.load(Path(link["entry"]))
        if known is None:
            rows = rows_of(_seen(link), question["tokens"])
            found = placed(
                rows, question["method"], before, _teller(entry, question["method"], number, len(question["chain"]))
            )
            known = {"xy": found.astype(np.float32)}
            cache.store(Path(link["entry"]), known)
        before = known["xy"].astype(np.float64)
    return {}


def _teller(entry: Path, method: str, number: int, count: int) -> Any:
    """Tells the page how far the layout of one checkpoint of the chain is."""
    name = "UMAP" if method == "umap" else "t-SNE"

    def tell(share: float) -> None:
        words = (
            f"{name} is loaded and compiled, once" if share < 0.05 else f"{name}, checkpoint {number + 1} of {count}"
        )
        background.tell(entry, (number + share) / count, words)

    return tell


def _seen(link: dict[str, Any]) -> dict[str, np.ndarray]:
    if "probe" in link:
        from lab.crowd import of_probe

        return of_probe(Path(link["probe"]))
    asked = link.get("crowd") or link["gathered"]
    known = cache.load(Path(asked["entry"]))
    if known is None:
        from lab.gathering import gathered
        from lab.seeing import crowd

        while (crowd if "crowd" in link else gathered)(asked).get("more"):
            pass
        known = cache.load(Path(asked["entry"]))
    if known is None:
        raise RunError("the features could not be kept: is the disk full?")
    return known


def placed(features: np.ndarray, method: str, before: np.ndarray | None, tell: Any = lambda share: None) -> np.ndarray:
    """Points on the plane by UMAP or t-SNE of cosine distances, from a layout before or from principal components; seeded."""
    rows = normalised(features).astype(np.float32)
    start = plane.principal(rows) if before is None else before
    if len(rows) < 8:
        return plane.align(plane.principal(rows), start)
    found = _umap(rows, start, tell) if method == "umap" else _tsne(rows, start, tell)
    return plane.align(found, start, scale=before is not None)


def _umap(rows: np.ndarray, start: np.ndarray, tell: Any) -> np.ndarray:
    import warnings

    tell(0.02)
    import umap

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says that a seed means one thread: that is meant
        ticks = {"disable": False, "file": Ticks(tell), "bar_format": "{n}/{total}", "mininterval": 0.4}
        model = umap.UMAP(
            n_neighbors=min(NEIGHBOURS, len(rows) - 1), min_dist=0.1, metric="cosine", init=_spread(start, 5.0),
            n_epochs=EPOCHS, random_state=0, n_jobs=1, tqdm_kwds=ticks,
        )  # fmt: skip
        return np.asarray(model.fit_transform(rows), np.float64)


def _tsne(rows: np.ndarray, start: np.ndarray, tell: Any) -> np.ndarray:
    tell(0.1)  # it tells nothing while it works
    from sklearn.manifold import TSNE

    perplexity = min(PERPLEXITY, (len(rows) - 1) / 3)
    model = TSNE(
        metric="cosine", init=_spread(start, 1e-4), perplexity=perplexity, max_iter=500, random_state=0, n_jobs=1
    )
    return np.asarray(model.fit_transform(rows), np.float64)


def _spread(points: np.ndarray, deviation: float) -> np.ndarray:
    """Around nought, the first coordinate with this standard deviation; no two points quite the same."""
    centred = points - points.mean(axis=0)
    noise = 1e-3 * np.random.default_rng(0).normal(size=centred.shape)
    return np.ascontiguousarray(
        (centred / max(float(centred.std(axis=0)[0]), 1e-9) + noise) * deviation, dtype=np.float32
    )


class Ticks:
    """A file for a progress bar, which tells how far it is."""

    def __init__(self, tell: Any) -> None:
        self.tell = tell

    def write(self, text: str) -> None:
        done, _, total = text.strip().partition("/")
        if done.isdigit() and total.isdigit() and int(total):
            self.tell(0.1 + 0.9 * int(done) / int(total))

    def flush(self) -> None:
        """Nothing waits."""
