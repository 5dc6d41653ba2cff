"""Solutions of 00_tour.py, written by `python -m notebooks build` from that file: edit them there."""

import torch


def nearest(vectors, index):
    """Which row of `vectors` (N D) has the largest cosine with row `index`, not counting itself?  An int."""
    unit = vectors / vectors.norm(dim=1, keepdim=True)
    likeness = unit @ unit[index]
    likeness[index] = -torch.inf
    return int(likeness.argmax())


def leave_one_out(vectors, labels):
    """Vectors (N D) and labels (N) → the share of rows whose nearest other row has their label, from 0 to 1."""
    unit = vectors / vectors.norm(dim=1, keepdim=True)
    likeness = (unit @ unit.T).fill_diagonal_(-torch.inf)
    return (labels[likeness.argmax(dim=1)] == labels).float().mean()
