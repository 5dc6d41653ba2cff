"""facebookresearch/dino (Caron et al. 2021): `cls_token`, `pos_embed`, `blocks.{i}.…`, `norm`.

Nothing but the absence of everything else tells it from timm's plain ViT, DeiT, MAE's encoder and iBOT; those agree with
it at the stored size.  iBOT's student has its mask token as `masked_embed`.  DINO's ResNet-50 is torchvision's."""

from __future__ import annotations

from dino_core.errors import CheckpointError
from dino_core.model.architectures import LearnedVit, Residual
from dino_core.model.layouts import families
from dino_core.model.layouts.reading import Hints, Layout, Reading, Tensors, Written, renamed, without
from dino_core.model.positions import OFFSET


def recognise(tensors: Tensors) -> bool:
    return {"cls_token", "pos_embed", "patch_embed.proj.weight", "blocks.0.attn.qkv.weight"} <= tensors.keys()


def read(tensors: Tensors, hints: Hints) -> Reading:
    return families.learned(renamed(tensors, [("^masked_embed$", "mask_token")]), hints, OFFSET)


def write(reading: Reading) -> Written:
    """A ViT without anything that came later, or a ResNet."""
    architecture = reading.architecture
    if isinstance(architecture, Residual):
        return Written(renamed(reading.weights, [(r"^model\.", "")]))
    if not isinstance(architecture, LearnedVit):
        raise CheckpointError("the layout of dino has a table of learned positions, this network has none.")
    later = {
        "registers": architecture.registers,
        "LayerScale": architecture.layer_scale,
        "SwiGLU": architecture.ffn != "mlp",
        "QuickGELU": architecture.activation != "gelu",
        "a norm before its blocks": architecture.pre_norm,
    }
    has = [name for name, there in later.items() if there]
    if has:
        raise CheckpointError(f"the layout of dino has no {has[0]}, this network does; choose dinov2 or safetensors.")
    said = ("dino has no mask token; it is left out.",) if architecture.mask_token else ()
    names = without(families.learned_names(reading.weights), "mask_token$")
    return Written(
        names, said=(*said, *families.unlike(architecture, OFFSET, 1e-6), *families.heads_to_give(architecture))
    )


DINO = Layout("dino", recognise, read)
