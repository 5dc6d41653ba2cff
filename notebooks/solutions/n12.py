"""Solutions of 12_your_photographs.py, written by `python -m notebooks build` from that file: edit them there."""

import numpy as np


def prepared(picture, mean, std):
    """Bytes (H W 3), mean and std of each channel as shares of 1 -> floats (3 H W): (x / 255 - mean) / std."""
    share = np.asarray(picture, dtype=np.float64) / 255
    return ((share - np.asarray(mean)) / np.asarray(std)).transpose(2, 0, 1)


def handful(labels, each):
    """Labels in a list, and how many of each class -> positions of the first `each` images of every class, smallest position first."""
    taken = dict.fromkeys(labels, 0)
    places = []
    for place, label in enumerate(labels):
        if taken[label] < each:
            places.append(place)
            taken[label] += 1
    return places
