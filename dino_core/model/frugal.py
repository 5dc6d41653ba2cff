"""An MLP that keeps less for the way back: what goes into its activation, and not also what comes out.

Both have as many numbers as an MLP has inside, four times a token's features, and are a third of what a block keeps; the
activation is the cheapest operation to do again.  (Activation checkpointing, Chen et al. 2016, arXiv 1604.06174, of one
operation; `recomputing` does it for whole blocks.)"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from jaxtyping import Float
from timm.layers import Mlp
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks


def keep_less(network: nn.Module) -> None:
    """Outputs and gradients stay the same, to the bit.  Names of weights do not change."""
    for module in network.modules():
        if type(module) is Mlp and isinstance(module.norm, nn.Identity) and not (module.drop1.p or module.drop2.p):
            module.forward = functools.partial(_through, module)  # type: ignore[method-assign]


def _through(mlp: Any, x: Float[Tensor, "... D"]) -> Float[Tensor, "... D"]:
    hidden = mlp.fc1(x)
    active = mlp.act(hidden)
    with saved_tensors_hooks(_instead_of(active, functools.partial(mlp.act, hidden)), _unpack):
        return mlp.fc2(active)


def _instead_of(tensor: Tensor, again: Callable[[], Tensor]) -> Callable[[Tensor], Any]:
    """What to keep of a tensor: how to make it again where it is `tensor`, itself where it is another."""
    place, size = tensor.data_ptr(), tensor.numel()

    def pack(saved: Tensor) -> Any:
        if saved.data_ptr() != place or saved.numel() != size:
            return saved
        shape = saved.shape  # a linear map sees rows
        return lambda: again().view(shape)

    return pack


def _unpack(packed: Any) -> Tensor:
    return packed if isinstance(packed, Tensor) else packed()
