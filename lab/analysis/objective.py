"""One step of DINO on one image, taken apart: what each stage makes of the numbers of the stage before.

Axes: S student views, T teacher views (the first T student views are the same crops), K prototypes.  numpy, double precision."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float


@dataclass(frozen=True)
class Stages:
    """Every number between the logits and the gradient."""

    centred: Float[np.ndarray, "T K"]
    """Teacher logits less the centre."""
    sharpened: Float[np.ndarray, "T K"]
    """Over the teacher's temperature."""
    targets: Float[np.ndarray, "T K"]
    """Their softmax: what the student is to say."""
    scaled: Float[np.ndarray, "S K"]
    """Student logits over the student's temperature."""
    predictions: Float[np.ndarray, "S K"]
    """Their softmax."""
    pairs: Float[np.ndarray, "S T"]
    """Cross-entropy of each student view under each teacher view, in nats."""
    counted: Bool[np.ndarray, "S T"]
    """Which pairs the loss counts."""
    loss: float
    """Their mean (Caron et al. 2021, Eq. 3)."""
    entropy: float
    """The part of it that only the teacher decides: mean H(t) over the same pairs."""
    divergence: float
    """The rest: mean KL(t‖s)."""
    gradient: Float[np.ndarray, "S K"]
    """∂loss/∂(student logits); a step goes the other way."""


def stages(
    student: Float[np.ndarray, "S K"],
    teacher: Float[np.ndarray, "T K"],
    centre: Float[np.ndarray, " K"],
    teacher_temperature: float,
    student_temperature: float,
    *,
    centering: bool = True,
    sharpening: bool = True,
    skip_same_view: bool = True,
) -> Stages:
    """All stages; without `sharpening` the teacher's temperature is the student's, without `centering` the centre is 0.

        q_t = softmax((z_t - c) / τ_t)    p_s = softmax(z_s / τ_s)    L = -1/P Σ_(s,t) <q_t, log p_s>
        ∂L/∂z_s = 1/(P τ_s) Σ_t (p_s - q_t)

    over P pairs, all but those of a crop with itself.  ValueError where none is left, or for a temperature that is not positive."""
    if min(teacher_temperature, student_temperature) <= 0:
        raise ValueError(f"temperatures are {teacher_temperature} and {student_temperature}; expected numbers above 0.")
    student, teacher = np.asarray(student, float), np.asarray(teacher, float)
    centred = teacher - centre if centering else teacher.copy()
    sharpened = centred / (teacher_temperature if sharpening else student_temperature)
    scaled = student / student_temperature
    log_q, log_p = log_softmax(sharpened), log_softmax(scaled)
    targets, predictions = np.exp(log_q), np.exp(log_p)
    pairs = -log_p @ targets.T
    counted = ~np.eye(len(student), len(teacher), dtype=bool) if skip_same_view else np.ones(pairs.shape, bool)
    count = int(counted.sum())
    if count == 0:
        raise ValueError(f"{len(student)} student and {len(teacher)} teacher views leave no pair of different views.")
    each = -(targets * log_q).sum(1)
    loss, entropy = float(pairs[counted].sum()) / count, float((counted * each).sum()) / count
    pulls = counted.sum(1, keepdims=True) * predictions - counted @ targets
    return Stages(
        centred, sharpened, targets, scaled, predictions, pairs, counted, loss, entropy, loss - entropy,
        pulls / (count * student_temperature),
    )  # fmt: skip


def moved_centre(
    centre: Float[np.ndarray, " K"], teacher: Float[np.ndarray, "T K"], momentum: float
) -> Float[np.ndarray, " K"]:
    """c ← m c + (1 - m) mean(z_t)    (Caron et al. 2021, Eq. 4), here by the views of one image."""
    return momentum * centre + (1 - momentum) * np.mean(teacher, 0)


def log_softmax(x: Float[np.ndarray, "... K"]) -> Float[np.ndarray, "... K"]:
    """x - log Σ exp(x), without overflow."""
    shifted = x - x.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
