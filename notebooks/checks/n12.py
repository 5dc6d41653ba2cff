"""12 Your own photographs: pixels as a network wants them, a handful of labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from notebooks.exercises import Exercise, Mistake, Symptom

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def picture(seed: int, rows: int, columns: int) -> np.ndarray:
    return np.random.default_rng(seed + 120).integers(0, 256, (rows, columns, 3)).astype(np.uint8)


def first(x: np.ndarray) -> np.ndarray:
    return x.transpose(2, 0, 1)


def normal(x: np.ndarray, mean: Any, std: Any) -> np.ndarray:
    """Channels first, of shares."""
    return first((x - np.array(mean)) / np.array(std))


prepared = Exercise(
    "12.1",
    cases=lambda seed: [(picture(seed, 2, 3), MEAN, STD), (picture(seed + 1, 4, 4), (0.5, 0.4, 0.6), (0.5, 0.25, 0.2))],
    right=lambda p, mean, std: np.stack([(p[:, :, c] / 255.0 - mean[c]) / std[c] for c in range(3)]),
    mistakes=[
        Mistake("half of it: shares from 0 to 1, channels first. Now take the mean away and divide by the deviation.",
                lambda p, mean, std: first(p / 255.0), half_finished=True),
        Mistake("channels are still last: networks want them first. Use transpose(2, 0, 1).",
                lambda p, mean, std: (p / 255.0 - np.array(mean)) / np.array(std)),
        Mistake("you forgot to divide by 255: mean and deviation are those of shares from 0 to 1.",
                lambda p, mean, std: first((p.astype(float) - np.array(mean)) / np.array(std))),
        Mistake("you divided before you took the mean away.",
                lambda p, mean, std: first(p / 255.0 / np.array(std) - np.array(mean))),
        Mistake("mean and deviation are exchanged.", lambda p, mean, std: first((p / 255.0 - np.array(std)) / np.array(mean))),
        Mistake("red and blue are exchanged: OpenCV reads blue first, networks want red first.",
                lambda p, mean, std: first((p[:, :, ::-1] / 255.0 - np.array(mean)) / np.array(std))),
        Mistake("the axes are channels, columns, rows now; rows come before columns: transpose(2, 0, 1), not .T.",
                lambda p, mean, std: ((p / 255.0 - np.array(mean)) / np.array(std)).T),
        Mistake("you took the mean and the deviation of this picture; the network was trained with those that are given.",
                lambda p, mean, std: first((p / 255.0 - (p / 255.0).mean((0, 1))) / (p / 255.0).std((0, 1)))),
        Mistake("reshape keeps the order of the numbers, so colours and places get mixed up; transpose(2, 0, 1) moves axes.",
                lambda p, mean, std: ((p / 255.0 - np.array(mean)) / np.array(std)).reshape(3, *p.shape[:2])),
        Mistake("// rounds down: only 255 is left as 1, all else as 0. Divide by /.",
                lambda p, mean, std: first((p // 255 - np.array(mean)) / np.array(std))),
        Mistake("you multiplied by the deviation; divide by it.",
                lambda p, mean, std: first((p / 255.0 - np.array(mean)) * np.array(std))),
        Mistake("bytes go from 0 to 255: divide by 255, not by 256.",
                lambda p, mean, std: first((p / 256.0 - np.array(mean)) / np.array(std))),
        Mistake("you wrote ImageNet's mean and deviation into your function; take those that are given.",
                lambda p, mean, std: first((p / 255.0 - np.array(MEAN)) / np.array(STD))),
        Mistake("half of it: the deviation is still to be divided by.",
                lambda p, mean, std: normal(p / 255.0, mean, (1, 1, 1)), half_finished=True),
        Mistake("half of it: the mean is still to be taken away.",
                lambda p, mean, std: normal(p / 255.0, (0, 0, 0), std), half_finished=True),
        Mistake("half of it: channels are first, but all are bytes still. Divide by 255, then mean and deviation.",
                lambda p, mean, std: first(p), half_finished=True),
        Mistake("you added the mean; it is taken away.", lambda p, mean, std: normal(p / 255.0, -np.array(mean), std)),
        Mistake("you divided by the square of the deviation.", lambda p, mean, std: normal(p / 255.0, mean, np.square(std))),
        Mistake("brackets are missing: only the mean is divided by the deviation in yours.",
                lambda p, mean, std: normal(p / 255.0, np.array(mean) / np.array(std), (1, 1, 1))),
        Mistake("you scaled to -1...1 as well; mean and deviation are those of shares from 0 to 1.",
                lambda p, mean, std: normal(p / 127.5 - 1, mean, std)),
        Mistake("you scaled to -1...1, as some networks want it; take the mean and the deviation that are given.",
                lambda p, mean, std: first(p / 127.5 - 1)),
        Mistake("you used the first channel's mean and deviation for all; each has its own.",
                lambda p, mean, std: normal(p / 255.0, mean[0], std[0])),
        Mistake("you averaged means and deviations over channels; each has its own.",
                lambda p, mean, std: normal(p / 255.0, np.mean(mean), np.mean(std))),
        Mistake("mean and deviation go to the wrong channels: blue first in yours, red first in the picture.",
                lambda p, mean, std: normal(p / 255.0, mean[::-1], std[::-1])),
        Mistake("you divided by the largest byte of this picture; 255 is the largest that there can be.",
                lambda p, mean, std: normal(p / p.max(), mean, std)),
        Mistake("you divided by 255 twice.", lambda p, mean, std: normal(p / 255.0 / 255.0, mean, std)),
        Mistake("you rounded mean and deviation; take them as they are.",
                lambda p, mean, std: normal(p / 255.0, np.round(mean, 1), np.round(std, 1))),
        Mistake("this is the negative: 1 - x is too much.", lambda p, mean, std: normal(1 - p / 255.0, mean, std)),
        Mistake("you subtracted bytes from bytes: below 0 they begin again at 255. Divide first, which makes floats.",
                lambda p, mean, std: first((p - (255 * np.array(mean)).astype(np.uint8)) / (255 * np.array(std)))),
        Mistake("mean and deviation are those of shares: you took 255 · mean away and forgot to divide the deviation's "
                "side by 255.",
                lambda p, mean, std: first((p - 255 * np.array(mean)) / np.array(std))),
    ],
    symptoms=[Symptom("your numbers are bytes: in bytes, a division rounds and a difference below 0 wraps around.",
                      lambda found, *_: found.dtype == np.uint8)],
    hints=["Three things, in this order: shares of 1, minus the mean, over the deviation; then the axes.",
           "numpy lines the last axis (channels) up with `np.asarray(mean)` by itself.",
           "((picture / 255 - mean) / std).transpose(2, 0, 1), with mean and std as arrays."],
)  # fmt: skip


def those(labels: list[int], each: int) -> list[int]:
    places = sorted(
        place
        for label in set(labels)
        for place in [i for i, one in enumerate(labels) if one == label][:each]
    )
    return places


def by_class(labels: list[int], each: int) -> list[int]:
    return [
        place
        for label in sorted(set(labels))
        for place in [i for i, one in enumerate(labels) if one == label][:each]
    ]


def of_classes(classes: Callable[[list[int]], list[int]]) -> Callable[[list[int], int], list[int]]:
    """The right answer for these classes only."""
    return lambda labels, each: [i for i in those(labels, each) if labels[i] in classes(labels)]


handful = Exercise(
    "12.2",
    cases=lambda seed: [([1, 0, 0, 2, 1, 0, 2, 1 + seed % 2, 2], 2), ([3, 3, 3, 0, 5, 0, 5, 3, 5, 5], 3),
                        ([7, 2, 2, 7, 2, 7, 3, 4, 7, 4], 1 + seed % 2)],
    right=those,
    mistakes=[
        Mistake("half of it: that is one image of each class; `each` of them are asked for.",
                lambda labels, each: those(labels, 1), half_finished=True),
        Mistake("you took the first images whatever their class: a class may then be missing altogether.",
                lambda labels, each: list(range(each * len(set(labels))))),
        Mistake("the right images, class after class; their positions are asked for in order.", by_class),
        Mistake("these are the labels of the right images; their positions are asked for.",
                lambda labels, each: [labels[i] for i in those(labels, each)]),
        Mistake("you took the last ones of each class.",
                lambda labels, each: sorted(len(labels) - 1 - i for i in those(labels[::-1], each))),
        Mistake("one too many of each class: count before you take the next one.",
                lambda labels, each: those(labels, each + 1)),
        Mistake("half of it: these are the right positions, class by class. Make one list of them, in order.",
                lambda labels, each: [[i for i in those(labels, each) if labels[i] == label] for label in sorted(set(labels))],
                half_finished=True),
        Mistake("half of it: these are the right positions by class. Make one list of them, in order.",
                lambda labels, each: {label: [i for i in those(labels, each) if labels[i] == label] for label in set(labels)},
                half_finished=True),
        Mistake("you took `each` images altogether; `each` of every class are asked for.", lambda labels, each: list(range(each))),
        Mistake("half of it: this says of each image whether it is taken. Give the positions: those where it is True.",
                lambda labels, each: [i in those(labels, each) for i in range(len(labels))], half_finished=True),
        Mistake("half of it: so many are taken. Which ones? Give their positions.",
                lambda labels, each: len(those(labels, each)), half_finished=True),
        Mistake("half of it: each position carries its label; the positions alone are asked for.",
                lambda labels, each: [(i, labels[i]) for i in those(labels, each)], half_finished=True),
        Mistake("you count from 1; in Python the first position is 0.",
                lambda labels, each: [i + 1 for i in those(labels, each)]),
        Mistake("these are the ones that are left over; the others are asked for.",
                lambda labels, each: [i for i in range(len(labels)) if i not in those(labels, each)]),
        Mistake("labels.index finds the first of a class, again and again: use enumerate for the position.",
                lambda labels, each: [labels.index(labels[i]) for i in those(labels, each)]),
        Mistake("you sorted the labels first: positions are those in the list as it is given.",
                lambda labels, each: those(sorted(labels), each)),
        Mistake("you took the classes 0, 1, 2 for given; take those that there are: set(labels).",
                of_classes(lambda labels: [0, 1, 2])),
        Mistake("you took the classes 0, 1, ... up to their number; take those that there are: set(labels).",
                of_classes(lambda labels: list(range(len(set(labels)))))),
        Mistake("the class with the largest number is missing: range(max(labels)) ends before it. Take set(labels).",
                of_classes(lambda labels: list(range(max(labels))))),
        Mistake("you took each `each`-th image; `each` of every class are asked for.",
                lambda labels, each: list(range(0, len(labels), each))),
        Mistake("you took all images: count what you have taken of each class, and stop at `each`.",
                lambda labels, each: list(range(len(labels)))),
        Mistake("you took the first of each class only, in the order of the classes.",
                lambda labels, each: [labels.index(label) for label in sorted(set(labels))]),
        Mistake("you left the first of each class out.",
                lambda labels, each: [i for i in those(labels, each + 1) if i not in those(labels, 1)]),
        Mistake("you stop altogether when one class is full; the others are still to be filled.",
                lambda labels, each: list(range(min(i for i in range(len(labels)) if i not in those(labels, each))))),
        Mistake("labels == label of a list is False, not a mask: make an array of it, np.array(labels).",
                lambda labels, each: []),
        Mistake("one too few of each class: stop when `each` are taken, not before.",
                lambda labels, each: those(labels, each - 1)),
        Mistake("you sorted all images by their class and took `each` of them; `each` of every class are asked for.",
                lambda labels, each: sorted(range(len(labels)), key=lambda i: labels[i])[:each]),
    ],
    hints=["Go through the labels once, and count for each class how many you have taken.",
           "`taken = dict.fromkeys(labels, 0)` counts from 0 for every class there is.",
           "for place, label in enumerate(labels): if taken[label] < each: keep place, and count it."],
)  # fmt: skip
