"""What can go wrong in a training run, and how its metrics show it.  One function a trouble; `diagnosis` decides when
to believe them.

Entropies are compared with ln K, K the number of prototypes.  Where a threshold comes from is said beside it: "traces"
are the runs of tests/core/traces.py, small networks on a CPU in which each failure was planted, and healthy ones."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import fmean, median
from typing import Any, Literal

Level = Literal["healthy", "watch", "trouble"]
LEVELS: tuple[Level, ...] = ("healthy", "watch", "trouble")

UNIFORM = 0.98
"""Share of ln K above which targets are all alike (traces: 0.99 forty steps after sharpening ended, health to 0.98)."""
NO_KL = 0.02
"""Share of ln K below which student and teacher agree on everything (traces: 0.01 in collapse, 0.05 in health)."""
NO_INFORMATION = 0.01
"""Share of ln K below which targets don't tell images apart (traces: 0.007 in collapse, a stall 0.016, health 0.07)."""
SOME_INFORMATION = 0.02
"""Share of ln K above which the teacher has told images apart at least once, so that its silence is news."""
GRACE = 40
"""Steps after the learning rate's warm-up in which a network that has never told images apart may still begin to."""
FEW_PROTOTYPES = 0.3
"""Share of the largest entropy the mean target could have, below which few prototypes take all (traces: 0.25 forty
steps after centering is gone, health 0.75 and more)."""
TWO_PROTOTYPES = 0.2
"""The same, for trouble: ln 2 / ln 32, two prototypes for a batch of 32."""
LOST_DIMENSIONS = 0.4
"""RankMe over its own peak.  Only a fall is told: a small network without KoLeo is healthy at RankMe 3."""
NARROW_FEATURES = 0.15
"""Spread of features below which losing dimensions is no mere change of shape (traces: 0.05 to 0.12, health 0.25)."""
PATCHES_ALIKE = 0.25
"""Rise of the mean cosine between patches over its own minimum; batches differ by 0.1."""
SAME_WEIGHTS = 1e-5
"""Distance of student and teacher, relative (traces: 0.01 to 0.1 with an EMA)."""
FROZEN = 0.99999
"""EMA momentum at which half of a teacher's memory is 70 000 steps."""
GRADIENT_SPIKE = 10.0
"""Gradient over its running median, as in the alarms of viz research; healthy runs vary by 5."""
HUGE_UPDATE = 0.05
"""Relative update of the weights in one step; about 0.001 to 0.004 is usual (traces)."""
STARVED = 0.4
"""Share of the step that waits for data."""
LOOKED_BACK_AT = (
    "gradient/backbone", "gradient/head", "gradient/prototypes", "patches/mean_cosine", "knn/teacher", "waiting",
)  # fmt: skip
HYSTERESIS = 1.3
"""How much better than its threshold a value must get before an alarm ends."""


@dataclass(frozen=True)
class Judgement:
    """What one line of metrics says about one trouble."""

    level: Level
    sentence: str = ""
    evidence: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    advice: str = ""
    at_once: bool = False
    """Believed on one line alone."""


FINE = Judgement("healthy")


class History:
    """The newest line of metrics, and of those before it what rules look back at."""

    def __init__(self, prototypes: int, total_steps: int | None) -> None:
        self.prototypes, self.total_steps = prototypes, total_steps
        self.row: Mapping[str, Any] = {"step": 0}
        self.recent = {name: deque[float](maxlen=31) for name in LOOKED_BACK_AT}
        self.peak: dict[str, float] = {}
        self.least_cosine = math.inf
        self.informed = False
        """Whether targets have ever told images apart."""
        self._peak_lr, self._warm = 0.0, 0

    @property
    def step(self) -> int:
        return self.row["step"]

    @property
    def largest_entropy(self) -> float:
        """ln K."""
        return math.log(max(2, self.prototypes))

    @property
    def largest_usage(self) -> float:
        """The entropy a mean target can reach: ln K, or ln B in a batch of B < K images that are sure of themselves."""
        images = self.now("images")
        return (
            min(self.largest_entropy, math.log(max(2.0, images / max(1, self.step))))
            if images
            else self.largest_entropy
        )

    def add(self, row: Mapping[str, Any]) -> None:
        self.row = row
        for name, values in self.recent.items():
            value = _waiting(row) if name == "waiting" else self.now(name)
            if value is not None:
                values.append(value)
        for name in ("features/rankme", "knn/teacher"):
            if (value := self.now(name)) is not None:
                self.peak[name] = max(value, self.peak.get(name, value))
        rate, told = self.now("lr"), self.now("teacher/information")
        if rate is not None and rate > self._peak_lr:
            self._peak_lr, self._warm = rate, self.step
        self.informed |= told is not None and told > SOME_INFORMATION * self.largest_entropy
        if len(self.recent["patches/mean_cosine"]) >= 10:
            self.least_cosine = min(self.least_cosine, self.mean("patches/mean_cosine", 5))

    def silence_is_news(self) -> bool:
        """False while a network that begins near uniform, as large ones do, may be expected to be silent."""
        return self.informed or self.step >= self._warm + GRACE

    def now(self, name: str) -> float | None:
        """A finite number of the newest line; None where it has none."""
        return number(self.row, name)

    def mean(self, name: str, count: int) -> float:
        """Mean of the last values of a metric, at most so many."""
        return fmean(list(self.recent[name])[-count:])


Judge = Callable[[History, bool], "Judgement | None"]


@dataclass(frozen=True)
class Rule:
    """When to believe a judgement: after `rows` lines in a row that span so many steps."""

    name: str
    view: str
    judge: Judge
    rows: int = 3
    watch_after: int = 20
    trouble_after: int = 60
    lasting: int | None = None
    """Steps after which what was only watched is trouble too: it does not go away by itself.  None: never."""
    unless: tuple[str, ...] = ()
    """Findings that say more: this one gives way to them."""


def number(row: Mapping[str, Any], name: str) -> float | None:
    value = row.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        return None
    return float(value)


def uniform_collapse(seen: History, active: bool) -> Judgement | None:
    """Targets are the same for every image: all prototypes alike."""
    states = _states(seen)
    if states is None:
        return None
    entropy, kl, information = states
    slack = HYSTERESIS if active else 1.0
    if 1 - entropy > (1 - UNIFORM) * slack or kl > NO_KL * slack or information > NO_INFORMATION * slack:
        return FINE
    if not seen.silence_is_news():
        return FINE
    scale = seen.largest_entropy
    return Judgement(
        "trouble",
        f"The teacher says nearly the same for every image: entropy {entropy * scale:.2f} of ln {seen.prototypes} = "
        f"{scale:.2f}, and KL {kl * scale:.2g}. Uniform collapse",
        _evidence(seen, {"teacher/entropy": UNIFORM, "kl": NO_KL, "teacher/information": NO_INFORMATION}),
        f"Sharpen: lower the teacher temperature{_now(seen, 'teacher_temperature')}, to 0.04 or below.",
    )


def prototype_collapse(seen: History, active: bool) -> Judgement | None:
    """One prototype, or a few, take every image."""
    usage = _usage(seen)
    if usage is None or seen.prototypes < 2:
        return None
    share = usage / seen.largest_usage
    if share > FEW_PROTOTYPES * (HYSTERESIS if active else 1.0):
        return FINE
    several = max(1, round(math.exp(usage)))
    take = "One prototype takes" if several == 1 else f"{several} prototypes take"
    centred = "centre/norm" in seen.row
    remedy = (
        "The centre can't keep up: lower the learning rate, or objective.centre_momentum."
        if centred
        else "Centre the targets (objective.centering), or raise the teacher temperature"
        f"{_now(seen, 'teacher_temperature')}."
    )
    return Judgement(
        "trouble" if share < TWO_PROTOTYPES else "watch",
        f"{take} nearly every image: the mean target has entropy {usage:.2f} of {seen.largest_usage:.2f}. "
        "Prototype collapse",
        _evidence(seen, {"target/mean_entropy": FEW_PROTOTYPES, "teacher/mean_entropy": FEW_PROTOTYPES}, usage=True),
        remedy,
    )


def constant_output(seen: History, active: bool) -> Judgement | None:
    """Every image gets the same answer, be it neither one prototype nor all, or now this and now that."""
    states = _states(seen)
    if states is None:
        return None
    _, kl, information = states
    if information > NO_INFORMATION * (HYSTERESIS if active else 1.0) or not seen.silence_is_news():
        return FINE
    return Judgement(
        "trouble",
        f"Every image gets the same answer: it tells {information * seen.largest_entropy:.2g} nats about the image, "
        f"and KL is {kl * seen.largest_entropy:.2g}. Collapse to a constant",
        _evidence(seen, {"teacher/information": NO_INFORMATION}),
        f"Centre and sharpen both (teacher temperature{_now(seen, 'teacher_temperature')}); if both are on, lower the "
        "learning rate or raise the teacher's momentum.",
    )


def dimensional_collapse(seen: History, active: bool) -> Judgement | None:
    """Features use far fewer directions than they did."""
    rank = seen.now("features/rankme")
    if rank is None:
        return None
    peak = seen.peak["features/rankme"]
    if peak < 4 or rank > LOST_DIMENSIONS * peak * (HYSTERESIS if active else 1.0):
        return FINE
    spread = seen.now("features/std")
    narrow = spread is not None and spread < NARROW_FEATURES
    better = seen.recent["knn/teacher"]
    rising = len(better) > 1 and better[-1] >= seen.peak["knn/teacher"]
    return Judgement(
        "trouble" if narrow and not rising else "watch",
        f"Features use {rank:.1f} directions, {peak:.1f} at their peak"
        + ("; k-NN still rises, so what is left is of use" if rising else "")
        + ". Losing dimensions",
        {"features/rankme": {"value": rank, "threshold": LOST_DIMENSIONS * peak}}
        | ({"features/std": {"value": spread, "threshold": NARROW_FEATURES}} if spread is not None else {}),
        "Spread the class tokens (objective.koleo_weight 0.05 to 0.1), or lower the learning rate.",
    )


def dense_degradation(seen: History, active: bool) -> Judgement | None:
    """Patches of an image grow alike, and lose their place."""
    if seen.now("patches/mean_cosine") is None:
        return None
    cosine, least = seen.mean("patches/mean_cosine", 5), seen.least_cosine
    if cosine - least < PATCHES_ALIKE / (HYSTERESIS if active else 1.0) or cosine < 0.5:
        return FINE
    return Judgement(
        "trouble" if cosine > 0.9 else "watch",
        f"The patches of an image grow alike: mean cosine {cosine:.2f}, {least:.2f} at its lowest. Dense features "
        "degrade",
        {"patches/mean_cosine": {"value": cosine, "threshold": least + PATCHES_ALIKE}},
        "Take an earlier checkpoint for dense tasks, or fork from here with Gram anchoring (gram.weight 2, gram.anchor an "
        "earlier step); shorter training and registers keep patches local too.",
    )


def teacher_equals_student(seen: History, active: bool) -> Judgement | None:
    """The teacher is the student of this very step."""
    distance = seen.now("student_teacher_distance")
    if distance is None:
        return None
    if distance > SAME_WEIGHTS:
        return FINE
    return Judgement(
        "trouble",
        f"Teacher and student have the same weights (distance {distance:.1g}), so nobody leads",
        {"student_teacher_distance": {"value": distance, "threshold": SAME_WEIGHTS}},
        f"Raise the teacher's momentum{_now(seen, 'momentum')}, to 0.99 or above; or is the learning rate 0?",
    )


def teacher_frozen(seen: History, active: bool) -> Judgement | None:
    """The teacher does not learn from the student."""
    momentum = seen.now("momentum")
    if momentum is None:
        return None
    if momentum < FROZEN or (seen.total_steps and seen.step > 0.9 * seen.total_steps):
        return FINE  # schedules end at 1
    return Judgement(
        "trouble",
        f"The teacher does not move: its momentum is {momentum:.6g}, so the student learns from what it began with",
        {"momentum": {"value": momentum, "threshold": FROZEN}},
        "Lower the teacher's momentum (schedules.momentum), to 0.996 or below.",
    )


def exploding(seen: History, active: bool) -> Judgement | None:
    """Steps are far too long, or numbers no numbers."""
    odd = [name for name in ("loss", "kl", "teacher/entropy") if _not_finite(seen.row, name)]
    if odd:
        return Judgement(
            "trouble",
            f"{odd[0].capitalize()} is not a finite number",
            {odd[0]: {"value": math.nan, "threshold": math.inf}},
            "Lower the learning rate, lengthen its warm-up, or compute in fp32 (machine.precision).",
            at_once=True,
        )
    for name in ("update/backbone", "update/head", "update/prototypes"):
        update = seen.now(name)
        if update is not None and update > HUGE_UPDATE / (HYSTERESIS if active else 1.0):
            return Judgement(
                "trouble",
                f"One step changes the weights of the {name[7:]} by {update:.0%}",
                {name: {"value": update, "threshold": HUGE_UPDATE}},
                f"Lower the learning rate{_now(seen, 'lr')}.",
            )
    for name in ("gradient/backbone", "gradient/head", "gradient/prototypes"):
        gradient, recent = seen.now(name), seen.recent[name]
        usual = median(recent) if len(recent) > 5 else math.inf
        if gradient is not None and gradient > GRADIENT_SPIKE * usual / (2 if active else 1):
            return Judgement(
                "watch",
                f"The gradient of the {name[9:]} is {gradient / max(usual, 1e-12):.0f} times its usual length",
                {name: {"value": gradient, "threshold": GRADIENT_SPIKE * usual}},
                f"Clip gradients (optim.clip) or lower the learning rate{_now(seen, 'lr')}.",
            )
    return None if seen.now("loss") is None else FINE


def starved_by_data(seen: History, active: bool) -> Judgement | None:
    """Training waits for images."""
    if seen.now("time/data") is None or len(seen.recent["waiting"]) < 5:
        return None
    share = seen.mean("waiting", 5)
    if share < STARVED / (HYSTERESIS if active else 1.0):
        return FINE
    return Judgement(
        "watch",
        f"{share:.0%} of the time goes into waiting for images. Starved by data",
        {"time/data": {"value": share, "threshold": STARVED}},
        "More decoding threads (data.workers), a larger cache (data.cache), or smaller files (data.decode_size).",
    )


def _not_finite(row: Mapping[str, Any], name: str) -> bool:
    """NaN or infinity, be it as a float or as the null that stands for it in metrics.jsonl."""
    value = row.get(name, 0.0)
    return value is None or (isinstance(value, float) and not math.isfinite(value))


def _states(seen: History) -> tuple[float, float, float] | None:
    """Target entropy, KL and information, as shares of ln K."""
    values = [seen.now(name) for name in ("teacher/entropy", "kl", "teacher/information")]
    if seen.prototypes < 2 or any(value is None for value in values):
        return None
    entropy, kl, information = (value / seen.largest_entropy for value in values if value is not None)
    return entropy, kl, information


def _usage(seen: History) -> float | None:
    """Entropy of the mean answer.

    With a centre the targets' own: the raw answer may be one-sided in health, for the centre takes that away.  Without
    one, the smaller of both: Sinkhorn-Knopp evens out the targets' mean, but not that of the raw answers."""
    target, raw = seen.now("target/mean_entropy"), seen.now("teacher/mean_entropy")
    if target is None or raw is None or "centre/norm" in seen.row:
        return target
    return min(target, raw)


def _waiting(row: Mapping[str, Any]) -> float | None:
    """Share of the step that waits for data."""
    waiting = number(row, "time/data")
    total = sum(number(row, name) or 0.0 for name in row if name.startswith("time/"))
    return waiting / total if waiting is not None and total > 0 else None


def _evidence(seen: History, thresholds: Mapping[str, float], usage: bool = False) -> dict[str, dict[str, float]]:
    """What was measured, and the limit in the same unit."""
    scale = seen.largest_usage if usage else seen.largest_entropy
    found = {name: (seen.now(name), share * scale) for name, share in thresholds.items()}
    return {name: {"value": value, "threshold": limit} for name, (value, limit) in found.items() if value is not None}


def _now(seen: History, name: str) -> str:
    value = seen.now(name)
    return "" if value is None else f", now {value:.3g}"


RULES = (
    Rule("exploding", "gradients", exploding, rows=2, watch_after=1, trouble_after=20),
    Rule("prototype_collapse", "collapse", prototype_collapse, trouble_after=40, lasting=200),
    Rule("uniform_collapse", "collapse", uniform_collapse),
    Rule("constant_output", "collapse", constant_output, unless=("prototype_collapse", "uniform_collapse")),
    Rule("teacher_equals_student", "gradients", teacher_equals_student),
    Rule("teacher_frozen", "schedules", teacher_frozen),
    Rule("dimensional_collapse", "features", dimensional_collapse, watch_after=50, trouble_after=100),
    Rule("dense_degradation", "patches", dense_degradation, rows=5, watch_after=100, trouble_after=500),
    Rule("starved_by_data", "time", starved_by_data, rows=3, watch_after=20),
)
"""Worst first: what explains the others."""
