"""facebookresearch/dinov2 (Oquab et al. 2023): DINO's names plus `mask_token`, `ls1.gamma`, `ls2.gamma`, `mlp.w12`, `mlp.w3`,
and with registers `register_tokens`.

Training with `block_chunks` writes `blocks.{chunk}.{i}.…`, i counting through."""

from __future__ import annotations

from dino_core.model.layouts import dino, families
from dino_core.model.layouts.reading import Hints, Layout, Reading, Tensors, renamed
from dino_core.model.positions import ANTIALIASED, OFFSET

CHUNKED = (r"^blocks\.\d+\.(\d+)\.", r"blocks.\1.")


def recognise(tensors: Tensors) -> bool:
    return dino.recognise(renamed(tensors, [CHUNKED])) and not tensors.keys().isdisjoint(
        {"mask_token", "register_tokens"}
    )


def read(tensors: Tensors, hints: Hints) -> Reading:
    """Positions are resampled antialiased where there are registers, as the released models are built."""
    resampling = ANTIALIASED if "register_tokens" in tensors else OFFSET
    return families.learned(renamed(tensors, [CHUNKED]), hints, resampling)


DINOV2 = Layout("dinov2", recognise, read)
