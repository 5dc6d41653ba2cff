"""Solutions of 11_your_own.py, written by `python -m notebooks build` from that file: edit them there."""

from torch.nn.functional import normalize
import torch


def uniform(cls):
    """Class tokens (B D), of any length -> ln of the mean of exp(-2 d²) over pairs of different images, on the unit sphere."""
    x = normalize(cls, dim=-1)
    squared = (x[:, None] - x[None]).square().sum(dim=-1)
    others = ~torch.eye(len(x), dtype=torch.bool)
    return (-2 * squared[others]).exp().mean().log()


def overlap(boxes, others):
    """Boxes (... 4) and (... 4): left, top, right, bottom -> intersection over union (...), 0 where they do not meet."""
    low = torch.maximum(boxes[..., :2], others[..., :2])
    high = torch.minimum(boxes[..., 2:], others[..., 2:])
    shared = (high - low).clamp(min=0).prod(dim=-1)
    sizes = [(b[..., 2:] - b[..., :2]).prod(dim=-1) for b in (boxes, others)]
    return shared / (sizes[0] + sizes[1] - shared)
