"""Two small systems that show in seconds what takes a training run days: the numpy twins of the lab's playground.

`Simulator` is DINO with points for images (lab/static/simulator.js): why it does not collapse, and how it does.

    healthy = Simulator(seed=3).run(800)
    killed = Simulator(seed=3, changes={400: {"centering": False}}).run(1200)
    plt.plot(killed["step"], killed["kl"] / np.log(32))

The same seed gives the same images, weights and losses as in the page.  `gram_toy` is a constructed system in which dense
features decay, are kept, or are repaired (lab/static/gramtoy_model.js).

Axes: B images, V views, K prototypes, D features, N rows (views and images), P patches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from jaxtyping import Float, Int

CLASSES, INPUT, HIDDEN, FEATURES = 8, 16, 64, 16
WITHIN = 0.15
"""Noise of each coordinate, between a class's centre and an image of it."""
SURVEYED, SURVEY_EVERY = 256, 5
"""Images that are looked at, always the same ones, and steps between looks."""
CENTRES, WEIGHTS, LABELS, IMAGES, VIEWS, SURVEY, SURVEY_VIEWS = range(1, 8)
"""What chance is asked for."""


@dataclass(frozen=True)
class Options:
    """What can be changed, at the start and while it runs (but `prototypes`)."""

    centering: bool = True
    """Take the running mean of the teacher's logits away (Caron et al. 2021, Eq. 4)."""
    sharpening: bool = True
    """Off: the teacher's temperature is the student's."""
    sinkhorn: bool = False
    """Balance targets by Sinkhorn-Knopp instead of centering."""
    teacher_temperature: float = 0.04
    student_temperature: float = 0.1
    centre_momentum: float = 0.9
    momentum: float = 0.99
    """Of the teacher, an exponential moving average of the student; 1 is a frozen one."""
    batch: int = 64
    prototypes: int = 32
    noise: float = 0.45
    """Of each coordinate, between an image and a view of it."""
    local_views: int = 0
    """Multi-crop: more views, for the student alone, noisier."""
    local_noise: float = 0.7
    koleo: float = 0.0
    """Weight of the term that spreads features."""
    learning_rate: float = 0.003

    @property
    def temperature(self) -> float:
        """What holds for the teacher."""
        return self.teacher_temperature if self.sharpening else self.student_temperature


class Simulator:
    """A self-distillation system: 16 → 64 (ReLU) → 16, to length one, compared with K prototypes of length one.

    `changes` maps steps to options that are set when they come: `{400: {"centering": False}}`."""

    def __init__(
        self,
        options: Options | Mapping[str, Any] | None = None,
        seed: int = 0,
        changes: Mapping[int, Mapping[str, Any]] | None = None,
    ) -> None:
        self.options = options if isinstance(options, Options) else _changed(Options(), options or {})
        self.seed, self.changes, self.step = seed, dict(changes or {}), 0
        prototypes = self.options.prototypes
        self.classes = _unit(_normals(_key(seed, CENTRES, 0), CLASSES * INPUT).reshape(CLASSES, INPUT))[0]
        self.student = _weights(_key(seed, WEIGHTS, 0), prototypes)
        self.teacher = {name: weight.copy() for name, weight in self.student.items()}
        self.moments = [{name: np.zeros_like(weight) for name, weight in self.student.items()} for _ in range(2)]
        self.centre: Float[np.ndarray, " K"] = np.zeros(prototypes)
        self.seen: dict[str, float] = {}
        self._surveyed: tuple[float, np.ndarray] | None = None
        self.last: dict[str, Any] = {}
        """What the last step computed on its way: points, logits, targets, gradients."""

    def run(self, steps: int) -> dict[str, Float[np.ndarray, " M"]]:
        """Train for so many steps; an array a metric, by the trainer's names, in nats."""
        rows = list(self.rows(steps))
        names = {name: None for row in rows for name in row}
        return {name: np.array([row.get(name, np.nan) for row in rows], dtype=float) for name in names}

    def rows(self, steps: int) -> Iterator[dict[str, Any]]:
        """The same, a row a step, as `dino_core.telemetry.Diagnosis` reads them."""
        for _ in range(steps):
            yield self.next()

    def next(self) -> dict[str, Any]:
        """One step (Caron et al. 2021, Algorithm 1); its row of metrics."""
        self.options = o = _changed(self.options, self.changes.get(self.step, {}))
        images, prototypes = o.batch, o.prototypes
        noises = [o.noise, o.noise, *[o.local_noise] * o.local_views]
        points, labels = self.draw(images, noises)
        teacher = forward(self.teacher, points[: 2 * images])["logits"]
        targets = self.targets(teacher)
        student = forward(self.student, points)
        loss, of_logits = cross_view(
            student["logits"].reshape(-1, images, prototypes),
            targets.reshape(2, images, prototypes),
            o.student_temperature,
        )
        spread, of_features = self._koleo(student["features"], images)
        gradient = backward(self.student, points, student, of_logits.reshape(-1, prototypes), of_features)
        self._adam(gradient)
        for name, weight in self.teacher.items():
            weight += (1 - o.momentum) * (self.student[name] - weight)
        if o.centering:
            self.centre = self.centre + (1 - o.centre_momentum) * (teacher.mean(axis=0) - self.centre)
        self.last = {"points": points, "labels": labels, "teacher": teacher, "targets": targets} | {
            "student": student["logits"], "of_logits": of_logits, "gradient": gradient,
        }  # fmt: skip
        if self.step % SURVEY_EVERY == 0:
            self.seen = self.survey()
        self.step += 1
        entropy = float(_entropy(targets).mean())
        row = {"step": self.step, "loss": loss + o.koleo * spread, "cross_entropy": loss, "teacher/entropy": entropy}
        row |= {"kl": loss - entropy, "koleo": spread, "momentum": o.momentum, "lr": o.learning_rate}
        row["teacher_temperature"] = o.temperature
        if o.centering and not o.sinkhorn:
            row["centre/norm"] = float(np.linalg.norm(self.centre))
        return row | self.seen

    def draw(self, images: int, noises: list[float]) -> tuple[Float[np.ndarray, "N 16"], Int[np.ndarray, " B"]]:
        """The batch of this step: views of images (view after view), and the images' classes."""
        labels = np.floor(CLASSES * _uniform(_key(self.seed, LABELS, self.step), np.arange(images))).astype(int)
        return self._points(
            labels, noises, _key(self.seed, IMAGES, self.step), _key(self.seed, VIEWS, self.step)
        ), labels

    def _points(self, labels: np.ndarray, noises: list[float], own: np.ndarray, shake: np.ndarray) -> np.ndarray:
        size = (len(labels), INPUT)
        images = self.classes[labels] + WITHIN * _normals(own, len(labels) * INPUT).reshape(size)
        views = _normals(shake, len(noises) * len(labels) * INPUT).reshape(len(noises), *size)
        return (images + np.array(noises)[:, None, None] * views).reshape(-1, INPUT)

    def targets(self, logits: Float[np.ndarray, "N K"]) -> Float[np.ndarray, "N K"]:
        """What the teacher's logits become: balanced, centred and sharpened as the options say."""
        o = self.options
        if o.sinkhorn:
            return sinkhorn(logits, o.temperature)
        return _softmax((logits - self.centre if o.centering else logits) / o.temperature)

    def survey(self) -> dict[str, float]:
        """What the teacher says of the same 256 images every time."""
        labels = np.arange(SURVEYED) % CLASSES
        if self._surveyed is None or self._surveyed[0] != self.options.noise:
            keys = _key(self.seed, SURVEY, 0), _key(self.seed, SURVEY_VIEWS, 0)
            self._surveyed = self.options.noise, self._points(labels, [self.options.noise], *keys)
        seen = forward(self.teacher, self._surveyed[1])
        targets = self.targets(seen["logits"])
        usage = float(_entropy(targets.mean(axis=0)))
        raw = _softmax(seen["logits"] / self.options.temperature).mean(axis=0)
        return {
            "target/mean_entropy": usage,
            "teacher/mean_entropy": float(_entropy(raw)),
            "teacher/information": usage - float(_entropy(targets).mean()),
            "purity": purity(seen["logits"], labels),
            "directions": rankme(seen["features"]),
            "spread": float(seen["features"].std(axis=0, ddof=1).mean()),
            "student_teacher_distance": self.distance(),
        }

    def distance(self) -> float:
        """Distance of student and teacher over the student's length."""
        apart = sum(float(((self.student[name] - self.teacher[name]) ** 2).sum()) for name in self.student)
        return float(np.sqrt(apart / sum(float((weight**2).sum()) for weight in self.student.values())))

    def _koleo(self, features: np.ndarray, images: int) -> tuple[float, np.ndarray]:
        of_features = np.zeros_like(features)
        if not self.options.koleo or images < 2:
            return 0.0, of_features
        total = 0.0
        for view in range(2):
            rows = slice(view * images, (view + 1) * images)
            term, gradient = koleo(features[rows])
            total += term / 2
            of_features[rows] = self.options.koleo / 2 * gradient
        return total, of_features

    def _adam(self, gradient: Mapping[str, np.ndarray]) -> None:
        """Adam (Kingma and Ba 2015), without weight decay."""
        time = self.step + 1
        first, second = self.moments
        for name, g in gradient.items():
            first[name] += (1 - 0.9) * (g - first[name])
            second[name] += (1 - 0.999) * (g * g - second[name])
            size = np.sqrt(second[name] / (1 - 0.999**time)) + 1e-8
            self.student[name] -= self.options.learning_rate / (1 - 0.9**time) * first[name] / size


def forward(weights: Mapping[str, np.ndarray], points: Float[np.ndarray, "N 16"]) -> dict[str, np.ndarray]:
    """Features of length one, logits, and what the way back needs."""
    hidden = np.maximum(points @ weights["w1"] + weights["b1"], 0)
    features, lengths = _unit(hidden @ weights["w2"] + weights["b2"])
    prototypes, prototype_lengths = _unit(weights["v"])
    return {
        "hidden": hidden, "features": features, "lengths": lengths, "prototypes": prototypes,
        "prototype_lengths": prototype_lengths, "logits": features @ prototypes.T,
    }  # fmt: skip


def backward(
    weights: Mapping[str, np.ndarray],
    points: Float[np.ndarray, "N 16"],
    seen: Mapping[str, np.ndarray],
    of_logits: Float[np.ndarray, "N K"],
    of_features: Float[np.ndarray, "N 16"],
) -> dict[str, np.ndarray]:
    """Gradients of the weights, from those of logits and features."""
    of_z = _through_unit(of_logits @ seen["prototypes"] + of_features, seen["features"], seen["lengths"])
    of_hidden = (of_z @ weights["w2"].T) * (seen["hidden"] > 0)
    return {
        "w1": points.T @ of_hidden,
        "b1": of_hidden.sum(axis=0),
        "w2": seen["hidden"].T @ of_z,
        "b2": of_z.sum(axis=0),
        "v": _through_unit(of_logits.T @ seen["features"], seen["prototypes"], seen["prototype_lengths"]),
    }


def cross_view(
    student: Float[np.ndarray, "V B K"], targets: Float[np.ndarray, "2 B K"], temperature: float
) -> tuple[float, Float[np.ndarray, "V B K"]]:
    """Mean cross-entropy over pairs of views that are not the same, and its gradient in the student's logits.

    d/dz of -sum_k t_k log p_k is (p - t) / temperature (Caron et al. 2021, Eq. 3)."""
    views, images, _ = student.shape
    allowed = 1.0 - np.eye(views, 2)  # V 2
    answers = _softmax(student / temperature)
    log_p = student / temperature - _log_sum(student / temperature)
    wanted = np.einsum("st,tbk->sbk", allowed, targets)
    count = allowed.sum() * images
    loss = -float((wanted * log_p).sum()) / count
    return loss, (allowed.sum(axis=1)[:, None, None] * answers - wanted) / (count * temperature)


def sinkhorn(logits: Float[np.ndarray, "N K"], temperature: float, iterations: int = 3) -> Float[np.ndarray, "N K"]:
    """Columns, then rows, to equal sums, in logarithms; rows sum to 1 (SwAV; DINOv2, Sec. 4)."""
    log_q = logits / temperature
    for _ in range(iterations):
        log_q = log_q - _log_sum(log_q, axis=0)
        log_q = log_q - _log_sum(log_q)
    return np.exp(log_q)


def koleo(features: Float[np.ndarray, "B D"]) -> tuple[float, Float[np.ndarray, "B D"]]:
    """Minus the mean log distance to the nearest other row, and its gradient (dino_core.objective.terms.koleo)."""
    squared = ((features[:, None] - features[None]) ** 2).sum(axis=-1)
    np.fill_diagonal(squared, np.inf)
    nearest = squared.argmin(axis=1)
    distances = np.sqrt(squared[np.arange(len(features)), nearest])[:, None]
    scale = np.divide(
        -1, len(features) * distances * (distances + 1e-8), where=distances > 0, out=np.zeros_like(distances)
    )
    pulls = scale * (features - features[nearest])
    gradient = pulls.copy()
    np.subtract.at(gradient, nearest, pulls)
    return -float(np.log(distances + 1e-8).mean()), gradient


def purity(logits: Float[np.ndarray, "N K"], labels: Int[np.ndarray, " N"]) -> float:
    """Share of images whose class is the most frequent among those with the same first prototype; chance is the least."""
    counts = np.zeros((logits.shape[1], CLASSES), dtype=int)
    np.add.at(counts, (logits.argmax(axis=1), labels), 1)
    return float(counts.max(axis=1).sum() / len(labels))


def rankme(features: Float[np.ndarray, "N D"]) -> float:
    """Effective number of directions, of singular values as they are (dino_core.measure.spectrum.rankme)."""
    singular = np.sqrt(np.maximum(np.linalg.eigvalsh(features.T @ features), 0))
    share = singular / singular.sum() + 1e-7
    return float(np.exp(-(share * np.log(share)).sum()))


def _changed(options: Options, changes: Mapping[str, Any]) -> Options:
    names = [field.name for field in fields(Options)]
    if strangers := sorted(set(changes) - set(names)):
        raise ValueError(f"there is no option {strangers[0]!r}. Options: {', '.join(names)}.")
    return replace(options, **changes) if changes else options


def _weights(key: np.ndarray, prototypes: int) -> dict[str, np.ndarray]:
    """He's initial weights before the ReLU, Glorot's after it; no biases; prototypes without a scale."""
    shapes = {
        "w1": (INPUT, HIDDEN),
        "b1": (HIDDEN,),
        "w2": (HIDDEN, FEATURES),
        "b2": (FEATURES,),
        "v": (prototypes, FEATURES),
    }
    scales = {"w1": np.sqrt(2 / INPUT), "b1": 0.0, "w2": np.sqrt(1 / HIDDEN), "b2": 0.0, "v": 1.0}
    drawn = _normals(key, sum(int(np.prod(shape)) for shape in shapes.values()))
    parts = np.split(drawn, np.cumsum([int(np.prod(shape)) for shape in shapes.values()])[:-1])
    return {name: scales[name] * part.reshape(shapes[name]) for name, part in zip(shapes, parts, strict=True)}


def _unit(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows of length one, and the lengths they had."""
    lengths = np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-12)
    return x / lengths, lengths


def _through_unit(g: np.ndarray, y: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Back through y = x / ||x||: (g - y (y · g)) / ||x||."""
    return (g - y * (g * y).sum(axis=-1, keepdims=True)) / lengths


def _log_sum(x: np.ndarray, axis: int = -1) -> np.ndarray:
    peak = x.max(axis=axis, keepdims=True)
    return peak + np.log(np.exp(x - peak).sum(axis=axis, keepdims=True))


def _softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def _entropy(p: np.ndarray) -> Any:
    return -(p * np.log(np.where(p > 0, p, 1))).sum(axis=-1)


# ---- chance that can be asked again: a number depends on (seed, what for, step, index), as in simulator.js


def _mix(x: np.ndarray) -> np.ndarray:
    """A 32-bit hash in which every bit of the input reaches every bit of the output (constants: Wellons's "lowbias32")."""
    x = (x ^ (x >> np.uint32(16))) * np.uint32(0x7FEB352D)
    x = (x ^ (x >> np.uint32(15))) * np.uint32(0x846CA68B)
    return x ^ (x >> np.uint32(16))


def _key(seed: int, purpose: int, step: int) -> np.ndarray:
    seed_word, purpose_word, step_word = (
        np.array([value % 2**32], dtype=np.uint32)
        for value in (seed + 0x9E3779B9, purpose * 0x85EBCA6B, step * 0xC2B2AE35)
    )
    return _mix(_mix(_mix(seed_word) + purpose_word) + step_word)


def _uniform(key: np.ndarray, index: np.ndarray) -> np.ndarray:
    return (_mix(_mix(index.astype(np.uint32) ^ key) + key) + 0.5) / 2.0**32


def _normals(key: np.ndarray, count: int) -> np.ndarray:
    """Standard normal numbers by Box and Muller, two of two."""
    first, second = _uniform(key, np.arange(count + count % 2)).reshape(-1, 2).T
    length, angle = np.sqrt(-2 * np.log(first)), 2 * np.pi * second
    return np.stack([length * np.cos(angle), length * np.sin(angle)], axis=1).reshape(-1)[:count]


# ---- dense features that decay

PATCHES_ACROSS, WIDTH = 14, 24
"""Patches of a side, features of a patch."""
OWN, COMMON, ASIDE = 0.45, 0.65, 1.2
"""Of patch features: own noise, and what all patches share, beside a part's direction of length one; of the image token: what
does not lie along the patches' mean."""
RATE = 0.003
"""Length of a step."""


@dataclass(frozen=True)
class GramToy:
    """Curves of `gram_toy`, one number a step, the first before any; and the patches at each."""

    contrast: Float[np.ndarray, " M"]
    """Mean similarity of patches of one part, less that of patches of different parts."""
    to_cls: Float[np.ndarray, " M"]
    """Mean cosine of patches to the image token."""
    gram_error: Float[np.ndarray, " M"]
    """Root mean squared difference of the patches' similarities from those at step 0."""
    patches: Float[np.ndarray, "M P D"]
    parts: Int[np.ndarray, " P"]
    anchors: Int[np.ndarray, " M"]
    """The step whose patches are the anchor; -1 before anchoring starts."""


def gram_toy(
    weight: float = 0.0, start: int = 0, anchor: int = 0, refresh: int = 0, steps: int = 400, seed: int = 0
) -> GramToy:
    """A constructed system, not a network: dense features decay, and Gram anchoring (DINOv3, Sec. 4) prevents or repairs it.

        L = mean_p (1 - x_p · c) + weight · mean_pq (x_p · x_q - a_p · a_q)²

    The first term pulls every patch x_p to the image token c, as global objectives do when they go on for long; so patches
    grow alike.  The second, from step `start` on, holds their similarities at those of step `anchor`; every `refresh` steps
    (0: never) the patches of that moment become the anchor.  It leaves them free to turn together towards c."""
    if not 0 <= anchor <= start:
        raise ValueError(
            f"the anchor is of step {anchor} and anchoring starts at {start}; expected 0 <= anchor <= start."
        )
    patches, cls, parts = _scene(seed)
    first, held, of, stored = patches, patches, -1, []
    rows: dict[str, list[float]] = {"contrast": [], "to_cls": [], "gram_error": [], "anchors": []}
    for step in range(steps + 1):
        stored.append(patches)
        if step == start and weight:
            held, of = stored[anchor], anchor
        elif refresh and weight and step > start and (step - start) % refresh == 0:
            held, of = patches, step
        rows["contrast"].append(contrast(patches, parts))
        rows["to_cls"].append(float((patches @ cls).mean()))
        rows["gram_error"].append(_gram_distance(patches, first))
        rows["anchors"].append(of)
        pull = np.broadcast_to(cls, patches.shape).copy()
        if of >= 0:
            pull -= weight * 4 / len(patches) * (patches @ (patches.T @ patches) - held @ (held.T @ patches))
        patches = _unit(patches + RATE * (pull - patches * (pull * patches).sum(axis=1, keepdims=True)))[0]
    curves = {name: np.array(rows[name]) for name in ("contrast", "to_cls", "gram_error")}
    return GramToy(**curves, patches=np.stack(stored), parts=parts, anchors=np.array(rows["anchors"], dtype=int))


def contrast(patches: Float[np.ndarray, "P D"], parts: Int[np.ndarray, " P"]) -> float:
    """Mean cosine within parts (of different patches), less the mean between parts."""
    sums = np.stack(
        [patches[parts == part].sum(axis=0) for part in np.unique(parts)]
    )  # the sum of all pairs is a square
    sizes = np.unique(parts, return_counts=True)[1]
    within, everything = float((sums**2).sum()), float((sums.sum(axis=0) ** 2).sum())
    pairs = int((sizes**2).sum())
    return (within - len(patches)) / (pairs - len(patches)) - (everything - within) / (len(patches) ** 2 - pairs)


def _gram_distance(patches: np.ndarray, anchor: np.ndarray) -> float:
    """Root mean squared difference of two Gram matrices, by way of the smaller D × D products."""
    squared = (patches.T @ patches) ** 2 - 2 * (anchor.T @ patches) ** 2 + (anchor.T @ anchor) ** 2
    return float(np.sqrt(max(squared.sum(), 0)) / len(patches))


def _scene(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Patches of length one, the image token, and each patch's part: sky, ground, body, head, legs."""
    row, column = np.divmod(np.arange(PATCHES_ACROSS**2), PATCHES_ACROSS)
    parts = (row >= 10).astype(int)
    parts[((row - 6.5) / 2.6) ** 2 + ((column - 6) / 3.8) ** 2 <= 1] = 2
    parts[(row - 4) ** 2 + (column - 10.5) ** 2 <= 4.5] = 3
    parts[(row >= 9) & (row <= 11) & np.isin(column, (4, 8))] = 4
    many = int(parts.max()) + 1
    drawn = _normals(_key(seed, WEIGHTS, 1), (many + 2 + len(parts)) * WIDTH).reshape(-1, WIDTH)
    directions = _unit(drawn[: many + 2])[0]
    own = OWN * drawn[many + 2 :] / np.sqrt(WIDTH)
    patches = _unit(directions[parts] + COMMON * directions[many] + own)[0]
    mean = _unit(patches.mean(axis=0))[0]
    return patches, _unit(mean + ASIDE * directions[many + 1])[0], parts
