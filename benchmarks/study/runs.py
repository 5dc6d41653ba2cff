"""Training the runs: each is a command that anybody can type; what is finished is kept."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from benchmarks.study.arms import Arm, Group


@dataclass(frozen=True)
class Trial:
    """One run of the study: an arm with a seed."""

    group: Group
    arm: Arm
    seed: int

    @property
    def name(self) -> str:
        words = "".join(c if c.isalnum() else " " for c in self.arm.name).split()
        return f"{self.group.name}/{'_'.join(words)}-{self.seed}"

    def command(self, runs: Path, options: tuple[str, ...] = ()) -> list[str]:
        """What follows `dino-lab`; a fork has the options of its parent."""
        out = ["--out", str(runs / self.name)]
        if self.arm.parent:
            parent = runs / Trial(self.group, self.group.arm(self.arm.parent), self.seed).name
            return ["fork", str(parent), "--at", str(self.arm.at), *self.arm.options, *out]
        own = ["--seed", str(self.seed), *self.group.length, *self.arm.options]
        if self.group.origin:
            return ["fork", self.group.origin, "--at", str(self.group.begin), *own, *options, *out]
        return ["train", self.group.recipe, *own, *options, *out]


def trials(group: Group) -> list[Trial]:
    """Seed by seed, so that what is there when time runs out is whole."""
    seeds = sorted({seed for arm in group.arms for seed in group.seeds_of(arm)})
    return [Trial(group, arm, seed) for seed in seeds for arm in group.arms if seed in group.seeds_of(arm)]


def trained(trial: Trial, runs: Path, options: tuple[str, ...]) -> bool:
    """Train it unless it is there; go on with one that was stopped.  False where somebody stopped it."""
    from dino_core.cli import main

    path = runs / trial.name
    if not (path / "run.json").is_file():
        command = trial.command(runs, options)
    elif not finished(trial, runs):
        command = ["resume", str(path)]
    else:
        return True
    print(f"dino-lab {shlex.join(command)}", flush=True)
    main(command)
    return finished(trial, runs)


def finished(trial: Trial, runs: Path) -> bool:
    from dino_core.rundir.read import status

    path = runs / trial.name
    return (path / "run.json").is_file() and status(path) == "finished"
