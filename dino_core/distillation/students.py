"""Begin students, or go on with them: each gets its run, its share of the ranks, and a place in the lockstep.

`OUT/distillation.json` says who the teacher is and who learns; `OUT/NAME/` is the run of a student."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from dino_core import parallel
from dino_core.config import TrainConfig
from dino_core.data.sources import Source, open_source
from dino_core.distillation.heads import with_fresh_heads
from dino_core.distillation.lockstep import Lockstep
from dino_core.distillation.sight import Eyes, Sight, agreed_sight, teachers_sight
from dino_core.distillation.suiting import suited
from dino_core.distillation.teacher import Teacher, frozen_teacher
from dino_core.engine import Engine
from dino_core.errors import ConfigError, RunError
from dino_core.evaluation.during import Evaluator
from dino_core.fit import fit
from dino_core.loop import Loop
from dino_core.machine import choose
from dino_core.model import build_backbone
from dino_core.rundir.read import read_config, read_run
from dino_core.stopping import opening
from dino_core.train import opened, reopened

DISTILLATION = "distillation.json"
TEACHER = ".teacher"
"""Where a teacher with fresh heads is kept."""
FORMAT = 1


@dataclass(frozen=True)
class Student:
    """One student, with nothing left open."""

    name: str
    config: TrainConfig
    sight: Sight
    said: list[str]
    derived: list[str]


def start(
    teacher: str | Path,
    students: dict[str, TrainConfig],
    out: str | Path,
    *,
    ranks: list[int] | None = None,
    fresh_heads: bool = False,
) -> dict[str, str]:
    """Distil new students, by name, from a frozen teacher; how each ended.

    `ranks` are the shares of torchrun's processes that each student gets, by default equal ones.  With `fresh_heads` the
    teacher is any backbone, whose heads are random and of the sizes that the first student has."""
    out = Path(out)
    _begin_processes(students)
    if parallel.is_writer() and out.exists() and (not out.is_dir() or [p for p in out.iterdir() if p.name != TEACHER]):
        raise RunError(f"{out} is not empty. Choose another, or go on with `dino-lab resume {out}`.")
    first = next(iter(students.values()))
    source = open_source(first.data, split="train", masks=False)
    if fresh_heads:
        if parallel.is_writer():
            with_fresh_heads(teacher, first, len(source), out / TEACHER)
        parallel.barrier()
        teacher = out / TEACHER
    known = frozen_teacher(teacher)
    ready = [settled(name, config, known, source) for name, config in students.items()]
    sight = agreed_sight({student.name: student.sight for student in ready})
    shares = shared_out(list(students), sight.batch_size, ranks)
    parallel.barrier()
    if parallel.is_writer():
        out.mkdir(parents=True, exist_ok=True)
        about = {"format": FORMAT, "teacher": str(known.folder), "students": shares}
        (out / DISTILLATION).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    with opening():
        loops = []
        for student in mine(ready, list(shares.values())):
            beside = [other for other in students if other != student.name]
            about = {"derived": student.derived, "distilled_from": {"teacher": str(known.folder), "beside": beside}}
            prepare = partial(_hand_on, known)
            loop = opened(
                student.config, out / student.name, source, [*student.said, *student.derived], about, prepare=prepare
            )
            loop.references = _measured(known, student, source, loop.engine.device)
            loops.append(loop)
        return _together(known, loops, sight, source, [student.config for student in ready], start=0)


def resume(out: str | Path, only: str | None = None) -> dict[str, str]:
    """Go on with every student that is not finished, or with `only` one, as if never stopped; how each ended."""
    out = Path(out)
    about = read_distillation(out)
    shares: dict[str, int] = about["students"]
    configs = {name: read_config(out / name) for name in shares if only in (None, name)}
    _begin_processes(configs, remembered=True)
    known = frozen_teacher(about["teacher"])
    left = [name for name in configs if read_run(out / name).get("status") != "finished"]
    if not left:
        raise RunError(f"{out} is finished: all its students have done their steps.")
    source = open_source(next(iter(configs.values())).data, split="train", masks=False)
    ready = [settled(name, configs[name], known, source, remembered=True) for name in left]
    sight = agreed_sight({student.name: student.sight for student in ready})
    counts = [shares[name] for name in left]
    with parallel.everyone():
        world = parallel.world_size()
    if world != (sum(counts) if world > 1 else 1):
        counts = list(shared_out(left, sight.batch_size, None).values())
    with opening():
        loops = [reopened(out / student.name, prepare=partial(_hand_on, known)) for student in mine(ready, counts)]
        return _together(known, loops, sight, source, [student.config for student in ready], start=None)


def read_distillation(out: Path) -> dict[str, Any]:
    """What distillation.json says."""
    try:
        about = json.loads((out / DISTILLATION).read_text(encoding="utf-8"))
        if about["format"] != FORMAT:
            raise RunError(f"{out / DISTILLATION} has format {about['format']}; this version reads {FORMAT}.")
        return {"teacher": str(about["teacher"]), "students": {str(k): int(v) for k, v in about["students"].items()}}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(f"{out} is no distillation: it has no readable {DISTILLATION} ({error}).") from error


def settled(name: str, config: TrainConfig, teacher: Teacher, source: Source, *, remembered: bool = False) -> Student:
    """A student's config with prototypes as the teacher has them and the rest fitted to the data."""
    separate = teacher.patch_head is not None
    config = suited(name, config, teacher.prototypes, teacher.patch_prototypes, separate)
    machine, said = choose(config.machine, remembered=remembered)
    config, derived = fit(replace(config, machine=machine), len(source))
    with torch.device("meta"):
        patch = build_backbone(config.backbone, config.image_size).patch
    return Student(name, config, teachers_sight(config, patch, teacher.backbone.patch), said, derived)


def shared_out(names: list[str], batch_size: int, ranks: list[int] | None) -> dict[str, int]:
    """How many ranks each student gets; one process has them all."""
    with parallel.everyone():
        world = parallel.world_size()
    if world == 1:
        if ranks not in (None, [1] * len(names)):
            raise ConfigError(
                f"--ranks {' '.join(map(str, ranks or []))} needs torchrun with {sum(ranks or [])} processes."
            )
        return dict.fromkeys(names, 1)
    counts = ranks or [world // len(names) + (place < world % len(names)) for place in range(len(names))]
    if len(counts) != len(names) or sum(counts) != world or min(counts) < 1:
        raise ConfigError(
            f"{len(names)} students can't share {world} processes as {counts}; "
            f"give --ranks one number above 0 for each, {world} together."
        )
    for name, count in zip(names, counts, strict=True):
        if batch_size % count or batch_size % world:
            raise ConfigError(
                f"a batch of {batch_size} can't be split over the {count} ranks of {name}, or the {world} of the teacher, evenly; "
                "change --batch-size or --ranks."
            )
    return dict(zip(names, counts, strict=True))


def mine(students: list[Student], counts: list[int]) -> list[Student]:
    """The students of this process: all of them, or the one whose ranks it joins."""
    with parallel.everyone():
        world, rank = parallel.world_size(), parallel.rank()
    if world == 1:
        return students
    found, first = [], 0
    for student, count in zip(students, counts, strict=True):
        ranks = range(first, first + count)
        group = parallel.group_of(list(ranks))
        if rank in ranks:
            parallel.join(group)
            found = [student]
        first += count
    return found


def _begin_processes(students: dict[str, TrainConfig], *, remembered: bool = False) -> None:
    if not students:
        raise ConfigError("no student: give --students at least one recipe.")
    config = next(iter(students.values()))
    parallel.join(None)
    machine, _ = choose(config.machine, remembered=remembered)
    parallel.start(torch.device(machine.device or "cpu"))


def _hand_on(teacher: Teacher, engine: Engine) -> None:
    teacher.hand_on(engine.objective)


def _measured(teacher: Teacher, student: Student, source: Source, device: torch.device) -> dict[str, float]:
    """What the teacher reaches on the student's evaluation, at as many patches."""
    config = student.config
    patch, scale = teacher.backbone.patch, student.sight.crops.global_size / config.crops.global_size
    size = max(1, round(config.image_size * scale / patch)) * patch
    seen = replace(
        config, evaluation=replace(config.evaluation, size=size), backbone=replace(config.backbone, patch=patch)
    )
    found = Evaluator.of(seen, source).measure({"teacher": teacher.to(device)}, device)
    return {f"{name.replace('/teacher', '').replace('/', '_')}_distilled_from": value for name, value in found.items()}


def _together(
    teacher: Teacher, loops: list[Loop], sight: Sight, source: Source, configs: list[TrainConfig], start: int | None
) -> dict[str, str]:
    """All students from where the first of them is, to where the last will be."""
    device = loops[0].engine.device
    teacher.to(device)
    teacher.speaks_of_patches = any(config.masks_patches for config in configs)
    teacher.threads = loops[0].engine.teacher.threads
    for loop in loops:
        loop.distilled = True
    stop = max(config.steps or 0 for config in configs)
    if start is None:
        behind = torch.tensor([float(-min(loop.step for loop in loops))], device=device)
        with parallel.everyone():
            start = round(-parallel.global_max(behind).item())
    asks_every = math.gcd(*(config.output.log_every for config in configs))
    lockstep = Lockstep(teacher, loops, Eyes(sight, source, device, stop), start, stop, asks_every)
    try:
        return lockstep.run()
    finally:
        parallel.join(None)
