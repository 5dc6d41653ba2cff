"""What a run derives from its data: every field a recipe leaves open, with the rule and the number said aloud.

The paper's constants belong to 1.3 million images.  On small sets they stall at ln K (many prototypes for few images,
a teacher that follows too slowly), so these rules scale with the number of images and steps and meet the paper's values
at ImageNet's size."""

from __future__ import annotations

import math
from dataclasses import replace

from dino_core.config import Evaluation, Output, TrainConfig
from dino_core.errors import ConfigError, DataError

IMAGENET_IMAGES = 1_281_167


def fit(config: TrainConfig, images: int) -> tuple[TrainConfig, list[str]]:
    """`config` with nothing left open for a set of `images`, and one sentence for each number that was derived."""
    if images < config.batch_size:
        raise DataError(
            f"{images} images are fewer than one batch of {config.batch_size}: add images or ask for --batch-size {images}."
        )
    said: list[str] = []
    config = _length(config, images, said)
    config = _prototypes(config, images, said)
    config = _schedules(config, images, said)
    config = _cadence(config, said)
    data = config.data
    if data.decode_size is None:
        data = replace(data, decode_size=max(largest_side(config.phase(i)) for i in range(len(config.phases) + 1)))
        said.append(f"larger images are reduced to {data.decode_size} px on their shorter side: twice the largest crop")
    peak = config.optim.peak_lr(config.batch_size)
    if config.optim.lr_rule != "none":
        rule = f"{config.optim.lr:g} x batch {config.batch_size} / {config.optim.lr_reference_batch}"
        said.append(f"learning rate {peak:.3g} ({config.optim.lr_rule} rule: {rule})")
    if config.phases:
        names = [config.phase_name, *(phase.name for phase in config.phases)]
        spans = ", ".join(f"{name} from step {start}" for name, start in zip(names, config.bounds(), strict=False))
        said.append(f"phases: {spans}")
    return replace(config, data=data), said


def largest_side(phase: TrainConfig) -> int:
    """Twice the global crop, or the largest crop of the Gram anchor where that is more."""
    crops, gram = phase.crops, phase.gram
    sides = [crops.global_size, *(large for large, *_ in crops.mixed)]
    anchors = [gram.size or 0, *(anchor for _, _, anchor, _ in crops.mixed)] if gram.weight else []
    return max([2 * side for side in sides] + anchors)


def check_crops(config: TrainConfig, patch: int, network: str) -> None:
    """Raises `ConfigError` where the crops of a phase are no whole number of patches; `network` is what the sentence calls it."""
    for index in range(len(config.phases) + 1):
        phase = config.phase(index)
        for kind, size in sides_of(phase):
            if size % patch:
                near = max(1, round(size / patch)) * patch
                option = "--gram.size" if kind == "anchor" else f"--crops.{kind}-size"
                todo = f"write {near} into crops.mixed" if phase.crops.mixed else f"give {option} {near}"
                where = f" of phase {phase.phase_name}" if config.phases else ""
                raise ConfigError(
                    f"{network} has patches of {patch} px, which do not divide {kind} crops of {size} px{where}; {todo}."
                )


def sides_of(phase: TrainConfig) -> list[tuple[str, int]]:
    """Kind and side in pixels of all crops that the run's own network sees."""
    crops, gram = phase.crops, phase.gram
    own = gram.weight and (gram.anchor in ("phase", "teacher") or gram.anchor.isdigit())
    found = []
    for large, small, anchor, _ in crops.mixed or ((crops.global_size, crops.local_size, 0, 1.0),):
        found += [("global", large)] + ([("local", small)] if crops.local_crops else [])
        found += [("anchor", anchor or gram.size or large)] if own else []
    return found


def _length(config: TrainConfig, images: int, said: list[str]) -> TrainConfig:
    if config.steps is not None:
        return config
    if config.epochs is None:
        raise ConfigError("how long should the run be? Give --steps or --epochs.")
    an_epoch = images // config.batch_size
    steps = max(1, round(config.epochs * an_epoch))
    said.append(
        f"{steps} steps: {config.epochs:g} epochs of {an_epoch} steps ({images} images, batch {config.batch_size})"
    )
    return replace(config, steps=config.start + steps)


def _prototypes(config: TrainConfig, images: int, said: list[str]) -> TrainConfig:
    if config.head.prototypes is not None:
        return _patch_prototypes(config, said)
    prototypes = 2 ** round(math.log2(min(max(images / 16, 256), 65536)))
    said.append(
        f"{prototypes} prototypes: the power of two nearest to one for every 16 of {images} images, at most 65536"
    )
    return _patch_prototypes(replace(config, head=replace(config.head, prototypes=prototypes)), said)


def _patch_prototypes(config: TrainConfig, said: list[str]) -> TrainConfig:
    """As many for patches as for class tokens, where nothing else is asked for."""
    if config.ibot.head.prototypes is not None:
        return config
    if config.ibot.separate_head and config.masks_patches:
        said.append(f"{config.head.prototypes} prototypes for patches: as many as for class tokens")
    head = replace(config.ibot.head, prototypes=config.head.prototypes)
    return replace(config, ibot=replace(config.ibot, head=head))


def _schedules(config: TrainConfig, images: int, said: list[str]) -> TrainConfig:
    now = config.schedules
    begin, end = config.bounds()[:2]  # of the first phase
    steps = end - begin
    if now.lr_warmup is None:
        share = min(max(0.05, 20 / steps), 0.5)
        now = replace(now, lr_warmup=share)
        said.append(
            f"learning rate warms up over {share * steps:.0f} steps: a twentieth of the run, at least 20, at most half"
        )
    if now.momentum is None:
        half_life = min(max(steps / 25, 69), 173)  # faster teachers collapsed within 20 steps (LOG.md)
        start = round(2 ** (-1 / half_life), 4)
        now = replace(now, momentum=(start, 1.0))
        memory = f"half its memory is {half_life:.0f} steps, a twenty-fifth of the run but 69 to 173"
        said.append(f"teacher momentum {start:g} to 1: {memory}")
    if now.teacher_temperature is None:
        size = math.log(min(max(images, 20_000), IMAGENET_IMAGES) / 20_000) / math.log(IMAGENET_IMAGES / 20_000)
        low, high = round(0.03 + 0.01 * size, 3), round(0.04 + 0.03 * size, 3)
        now = replace(now, teacher_temperature=(low, high))
        said.append(f"teacher temperature {low:g} to {high:g}: sharper than the paper's 0.04 to 0.07 on small sets")
    return replace(config, schedules=now)


def _cadence(config: TrainConfig, said: list[str]) -> TrainConfig:
    steps, output, evaluation = config.steps or 1, config.output, config.evaluation
    if output.checkpoint_every is None:
        output = replace(output, checkpoint_every=max(1, steps // 20))
        often = f"a checkpoint every {output.checkpoint_every} steps, a twentieth of the run"
        said.append(f"{often}, and at log-spaced steps before the first")
    if evaluation.every is None:
        evaluation = replace(evaluation, every=max(1, steps // 20))
        said.append(f"an evaluation every {evaluation.every} steps: a twentieth of the run")
    return replace(config, output=output, evaluation=evaluation)


def is_checkpoint(step: int, steps: int, output: Output) -> bool:
    """Whether a checkpoint falls on this step: 0, 1, 2, 5, 10, 20, 50 ... up to the interval, then every interval, and the last."""
    every = output.checkpoint_every or steps
    if step in (0, steps) or step % every == 0:
        return True
    return step < every and step / 10 ** math.floor(math.log10(step)) in (1, 2, 5)


def is_evaluation(step: int, steps: int, evaluation: Evaluation) -> bool:
    """Whether the networks are measured at this step: first and last, and every interval between; 0 for none between."""
    every = evaluation.every or steps
    return step in (0, steps) or step % every == 0
