"""03 Why doesn't it collapse?  Information, naming a collapse, and a sabotage."""

from __future__ import annotations

import math
import random
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lab.analysis.simulate import Simulator
from notebooks.exercises import Exercise, Mistake, Symptom


def plogp(p: Tensor) -> Tensor:
    return torch.special.entr(p).sum(-1)


def of_mean(targets: Tensor) -> Tensor:
    return plogp(targets.mean(0))


def targets(seed: int, rows: int = 6, columns: int = 4) -> Tensor:
    return (3 * torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))).softmax(
        -1
    )


informed = Exercise(
    "03.1",
    cases=lambda seed: [(targets(seed),), (torch.eye(3)[[0, 1, 1, 2]],)],
    right=lambda p: of_mean(p) - plogp(p).mean(),
    mistakes=[
        Mistake("half of it: this is the entropy of the mean target, how widely all images together are spread. Subtract how "
                "undecided each one is.", of_mean, half_finished=True),
        Mistake("half of it: this is the mean entropy, how undecided each image's target is. It is subtracted from the "
                "entropy of the mean.", lambda p: plogp(p).mean(), half_finished=True),
        Mistake("the sign: information is the entropy of the mean minus the mean entropy, and never negative.",
                lambda p: plogp(p).mean() - of_mean(p)),
        Mistake("you took the mean over prototypes. The mean target is over images, the rows: dim=0.",
                lambda p: plogp(p.mean(1)) - plogp(p).mean()),
        Mistake("you summed the entropies over images; take their mean.", lambda p: of_mean(p) - plogp(p).sum()),
        Mistake("you measure in bits (log2). Here everything is in nats, the natural logarithm.",
                lambda p: (of_mean(p) - plogp(p).mean()) / math.log(2)),
        Mistake("this is a share of ln K, as the lab draws it; nats are asked for.",
                lambda p: (of_mean(p) - plogp(p).mean()) / math.log(p.shape[1])),
    ],
    symptoms=[Symptom("0 · ln 0 gave NaN. It counts as 0: torch.special.entr(p) is -p ln p and knows that; so does "
                      "dino_core.measure.collapse.entropy.", lambda i, *_: bool(torch.isnan(i).any()))],
    hints=["Two entropies: of the mean over rows, and the mean of the rows'. Section 1 prints both.",
           "entropy(targets.mean(dim=0)) is the first."],
)  # fmt: skip

Numbers = tuple[float, float, int]


def named(mean_entropy: float, entropy_of_mean: float, prototypes: float) -> str:
    whole = math.log(prototypes)
    if entropy_of_mean - mean_entropy >= 0.02 * whole:
        return "healthy"
    if mean_entropy < 0.02 * whole:
        return "one prototype"
    return "uniform" if mean_entropy > 0.98 * whole else "constant"


def by_entropy_alone(mean_entropy: float, entropy_of_mean: float, prototypes: int) -> str:
    share = mean_entropy / math.log(prototypes)
    return "one prototype" if share < 0.02 else "uniform" if share > 0.98 else "healthy"


def without_constants(mean_entropy: float, entropy_of_mean: float, prototypes: int) -> str:
    name = named(mean_entropy, entropy_of_mean, prototypes)
    return "healthy" if name == "constant" else name


def exchanged(mean_entropy: float, entropy_of_mean: float, prototypes: int) -> str:
    name = named(mean_entropy, entropy_of_mean, prototypes)
    return {"one prototype": "uniform", "uniform": "one prototype"}.get(name, name)


def by_use(mean_entropy: float, entropy_of_mean: float, prototypes: int) -> str:
    if entropy_of_mean >= 0.02 * math.log(prototypes):
        return "healthy"
    return "one prototype"


def in_nats(mean_entropy: float, entropy_of_mean: float, prototypes: int) -> str:
    if entropy_of_mean - mean_entropy >= 0.02:
        return "healthy"
    return (
        "one prototype" if mean_entropy < 0.02 else "uniform" if mean_entropy > 0.98 else "constant"
    )


def patients(seed: int) -> list[Numbers]:
    """Together they tell every mistake from the others."""
    some = random.Random(seed).random()
    return [
        (2.0 + some, 3.2, 32),
        (0.01 * some, 4.0, 512),  # very sharp, and healthy
        (0.001, 0.002, 32),
        (2.3 + some, 2.31 + some, 32),
        (6.23, 6.235, 512),
        (5.0, 5.05 + some / 100, 512),  # 0.05 nats are less than 2 % of 6.24
    ]


diagnose = Exercise(
    "03.2",
    cases=patients,
    right=named,
    mistakes=[
        Mistake("half of it: a run whose every answer is the same doubt is not healthy. It tells nothing about the image either: "
                "\"constant\".", without_constants, half_finished=True),
        Mistake("you judge by the mean entropy alone. A teacher may be certain of every image (low entropy) and say something "
                "else of each: that is healthy. Ask for the information first.", by_entropy_alone),
        Mistake("the names are exchanged: entropy 0 is one prototype, entropy ln K is uniform.", exchanged),
        Mistake("you compare with 0.02 and 0.98 nats. The thresholds are shares of ln K.", in_nats),
        Mistake("you took the names of the prototypes' use for a health report: with two entropies given, information is their "
                "difference, not the entropy of the mean.", by_use),
        Mistake("you took shares of K. The most an entropy can be is ln K: np.log(prototypes).",
                lambda m, e, k: named(m, e, math.exp(k))),
        Mistake("you took shares of log2 K; the entropies are in nats, so the most is ln K.",
                lambda m, e, k: named(m, e, 2 ** (math.log2(k) / math.log(2)))),
    ],
    hints=["First the difference of the two entropies, as a share of ln K. Only if it is small, ask which collapse it is.",
           "Then the mean entropy as a share of ln K: below 0.02, above 0.98, or between.",
           "np.log(prototypes) is ln K."],
    minutes=10,
)  # fmt: skip


def sabotaged(options: Any) -> str | None:
    """What keeps these options from being a sabotage with both forces on."""
    if not isinstance(options, dict):
        return f"return a dictionary of options, such as {{'noise': 0.3}}; got {type(options).__name__}."
    if not options:
        return "half of it: a dictionary, but an empty one: that is the healthy system."
    if (
        options.get("centering", True) is not True
        or options.get("sharpening", True) is not True
        or options.get("sinkhorn")
    ):
        return (
            "centering and sharpening stay on, and Sinkhorn off; find out what else they rely on."
        )
    if options.get("momentum") == 1:
        return "a teacher that never moves can't collapse, nor learn; it says what it said at the start."
    try:
        run = simulated(tuple(sorted(options.items())))
    except (ValueError, TypeError, FloatingPointError) as error:
        return f"the simulator refuses these options: {error}"
    told, doubt, whole = (
        run["teacher/information"][-1],
        run["teacher/entropy"][-1],
        math.log(run_prototypes(options)),
    )
    if told > 0.05 * whole:
        return f"it did not collapse: after 800 steps the answers tell {told:.2f} nats about the image."
    if doubt > 0.5 * whole:
        return f"it collapsed the other way: entropy {doubt:.2f} of ln K = {whole:.2f} is uniform, not one prototype."
    return None


@cache
def simulated(options: tuple[tuple[str, Any], ...]) -> dict[str, np.ndarray]:
    """800 steps with these options; the same ones are not simulated twice."""
    return Simulator(dict(options), seed=3).run(800)


def run_prototypes(options: dict[str, Any]) -> int:
    return int(options.get("prototypes", 32))


sabotage = Exercise(
    "03.3",
    cases=lambda seed: [()],
    judge=sabotaged,
    mistakes=[
        Mistake("half of it: a dictionary, but an empty one", lambda: {}, half_finished=True),
        Mistake("centering and sharpening stay on", lambda: {"centering": False}),
        Mistake("it collapsed the other way: entropy 3.4", lambda: {"teacher_temperature": 0.09}),
        Mistake("a teacher that never moves can't collapse", lambda: {"momentum": 1.0}),
        Mistake("it did not collapse: after 800 steps", lambda: {"momentum": 0.0}),
        Mistake("the simulator refuses these options: there is no option 'temperature'", lambda: {"temperature": 1.0}),
        Mistake("return a dictionary of options", lambda: "centre_momentum"),
    ],
    hints=[
        "One prototype wins when the common part is amplified and not removed (section 2). When does the centre remove too little?",
        "The centre is a moving average. Of what length? And how fast do scores move?",
        "Make the centre late: a centre_momentum much closer to 1.",
    ],
    minutes=10,
    praise="one prototype, with both forces on: a centre that comes too late centres nothing.",
)  # fmt: skip
