"""Attention as two matrix products and a softmax, where the fused kernel is the slower one."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn


def attend_in_products(network: nn.Module) -> None:
    """softmax(q kᵀ / √d) v, step by step, in every attention layer: the same numbers up to rounding, Q² of them kept a head.

    PyTorch's fused kernel for the CPU does not use the processor's bf16 products: its backward pass takes ten times as long
    as three plain products for 65 tokens of 64 features (`python -m benchmarks attention`)."""
    for layer in network.modules():
        if getattr(layer, "fused_attn", False):
            setattr(layer, "fused_attn", False)  # noqa: B010 (timm declares it Final)


def fused_is_slower(device: torch.device, precision: str | None) -> bool:
    return device.type == "cpu" and precision == "bf16"


def in_products(
    q: Float[Tensor, "B H q d"], k: Float[Tensor, "B H Q d"], v: Float[Tensor, "B H Q d"]
) -> Float[Tensor, "B H q d"]:
    """softmax(q kᵀ / √d) v"""
    return (q * q.shape[-1] ** -0.5 @ k.mT).softmax(-1) @ v
