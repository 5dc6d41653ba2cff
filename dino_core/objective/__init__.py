"""What is learnt.  Importing this imports torch."""

from collections.abc import Set
from typing import Any

from dino_core import config
from dino_core.model.backbone import Backbone
from dino_core.objective.dino import Dino
from dino_core.objective.dinov2 import DinoV2
from dino_core.objective.dinov3 import DinoV3
from dino_core.objective.losses import Losses, Objective, Targets, Term

__all__ = ["Dino", "DinoV2", "DinoV3", "Losses", "Objective", "Targets", "Term", "build_objective"]


def build_objective(
    options: config.Dino,
    prototypes: int,
    *,
    ibot: config.Ibot | None = None,
    koleo: config.Koleo | None = None,
    patch_prototypes: int | None = None,
    gram: config.Gram | None = None,
    anchor: Backbone | None = None,
    refresh: Set[int] = frozenset(),
) -> Objective:
    """The objective that a config asks for: with Gram anchoring that of DINOv3, with iBOT that of DINOv2, else DINO's."""
    ibot, gram = ibot or config.Ibot(), gram or config.Gram()
    patches = patch_prototypes or prototypes
    if gram.weight:
        given: dict[str, Any] = {"gram": gram, "anchor": anchor, "refresh": refresh}
        return DinoV3(options, prototypes, koleo, ibot=ibot, patch_prototypes=patches, **given)
    if ibot.weight:
        return DinoV2(options, prototypes, koleo, ibot=ibot, patch_prototypes=patches)
    return Dino(options, prototypes, koleo)
