"""Optimizers, which weights decay, and what happens to gradients before a step."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from dino_core import config
from dino_core.model.network import Network
from dino_core.schedules import Now


def build_optimizer(optim: config.Optim, network: nn.Module) -> torch.optim.Optimizer:
    """The optimizer over all trainable weights, in two groups: decayed, and not (biases and one-dimensional weights).

    Everything else decays: tokens, position embeddings and the prototypes' gains too, as in the released code.
    Learning rate and decay are set anew before each step (`set_schedule`)."""
    named = [(name, p) for name, p in network.named_parameters() if p.requires_grad]
    spared = [name.endswith(".bias") or p.ndim == 1 for name, p in named]
    groups = [
        {"params": [p for (_, p), spare in zip(named, spared, strict=True) if spare != decayed], "decayed": decayed}
        for decayed in (True, False)
    ]
    groups = [group for group in groups if group["params"]]
    if optim.algorithm == "adamw":
        fused = all(p.device.type in ("cpu", "cuda", "xpu", "mps") for _, p in named)
        return torch.optim.AdamW(groups, lr=optim.lr, fused=fused)
    if optim.algorithm == "sgd":
        return torch.optim.SGD(groups, lr=optim.lr, momentum=0.9)
    return Lars(groups, lr=optim.lr)


def set_schedule(optimizer: torch.optim.Optimizer, now: Now) -> None:
    """This step's learning rate for all groups, and its weight decay for those that decay."""
    for group in optimizer.param_groups:
        group["lr"] = now.learning_rate
        group["weight_decay"] = now.weight_decay if group["decayed"] else 0.0


def clip_per_tensor(parameters: Iterable[Tensor], max_norm: float) -> None:
    """Scale each tensor's gradient down to a norm of at most `max_norm` (as released with Caron et al. 2021).

    The norm over all tensors may well be larger.  Never waits for the device."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    if gradients:
        scales = [(max_norm / (norm + 1e-6)).clamp(max=1.0) for norm in torch._foreach_norm(gradients)]
        torch._foreach_mul_(gradients, scales)


def drop_frozen(network: Network) -> None:
    """Forget the prototypes' gradients, so that neither step nor decay moves them (`Now.last_layer_frozen`)."""
    for parameter in network.head.prototypes.parameters():
        parameter.grad = None


class Lars(torch.optim.Optimizer):
    """SGD whose step follows the length of each weight tensor, for large batches (You et al. 2017, arXiv 1708.03888).

        d = gradient + decay · w;    u ← momentum u + d · eta ‖w‖ / ‖d‖;    w ← w - lr u

    Tensors of one dimension take neither the ratio nor decay."""

    def __init__(self, params: Any, lr: float, *, momentum: float = 0.9, eta: float = 1e-3) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "eta": eta, "weight_decay": 0.0})

    def step(self, closure: Any = None) -> Any:
        loss = None if closure is None else closure()
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._move(weight, weight.grad, group)
        return loss

    @torch.no_grad()
    def _move(self, weight: Tensor, direction: Tensor, group: dict[str, Any]) -> None:
        if weight.ndim > 1:
            direction = direction.add(weight, alpha=group["weight_decay"])
            length, norm = weight.norm(), direction.norm()
            ratio = torch.where((length > 0) & (norm > 0), group["eta"] * length / norm, 1.0)
            direction = direction * ratio
        state = self.state[weight]
        if "velocity" not in state:
            state["velocity"] = torch.zeros_like(weight)
        state["velocity"].mul_(group["momentum"]).add_(direction)
        weight.sub_(state["velocity"], alpha=group["lr"])
