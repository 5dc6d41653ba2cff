"""One step of DINO on one image, taken apart: what each stage makes of the numbers of the stage before.

Axes: S student views, T teacher views (the first T student views are the same crops), K prototypes.  numpy, double precision."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float


@dataclass(frozen=True)
class Stages:
    """Every number between the logits and the gradient."""

    student: Float[np.ndarray, "s K"]
    """Student logits that count, after what was switched off."""
    teacher: Float[np.ndarray, "T K"]
    """Teacher logits, likewise."""
    centre: Float[np.ndarray, " K"]
    """What is to be taken away from them."""
    centred: Float[np.ndarray, "T K"]
    """Teacher logits less the centre."""
    sharpened: Float[np.ndarray, "T K"]
    """Over the teacher's temperature."""
    targets: Float[np.ndarray, "T K"]
    """Their softmax: what the student is to say."""
    scaled: Float[np.ndarray, "s K"]
    """Student logits over the student's temperature."""
    predictions: Float[np.ndarray, "s K"]
    """Their softmax."""
    pairs: Float[np.ndarray, "s T"]
    """Cross-entropy of each student view under each teacher view, in nats."""
    counted: Bool[np.ndarray, "s T"]
    """Which pairs the loss counts."""
    loss: float
    """Their mean (Caron et al. 2021, Eq. 3)."""
    entropy: float
    """The part of it that only the teacher decides: mean H(t) over the same pairs."""
    divergence: float
    """The rest: mean KL(t‖s)."""
    gradient: Float[np.ndarray, "s K"]
    """∂loss/∂(student logits); a step goes the other way."""
    teacher_gradient: Float[np.ndarray, "T K"]
    """∂loss/∂(teacher logits): 0, since none flows there, unless that is switched off."""


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
    unit_length: bool = True,
    student_sharpening: bool = True,
    soft_targets: bool = True,
    local_crops: bool = True,
    stop_gradient: bool = True,
    student_lengths: Float[np.ndarray, " S"] | None = None,
    teacher_lengths: Float[np.ndarray, " T"] | None = None,
) -> Stages:
    """All stages, each of which can be switched off.

        q_t = softmax((z_t - c) / τ_t)    p_s = softmax(z_s / τ_s)    L = -1/P Σ_(s,t) <q_t, log p_s>
        ∂L/∂z_s = 1/(P τ_s) Σ_t (p_s - q_t)    ∂L/∂z_t = 1/(P τ_t) Σ_s q_t (-log p_s + <q_t, log p_s>)

    over P pairs, all but those of a crop with itself; the gradient of z_t stops (Caron et al. 2021, Algorithm 1).
    Without `centering` c is 0; without `sharpening` τ_t is τ_s; without `student_sharpening` τ_s is 1; without `soft_targets`
    q_t is 1 at its largest entry; without `local_crops` the first T student views are all.  Without `unit_length` logits are
    multiplied by what the head divides by, the lengths of its bottleneck's vectors (S and T), and c by the mean of the teacher's.
    ValueError where no pair is left, for a temperature that is not positive, or where lengths are wanted and not given."""
    if min(teacher_temperature, student_temperature) <= 0:
        raise ValueError(f"temperatures are {teacher_temperature} and {student_temperature}; expected numbers above 0.")
    student, teacher, centre = np.asarray(student, float), np.asarray(teacher, float), np.asarray(centre, float)
    if not unit_length:
        if student_lengths is None or teacher_lengths is None:
            raise ValueError("logits without unit length need the lengths of both networks' vectors; none were given.")
        student, teacher = student * student_lengths[:, None], teacher * teacher_lengths[:, None]
        centre = centre * np.mean(teacher_lengths)
    if not local_crops:
        student = student[: len(teacher)]
    student_temperature = student_temperature if student_sharpening else 1.0
    temperature = teacher_temperature if sharpening else student_temperature
    centred = teacher - centre if centering else teacher.copy()
    sharpened = centred / temperature
    scaled = student / student_temperature
    log_q, log_p = log_softmax(sharpened), log_softmax(scaled)
    predictions = np.exp(log_p)
    targets = np.exp(log_q) if soft_targets else np.eye(log_q.shape[1])[log_q.argmax(1)]
    pairs = -log_p @ targets.T
    counted = ~np.eye(len(student), len(teacher), dtype=bool) if skip_same_view else np.ones(pairs.shape, bool)
    count = int(counted.sum())
    if count == 0:
        raise ValueError(f"{len(student)} student and {len(teacher)} teacher views leave no pair of different views.")
    each = -(targets * log_q).sum(1) if soft_targets else np.zeros(len(targets))
    loss, entropy = float(pairs[counted].sum()) / count, float((counted * each).sum()) / count
    pulls = counted.sum(1, keepdims=True) * predictions - counted @ targets
    flows = float(soft_targets and not stop_gradient) / (count * temperature)
    pushes = targets * (-(counted.T @ log_p) - (counted * pairs).sum(0)[:, None])
    return Stages(
        student, teacher, centre, centred, sharpened, targets, scaled, predictions, pairs, counted, loss, entropy,
        loss - entropy, pulls / (count * student_temperature), flows * pushes,
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
