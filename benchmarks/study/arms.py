"""What is compared: groups of runs of equal length that differ from their baseline in one thing each."""

from __future__ import annotations

from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class Arm:
    """A run of a group: the group's recipe and options, and what is changed."""

    name: str
    options: tuple[str, ...] = ()
    """As on the command line."""
    parent: str = ""
    """Forked from this arm's checkpoint of the same seed rather than trained from the beginning;"""
    at: int = 0
    """at this step."""
    seeds: tuple[int, ...] = ()
    """Other than the group's."""


@dataclass(frozen=True)
class Group:
    """A baseline, the first arm, and what is compared with it."""

    name: str
    says: str
    """One sentence for the head of its table."""
    recipe: str
    steps: int
    arms: tuple[Arm, ...]
    options: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0,)
    looks: tuple[int, ...] = field(default=())
    """Steps whose checkpoints are measured besides the last; the first of them divides the others."""
    origin: str = ""
    """All arms are forks of this run,"""
    begin: int = 0
    """from this step, rather than trained from the beginning."""
    photographs: bool = False
    """On a folder that the user names."""

    @property
    def length(self) -> tuple[str, ...]:
        """The options that every run of the group has.  One evaluation, at the end: the study measures by itself."""
        steps, every = str(self.steps), str(self.looks[0] if self.looks else self.steps // 2)
        return (
            *("--steps", steps, "--evaluation.every", steps, "--output.checkpoint-every", every),
            *("--output.checkpoint-minutes", "60", "--output.keep-states", "6"),
            *("--evaluation.train-images", "200", "--evaluation.test-images", "100", *self.options),
        )

    def arm(self, name: str) -> Arm:
        return next(arm for arm in self.arms if arm.name == name)

    def seeds_of(self, arm: Arm) -> tuple[int, ...]:
        return arm.seeds or self.seeds


IBOT = (
    *("--ibot.weight", "0.5", "--ibot.separate-head", "--ibot.centering", "sinkhorn"),
    *("--ibot.head.hidden", "256", "--ibot.head.bottleneck", "64", "--ibot.head.prototypes", "256"),
)
SINKHORN = ("--objective.centering", "sinkhorn")

ARMS = (
    Arm("tiny"),
    Arm("iBOT", IBOT),
    Arm("no KoLeo", ("--objective.koleo-weight", "0")),
    Arm("Sinkhorn", SINKHORN),
    Arm("no registers", ("--backbone.registers", "0")),
    Arm("Gram from 200", ("--gram.weight", "2"), parent="tiny", at=200),
)
"""One thing added, taken away or exchanged."""

PARTS = Group(
    name="parts",
    says="`tiny` on `shapes` with one thing added, taken away or exchanged",
    recipe="tiny",
    steps=400,
    seeds=(0, 1),
    options=("--batch-size", "32"),
    arms=(*ARMS, Arm("Sinkhorn, 64 prototypes", (*SINKHORN, "--head.prototypes", "64"))),
)

PHOTOGRAPHS = Group(
    name="photographs",
    says="The same on photographs",
    recipe="tiny",
    steps=400,
    options=("--batch-size", "32"),
    arms=ARMS,
    photographs=True,
)

TAKEN_BACK = Group(
    name="taken_back",
    says="`tiny_dinov2` as it first was, LayerScale beginning at 0.1; with one of its parts as `tiny` has it; DINOv3's network",
    recipe="tiny_dinov2",
    steps=400,
    options=("--backbone.layer-scale", "0.1"),
    arms=(
        Arm("LayerScale 0.1"),
        Arm("no LayerScale", ("--backbone.layer-scale", "None")),
        Arm("LayerScale 1", ("--backbone.layer-scale", "1")),
        Arm("no iBOT", ("--ibot.weight", "0")),
        Arm("moving centre", ("--objective.centering", "centre")),
        Arm("KoLeo 0.05", ("--objective.koleo-weight", "0.05")),
        Arm("clipped per tensor", ("--optim.clip-over", "tensor", "--optim.decay-rule", "shape")),
        Arm("rotary, gated", ("--backbone.name", "rope", "--backbone.ffn", "swiglu", "--backbone.heads", "4")),
    ),
)

DECLINE = Group(
    name="decline",
    says="`lab/gallery/dino_shapes` from step 500 on at a constant rate, with and without Gram anchoring",
    recipe="tiny",
    origin="lab/gallery/dino_shapes",
    begin=500,
    steps=1000,
    looks=(750,),
    options=("--batch-size", "32", "--schedules.lr-shape", "constant", "--schedules.momentum", "0.996", "0.996"),
    arms=(Arm("goes on"), Arm("Gram", ("--gram.weight", "2"))),
)

DEEPER = (
    *("--batch-size", "128", "--backbone.dim", "192", "--backbone.depth", "12", "--backbone.drop-path", "0.1"),
    *("--crops.global-size", "64", "--crops.local-size", "32", "--crops.local-crops", "6"),
    *("--head.hidden", "1024", "--head.bottleneck", "128", "--head.prototypes", "1024"),
    *("--data.shapes.size", "96", "--data.shapes.images", "4000", "--data.decode-size", "96"),
    *("--optim.lr", "5e-4", "--schedules.lr-shape", "constant", "--schedules.momentum", "0.996", "0.996"),
    *("--evaluation.every", "500", "--evaluation.train-images", "1000", "--evaluation.test-images", "400"),
    *("--evaluation.size", "96", "--output.keep-states", "99"),
    *("--output.log-every", "50", "--output.heavy-every", "250"),
)
"""Three times as deep and twice as wide as `tiny`, larger crops and batches, few images, a constant rate: for a GPU."""

LONG = Group(
    name="long",
    says="A deeper network for long at a constant rate, on 4000 shapes",
    recipe="tiny",
    steps=6000,
    looks=tuple(range(500, 6000, 500)),
    options=DEEPER,
    arms=(
        Arm("DINO"),
        Arm("DINO, iBOT", (*SINKHORN, "--objective.koleo-weight", "0.1", *IBOT)),
        Arm("Gram from 2000", ("--gram.weight", "2", "--gram.anchor", "500"), parent="DINO", at=2000),
    ),
)
LONG_PHOTOGRAPHS = replace(LONG, name="long_photographs", says="The same on photographs", photographs=True)

GROUPS = {group.name: group for group in (PARTS, TAKEN_BACK, DECLINE, PHOTOGRAPHS, LONG, LONG_PHOTOGRAPHS)}

TINY = (
    *("--batch-size", "4", "--data.shapes.images", "40", "--data.shapes.size", "32", "--crops.global-size", "16"),
    *("--crops.local-size", "8", "--crops.local-crops", "1", "--backbone.dim", "16", "--backbone.depth", "1"),
    *("--backbone.heads", "2", "--head.hidden", "16", "--head.bottleneck", "8", "--head.prototypes", "16"),
    *("--ibot.head.hidden", "16", "--ibot.head.bottleneck", "8", "--ibot.head.prototypes", "16"),
    *("--evaluation.size", "32", "--evaluation.train-images", "8", "--evaluation.test-images", "8"),
    *("--output.probe-images", "2", "--output.log-every", "1"),
)
"""To see that it works; the numbers mean nothing."""


def quick(group: Group) -> Group:
    """The same arms for four steps of a network of nothing; two where the network is that of another run."""
    if group.origin:
        small = ("--batch-size", "4", "--evaluation.train-images", "8", "--evaluation.test-images", "8")
        return replace(group, steps=group.begin + 2, looks=(), options=(*group.options, *small))
    arms = tuple(replace(arm, at=2 if arm.parent else 0) for arm in group.arms)
    return replace(group, steps=4, seeds=(0,), looks=(2,), arms=arms, options=(*group.options, *TINY))
