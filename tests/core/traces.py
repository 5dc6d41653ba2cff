"""What metrics looked like in small runs in which a failure was planted, and in healthy ones.

Measured on a CPU: "planted" in a ViT of width 64 and depth 2, K = 256, batch 32; "tiny" with the recipe of that name,
K = 512, batch 48; one seed each.  A knot is (step, teacher entropy, KL, entropy of the mean target), in nats."""

from __future__ import annotations

import random
from bisect import bisect_right
from dataclasses import dataclass
from math import log
from typing import Any

Knot = tuple[int, float, float, float]


@dataclass(frozen=True)
class Trace:
    prototypes: int
    batch: int
    knots: list[Knot]
    centred: bool = True
    temperature: float = 0.04

    def rows(self, every: int = 10, noise: float = 0.02, seed: int = 0, **more: Any) -> list[dict[str, Any]]:
        """Lines of metrics up to the last knot, step 1 too, a little noisy; `more` are further values, or functions
        of the step."""
        chance = random.Random(seed)
        steps = sorted({1, *range(every, self.knots[-1][0] + 1, every)})
        return [self._row(step, chance, noise, more) for step in steps]

    def _row(self, step: int, chance: random.Random, noise: float, more: dict[str, Any]) -> dict[str, Any]:
        entropy, kl, mean = self._at(step)
        told = max(0.0, mean - entropy) * (1 + 5 * noise * chance.uniform(-1, 1))
        kl *= 1 + 5 * noise * chance.uniform(-1, 1)
        entropy += noise * chance.uniform(-1, 1) * min(entropy, log(self.prototypes) - entropy)
        mean += noise * chance.uniform(-1, 1) * min(mean, log(self.prototypes) - mean)
        row = {
            "step": step, "segment": 0, "images": step * self.batch, "loss": entropy + kl, "teacher/entropy": entropy,
            "kl": kl, "target/mean_entropy": mean, "teacher/mean_entropy": mean, "teacher/information": told,
            "gradient/backbone": chance.uniform(0.7, 2.0), "gradient/head": chance.uniform(0.5, 1.5),
            "update/backbone": 0.002, "student_teacher_distance": 0.05, "momentum": 0.99,
            "lr": 1e-3 * min(1, step / 20), "teacher_temperature": self.temperature, "features/std": 0.6,
            "patches/mean_cosine": 0.3 + chance.uniform(-0.08, 0.08), "time/data": 1.0, "time/student": 40.0,
        }  # fmt: skip
        if self.centred:
            row["centre/norm"] = 0.2
        if step % 50 == 0:
            row["features/rankme"] = 10.0 + chance.uniform(-1, 1)
        return row | {name: value(step) if callable(value) else value for name, value in more.items()}

    def _at(self, step: int) -> tuple[float, float, float]:
        after = min(bisect_right([knot[0] for knot in self.knots], step), len(self.knots) - 1)
        (s0, *low), (s1, *high) = self.knots[after - 1], self.knots[after]
        share = min(1.0, (step - s0) / (s1 - s0))
        a, b, c = (x + share * (y - x) for x, y in zip(low, high, strict=True))
        return a, b, c


HEALTHY = {
    "planted": Trace(256, 32, [
        (0, 3.76, 1.15, 4.50), (20, 3.30, 0.92, 4.13), (40, 3.77, 0.60, 4.40), (60, 4.50, 0.46, 5.03),
        (100, 4.69, 0.44, 5.23), (300, 4.85, 0.39, 5.37),
    ]),
    "tiny": Trace(512, 48, [
        (1, 2.268, 2.137, 3.034), (10, 3.970, 1.238, 4.814), (20, 5.005, 0.679, 5.590), (30, 5.355, 0.444, 5.786),
        (40, 5.255, 0.329, 5.698), (50, 5.218, 0.338, 5.699), (60, 5.279, 0.304, 5.712), (100, 4.886, 0.460, 5.678),
        (150, 4.416, 0.535, 5.367), (200, 3.783, 0.659, 4.977), (250, 2.442, 0.646, 4.019), (300, 2.675, 0.723, 4.225),
        (400, 2.534, 0.699, 4.194), (500, 2.529, 0.878, 4.298), (600, 2.551, 0.929, 4.389), (700, 2.721, 1.007, 4.642),
    ]),
    # a stall near ln K that heals: momentum 0.99 to 1 in only 300 steps
    "stall": Trace(256, 32, [
        (1, 1.360, 2.073, 1.706), (10, 3.317, 0.926, 3.948), (20, 4.590, 0.437, 4.942), (30, 5.073, 0.206, 5.251),
        (40, 5.127, 0.132, 5.256), (50, 5.213, 0.096, 5.320), (60, 5.304, 0.079, 5.391), (100, 5.424, 0.065, 5.520),
        (150, 5.438, 0.076, 5.536), (200, 5.418, 0.078, 5.537),
    ]),
}  # fmt: skip
COLLAPSED = {
    "no sharpening": Trace(256, 32, [
        (0, 5.16, 0.26, 5.35), (20, 5.43, 0.11, 5.53), (40, 5.49, 0.05, 5.53), (60, 5.51, 0.03, 5.54),
        (100, 5.52, 0.01, 5.54), (300, 5.54, 0.01, 5.54),
    ], temperature=0.1),
    "no centre": Trace(256, 32, [
        (0, 3.76, 1.15, 4.50), (20, 1.96, 1.15, 2.75), (40, 0.32, 0.72, 0.88), (60, 0.15, 0.54, 0.63),
        (100, 0.22, 0.54, 0.66), (300, 0.33, 0.20, 0.50),
    ], centred=False),
    "no centre, KoLeo": Trace(256, 32, [
        (1, 1.360, 2.073, 1.706), (10, 0.567, 0.315, 0.728), (20, 0.019, 0.047, 0.038), (30, 0.0, 0.007, 0.0),
        (100, 0.0, 0.009, 0.0), (300, 0.0, 0.0, 0.0),
    ], centred=False),
    "neither": Trace(256, 32, [
        (0, 5.16, 0.26, 5.35), (20, 5.21, 0.07, 5.29), (40, 5.24, 0.03, 5.27), (60, 5.25, 0.02, 5.27),
        (100, 5.26, 0.01, 5.27), (300, 5.26, 0.0, 5.27),
    ], centred=False, temperature=0.1),
    # a teacher that follows too fast: one answer for all images, chased by the centre, swinging for ever
    "swinging": Trace(256, 32, [
        (1, 2.251, 1.452, 2.554), (10, 1.742, 0.116, 1.826), (20, 5.013, 0.072, 5.027), (30, 3.077, 0.058, 3.083),
        (40, 1.851, 0.023, 1.852), (50, 2.703, 0.036, 2.705), (60, 3.903, 0.030, 3.905), (100, 2.879, 0.015, 2.881),
        (150, 2.235, 0.012, 2.239), (200, 4.679, 0.033, 4.681), (250, 5.512, 0.083, 5.515), (300, 5.542, 0.087, 5.545),
    ]),
}  # fmt: skip
NAMES = {
    "no sharpening": "uniform_collapse", "no centre": "prototype_collapse", "no centre, KoLeo": "prototype_collapse",
    "neither": "constant_output", "swinging": "constant_output",
}  # fmt: skip
"""What the diagnosis should say."""
