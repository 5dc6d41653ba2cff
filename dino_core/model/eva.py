"""timm's `Eva` (EVA, EVA-02, their CLIP towers, Perception Encoder, timm's DINOv3) as a `Backbone`.

Axes: B images, h w pixels, Q tokens, N patches, H heads."""

from __future__ import annotations

import threading
from typing import Any

from jaxtyping import Bool, Float
from timm.models.eva import Eva
from torch import Tensor, nn

from dino_core.errors import ConfigError
from dino_core.model.backbone import Backbone, layer_of, patch_grid
from dino_core.model.listening import listening
from dino_core.model.tokens import Tokens

_unfusing = threading.Lock()
"""One thread at a time switches fused kernels off and on again."""


class EvaVit(Backbone):
    """A ViT with a class token and rotary or learned positions; its prefix after the class token counts as registers."""

    has_attention = True
    model: Any

    def __init__(self, model: Eva) -> None:
        super().__init__()
        if model.cls_token is None:
            raise ConfigError("this ViT has no class token, which DINO trains; choose another.")
        self.model = model
        self.dim = model.embed_dim
        self.patch = model.patch_embed.patch_size[0]
        self.registers = model.num_prefix_tokens - 1
        self.depth = len(model.blocks)
        self.heads = self.model.blocks[0].attn.num_heads

    def forward(self, images: Float[Tensor, "B 3 h w"], masks: Bool[Tensor, "B N"] | None = None) -> Tokens:
        if masks is not None:
            raise ValueError("this backbone has no mask token; use a ViT of DINOv2 or DINOv3.")
        grid = patch_grid(images, self.patch)
        x = self.model.forward_features(images)
        return Tokens(x[:, 0], x[:, 1 : 1 + self.registers], x[:, 1 + self.registers :], grid)

    def attention(self, images: Float[Tensor, "B 3 h w"], layer: int = -1) -> Float[Tensor, "B H Q Q"]:
        """The rows a block really used, which timm computes where no fused kernel hides them."""
        attention = self.model.blocks[layer_of(layer, self.depth)].attn
        patch_grid(images, self.patch)
        with _unfusing:
            fused, attention.fused_attn = attention.fused_attn, False
            try:
                with listening([attention.attn_drop], lambda module, inputs, output: inputs[0]) as seen:
                    self.model.forward_features(images)
            finally:
                attention.fused_attn = fused
        return seen[0]

    def blocks(self) -> list[nn.Module]:
        return list(self.model.blocks)
