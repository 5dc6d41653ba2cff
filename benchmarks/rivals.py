"""The same step as others write it: from lightly's parts, and as a plain loop in the manner of the code released with DINO.

Both get the model from timm, as ours does, and batch the crops by resolution; lightly's parts also as in its examples, view by
view."""

from __future__ import annotations

import copy
import math
import warnings

import torch
import torch.nn.functional as F
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from benchmarks.setting import CLIP, LEARNING_RATE, MOMENTUM, WEIGHT_DECAY, Setting

warnings.filterwarnings("ignore", message=".*weight_norm.*")


def vit(s: Setting, drop_path: float = 0.0) -> VisionTransformer:
    return VisionTransformer(
        img_size=s.global_size,
        patch_size=s.patch,
        embed_dim=s.dim,
        depth=s.depth,
        num_heads=s.heads,
        num_classes=0,
        dynamic_img_size=True,
        drop_path_rate=drop_path,
    )


class Lightly:
    """lightly's head, loss and momentum update; `step(globals, locals)` with (V B 3 h w) each."""

    def __init__(self, s: Setting, by_view: bool = False) -> None:
        from lightly.loss import DINOLoss
        from lightly.models.modules import DINOProjectionHead
        from lightly.models.utils import deactivate_requires_grad

        self.by_view = by_view
        self.student = vit(s)
        self.student_head = DINOProjectionHead(s.dim, s.hidden, s.bottleneck, s.prototypes, freeze_last_layer=1)
        self.teacher = copy.deepcopy(self.student)
        self.teacher_head = DINOProjectionHead(s.dim, s.hidden, s.bottleneck, s.prototypes)
        self.teacher_head.load_state_dict(self.student_head.state_dict())
        deactivate_requires_grad(self.teacher)
        deactivate_requires_grad(self.teacher_head)
        self.criterion = DINOLoss(output_dim=s.prototypes, warmup_teacher_temp_epochs=5)
        trained = [*self.student.parameters(), *self.student_head.parameters()]
        self.optimizer = torch.optim.AdamW(trained, lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)

    def step(self, large: Tensor, small: Tensor) -> float:
        from lightly.models.utils import update_momentum

        update_momentum(self.student, self.teacher, m=MOMENTUM)
        update_momentum(self.student_head, self.teacher_head, m=MOMENTUM)
        with torch.no_grad():
            teacher = self.outputs(self.teacher, self.teacher_head, [large])
        student = self.outputs(self.student, self.student_head, [large, small])
        loss = self.criterion(teacher, student, epoch=10)
        loss.backward()
        self.student_head.cancel_last_layer_gradients(current_epoch=10)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss.item()

    def outputs(self, backbone: nn.Module, head: nn.Module, views: list[Tensor]) -> list[Tensor]:
        """Of each view."""
        if self.by_view:
            return [head(backbone(view)) for group in views for view in group]
        cls = torch.cat([backbone(group.flatten(0, 1)) for group in views])
        return list(head(cls).chunk(sum(map(len, views))))


class PlainHead(nn.Module):
    def __init__(self, s: Setting) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(s.dim, s.hidden),
            nn.GELU(),
            nn.Linear(s.hidden, s.hidden),
            nn.GELU(),
            nn.Linear(s.hidden, s.bottleneck),
        )
        self.last = nn.utils.weight_norm(nn.Linear(s.bottleneck, s.prototypes, bias=False))
        self.last.weight_g.data.fill_(1)
        self.last.weight_g.requires_grad = False

    def forward(self, x: Tensor) -> Tensor:
        return self.last(F.normalize(self.mlp(x), dim=-1))


class PlainNetwork(nn.Module):
    """One pass of the backbone for each resolution, one of the head for all crops."""

    def __init__(self, s: Setting, drop_path: float = 0.0) -> None:
        super().__init__()
        self.backbone, self.head = vit(s, drop_path), PlainHead(s)

    def forward(self, crops: list[Tensor]) -> Tensor:
        return self.head(torch.cat([self.backbone(x) for x in crops]))


class Plain:
    """A loop over crops, parameters and pairs of views where the released code has one.  bf16 on a GPU, float32 on a CPU."""

    def __init__(self, s: Setting, device: str = "cpu", drop_path: float = 0.0) -> None:
        self.views, self.autocast = 2 + s.local_crops, torch.autocast(device, torch.bfloat16, enabled=device != "cpu")
        self.student, self.teacher = PlainNetwork(s, drop_path).to(device), PlainNetwork(s).to(device)
        self.teacher.load_state_dict(self.student.state_dict())
        self.teacher.requires_grad_(False)
        self.centre = torch.zeros(1, s.prototypes, device=device)
        named = [(name, p) for name, p in self.student.named_parameters() if p.requires_grad]
        spared = [p for name, p in named if name.endswith(".bias") or p.ndim == 1]
        decayed = [p for name, p in named if not (name.endswith(".bias") or p.ndim == 1)]
        self.optimizer = torch.optim.AdamW([{"params": decayed}, {"params": spared, "weight_decay": 0.0}])

    def step(self, large: Tensor, small: Tensor) -> float:
        for i, group in enumerate(self.optimizer.param_groups):
            group["lr"] = LEARNING_RATE
            if i == 0:
                group["weight_decay"] = WEIGHT_DECAY
        with self.autocast:
            teacher = self.teacher([large.flatten(0, 1)])
            student = self.student([large.flatten(0, 1), small.flatten(0, 1)])
            loss = self.loss(student, teacher)
        if not math.isfinite(loss.item()):
            raise FloatingPointError("the loss is not finite")
        self.optimizer.zero_grad()
        loss.backward()
        for p in self.student.parameters():
            if p.grad is not None:
                share = CLIP / (p.grad.norm(2) + 1e-6)
                if share < 1:
                    p.grad.mul_(share)
        self.optimizer.step()
        with torch.no_grad():
            for ours, theirs in zip(self.student.parameters(), self.teacher.parameters(), strict=True):
                theirs.mul_(MOMENTUM).add_((1 - MOMENTUM) * ours.detach())
        return loss.item()

    def loss(self, student: Tensor, teacher: Tensor) -> Tensor:
        students = (student / 0.1).chunk(self.views)
        targets = F.softmax((teacher - self.centre) / 0.04, dim=-1).detach().chunk(2)
        total, pairs = student.new_zeros(()), 0
        for t, target in enumerate(targets):
            for v, said in enumerate(students):
                if v != t:
                    total = total + torch.sum(-target * F.log_softmax(said, dim=-1), dim=-1).mean()
                    pairs += 1
        with torch.no_grad():
            self.centre = self.centre * 0.9 + teacher.mean(0, keepdim=True) * 0.1
        return total / pairs
