"""Our own step and loop, as the trainer runs them."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.setting import Setting, crops
from dino_core.config import Machine, TrainConfig, to_json
from dino_core.data.ahead import cut_ahead
from dino_core.data.loader import Loader
from dino_core.data.multicrop import MultiCrop
from dino_core.data.sources import Source, open_source
from dino_core.data.views import Batch, Boxes, Decoded
from dino_core.engine import Engine
from dino_core.evaluation.during import Evaluator
from dino_core.fit import fit
from dino_core.loop import Loop
from dino_core.machine import Precision, choose
from dino_core.objective import Losses
from dino_core.rundir.write import RunWriter
from dino_core.schedules import Schedule
from dino_core.seeds import generator
from dino_core.stopwatch import Stopwatch
from dino_core.telemetry.diagnosis import Diagnosis
from dino_core.telemetry.recorder import Recorder
from dino_core.train import build_engine, described


def training_step(s: Setting, precision: Precision = "fp32") -> Callable[[], float]:
    """`Engine.train_step` on the same batch again and again, without telemetry."""
    config = s.config(Machine(device="cpu", precision=precision))
    engine, schedule = build_engine(config), Schedule(config)
    batch, clock, steps = batch_of(s), Stopwatch(engine.device), itertools.count(200)
    return lambda: float(engine.train_step(batch, schedule.at(next(steps)), clock).losses.total)


def batch_of(s: Setting) -> Batch:
    large, small = crops(s)
    boxes = [Boxes(torch.zeros(n, s.images, 4), torch.zeros(n, s.images, dtype=torch.bool)) for n in (2, s.local_crops)]
    return Batch(large, small, *boxes, torch.zeros(s.images, dtype=torch.long), torch.arange(s.images))


def folder_loader(config: TrainConfig, folder: str, batch_size: int, cache_mib: int) -> Loader:
    """Our loader on a folder of images."""
    source = open_source(replace(config.data, source=folder))
    return loader_of(fit(config, len(source))[0], source, batch_size, cache_mib)


def loader_of(config: TrainConfig, source: Source, batch_size: int, cache_mib: int) -> Loader:
    return Loader(
        source,
        batch_size=batch_size,
        seed=config.seed,
        decode_size=config.data.decode_size or 0,
        cache_mib=cache_mib,
        workers=config.data.workers,
        pinned=(config.machine.device or "").startswith("cuda"),
        on_skip=lambda name, reason: None,
    )


def loading_steps(config: TrainConfig, folder: str) -> tuple[Engine, Iterator[Losses]]:
    """Steps with loading and crops, as the loop takes them, without telemetry."""
    engine, schedule, multicrop = build_engine(config), Schedule(config), MultiCrop(config.crops)
    loader = folder_loader(config, folder, config.batch_size, config.data.cache)

    def steps() -> Iterator[Losses]:
        clock = Stopwatch(engine.device)

        def cut(decoded: Decoded, step: int) -> Batch:
            return multicrop(decoded.to(engine.device), generator(config.seed, "crops", step))

        for step, batch in enumerate(cut_ahead(cut, loader.prefetch(0, 10**9), 0, engine.device)):
            yield engine.train_step(batch, schedule.at(step), clock).losses
            if step % config.output.log_every == 0:
                clock.take(config.output.log_every)

    return engine, steps()


class StepByStep:
    """The real `Loop` on the built-in data, one step at a time, so that a step of any number can be timed."""

    def __init__(self, config: TrainConfig, folder: Path) -> None:
        machine = replace(config.machine, device="cpu", precision="fp32", threads=torch.get_num_threads())
        evaluation = replace(config.evaluation, train_images=16, test_images=16)
        source = open_source(config.data)
        config, _ = fit(replace(config, machine=choose(machine)[0], evaluation=evaluation), len(source))
        engine = build_engine(config)
        loader = loader_of(config, source, config.batch_size, config.data.cache)
        writer = RunWriter(folder, {**described(config, folder, source), "derived": []}, to_json(config))
        prototypes = config.head.prototypes or 0
        recorder = Recorder(None, prototypes, config.output.log_every, config.output.heavy_every)
        diagnosis, evaluator = Diagnosis(prototypes, config.steps), Evaluator.of(config, source)
        self.loop = Loop(
            config,
            folder,
            engine,
            0,
            lambda old, phase: old,
            lambda phase: loader,
            evaluator,
            recorder,
            diagnosis,
            writer,
        )
        self.loop.skipped = {name: torch.zeros((), device=engine.device) for name in ("steps", "in a row")}
        self.schedule, self.decoded = Schedule(config), loader.batch(0)
        self.loop.multicrop, self.loop.clock = MultiCrop(config.crops), Stopwatch(engine.device)

    def timed(self, multiple: int) -> float:
        """Seconds of the next step whose number is a multiple of `multiple`, but of no other interval of telemetry."""
        loop, output = self.loop, self.loop.config.output
        step = loop.step + 1
        while step % multiple or any(step % n == 0 for n in (output.log_every, output.heavy_every) if multiple % n):
            step += 1
        loop.step = step - 1
        began = time.perf_counter()
        batch = loop.crops(self.decoded, loop.step)
        measure = loop.recorder.wants(step)
        result = loop.engine.train_step(batch, self.schedule.at(loop.step), loop.clock, measure=measure)
        loop.step = step
        loop.count_skipped(result)
        if measure:
            loop.log(result, batch, loop.clock, output.log_every, 1.0)
        return time.perf_counter() - began
