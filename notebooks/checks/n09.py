"""09 Distillation: the student's loss, what a common step saves, sizes that match."""

from __future__ import annotations

from fractions import Fraction

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from dino_core.objective.terms import cross_view
from notebooks.exercises import Exercise, Mistake, Symptom


def drawn(seed: int, *shape: int) -> Tensor:
    return 0.4 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed + 90))


def loss(s: Tensor, t: Tensor, warm: float, cold: float) -> Tensor:
    return cross_view(s[None], (t / cold).softmax(-1)[None], warm, skip_same_view=False)


def entropy(p: Tensor) -> Tensor:
    return -(p * p.log()).sum(-1).mean()


def crossed(log_p: Tensor, targets: Tensor) -> Tensor:
    return -(targets * log_p).sum(-1).mean()


distilled = Exercise(
    "09.1",
    cases=lambda seed: [
        (drawn(seed, 3, 4), drawn(seed + 1, 3, 4), 0.1, 0.07),
        (drawn(seed + 2, 5, 6), drawn(seed + 3, 5, 6), 0.2, 0.05),
    ],
    right=loss,
    mistakes=[
        Mistake("half of it: this is the cross-entropy of each image. Take the mean.",
                lambda s, t, w, c: -((t / c).softmax(-1) * log_softmax(s / w, -1)).sum(-1), half_finished=True),
        Mistake("you exchanged the temperatures: the teacher's is the smaller one.", lambda s, t, w, c: loss(s, t, c, w)),
        Mistake("you exchanged teacher and student: the logarithm is of the student.", lambda s, t, w, c: loss(t, s, c, w)),
        Mistake("you used hard labels (the largest score): that throws away what the teacher says of all other prototypes.",
                lambda s, t, w, c: torch.nn.functional.cross_entropy(s / w, t.argmax(-1))),
        Mistake("this is KL(teacher || student); the loss is the cross-entropy, KL + H.",
                lambda s, t, w, c: loss(s, t, w, c) - entropy((t / c).softmax(-1))),
        Mistake("you summed over images; the mean is asked for.", lambda s, t, w, c: loss(s, t, w, c) * len(s)),
        Mistake("you averaged over prototypes too; they are summed over.", lambda s, t, w, c: loss(s, t, w, c) / s.shape[1]),
        Mistake("the sign: a cross-entropy is positive.", lambda s, t, w, c: -loss(s, t, w, c)),
        Mistake("you compared the scores by their squared difference; temperatures then play no part.",
                lambda s, t, w, c: (s - t).square().mean()),
        Mistake("your softmax runs over images. It runs over prototypes, dim=-1.",
                lambda s, t, w, c: -((t / c).softmax(0) * log_softmax(s / w, 0)).sum(-1).mean()),
        Mistake("the logarithm is missing: a cross-entropy is -Σ t ln p.",
                lambda s, t, w, c: -((t / c).softmax(-1) * (s / w).softmax(-1)).sum(-1).mean()),
        Mistake("you left out both temperatures.", lambda s, t, w, c: loss(s, t, 1.0, 1.0)),
        Mistake("you multiplied by the temperatures, as Hinton does to keep gradients alike; here the cross-entropy itself is "
                "asked for.",
                lambda s, t, w, c: loss(s, t, w, c) * w * c),
        Mistake("you took a second softmax of the targets: they are probabilities already.",
                lambda s, t, w, c: crossed(log_softmax(s / w, -1), (t / c).softmax(-1).softmax(-1))),
        Mistake("you took a softmax of the student's softmax: log_softmax takes the scores themselves.",
                lambda s, t, w, c: crossed(log_softmax((s / w).softmax(-1), -1), (t / c).softmax(-1))),
        Mistake("your targets are scores; they have to be probabilities: softmax(teacher / temperature).",
                lambda s, t, w, c: crossed(log_softmax(s / w, -1), t / c)),
        Mistake("you took the logarithm on both sides; the targets stay probabilities.",
                lambda s, t, w, c: crossed(log_softmax(s / w, -1), (t / c).log_softmax(-1))),
        Mistake("kl_div averages over prototypes too unless told otherwise, and leaves the entropy out. Write the sum "
                "yourself.",
                lambda s, t, w, c: (loss(s, t, w, c) - entropy((t / c).softmax(-1))) / s.shape[1]),
        Mistake("you multiplied by the student's temperature squared, as Hinton does to keep gradients alike; here the "
                "cross-entropy itself is asked for.",
                lambda s, t, w, c: loss(s, t, w, c) * w * w),
        Mistake("this is 1 - cosine of the scores; the loss is a cross-entropy of distributions.",
                lambda s, t, w, c: 1 - torch.nn.functional.cosine_similarity(s, t).mean()),
        Mistake("your student's softmax runs over images. It runs over prototypes, dim=-1.",
                lambda s, t, w, c: crossed(log_softmax(s / w, 0), (t / c).softmax(-1))),
        Mistake("your sum runs over images and your mean over prototypes; it is the other way round: sum(dim=-1).mean().",
                lambda s, t, w, c: loss(s, t, w, c) * len(s) / s.shape[1]),
        Mistake("this is the teacher's own entropy; the student plays no part in it.",
                lambda s, t, w, c: entropy((t / c).softmax(-1))),
        Mistake("this is the student's own entropy; the teacher plays no part in it.",
                lambda s, t, w, c: entropy((s / w).softmax(-1))),
        Mistake("the temperatures divide scores, inside softmax and log_softmax; you divided what comes out of them.",
                lambda s, t, w, c: loss(s, t, 1.0, 1.0) / w / c),
        Mistake("what you add inside the logarithm is too large; log_softmax needs nothing.",
                lambda s, t, w, c: crossed(((s / w).softmax(-1) + 0.01).log(), (t / c).softmax(-1))),
        Mistake("you divided by the number of images twice: .mean() does it already.",
                lambda s, t, w, c: loss(s, t, w, c) / len(s)),
    ],
    symptoms=[Symptom("the loss is one number; your result has axes left over.", lambda found, *_: found.ndim > 0)],
    hints=["Targets: softmax of the teacher's scores over its temperature.",
           "The student's side is `log_softmax(student / student_temperature, dim=-1)`.",
           "-(targets * log_p).sum(dim=-1).mean(), with targets detached."],
    constant=[1],
    minutes=10,
)  # fmt: skip


def exact(t: float, s: list[float]) -> float:
    """In fractions: how many times the common step one after the other takes."""
    teacher, own = Fraction(t), [Fraction(x) for x in s]
    return float(sum(teacher + x for x in own) / (teacher + sum(own)))


saving = Exercise(
    "09.2",
    cases=lambda seed: [(9.0 + seed, [1.0, 2.0]), (4.0, [0.5, 1.5 + seed, 2.0]), (5.3, [0.9, 2.6, 1.7, 0.4]), (1.7, [3.1, 0.6])],
    right=exact,
    mistakes=[
        Mistake("half of it: these are the seconds of one after the other. Divide by those of the common step.",
                lambda t, s: len(s) * t + sum(s), half_finished=True),
        Mistake("you divided the other way round: how many times *longer* is asked for.", lambda t, s: 1 / exact(t, s)),
        Mistake("you counted the students' parts as saved too; each has to do its own.",
                lambda t, s: (len(s) * t + sum(s)) / (t + max(s))),
        Mistake("you counted the teacher once on both sides: one after the other, it runs for each student.", lambda t, s: 1.0),
        Mistake("you left the students' own parts out: they take time in both.", lambda t, s: float(len(s))),
        Mistake("these are the seconds that are saved; asked for is how many times longer: divide.",
                lambda t, s: len(s) * t + sum(s) - (t + sum(s))),
        Mistake("the teacher is missing in the common step: it runs there once.", lambda t, s: (len(s) * t + sum(s)) / sum(s)),
        Mistake("there are not always two students: len(students).", lambda t, s: (2 * t + sum(s)) / (t + sum(s))),
        Mistake("this is the mean over students; their steps come one after the other, so they add up.",
                lambda t, s: exact(t, s) / len(s)),
        Mistake("half of it: these are the seconds of the common step. It is what you divide by.",
                lambda t, s: t + sum(s), half_finished=True),
        Mistake("half of it: these are the seconds of both ways. Divide the first by the second.",
                lambda t, s: (len(s) * t + sum(s), t + sum(s)), half_finished=True),
        Mistake("this is the share that is saved; asked for is how many times longer one after the other takes.",
                lambda t, s: 1 - 1 / exact(t, s)),
        Mistake("this is how much longer it takes, as a share; with the step itself it is one more.",
                lambda t, s: exact(t, s) - 1),
        Mistake("the parts of a common step come one after the other, too; you took the longest of them (max).",
                lambda t, s: (len(s) * t + sum(s)) / max(t, *s)),
        Mistake("you averaged the students' parts; all of them take their time: sum.",
                lambda t, s: (len(s) * t + sum(s) / len(s)) / (t + sum(s) / len(s))),
        Mistake("the common step has the students' parts in it, too: teacher + sum(students).",
                lambda t, s: (len(s) * t + sum(s)) / t),
        Mistake("brackets are missing: / comes before +. Both sums belong in brackets.",
                lambda t, s: len(s) * t + sum(s) / t + sum(s)),
        Mistake("the brackets below are missing: / comes before +.", lambda t, s: (len(s) * t + sum(s)) / t + sum(s)),
        Mistake("you left the teacher out of one after the other: it runs there for each student.",
                lambda t, s: sum(s) / (t + sum(s))),
        Mistake("you took the first student only; all come one after the other.", lambda t, s: (t + s[0]) / (t + sum(s))),
        Mistake("you took the longest student only; all come one after the other.", lambda t, s: (t + max(s)) / (t + sum(s))),
        Mistake("there are not always three students: len(students).", lambda t, s: (3 * t + sum(s)) / (t + sum(s))),
        Mistake("seconds are added, not multiplied.", lambda t, s: len(s) * t * sum(s) / (t + sum(s))),
        Mistake("above you left the students' own parts out; one after the other, each does its own, too.",
                lambda t, s: len(s) * t / (t + sum(s))),
    ],
    hints=["Write down both sums of section 3 for n students.", "One after the other: len(students) * teacher + sum(students).",
           "… over teacher + sum(students)"],
)  # fmt: skip

matching_size = Exercise(
    "09.3",
    cases=lambda seed: [(64, 8, 32), (224 + 14 * seed, 14, 32), (96, 16, 4), (112, 16, 32), (160, 8, 16), (98, 7, 16)],
    right=lambda size, patch, stride: (size // patch) * stride,
    mistakes=[
        Mistake("half of it: this is the number of patches in a row. How many pixels does the student need for as many?",
                lambda size, patch, stride: size // patch, half_finished=True),
        Mistake("you gave the student the teacher's size: its grid would be another.", lambda size, patch, stride: size),
        Mistake("patch and stride are the wrong way round.", lambda size, patch, stride: size // stride * patch),
        Mistake("you multiplied by the stride and forgot to divide by the patch.", lambda size, patch, stride: size * stride),
        Mistake("this counts the patches of the whole image; a side is asked for.",
                lambda size, patch, stride: (size // patch) ** 2 * stride),
        Mistake("you divided by the stride; that is how many places the student would have at the teacher's size.",
                lambda size, patch, stride: size // stride),
        Mistake("the teacher's size plays no part in yours.", lambda size, patch, stride: patch * stride),
        Mistake("half of it: this is the number of patches in the whole grid. One side of it, times the stride.",
                lambda size, patch, stride: (size // patch) ** 2, half_finished=True),
        Mistake("you wrote a stride of 32 into your function; it is given.", lambda size, patch, stride: size // patch * 32),
        Mistake("you wrote a patch of 8 into your function; it is given.", lambda size, patch, stride: size // 8 * stride),
        Mistake("you counted one place too many: so many places of `student_stride` pixels lie side by side, without a "
                "border.",
                lambda size, patch, stride: (size // patch + 1) * stride),
        Mistake("you counted one place too few: so many places of `student_stride` pixels lie side by side.",
                lambda size, patch, stride: (size // patch - 1) * stride),
        Mistake("sizes are in proportion; you added the difference of stride and patch.",
                lambda size, patch, stride: size + stride - patch),
        Mistake("you multiplied all three; the patch is what the teacher's size is divided by.",
                lambda size, patch, stride: size * stride * patch),
        Mistake("stride // patch is rounded down before you multiply. First divide the size by the patch.",
                lambda size, patch, stride: stride // patch * size),
        Mistake("% is what is left over by the division; the division itself is //.",
                lambda size, patch, stride: size % patch * stride),
        Mistake("brackets round patch * stride divide by both; divide by the patch, and multiply by the stride.",
                lambda size, patch, stride: size // (patch * stride)),
        Mistake("this is the crop's area; its side is asked for.", lambda size, patch, stride: (size // patch * stride) ** 2),
        Mistake("twice too large: the grids have to be alike, not one finer than the other.",
                lambda size, patch, stride: 2 * (size // patch * stride)),
        Mistake("half of what is needed: the grids have to be alike.", lambda size, patch, stride: size // patch * stride // 2),
    ],
    hints=["How many patches has the teacher in a row?", "The student makes one place of `student_stride` pixels.",
           "teacher_size // teacher_patch * student_stride"],
)  # fmt: skip
