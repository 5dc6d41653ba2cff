"""What is learnt.  Importing this imports torch."""

from dino_core import config
from dino_core.objective.dino import Dino
from dino_core.objective.losses import Losses, Objective, Targets, Term

__all__ = ["Dino", "Losses", "Objective", "Targets", "Term", "build_objective"]


def build_objective(options: config.Dino, prototypes: int) -> Objective:
    """The objective that a config asks for."""
    return Dino(options, prototypes)
