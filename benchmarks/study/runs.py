"""Training the runs: each is a command that anybody can type; what is finished is kept."""

from __future__ import annotations

import shlex
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
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

    @property
    def parent(self) -> Trial | None:
        """The run of the same seed that it is a fork of."""
        return Trial(self.group, self.group.arm(self.arm.parent), self.seed) if self.arm.parent else None

    def command(self, runs: Path, options: tuple[str, ...] = ()) -> list[str]:
        """What follows `dino-lab`; a fork has the options of its parent."""
        out = ["--out", str(runs / self.name)]
        if self.parent:
            return ["fork", str(runs / self.parent.name), "--at", str(self.arm.at), *self.arm.options, *out]
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

    command = missing(trial, runs, options)
    if command is None:
        return True
    main(command)
    return finished(trial, runs)


def trained_abreast(trials: list[Trial], runs: Path, options: tuple[str, ...], jobs: int) -> None:
    """Train those that are not there, so many at a time, each in a process of its own; a fork waits for its parent."""
    begun: dict[str, Future[None]] = {}
    with ThreadPoolExecutor(jobs) as pool:
        for trial in trials:
            before = begun.get(trial.parent.name) if trial.parent else None
            begun[trial.name] = pool.submit(_by_itself, trial, runs, options, before)
    for one in begun.values():
        one.result()


def _by_itself(trial: Trial, runs: Path, options: tuple[str, ...], before: Future[None] | None) -> None:
    if before is not None:
        before.result()
    command = missing(trial, runs, options)
    if command is not None:
        log = runs / f"{trial.name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a") as said:
            subprocess.run([sys.executable, "-m", "dino_core.cli", *command], check=True, stdout=said, stderr=said)


def missing(trial: Trial, runs: Path, options: tuple[str, ...]) -> list[str] | None:
    """What follows `dino-lab` to train the rest of it; None where nothing is left."""
    path = runs / trial.name
    if finished(trial, runs):
        return None
    command = ["resume", str(path)] if (path / "run.json").is_file() else trial.command(runs, options)
    print(f"dino-lab {shlex.join(command)}", flush=True)
    return command


def finished(trial: Trial, runs: Path) -> bool:
    from dino_core.rundir.read import status

    path = runs / trial.name
    return (path / "run.json").is_file() and status(path) == "finished"
