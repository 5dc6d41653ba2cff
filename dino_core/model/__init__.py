"""Networks: backbones that turn images into tokens, the head, and the two together.  Importing this imports torch."""

from dino_core.model.backbone import Backbone, build_backbone
from dino_core.model.head import Head
from dino_core.model.load import load_backbone
from dino_core.model.network import Network, Output, weight_distance
from dino_core.model.presets import PRESETS, Preset
from dino_core.model.published import Published, load_head
from dino_core.model.teacher import load_teacher, save_teacher
from dino_core.model.tokens import Tokens

__all__ = [
    "PRESETS",
    "Backbone",
    "Head",
    "Network",
    "Output",
    "Preset",
    "Published",
    "Tokens",
    "build_backbone",
    "load_backbone",
    "load_head",
    "load_teacher",
    "save_teacher",
    "weight_distance",
]
