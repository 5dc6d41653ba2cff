"""Each loss, target and optimizer step as the loop nest of its equation: slow, obvious, differentiable."""

from __future__ import annotations

import torch
from torch import Tensor


def softmax(row: Tensor) -> Tensor:
    e = [torch.exp(x - row.max().detach()) for x in row]
    return torch.stack([x / sum(e) for x in e])


def cross_entropy(target: Tensor, logits: Tensor, temperature: float) -> Tensor:
    p = softmax(logits / temperature)
    return -sum(target[k] * torch.log(p[k]) for k in range(len(p)))


def cross_view(student: Tensor, targets: Tensor, temperature: float = 0.1, skip_same_view: bool = True) -> Tensor:
    terms = []
    for t in range(len(targets)):
        for s in range(len(student)):
            if skip_same_view and s == t:
                continue
            images = [cross_entropy(targets[t, b], student[s, b], temperature) for b in range(student.shape[1])]
            terms.append(sum(images) / len(images))
    return sum(terms) / len(terms)


def masked_patch(student: Tensor, targets: Tensor, masks: Tensor, temperature: float = 0.1) -> Tensor:
    total, row = student.new_zeros(()), 0
    for crop in masks:
        hidden = int(crop.sum())
        for _ in range(hidden):
            total = total + cross_entropy(targets[row], student[row], temperature) / hidden
            row += 1
    return total / len(masks)


def unit(row: Tensor) -> Tensor:
    return row / torch.sqrt(sum(x * x for x in row))


def koleo(cls: Tensor, eps: float = 1e-8) -> Tensor:
    x = [unit(row) for row in cls]
    total = 0
    for i in range(len(x)):
        distances = [torch.sqrt(((x[i] - x[j]) ** 2).sum()) for j in range(len(x)) if j != i]
        total = total - torch.log(min(distances) + eps)
    return total / len(x)


def gram(student: Tensor, anchor: Tensor, negatives: str = "keep", across_batch: bool = False) -> Tensor:
    groups = (
        [(student.flatten(0, 1), anchor.flatten(0, 1))] if across_batch else list(zip(student, anchor, strict=True))
    )
    total, count = 0, 0
    for ours, theirs in groups:
        ours, theirs = [unit(row) for row in ours], [unit(row) for row in theirs]
        for i in range(len(ours)):
            for j in range(len(ours)):
                s, a = ours[i] @ ours[j], theirs[i] @ theirs[j]
                if negatives == "clamp":
                    s, a = s.clamp(min=0), a.clamp(min=0)
                elif negatives == "clamp_anchor" and a < 0:
                    s, a = (s.new_zeros(()) if s < 0 else s), a.new_zeros(())
                total = total + (s - a) ** 2
                count += 1
    return total / count


def centred(logits: Tensor, centre: Tensor, temperature: float) -> Tensor:
    """(N K) → (N K)"""
    return torch.stack([softmax((row - centre) / temperature) for row in logits])


def moved_centre(centre: Tensor, logits: Tensor, momentum: float) -> Tensor:
    """The centre after a batch of (N K) logits."""
    mean = sum(logits) / len(logits)
    return momentum * centre + (1 - momentum) * mean


def sinkhorn(logits: Tensor, temperature: float, iterations: int = 3) -> Tensor:
    """As released with SwAV and DINOv2: exponentials, columns and rows scaled in turn.  (N K) → (N K)"""
    rows, prototypes = logits.shape
    q = [[torch.exp((logits[n, k] - logits.max()) / temperature) for k in range(prototypes)] for n in range(rows)]
    for _ in range(iterations):
        for k in range(prototypes):
            mass = sum(q[n][k] for n in range(rows))
            for n in range(rows):
                q[n][k] = q[n][k] / mass / prototypes
        for n in range(rows):
            mass = sum(q[n])
            q[n] = [x / mass / rows for x in q[n]]
    return torch.stack([torch.stack(row) for row in q]) * rows


def lars_step(
    weight: Tensor,
    gradient: Tensor,
    velocity: Tensor,
    lr: float,
    decay: float,
    momentum: float = 0.9,
    eta: float = 1e-3,
) -> tuple[Tensor, Tensor]:
    """The weight and its velocity after one step of LARS."""
    direction = gradient
    if weight.ndim > 1:
        direction = gradient + decay * weight
        length, norm = (weight**2).sum() ** 0.5, (direction**2).sum() ** 0.5
        if length > 0 and norm > 0:
            direction = direction * eta * length / norm
    velocity = momentum * velocity + direction
    return weight - lr * velocity, velocity
