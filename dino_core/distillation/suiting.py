"""What a student must have in common with the teacher it learns from: as many prototypes, and heads for the same tokens."""

from __future__ import annotations

from dataclasses import replace

from dino_core.config import TrainConfig
from dino_core.errors import ConfigError


def suited(name: str, config: TrainConfig, prototypes: int, patch_prototypes: int, separate_head: bool) -> TrainConfig:
    """A student's config with the prototypes of its teacher, whose patches have a `separate_head` or not; patches stay seen.

    Raises `ConfigError`, naming the student, for what can't be a student, or none of this teacher."""
    if config.phases:
        raise ConfigError(f"{name} has phases ({config.phases[0].name}, ...); a student has one: leave phases empty.")
    if config.init.backbone is not None and config.init.architecture is None:
        raise ConfigError(f"{name} has init.backbone; a student begins with random weights: leave it out.")
    heads = [("head", config.head, prototypes)]
    if config.patch_head is not None:
        heads.append(("ibot.head", config.patch_head, patch_prototypes))
    for where, head, count in heads:
        if head.prototypes not in (None, count):
            raise ConfigError(
                f"{name} asks for {head.prototypes} prototypes ({where}.prototypes), its teacher has {count}; leave it open."
            )
    if config.masks_patches and config.ibot.separate_head != separate_head:
        has = "a head of their own" if separate_head else "the class token's head"
        raise ConfigError(f"the teacher scores patches by {has}; set ibot.separate_head to {separate_head} for {name}.")
    config = replace(config, head=replace(config.head, prototypes=prototypes))
    if config.patch_head is not None:
        head = replace(config.ibot.head, prototypes=patch_prototypes)
        config = replace(config, ibot=replace(config.ibot, head=head))
    return replace(config, ibot=replace(config.ibot, hide=False)) if config.hides_patches else config
