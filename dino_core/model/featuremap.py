"""timm's convolutional networks (ResNet, ConvNeXt, …) as a `Backbone`: the last map's positions are its patches.

Axes: B images, h w pixels, N positions, D features."""

from __future__ import annotations

from typing import Any

from jaxtyping import Bool, Float
from timm.models.convnext import ConvNeXtBlock
from timm.models.resnet import BasicBlock, Bottleneck
from torch import Tensor, nn

from dino_core.errors import ConfigError
from dino_core.model.backbone import Backbone
from dino_core.model.tokens import Tokens


class FeatureMap(Backbone):
    """cls is the mean over the last map (in DINO's ResNet-50 the pooled 2048 features), patches are its positions.

    Networks that end in a norm (ConvNeXt) have it applied to the mean and to each position, as DINOv3 does."""

    model: Any

    def __init__(self, model: nn.Module, name: str) -> None:
        super().__init__()
        self.model = model
        self.name = name
        self.dim = self.model.num_features
        self.patch = self.model.feature_info[-1]["reduction"]

    def forward(self, images: Float[Tensor, "B 3 h w"], masks: Bool[Tensor, "B N"] | None = None) -> Tokens:
        if masks is not None:
            raise ValueError(f"{self.name} has no mask token; use a ViT to hide patches.")
        features = self.model.forward_features(images)  # B D r c
        if features.ndim != 4 or features.shape[1] != self.dim:
            raise ConfigError(
                f"{self.name} gives {tuple(features.shape)}; expected a map (B {self.dim} rows columns). "
                "Use a ResNet, a ConvNeXt or a ViT."
            )
        norm = getattr(getattr(self.model, "head", None), "norm", nn.Identity())
        cls = norm(features.mean((2, 3), keepdim=True)).flatten(1)
        patches = norm(features).flatten(2).mT  # B N D
        return Tokens(cls, patches[:, :0], patches, (features.shape[2], features.shape[3]))

    def blocks(self) -> list[nn.Module]:
        return [part for part in self.model.modules() if isinstance(part, ConvNeXtBlock | Bottleneck | BasicBlock)]
