"""A linear classifier on frozen features."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor


def linear_probe(
    train: Float[Tensor, "N D"],
    train_labels: Int[Tensor, " N"],
    test: Float[Tensor, "M D"],
    decay: float = 1e-3,
    iterations: int = 200,
) -> Int[Tensor, " M"]:
    """Labels of `test` by multinomial logistic regression on standardised features, fitted by L-BFGS.

        minimise  mean cross-entropy + decay ||W||^2 / 2

    The papers train 100 epochs of SGD on augmented images; this convex problem has one solution and needs no learning rate."""
    mean, std = train.mean(0), train.std(0, correction=0).clamp_min(1e-6)
    x, unseen = (train - mean) / std, (test - mean) / std
    classes = int(train_labels.max()) + 1
    weight = x.new_zeros(classes, x.shape[1], requires_grad=True)
    bias = x.new_zeros(classes, requires_grad=True)
    solver = torch.optim.LBFGS([weight, bias], max_iter=iterations, line_search_fn="strong_wolfe")

    def objective() -> Tensor:
        solver.zero_grad()
        loss = F.cross_entropy(F.linear(x, weight, bias), train_labels) + decay / 2 * weight.square().sum()
        loss.backward()
        return loss

    solver.step(objective)
    return F.linear(unseen, weight, bias).detach().argmax(-1)
