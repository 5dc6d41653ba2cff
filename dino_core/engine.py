"""The training step, and nothing else: one screen that reads like the paper.

The loop around it (data, telemetry, checkpoints, signals) is `dino_core.loop`; networks, objective and optimizer are built in
`dino_core.train`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from dino_core.config import TrainConfig
from dino_core.data.views import Batch
from dino_core.model import Network
from dino_core.objective import Losses, Objective, Targets
from dino_core.optimizers import clip_per_part, clip_per_tensor, drop_frozen, set_schedule, whole
from dino_core.parallel import global_sum
from dino_core.schedules import Now
from dino_core.seeds import seed_of
from dino_core.stopwatch import Stopwatch


@dataclass
class StepResult:
    """What a step leaves for telemetry, on the device."""

    now: Now
    targets: Targets
    losses: Losses
    loss_finite: Tensor
    applied: Tensor
    """Whether loss and gradients were finite on every rank, so that the step reached the weights."""
    gradient_norms: dict[str, Tensor] = field(default_factory=dict)
    update_norms: dict[str, Tensor] = field(default_factory=dict)


@dataclass
class Engine:
    """Student, teacher, and what moves them."""

    config: TrainConfig
    """Of the phase that is trained."""
    student: Network
    wrapped: nn.Module
    """The student as it is called: itself, or inside DistributedDataParallel."""
    teacher: Network
    objective: Objective
    optimizer: torch.optim.Optimizer
    device: torch.device
    scaler: torch.amp.GradScaler
    """Enabled for fp16 alone."""

    def train_step(
        self, batch: Batch, now: Now, clock: Stopwatch, *, measure: bool = False, asked: Network | None = None
    ) -> StepResult:
        """One step of self-distillation; `measure` also takes the norms that telemetry wants.

        Given another network to be `asked` for targets, one of distillation: the own teacher follows all the same."""
        torch.manual_seed(seed_of(self.config.seed, "stochastic depth", now.step))
        set_schedule(self.optimizer, now)

        with clock("teacher"), self.autocast():
            targets = self.objective.targets(asked or self.teacher, batch, now, patches=measure and asked is None)
        losses = self.backward(batch, targets, now, clock)

        with clock("update"):
            self.scaler.unscale_(self.optimizer)
            result = self.judged(StepResult(now, targets, losses, losses.total.isfinite(), losses.total.isfinite()))
            if measure:
                result.gradient_norms = {name: norm(grads(part)) for name, part in self.student.parts().items()}
            if self.config.optim.clip is not None:
                self.clip(self.config.optim.clip)
            if now.last_layer_frozen:
                drop_frozen(self.student)
            if now.backbone_frozen:
                self.student.backbone.zero_grad(set_to_none=True)
            with self.measured(result) if measure else nullcontext():
                self.step_if(result.applied)
            self.teacher.follow(self.student, now.momentum)
            with self.kept_unless(result.applied):
                self.objective.after_step(targets, now.step, self.teacher)
            self.optimizer.zero_grad(set_to_none=True)
        return result

    def backward(self, batch: Batch, targets: Targets, now: Now, clock: Stopwatch) -> Losses:
        """Gradients of the whole batch's loss, in as many parts as `accumulate` says; the losses are those of the whole."""
        parts = min(self.config.optim.accumulate, batch.images)
        edges = [round(i * batch.images / parts) for i in range(parts + 1)]
        pieces: list[tuple[Losses, float]] = []
        for start, stop in pairwise(edges):
            share = (stop - start) / batch.images
            with self.reduced_at(last=stop == batch.images):
                with clock("student"), self.autocast():
                    part = (batch, targets) if parts == 1 else (batch.part(start, stop), targets.part(start, stop))
                    losses = self.objective.losses(self.wrapped, *part, now)
                with clock("backward"):
                    self.scaler.scale(losses.total * share).backward()
            pieces.append((losses.detached(), share))
        return pieces[0][0] if parts == 1 else Losses.joined(pieces)

    def optimizer_state(self) -> dict[str, dict[str, Any]]:
        """What the optimizer remembers of each weight, by its name: the very tensors."""
        named = dict(self.student.named_parameters())
        return {name: self.optimizer.state[p] for name, p in named.items() if p in self.optimizer.state}

    def judged(self, result: StepResult) -> StepResult:
        """Whether this step may reach the weights: loss and gradients finite on every rank.  Stays on the device."""
        norms = torch.stack([whole(n) for n in torch._foreach_norm(grads(self.student.parameters()))])
        good = result.loss_finite & norms.isfinite().all()
        verdict = global_sum(torch.stack([~result.loss_finite, ~good]).float())
        result.loss_finite, result.applied = verdict[0] == 0, verdict[1] == 0
        return result

    def step_if(self, applied: Tensor) -> None:
        """The optimizer's step, unless loss or gradients were not finite.

        Fused optimizers take the answer on the device (`found_inf`), so a GPU is not stalled by asking."""
        if self.scaler.is_enabled():
            self.scaler.step(self.optimizer)
            self.scaler.update()
        elif self.device.type == "cuda" and self.optimizer.defaults.get("fused"):
            vars(self.optimizer)["found_inf"] = 1.0 - applied.float()
            self.optimizer.step()
        elif bool(applied):
            self.optimizer.step()

    def clip(self, max_norm: float) -> None:
        if self.config.optim.clip_over == "tensor":
            clip_per_tensor(self.student.parameters(), max_norm)
        else:
            clip_per_part([m.parameters() for m in (self.student.backbone, *self.student.heads())], max_norm)

    @contextmanager
    def kept_unless(self, applied: Tensor) -> Iterator[None]:
        """What the objective writes inside lasts only where `applied`."""
        before = [buffer.clone() for buffer in self.objective.buffers()]
        yield
        for buffer, old in zip(self.objective.buffers(), before, strict=True):
            buffer.copy_(torch.where(applied, buffer, old))

    @contextmanager
    def measured(self, result: StepResult) -> Iterator[None]:
        """Length of the optimizer's step relative to the weights, part by part."""
        before = {name: [p.detach().clone() for p in part] for name, part in self.student.parts().items()}
        yield
        for name, part in self.student.parts().items():
            moved = torch._foreach_sub([p.detach() for p in part], before[name])
            result.update_norms[name] = norm(moved) / norm(before[name]).clamp_min(1e-12)

    def autocast(self) -> AbstractContextManager:
        dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(self.config.machine.precision or "fp32")
        return nullcontext() if dtype is None else torch.autocast(self.device.type, dtype)

    def reduced_at(self, *, last: bool) -> AbstractContextManager:
        """Gradients travel between ranks once a step, with its last part."""
        no_sync = getattr(self.wrapped, "no_sync", None)
        return nullcontext() if last or no_sync is None else no_sync()


def grads(parameters: Iterable[Tensor]) -> list[Tensor]:
    return [p.grad for p in parameters if p.grad is not None]


def norm(tensors: Sequence[Tensor]) -> Tensor:
    """Euclidean norm of all of them together."""
    if not tensors:
        return torch.zeros(())
    return torch.stack([whole(n).float() for n in torch._foreach_norm(list(tensors))]).norm()
