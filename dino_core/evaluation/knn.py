"""Weighted nearest neighbours, the health signal of self-supervised training (Wu et al. 2018; Caron et al. 2021, Sec. 4.1)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

CHUNK = 1024
"""Test rows compared at a time, to bound memory."""


def knn(
    train: Float[Tensor, "N D"],
    train_labels: Int[Tensor, " N"],
    test: Float[Tensor, "M D"],
    k: int = 20,
    temperature: float = 0.07,
) -> Int[Tensor, " M"]:
    """The label with most votes among the k nearest training rows by cosine similarity.

        votes_c = sum_{i in nearest k} exp(cos(x, x_i) / temperature) [label_i = c]

    With fewer than k rows, all of them vote."""
    if len(train) == 0:
        raise ValueError("k-NN needs at least one training row; got none.")
    train, test = F.normalize(train, dim=-1), F.normalize(test, dim=-1)
    classes = int(train_labels.max()) + 1
    predicted = []
    for rows in test.split(CHUNK):
        similarity, nearest = (rows @ train.T).topk(min(k, len(train)), dim=-1)  # M k
        weight = (similarity / temperature).exp()
        votes = weight.new_zeros(len(rows), classes).scatter_add_(1, train_labels[nearest], weight)
        predicted.append(votes.argmax(-1))
    return torch.cat(predicted) if predicted else train_labels.new_empty(0)


def accuracy(predicted: Int[Tensor, " M"], labels: Int[Tensor, " M"]) -> float:
    """Share of rows labelled right."""
    return float((predicted == labels).float().mean())
