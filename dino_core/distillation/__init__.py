"""Students of another size or family from a frozen teacher, several at once from one pass of it (Oquab et al. 2023, Sec. 5;
Siméoni et al. 2025, Sec. 6).

Each student is a whole run of its own, with its own config and folder; what it learns does not depend on who learns
beside it.  `start` and `resume` are what the command line, notebooks and tests call."""

from dino_core.distillation.students import resume, start

__all__ = ["resume", "start"]
