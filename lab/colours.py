"""Principal components of what a network says of patches, as colours that keep their meaning from checkpoint to checkpoint.

Axes: I images, N patches, D features, C components (8, of which a picture shows three)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from dino_core.errors import DataError
from lab import sight
from lab.analysis import pca
from lab.answers import House
from lab.once import Once
from lab.sight import Answer, Shown, Source

COMPONENTS = 8
"""How many may be chosen from."""
SCREE = 16
"""Of how many the explained variance is told."""
Basis = Literal["own", "fixed", "matched"]


@dataclass(frozen=True)
class Fit:
    """What the components are fitted to."""

    of: str
    """`all` images together, `each` by itself, or numbers of images separated by commas: those together."""
    above: float | None = None
    """Only patches whose first component is above this: the foreground.  None: all patches."""
    flip: bool = False

    def images(self, count: int) -> list[int]:
        if self.of in ("all", "each"):
            return list(range(count))
        try:
            chosen = sorted({int(word) for word in self.of.split(",")})
        except ValueError:
            raise DataError(f"fit is {self.of[:40]!r}; expected all, each, or numbers of images like 0,3.") from None
        if not chosen or not 0 <= chosen[0] <= chosen[-1] < count:
            raise DataError(f"fit names image {chosen[-1]}; there are {count}, 0 to {count - 1}.")
        return chosen


@dataclass(frozen=True)
class Components:
    """One checkpoint's components."""

    scores: Float[np.ndarray, "I N C"]
    """In units of their own spread over the patches they were fitted to."""
    first: Float[np.ndarray, "I N"]
    """First component of all patches, turned so that the border is low, in standard deviations from Otsu's threshold."""
    bases: tuple[pca.Basis, ...]
    """One, or one an image."""
    spread: Float[np.ndarray, "_ 1 C"]
    explained: Float[np.ndarray, " _"]


def components(
    house: House,
    network: Source,
    images: Shown,
    size: int,
    *,
    fit: Fit,
    basis: Basis,
    anchor: Source,
    channels: list[int],
) -> tuple[Answer, dict[str, Any]]:
    """`scores` (I N 3) of the chosen components, `first` (I N), and what is said: explained variance, angle, change of colour."""
    if not channels or not all(0 <= c < COMPONENTS for c in channels):
        raise DataError(f"components are {channels}; expected numbers from 0 to {COMPONENTS - 1}.")
    found, about = fitted(house, network, images, size, fit)
    shown = raw = found.scores[..., channels]
    said: dict[str, Any] = {"explained": found.explained.round(5).tolist(), "basis": basis, "angle": 0.0}
    if basis != "own" and anchor.text != network.text:
        held, _ = fitted(house, anchor, images, size, fit)
        reference = held.scores[..., channels]
        if held.bases[0].mean.shape != found.bases[0].mean.shape or reference.shape != raw.shape:
            raise DataError(
                f"{anchor.text} has other features or patches than {network.text}: their components can't be matched."
            )
        if basis == "fixed":
            rows, _ = rows_of(house, network, images, size)
            shown = _scores(rows, held.bases)[..., channels] / held.spread[..., channels]
        else:
            shown, angles = _matched(raw, reference, each=fit.of == "each")
            said["angle"] = round(float(np.mean(angles)), 1)
        said |= {"change": pca.colour_change(shown, reference), "unmatched": pca.colour_change(raw, reference)}
    return {"scores": shown.astype(np.float32), "first": found.first.astype(np.float32)}, {**about, **said}


def _matched(scores: np.ndarray, reference: np.ndarray, *, each: bool) -> tuple[np.ndarray, list[float]]:
    """All images by one rotation, or each by its own where each has its own basis."""
    if not each:
        turned, rotation = pca.align(scores, reference)
        return turned, [pca.rotation_angle(rotation)]
    pairs = [pca.align(one, other) for one, other in zip(scores, reference, strict=True)]
    return np.stack([turned for turned, _ in pairs]), [pca.rotation_angle(rotation) for _, rotation in pairs]


def rows_of(house: House, network: Source, images: Shown, size: int) -> tuple[np.ndarray, dict[str, Any]]:
    """Patch features (I N D) as the network gives them, after its final norm."""
    tensors, about = sight.features(house, network, images, size)
    scale = tensors["scale"] * tensors["length"]
    return tensors["patches"].astype(np.float32) * scale[..., None], about


def fitted(house: House, network: Source, images: Shown, size: int, fit: Fit) -> tuple[Components, dict[str, Any]]:
    """Components of one checkpoint; the last few are remembered, and computed once for all who ask at the same time."""
    key = (network.text, network.stamp, images.key, size, fit)
    with _once(key):
        return _remembered(key, _Ask(house, network, images, size))


_once = Once()


class _Ask:
    """Equal to every other, so that what is remembered is told apart by its key alone."""

    def __init__(self, *asked: Any) -> None:
        self.asked = asked

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Ask)

    def __hash__(self) -> int:
        return 0


@lru_cache(maxsize=64)
def _remembered(key: tuple[Any, ...], ask: _Ask) -> tuple[Components, dict[str, Any]]:
    rows, about = rows_of(*ask.asked)
    return fit_to(rows, (about["rows"], about["columns"]), key[-1]), about


def fit_to(rows: Float[np.ndarray, "I N D"], grid: tuple[int, int], fit: Fit) -> Components:
    """Components of patches as a `Fit` asks for them."""
    each = fit.of == "each"
    chosen = fit.images(len(rows))
    groups = [[i] for i in chosen] if each else [chosen]
    whole = [pca.fit(rows[group], SCREE) for group in groups]
    first = _first(rows, grid, whole)
    first = -first if fit.flip else first
    keep = first > fit.above if fit.above is not None else np.ones(first.shape, bool)
    bases, scores, spreads = [], [], []
    for group, basis in zip(groups, whole, strict=True):
        some = keep[group] if keep[group].any() else np.ones_like(keep[group])
        basis = basis if some.all() else pca.fit(rows[group], SCREE, some)
        values = pca.project(rows[group] if each else rows, basis=basis)[..., :COMPONENTS]
        spread = (values if each else values[group])[some].std(axis=0)
        bases.append(basis)
        spreads.append(np.maximum(spread, 1e-6 * max(float(spread.max()), 1e-12)))
        scores.append(values / spreads[-1])
    explained = np.mean([basis.explained for basis in bases], axis=0)
    return Components(
        np.concatenate(scores) if each else scores[0], first, tuple(bases), np.stack(spreads)[:, None], explained
    )


def _scores(rows: np.ndarray, bases: tuple[pca.Basis, ...]) -> np.ndarray:
    """Scores in given bases: one for all images, or one an image."""
    if len(bases) == 1:
        return pca.project(rows, basis=bases[0])[..., :COMPONENTS]
    return np.stack([pca.project(image, basis=basis) for image, basis in zip(rows, bases, strict=True)])[
        ..., :COMPONENTS
    ]


def _first(rows: np.ndarray, grid: tuple[int, int], bases: list[pca.Basis]) -> np.ndarray:
    """Of all images by their one basis, or of each by its own."""
    found = []
    for basis, some in zip(bases, [rows] if len(bases) == 1 else rows[:, None], strict=True):
        _, above = pca.foreground(pca.project(some, basis=basis)[..., 0], grid)
        found.append(above / max(float(above.std()), 1e-12))
    return np.concatenate(found)
