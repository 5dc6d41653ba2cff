"""Attention through all layers at once.  Axes: L layers, Q tokens."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

RESIDUAL = 0.5
"""Share of a token that passes a block beside its attention (Abnar & Zuidema 2020, Sec. 3)."""


def rollout(attention: Float[np.ndarray, "L Q Q"], residual: float = RESIDUAL) -> Float[np.ndarray, "Q Q"]:
    """How much of each input token reaches each output token, if attention were all that happens.

        R = Ā_L … Ā_2 Ā_1,   Ā = (1 - r) A + r I      (Abnar & Zuidema 2020, Eq. 1)

    `attention` are the layers' matrices, averaged over heads, first layer first.  Values and MLPs are ignored, so it is a
    bookkeeping of attention, not an attribution of the output."""
    _check(residual)
    reached = np.eye(attention.shape[-1])
    for layer in attention:
        reached = (1 - residual) * (layer @ reached) + residual * reached
    return reached


def row(attention: Float[np.ndarray, "L Q Q"], token: int, residual: float = RESIDUAL) -> Float[np.ndarray, " Q"]:
    """One token's row of `rollout`, without forming the others."""
    _check(residual)
    reached = np.eye(attention.shape[-1])[token]
    for layer in attention[::-1]:
        reached = (1 - residual) * (reached @ layer) + residual * reached
    return reached


def _check(residual: float) -> None:
    if not 0 <= residual <= 1:
        raise ValueError(f"residual is {residual}; expected the share that passes beside attention, 0 to 1.")
