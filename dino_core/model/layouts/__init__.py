"""The layouts in which weights are published: each file knows one publisher's names."""

from __future__ import annotations

from dino_core.model.layouts import clip, dino, dinov2, dinov3, mae, timm, transformers
from dino_core.model.layouts.reading import Layout, Tensors

LAYOUTS: tuple[Layout, ...] = (
    dinov3.VIT,
    mae.MAE,
    dinov2.DINOV2,
    timm.VIT,
    dino.DINO,
    timm.EVA,
    dinov3.CONVNEXT,
    timm.CONVNEXT,
    timm.RESNET,
    transformers.VIT,
    transformers.DINOV3,
    transformers.CONVNEXT,
    transformers.RESNET,
    clip.OPEN,
    clip.HUGGING_FACE,
)
"""In the order in which they are tried: the more particular first."""


def identify(tensors: Tensors) -> Layout | None:
    """The layout of these tensors; None where no layout knows them."""
    return next((layout for layout in LAYOUTS if layout.recognise(tensors)), None)
