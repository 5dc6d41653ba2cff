"""facebookresearch/dino (Caron et al. 2021): `cls_token`, `pos_embed`, `blocks.{i}.…`, `norm`.

Nothing but the absence of everything else tells it from timm's plain ViT, DeiT, MAE's encoder and iBOT; those agree with
it at the stored size.  iBOT's student has its mask token as `masked_embed`.  DINO's ResNet-50 is torchvision's."""

from __future__ import annotations

from dino_core.model.layouts import families
from dino_core.model.layouts.reading import Hints, Layout, Reading, Tensors, renamed
from dino_core.model.positions import OFFSET


def recognise(tensors: Tensors) -> bool:
    return {"cls_token", "pos_embed", "patch_embed.proj.weight", "blocks.0.attn.qkv.weight"} <= tensors.keys()


def read(tensors: Tensors, hints: Hints) -> Reading:
    return families.learned(renamed(tensors, [("^masked_embed$", "mask_token")]), hints, OFFSET)


DINO = Layout("dino", recognise, read)
