"""In what precision numbers are measured."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def at_least_fp32(x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Half precision becomes float32; float32 and float64 stay, so that tests may compute in float64."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def fp64(x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """float64, for eigenvalues; on the CPU where the device has no float64."""
    return (x.cpu() if x.device.type == "mps" else x).double()
