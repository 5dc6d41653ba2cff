"""01 Two networks and one image: crops and the moving average."""

from __future__ import annotations

import math
import random

import torch
from torch import Tensor

from notebooks.exercises import Exercise, Mistake


def sides(height: int, width: int, share: float, ratio: float) -> tuple[int, int]:
    tall, wide = unrounded(height, width, share, ratio)
    return round(tall), round(wide)


def unrounded(height: int, width: int, share: float, ratio: float) -> tuple[float, float]:
    area = share * height * width
    return math.sqrt(area / ratio), math.sqrt(area * ratio)


def images(seed: int) -> list[tuple[int, int, float, float]]:
    draw = random.Random(seed)
    return [(64, 96, 0.21, 4 / 3), (100 + draw.randrange(50), 333, 0.3, 0.75)]


crop_sides = Exercise(
    "01.1",
    cases=images,
    right=sides,
    mistakes=[
        Mistake("half of it: the sides are right, but not whole pixels yet; round them.", unrounded, half_finished=True),
        Mistake("half of it: this is the area. Two sides are asked for: their product is the area, wide / tall the ratio.",
                lambda h, w, s, r: s * h * w, half_finished=True),
        Mistake("tall and wide are exchanged: the ratio is of width to height, so a ratio above 1 makes a wide crop; and "
                "the height comes first.", lambda h, w, s, r: sides(h, w, s, r)[::-1]),
        Mistake("you took the share of each side. It is a share of the area: 16 % of the area are 40 % of each side.",
                lambda h, w, s, r: (round(s * h), round(s * w))),
        Mistake("you forgot the ratio: all your crops are square.", lambda h, w, s, r: sides(h, w, s, 1)),
        Mistake("you multiplied and divided by the whole ratio. Each side takes its square root, so that the area stays.",
                lambda h, w, s, r: (round(math.sqrt(s * h * w) / r), round(math.sqrt(s * h * w) * r))),
        Mistake("you kept the image's own shape and scaled it: the ratio of the crop is given.",
                lambda h, w, s, r: (round(math.sqrt(s) * h), round(math.sqrt(s) * w))),
        Mistake("you cut the rest off (int); whole pixels are the nearest: round.",
                lambda h, w, s, r: (int(unrounded(h, w, s, r)[0]), int(unrounded(h, w, s, r)[1]))),
        Mistake("you scaled the image's own sides and then applied the ratio: the ratio is that of the crop, not how it differs "
                "from the image's.",
                lambda h, w, s, r: (round(h * math.sqrt(s / r)), round(w * math.sqrt(s * r)))),
    ],
    hints=[
        "First the area in pixels; then two unknowns: tall · wide = area and wide / tall = ratio.",
        "Put tall = wide / ratio into the first equation: wide² = area · ratio.",
    ],
)  # fmt: skip

Weights = dict[str, Tensor]


def moved(teacher: Weights, student: Weights, momentum: float) -> Weights:
    return {name: momentum * teacher[name] + (1 - momentum) * student[name] for name in teacher}


def weights(seed: int) -> Weights:
    chance = torch.Generator().manual_seed(seed)
    return {"patch": torch.randn(3, 2, generator=chance), "bias": torch.randn(2, generator=chance)}


follow = Exercise(
    "01.2",
    cases=lambda seed: [(weights(seed), weights(seed + 100), 0.996 if seed == 0 else 0.9)],
    right=moved,
    mistakes=[
        Mistake("half of it: you return one weight. The teacher is a dictionary of all of them.",
                lambda t, s, m: moved(t, s, m)["patch"], half_finished=True),
        Mistake("half of it: you have the teacher's share, m · teacher. The student's (1 - m) is missing.",
                lambda t, s, m: {name: m * t[name] for name in t}, half_finished=True),
        Mistake("the momentum is the wrong way round: m = 0.996 keeps 99.6 % of the teacher. Yours is all but the student.",
                lambda t, s, m: moved(s, t, m)),
        Mistake("you return the student's weights: that is momentum 0.", lambda t, s, m: s),
        Mistake("you return the teacher's weights as they were.", lambda t, s, m: t),
        Mistake("you added the student on top: the two shares, m and 1 - m, must sum to 1.",
                lambda t, s, m: {name: t[name] + (1 - m) * s[name] for name in t}),
        Mistake("both got the teacher's share m; the student's is 1 - m.",
                lambda t, s, m: {name: m * (t[name] + s[name]) for name in t}),
    ],
    hints=[
        "A dictionary comprehension over the names: {name: ... for name in teacher}.",
        "momentum * teacher[name] + (1 - momentum) * student[name]",
    ],
)  # fmt: skip

momentum_of = Exercise(
    "01.3",
    cases=lambda seed: [(173.0 + seed,), (17.3 + seed,), (2.0,)],
    right=lambda half_life: 0.5 ** (1 / half_life),
    mistakes=[
        Mistake("half of it: this is ln m. The momentum is its exponential.",
                lambda n: math.log(0.5) / n, half_finished=True),
        Mistake("1 - 1/n is the momentum whose distance falls to 1/e = 37 % in n steps. Asked for is one half.",
                lambda n: 1 - 1 / n),
        Mistake("1 - 1/(2n) only looks like it: solve mⁿ = 1/2 for m.", lambda n: 1 - 0.5 / n),
        Mistake("this is the half-life of a momentum, the other way round: solve mⁿ = 1/2 for m, not for n.",
                lambda n: math.log(0.5) / math.log(n)),
        Mistake("you raised to the power n. From mⁿ = 1/2 follows that m is the n-th root.", lambda n: 0.5**n),
        Mistake("exp(-1/n) is the momentum whose distance falls to 1/e = 37 % in n steps. Asked for is one half.",
                lambda n: math.exp(-1 / n)),
    ],
    hints=["After n steps the distance is mⁿ of what it was (section 4). Half of the way: mⁿ = 1/2.",
           "The n-th root is the power 1/n."],
    tolerance=1e-6,
)  # fmt: skip
