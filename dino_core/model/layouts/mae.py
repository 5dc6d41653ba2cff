"""facebookresearch/mae with its decoder (He et al. 2021, arXiv 2111.06377), of which only the encoder is read.

The file of the encoder alone has the names of DINO's layout."""

from __future__ import annotations

from dino_core.model.layouts import dino, families
from dino_core.model.layouts.reading import Hints, Layout, Reading, Tensors, without
from dino_core.model.positions import PLAIN


def recognise(tensors: Tensors) -> bool:
    return dino.recognise(tensors) and "decoder_embed.weight" in tensors


def read(tensors: Tensors, hints: Hints) -> Reading:
    """The mask token is the decoder's: the encoder never sees hidden patches."""
    return families.learned(without(tensors, r"decoder_|mask_token$"), hints, PLAIN)


MAE = Layout("mae", recognise, read)
