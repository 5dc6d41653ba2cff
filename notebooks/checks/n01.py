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
    some = [
        (
            200 + draw.randrange(50),
            300 + draw.randrange(50),
            0.1 + 0.8 * draw.random(),
            1.2 + draw.random(),
        )
        for _ in range(4)
    ]
    return [(64, 96, 0.21, 4 / 3), (100 + draw.randrange(50), 333, 0.3, 0.75), *some]


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
        Mistake("half of it: this is the height. Its width belongs beside it: (tall, wide).",
                lambda h, w, s, r: sides(h, w, s, r)[0], half_finished=True),
        Mistake("you rounded up (ceil); whole pixels are the nearest: round.",
                lambda h, w, s, r: (math.ceil(unrounded(h, w, s, r)[0]), math.ceil(unrounded(h, w, s, r)[1]))),
        Mistake("you made one side from the other after rounding it: that multiplies the error. Round last.",
                lambda h, w, s, r: (sides(h, w, s, r)[0], round(sides(h, w, s, r)[0] * r))),
        Mistake("the root is missing: area / ratio is the *square* of the height.",
                lambda h, w, s, r: (round(s * h * w / r), round(s * h * w * r))),
        Mistake("you forgot the share: your crops have the area of the whole image.", lambda h, w, s, r: sides(h, w, 1, r)),
        Mistake("the share stands outside your root. It is a share of the area, so it belongs under it.",
                lambda h, w, s, r: sides(h, w, s * s, r)),
        Mistake("you applied the ratio to one side only, so the product of the two is no longer the area.",
                lambda h, w, s, r: (round(math.sqrt(s * h * w)), round(math.sqrt(s * h * w) * r))),
        Mistake("your root is of the ratio alone: ** comes before * and /. Put the whole product in brackets.",
                lambda h, w, s, r: (round(s * h * w / r**0.5), round(s * h * w * r**0.5))),
        Mistake("** comes before /: x ** 1/2 is half of x. Write x ** 0.5.",
                lambda h, w, s, r: (round(s * h * w / r / 2), round(s * h * w * r / 2))),
        Mistake("you scaled the height and made the width from it; then the area is not the share that is asked for.",
                lambda h, w, s, r: (round(h * math.sqrt(s)), round(h * math.sqrt(s) * r))),
        Mistake("the share is no percentage: 0.21 is 21 %, without dividing by 100.",
                lambda h, w, s, r: sides(h, w, s / 100, r)),
        Mistake("both sides got longer with the ratio: the width is multiplied by its root, the height divided by it.",
                lambda h, w, s, r: (round(math.sqrt(s * h * w * r)), round(math.sqrt(s * h * w * r)))),
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
    cases=lambda seed: [
        (weights(seed), weights(seed + 100), 0.996 if seed == 0 else 0.9),
        (weights(seed + 200), weights(seed + 300), 0.75),
    ],
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
        Mistake("the student comes in whole in yours: its share is 1 - m, or the weights grow with every step.",
                lambda t, s, m: {name: m * t[name] + s[name] for name in t}),
        Mistake("you step away from the student: the teacher moves by (1 - m) · (student - teacher), with a plus.",
                lambda t, s, m: {name: t[name] - (1 - m) * (s[name] - t[name]) for name in t}),
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
        Mistake("half of it: this is -ln m. The momentum is exp of minus that.", lambda n: math.log(2) / n, half_finished=True),
        Mistake("1 - ln 2/n is only the beginning of a series, and wrong where n is small: solve mⁿ = 1/2 for m.",
                lambda n: 1 - math.log(2) / n),
        Mistake("** comes before /: 0.5 ** 1 / n is 0.5 / n. Put 1 / n in brackets.", lambda n: 0.5 / n),
        Mistake("exp(-2/n) falls to e⁻² = 14 % in n steps; one half is asked for.", lambda n: math.exp(-2 / n)),
        Mistake("you mixed two kinds of logarithm: after math.log comes math.exp, and 10 ** only after math.log10.",
                lambda n: 10 ** (math.log(0.5) / n)),
        Mistake("math.log10 and math.exp do not belong together: exp undoes math.log.",
                lambda n: math.exp(math.log10(0.5) / n)),
        Mistake("n/(n + 1) is what a mean over n + 1 steps keeps; after n such steps not one half is left.",
                lambda n: n / (n + 1)),
        Mistake("1 // n rounds down to 0. Write 1 / n.", lambda n: 0.5 ** (1 // n)),
        Mistake("base and exponent are exchanged: 1/2 is what is left, and 1/n the power.", lambda n: (1 / n) ** 0.5),
        Mistake("you made the tenth already: the function is given the half-life that is wanted.", lambda n: 0.5 ** (10 / n)),
    ],
    hints=["After n steps the distance is mⁿ of what it was (section 4). Half of the way: mⁿ = 1/2.",
           "The n-th root is the power 1/n."],
    tolerance=1e-6,
)  # fmt: skip
