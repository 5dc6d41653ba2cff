"""Optimizers, which weights decay, and what happens to gradients before a step."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from dino_core import config
from dino_core.model.network import Network
from dino_core.schedules import Now


def build_optimizer(optim: config.Optim, network: nn.Module) -> torch.optim.Optimizer:
    """The optimizer over all trainable weights, in groups that share factors of weight decay and of the learning rate.

    Learning rate and decay are set anew before each step (`set_schedule`)."""
    named = [(name, p) for name, p in network.named_parameters() if p.requires_grad]
    factors = lr_factors(optim, network)
    together: dict[tuple[float, float], list[nn.Parameter]] = {}
    for decayed in (True, False):
        for name, parameter in named:
            if decays(name, parameter, optim.decay_rule) == decayed:
                decay = decayed * (optim.head_decay if name.startswith("head.") else 1.0)
                together.setdefault((decay, factors.get(name, 1.0)), []).append(parameter)
    groups: list[dict[str, Any]] = [
        {"params": parameters, "decay_factor": decay, "lr_factor": factor}
        for (decay, factor), parameters in together.items()
    ]
    if optim.algorithm == "adamw":
        fused = all(p.device.type in ("cpu", "cuda", "xpu", "mps") for _, p in named)
        return torch.optim.AdamW(groups, lr=optim.lr, betas=optim.betas, fused=fused)
    if optim.algorithm == "sgd":
        return torch.optim.SGD(groups, lr=optim.lr, momentum=0.9)
    return Lars(groups, lr=optim.lr)


def decays(name: str, weight: Tensor, rule: str) -> bool:
    """Whether weight decay pulls at a weight.

    `shape`: all but biases and one-dimensional weights (Caron et al. 2021).  `name`: all but biases, norms and LayerScale
    (DINOv2, DINOv3), so that the mask token decays too.  Tokens, positions and gains of prototypes decay in both."""
    if rule == "shape":
        return not (name.endswith(".bias") or weight.ndim == 1)
    return not (name.endswith("bias") or "norm" in name or "gamma" in name)


def lr_factors(optim: config.Optim, network: nn.Module) -> dict[str, float]:
    """What the learning rate of a weight is multiplied by, for the names it is not 1 for.

        layer_decay^(L + 1 - layer), times patch_embed_lr for the cut into patches

    Tokens, positions and the patches' projection are layer 0, block i of L is layer i + 1, what comes after is layer L + 1
    (DINOv2 and DINOv3; BEiT, Bao et al. 2021)."""
    if not isinstance(network, Network) or (optim.layer_decay == 1 and optim.patch_embed_lr == 1):
        return {}
    blocks = network.backbone.blocks()
    inside = {id(p): layer for layer, block in enumerate(blocks, 1) for p in block.parameters()}
    factors = {}
    for name, parameter in network.backbone.named_parameters():
        first = 0 if blocks and "norm" not in name else len(blocks) + 1
        factor = optim.layer_decay ** (len(blocks) + 1 - inside.get(id(parameter), first))
        factors[f"backbone.{name}"] = factor * (optim.patch_embed_lr if "patch_embed" in name else 1.0)
    return factors


def set_schedule(optimizer: torch.optim.Optimizer, now: Now) -> None:
    """This step's learning rate and weight decay for each group."""
    for group in optimizer.param_groups:
        group["lr"] = now.learning_rate * group["lr_factor"]
        group["weight_decay"] = now.weight_decay * group["decay_factor"]


def clip_per_tensor(parameters: Iterable[Tensor], max_norm: float) -> None:
    """Scale each tensor's gradient down to a norm of at most `max_norm` (as released with Caron et al. 2021).

    The norm over all tensors may well be larger.  Never waits for the device."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    if gradients:
        norms = torch.stack([whole(norm) for norm in torch._foreach_norm(gradients)])
        scales = (max_norm / (norms + 1e-6)).clamp(max=1.0)
        torch._foreach_mul_([local_part(g) for g in gradients], list(scales.unbind()))


def clip_per_part(parts: Iterable[Iterable[Tensor]], max_norm: float) -> None:
    """Scale each part's gradients down together to a norm of at most `max_norm`: the backbone's, and each head's (DINOv2).

    Never waits for the device."""
    for part in parts:
        gradients = [p.grad for p in part if p.grad is not None]
        if gradients:
            length = torch.stack([whole(n) for n in torch._foreach_norm(gradients)]).norm()
            scale = (max_norm / (length + 1e-6)).clamp(max=1.0)
            for gradient in gradients:
                local_part(gradient).mul_(scale)


def whole(x: Tensor) -> Tensor:
    """A sharded tensor, gathered; a plain one as it is."""
    return x.full_tensor() if isinstance(x, DTensor) else x


def local_part(x: Tensor) -> Tensor:
    """This rank's part of a sharded tensor; a plain one as it is."""
    return x.to_local() if isinstance(x, DTensor) else x


def drop_frozen(network: Network) -> None:
    """Forget the prototypes' gradients, so that neither step nor decay moves them (`Now.last_layer_frozen`)."""
    for head in network.heads():
        for parameter in head.prototypes.parameters():
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
