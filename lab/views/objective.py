"""What is asked about one step of a checkpoint."""

from __future__ import annotations

from dino_core.errors import RunError
from lab import sight
from lab.answers import House, Reply, answers, stamp
from lab.stages import LARGEST_SEED, stages
from lab.views.sight import sent


@answers("run/{run}/stages/{step}")
def one_step(house: House, run: str, step: int, image: int = 0, seed: int = 0, like: str = "") -> Reply:
    """Crops of one image, and what both networks say about them, at a checkpoint.

    `like` is `RUN:STEP`: the image and its crops are then those of that run at that step, so that two can be compared."""
    found = house.shelf.run(run)
    file = found.checkpoint_folder(step) / "teacher.safetensors"
    other, _, at = like.partition(":")
    if like and not at.isdigit():
        raise RunError(f"like is {like[:60]!r}; expected RUN:STEP.")
    shown = (house.shelf.run(other), int(at)) if like else None
    return Reply(
        lambda: stages(house.worker, found, step, image, seed, shown), f"{run} {stamp(file)} {image} {seed} {like}"
    )


@answers("stages")
def published_step(house: House, source: str, images: str, image: int = 0, seed: int = 0) -> Reply:
    """The same for a published network whose file holds its head, and for any image."""
    if not 0 <= seed <= LARGEST_SEED:
        raise RunError(f"the seed is {seed}; expected 0 to {LARGEST_SEED}.")
    network, found = sight.source(house, source), sight.shown(house, images)
    return Reply(
        lambda: sent(*sight.stages(house, network, found, image, seed)), f"{network.stamp} {found.key} {image} {seed}"
    )
