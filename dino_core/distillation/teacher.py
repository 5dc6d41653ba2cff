"""The frozen teacher: a network with heads, asked once a step for all students.

Axes: T global views, B images, N patches, D the teacher's features, K and P prototypes, M chosen patches."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from safetensors.torch import load_file
from torch import Tensor

from dino_core import parallel
from dino_core.errors import CheckpointError
from dino_core.model import Network, load_teacher
from dino_core.model.network import Output
from dino_core.model.tokens import Tokens
from dino_core.objective import Objective
from dino_core.rundir.read import checkpoints
from dino_core.rundir.schema import CHECKPOINTS, step_name


class Said(NamedTuple):
    """What the teacher saw of the images of this rank's student."""

    cls: Float[Tensor, "T B D"]
    logits: Float[Tensor, "T B K"]
    patches: Float[Tensor, "T B N D"] | None


class Teacher(Network):
    """Says what it saw in `look` to every student that asks, as often as asked, from one pass of its backbone."""

    def __init__(self, network: Network, state: dict[str, Tensor], folder: Path) -> None:
        super().__init__(network.backbone, network.head, network.patch_head)
        self.state, self.folder = state, folder
        self.passes = 0
        """Of the backbone, so far."""
        self.speaks_of_patches = False
        """Whether any student, on whatever rank, learns from patches."""
        self._said: Said | None = None
        self.requires_grad_(False).eval()

    @property
    def prototypes(self) -> int:
        return len(self.head.prototypes.directions)

    @property
    def patch_prototypes(self) -> int:
        return self.prototypes if self.patch_head is None else len(self.patch_head.prototypes.directions)

    @torch.no_grad()
    def look(self, views: Float[Tensor, "T B 3 h w"]) -> None:
        """One pass over this rank's share of the images; then all ranks know what all saw.

        Tokens travel between ranks, not scores: K prototypes are many more numbers than D features."""
        flat = views.flatten(0, 1)
        tokens = self.run(self.backbone, flat)  # patches too, so that nobody's targets depend on who else wants them
        cls = tokens.cls.unflatten(0, (len(views), -1))
        patches = tokens.patches.unflatten(0, (len(views), -1)) if self.speaks_of_patches else None
        with parallel.everyone():
            cls = parallel.gather(cls, 1)
            patches = None if patches is None else parallel.gather(patches, 1)
        size = cls.shape[1] // parallel.world_size()
        ours = slice(parallel.rank() * size, (parallel.rank() + 1) * size)  # of the student's ranks
        cls = cls[:, ours]
        self._said = Said(cls, self.head(cls), None if patches is None else patches[:, ours])
        self.passes += 1

    @torch.no_grad()
    def forward(
        self,
        views: Sequence[Float[Tensor, "_ B 3 _ _"]],
        patches: bool | int = True,
        *,
        masks: Bool[Tensor, "V B N"] | None = None,
        chosen: Int[Tensor, " M"] | None = None,
    ) -> Output:
        """What it said about these views: they are those of the last `look`, be it at another resolution."""
        said, scored = self._said, None
        assert said is not None, "the teacher has not looked yet"
        if said.patches is None:
            return Output(said.logits, said.cls, ())
        flat = said.patches.flatten(0, 1)
        if chosen is not None:
            rows = flat.flatten(0, 1)[chosen.to(flat.device, non_blocking=True)]  # M D
            scored = (self.patch_head or self.head)(rows)
        tokens = Tokens(said.cls.flatten(0, 1), flat[:, :0], flat, (1, flat.shape[1]))
        return Output(said.logits, said.cls, (tokens,), scored)

    def hand_on(self, objective: Objective) -> None:
        """Begin with the centres that the teacher's own training ended with, where there are any of that size."""
        own = objective.state_dict()
        kept = {k: v for k, v in self.state.items() if k in own and own[k].shape == v.shape}
        objective.load_state_dict({k: kept.get(k, v).to(v) for k, v in own.items()})


def frozen_teacher(source: str | Path) -> Teacher:
    """The teacher of a run, by its newest checkpoint, or of one checkpoint; its heads are reused.

    Raises `CheckpointError` for weights without heads: distillation is about what heads say."""
    folder = Path(source).expanduser()
    if (folder / CHECKPOINTS).is_dir():
        steps = checkpoints(folder)
        if not steps:
            raise CheckpointError(f"{folder} has no checkpoint yet; give a run that has written one.")
        folder = folder / CHECKPOINTS / step_name(steps[-1])
    if not (folder / "teacher.safetensors").is_file():
        raise CheckpointError(
            f"{source} has no heads, which distillation is about; it needs a run of DINO lab or one of its checkpoints. To a "
            f"published backbone give some first (dino-lab train RECIPE --init.backbone {source} --init.frozen 1), or random ones "
            "(dino-lab distill ... --fresh-heads)."
        )
    network = load_teacher(folder)
    stored = load_file(folder / "teacher.safetensors")
    state = {k.removeprefix("objective."): v for k, v in stored.items() if k.startswith("objective.")}
    return Teacher(network, state, folder.resolve())
