"""What is asked about one step of a checkpoint."""

from __future__ import annotations

from lab.answers import House, Reply, answers, stamp
from lab.stages import stages


@answers("run/{run}/stages/{step}")
def one_step(house: House, run: str, step: int, image: int = 0, seed: int = 0) -> Reply:
    """Crops of one image, and what both networks say about them, at a checkpoint."""
    found = house.shelf.run(run)
    file = found.checkpoint_folder(step) / "teacher.safetensors"
    return Reply(lambda: stages(house.worker, found, step, image, seed), f"{run} {stamp(file)} {image} {seed}")
