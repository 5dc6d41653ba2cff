"""What prototypes stand for, read off the answers of a teacher.  Axes: I images (or patches), K prototypes, S stops of a run."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int


def answers(
    logits: Float[np.ndarray, "*I K"], temperature: float, centre: Float[np.ndarray, " K"] | None = None
) -> Float[np.ndarray, "*I K"]:
    """softmax((logits − centre) / temperature): what the student is to answer (Caron et al. 2021, Sec. 3.1)."""
    if temperature <= 0:
        raise ValueError(f"the temperature is {temperature}; expected a number above 0.")
    scaled = (np.asarray(logits, np.float64) - (0 if centre is None else np.asarray(centre, np.float64))) / temperature
    rows = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    return np.asarray(rows / rows.sum(axis=-1, keepdims=True))


def entropy(probabilities: Float[np.ndarray, "*I K"]) -> Float[np.ndarray, "*I"]:
    """−Σ p ln p, in nats: 0 for an answer that names one prototype, ln K for one that names none."""
    return np.asarray(-(probabilities * np.log(np.where(probabilities > 0, probabilities, 1.0))).sum(axis=-1))


def used(first: Int[np.ndarray, "*I"], count: int) -> Int[np.ndarray, " K"]:
    """For how many images each prototype is first."""
    return np.bincount(np.asarray(first).reshape(-1), minlength=count)


def changes(alive: Bool[np.ndarray, "S K"]) -> tuple[Int[np.ndarray, " S"], Int[np.ndarray, " S"]]:
    """Births and deaths from stop to stop: prototypes that are used and were not at the stop before, and the other way round.

    At the first stop nothing is born and nothing dies: there is nothing to compare with."""
    born, died = np.zeros((2, len(alive)), np.int64)
    born[1:] = (alive[1:] & ~alive[:-1]).sum(axis=1)
    died[1:] = (~alive[1:] & alive[:-1]).sum(axis=1)
    return born, died


def together(first: Int[np.ndarray, " M"], others: Int[np.ndarray, " M"]) -> tuple[float, float]:
    """Of the pairs of images that one grouping puts together the share that another does too, and what it would be by chance.

    The first is a sum over cells of the contingency table, Σ_ab n_ab (n_ab − 1) / Σ_a n_a (n_a − 1) (Wallace 1983, B_I); by chance
    a pair is together as often as any pair is, Σ_b n_b (n_b − 1) / M (M − 1)."""

    def pairs(*groups: Int[np.ndarray, " M"]) -> float:
        _, sizes = np.unique(np.stack(groups), axis=1, return_counts=True)
        return float((sizes * (sizes - 1)).sum() / 2)

    count = len(first) * (len(first) - 1) / 2
    return pairs(first, others) / max(pairs(first), 1.0), pairs(others) / max(count, 1.0)


def duplicates(
    directions: Float[np.ndarray, "K D"], most: int = 64, least: float = 0.5
) -> tuple[Int[np.ndarray, "P 2"], Float[np.ndarray, " P"]]:
    """The pairs of prototypes whose directions are the most alike, and their cosines: up to `most`, none below `least`."""
    rows = np.asarray(directions, np.float64)
    rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    first, second = np.triu_indices(len(rows), 1)
    cosines = (rows @ rows.T)[first, second]
    chosen = np.argsort(-cosines, kind="stable")[:most]
    chosen = chosen[cosines[chosen] >= least]
    return np.stack([first[chosen], second[chosen]], axis=1), cosines[chosen]


def leading(probabilities: Float[np.ndarray, "S K"], count: int) -> Int[np.ndarray, " P"]:
    """The prototypes that ever have the largest shares of one image's answer, those that come first in training first."""
    peak = probabilities.max(axis=0)
    chosen = np.argsort(-peak, kind="stable")[:count]
    return chosen[np.argsort(probabilities[:, chosen].argmax(axis=0), kind="stable")]
