"""Solutions of 07_dinov2.py, written by `python -m notebooks build` from that file: edit them there."""

from torch.nn.functional import log_softmax, normalize
import torch


def ibot(student, targets, masks, temperature=0.1):
    """Logits (M K) and targets (M K) of the hidden patches in the order of `masks` (V N) -> the loss in nats."""
    each = -(targets * log_softmax(student / temperature, dim=-1)).sum(dim=-1)
    hidden = masks.sum(dim=1)
    weight = torch.repeat_interleave(1 / hidden, hidden)
    return (each * weight).sum() / len(masks)


def spread_out(cls):
    """Class tokens (B D), of any length -> minus the mean log distance to the nearest other, on the unit sphere."""
    x = normalize(cls, dim=-1)
    distances = (x[:, None] - x[None]).norm(dim=-1)
    others = distances + torch.diag(torch.full((len(x),), torch.inf))
    return -others.min(dim=1).values.log().mean()


def balanced(logits, temperature, turns=3):
    """Logits (B K) -> targets (B K): columns to mass 1/K, then rows to mass 1/B, `turns` times; at last rows summing to 1."""
    q = (logits / temperature).exp()
    for _ in range(turns):
        q = q / q.sum(dim=0, keepdim=True) / q.shape[1]
        q = q / q.sum(dim=1, keepdim=True) / q.shape[0]
    return q * q.shape[0]
