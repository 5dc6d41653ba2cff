"""03 Why doesn't it collapse?  Information, naming a collapse, and a sabotage."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
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
    cases=lambda seed: [(targets(seed),), (torch.eye(3)[[0, 1, 1, 2]],), (torch.tensor([[0.5, 0.5, 0.0], [0.1, 0.2, 0.7]]),)],
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
        Mistake("half of it: these are both entropies. Subtract the second from the first.",
                lambda p: (of_mean(p), plogp(p).mean()), half_finished=True),
        Mistake("you summed the targets over images; the mean target is a distribution, which sums to 1.",
                lambda p: plogp(p.sum(0)) - plogp(p).mean()),
        Mistake("the entropy of the mean lacks its minus: H = -Σ p ln p.", lambda p: -of_mean(p) - plogp(p).mean()),
        Mistake("you added the two entropies; what one image's doubt explains is subtracted.",
                lambda p: of_mean(p) + plogp(p).mean()),
        Mistake("you averaged -p ln p over prototypes too; an entropy is their sum.",
                lambda p: torch.special.entr(p.mean(0)).mean() - torch.special.entr(p).mean()),
        Mistake("you took one mean of all numbers; the mean target is over images only: dim=0.",
                lambda p: plogp(p.mean()[None]) - plogp(p).mean()),
        Mistake("your second entropy sums over images; each image has its own, over prototypes: dim=-1.",
                lambda p: of_mean(p) - torch.special.entr(p).sum(0).mean()),
        Mistake("ln K is the most the first entropy can be; take the entropy of the mean that there is.",
                lambda p: math.log(p.shape[1]) - plogp(p).mean()),
        Mistake("this is how far the mean is from uniform (KL); information is H of the mean minus the mean H.",
                lambda p: math.log(p.shape[1]) - of_mean(p)),
        Mistake("you divided the two entropies; information is their difference.", lambda p: plogp(p).mean() / of_mean(p)),
        Mistake("you took the first image's entropy for that of the mean.", lambda p: plogp(p[0]) - plogp(p).mean()),
        Mistake("you took the median of the targets; the mean is asked for.",
                lambda p: plogp(p.median(0).values) - plogp(p).mean()),
        Mistake("you set a row's NaN to 0 after summing: the whole row is lost. Only a single 0 ln 0 counts as 0.",
                lambda p: -(p.mean(0) * p.mean(0).log()).sum() + torch.nan_to_num((p * p.log()).sum(-1)).mean()),
        Mistake("what you add inside the logarithm is too large: take 1e-12, or torch.special.entr, which needs none.",
                lambda p: -(p.mean(0) * (p.mean(0) + 1e-3).log()).sum() + (p * (p + 1e-3).log()).sum(-1).mean()),
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


def healthy_or(what: str) -> Callable[[float, float, int], str]:
    """One name for every collapse."""
    return lambda m, e, k: "healthy" if e - m >= 0.02 * math.log(k) else what


def collapse_first(mean_entropy: float, entropy_of_mean: float, prototypes: int) -> str:
    name = by_entropy_alone(mean_entropy, entropy_of_mean, prototypes)
    return named(mean_entropy, entropy_of_mean, prototypes) if name == "healthy" else name


def uniform_first(mean_entropy: float, entropy_of_mean: float, prototypes: int) -> str:
    if entropy_of_mean > 0.98 * math.log(prototypes):
        return "uniform"
    return named(mean_entropy, entropy_of_mean, prototypes)


def by_the_other(mean_entropy: float, entropy_of_mean: float, prototypes: int) -> str:
    name = named(mean_entropy, entropy_of_mean, prototypes)
    return name if name == "healthy" else named(entropy_of_mean, entropy_of_mean, prototypes)


def drawn_patient(draw: random.Random) -> Numbers:
    """A doubt and a spread as shares of ln K, on either side of every threshold and not on it."""
    prototypes = draw.choice([16, 32, 128, 512])
    doubt = draw.choice([0.005, 0.015, 0.025, 0.35, 0.5, 0.95, 0.975, 0.985])
    told = draw.choice([0.0, 0.01, 0.012, 0.1, 0.3])
    whole = math.log(prototypes)
    return doubt * whole, min(doubt + told, 0.9999) * whole, prototypes


def patients(seed: int) -> list[Numbers]:
    """Together they tell every mistake from the others."""
    some = random.Random(seed).random()
    drawn = random.Random(seed + 3)
    return [
        (2.0 + some, 3.2, 32),
        (0.01 * some, 4.0, 512),  # very sharp, and healthy
        (0.001, 0.002, 32),
        (2.3 + some, 2.31 + some, 32),
        (6.23, 6.235, 512),
        (5.0, 5.05 + some / 100, 512),  # 0.05 nats are less than 2 % of 6.24
        (1.0 + some, 3.45, 32),  # all prototypes are used, and healthy
        (0.06, 0.1, 32),
        (0.1, 0.11, 32),
        *(drawn_patient(drawn) for _ in range(40)),
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
        Mistake("half of it: this says whether it is healthy. Return the name: \"healthy\", or that of the collapse.",
                lambda m, e, k: e - m >= 0.02 * math.log(k), half_finished=True),
        Mistake("half of it: the healthy ones are right. Which collapse is it, by the mean entropy?",
                healthy_or("constant"), half_finished=True),
        Mistake("half of it: the middle is missing. Between 2 % and 98 % of ln K it is \"constant\".",
                lambda m, e, k: healthy_or("one prototype" if m < 0.5 * math.log(k) else "uniform")(m, e, k), half_finished=True),
        Mistake("nothing is healthy in yours. Information is the entropy of the mean minus the mean entropy, in this order, and "
                "2 % is 0.02.",
                lambda m, e, k: named(m, min(e, 2 * m - e), k)),
        Mistake("2 % is 0.02; your threshold for information is 0.2, ten times as much.",
                lambda m, e, k: "healthy" if e - m >= 0.2 * math.log(k) else named(m, m, k)),
        Mistake("you ask for the kind of collapse before you know that there is one. Information comes first.", collapse_first),
        Mistake("that all prototypes are used (entropy of the mean near ln K) is no collapse. Information comes first.",
                uniform_first),
        Mistake("which collapse it is says the *mean entropy* of targets; you asked the entropy of the mean.", by_the_other),
        Mistake("\"healthy\" and \"constant\" are exchanged: a healthy run's answers tell something about the image.",
                lambda m, e, k: {"healthy": "constant", "constant": "healthy"}.get(named(m, e, k), named(m, e, k))),
        Mistake("you took information as a share of the entropy of the mean; the threshold is a share of ln K.",
                lambda m, e, k: "healthy" if (e - m) / max(e, 1e-9) >= 0.02 else named(m, m, k)),
        Mistake("any difference of the two entropies is healthy in yours; it takes 2 % of ln K.",
                lambda m, e, k: "healthy" if e > m else named(m, m, k)),
        Mistake("you took log10 of K; the entropies are in nats, so the most is the natural logarithm.",
                lambda m, e, k: named(m, e, math.exp(math.log10(k)))),
        Mistake("\"uniform\" never comes out of yours: it is a mean entropy above 98 % of ln K.",
                lambda m, e, k: "constant" if named(m, e, k) == "uniform" else named(m, e, k)),
        Mistake("you wrote ln 32 into your function; the number of prototypes is given.", lambda m, e, k: named(m, e, 32)),
        Mistake("you wrote ln 512 into your function; the number of prototypes is given.", lambda m, e, k: named(m, e, 512)),
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
    strange = [value for value in options.values() if not isinstance(value, bool | int | float)]
    if strange or any(value != value for value in options.values()):
        return f"the options of the simulator are numbers, or True and False; one of yours is {(strange or [math.nan])[0]!r}."
    if (
        options.get("centering", True) is not True
        or options.get("sharpening", True) is not True
        or options.get("sinkhorn")
    ):
        return (
            "centering and sharpening stay on, and Sinkhorn off; find out what else they rely on."
        )
    if run_prototypes(options) < 2:
        return (
            "with a single prototype there is nothing to choose from: ln 1 = 0. Leave at least two."
        )
    if not all(0 <= options.get(name, 0.5) <= 1 for name in ("momentum", "centre_momentum")):
        return "a momentum is a share: it lies between 0 and 1."
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
        Mistake("with a single prototype there is nothing to choose from", lambda: {"prototypes": 1}),
        Mistake("a momentum is a share: it lies between 0 and 1.", lambda: {"centre_momentum": 1.5}),
        Mistake("the options of the simulator are numbers, or True and False; one of yours is '0.999'",
                lambda: {"centre_momentum": "0.999"}),
    ],
    hints=[
        "One prototype wins when the common part is amplified and not removed (section 2). When does the centre remove too little?",
        "The centre is a moving average. Of what length? And how fast do scores move?",
        "Make the centre late: a centre_momentum much closer to 1.",
    ],
    minutes=10,
    praise="one prototype, with both forces on: a centre that comes too late centres nothing.",
)  # fmt: skip
