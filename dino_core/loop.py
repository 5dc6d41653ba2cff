"""The loop around the training step: data in, telemetry out, and once in a while an evaluation, a probe, a checkpoint.

Whatever happens (Ctrl-C, SIGTERM, a full disk, a loss that is not finite, a kill), what is on disk stays readable and the
run can go on."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from dino_core import checkpoint, parallel
from dino_core.config import TrainConfig
from dino_core.data.ahead import cut_ahead
from dino_core.data.loader import Loader
from dino_core.data.multicrop import MultiCrop
from dino_core.data.views import Batch, Decoded
from dino_core.engine import Engine, StepResult, whole
from dino_core.errors import RunError
from dino_core.evaluation.during import Evaluator
from dino_core.fit import is_checkpoint, is_evaluation
from dino_core.machine import memory_mib
from dino_core.model.network import Network, weight_distance
from dino_core.probes import save_images, save_probe
from dino_core.progress import Progress, say
from dino_core.rundir.schema import EVENTS, PROBE_IMAGES, PROBES, step_name
from dino_core.rundir.write import RunWriter
from dino_core.schedules import Schedule
from dino_core.seeds import generator
from dino_core.stopping import listening
from dino_core.stopwatch import Stopwatch
from dino_core.telemetry.diagnosis import Diagnosis
from dino_core.telemetry.recorder import Recorder
from dino_core.telemetry.signals import Signals

ATTENDED = 8
"""Images of the batch whose attention the heavy monitors look at."""
PATIENCE = 5
"""Steps in a row with a loss that is not finite after which the run stops."""


@dataclass
class Loop:
    config: TrainConfig
    """The whole run; `engine.config` is that of the phase in hand."""
    path: Path
    engine: Engine
    index: int
    """Which phase the engine is of."""
    advance: Callable[[Engine, TrainConfig], Engine]
    """The engine of the next phase from that of the last one."""
    load: Callable[[TrainConfig], Loader]
    """The images of a phase."""
    evaluator: Evaluator
    recorder: Recorder
    diagnosis: Diagnosis
    writer: RunWriter | None
    """None on all ranks but the first."""
    step: int = 0
    """Finished optimizer steps."""
    seconds: float = 0.0
    """Time spent training, over all segments."""
    asked_to_stop: str = ""
    failure: str = ""
    skipped: dict[str, torch.Tensor] = field(default_factory=dict)
    over: bool = False
    """Whether no step is to follow."""
    paused: float = 0.0
    """Seconds that the last step's evaluation, probe and checkpoint took, which are no training."""
    distilled: bool = False
    """Whether targets come from a network that is not the student's own teacher."""
    references: dict[str, float] = field(default_factory=dict)
    """Baselines beyond the evaluator's."""
    named: set[str] = field(default_factory=set)
    """The images of which an event says that they were left out."""
    unnamed: list[tuple[str, str]] = field(default_factory=list)
    """Those that this rank found since, and why."""

    def run(self) -> str:
        """Train to the end; returns how it ended: `finished`, `stopped` or `failed`."""
        with listening(self):
            self.begin()
            self.train_phase()
            while not self.over:
                self.index += 1
                self.engine = self.advance(self.engine, self.config.phase(self.index))
                self.begin_phase()
                self.train_phase()
        return self.ended()

    def begin(self) -> None:
        """Whatever comes before the first step."""
        steps, device = self.config.steps or 0, self.engine.device
        self.progress = Progress(steps, self.step, enabled=parallel.is_writer())
        self.skipped = {name: torch.zeros((), device=device) for name in ("steps", "in a row")}
        self.over = self.step >= steps
        for name, reason in self.evaluator.broken.items():
            self.leave_out(f"{name} (held out)", reason)
        if self.step == 0:
            self.once_in_a_while(0)
        self.begin_phase()

    def begin_phase(self) -> None:
        """The schedule and the crops of the phase in hand."""
        config = self.engine.config
        self.announce_phase()
        self.schedule, self.clock = Schedule(config), Stopwatch(self.engine.device)
        self.multicrop = multicrop_of(config, self.engine.student.backbone.patch)
        self.saved_at, self.logged_at, self.logged_step = time.monotonic(), time.perf_counter(), self.step

    def train_phase(self) -> None:
        """Train to the end of the phase in hand, or until somebody asks to stop."""
        config, steps = self.engine.config, self.engine.config.steps or 0
        if self.step >= steps:  # resumed where the next phase begins
            return
        decoded = self.waited_for(self.load(config).prefetch(self.step, steps))
        batches = cut_ahead(self.crops, decoded, self.step, self.engine.device)
        while self.step < steps and not self.over:
            self.train_on(next(batches))
        batches.close()

    def waited_for(self, batches: Generator[Decoded, None, None]) -> Generator[Decoded, None, None]:
        """The same batches; the time until each is there counts as that of the data."""
        try:
            while True:
                with self.clock("data"):
                    decoded = next(batches, None)
                if decoded is None:
                    return
                yield decoded
        finally:
            batches.close()

    def train_on(self, batch: Batch, asked: Network | None = None) -> None:
        """One step, and what falls on it; `asked` is who gives the targets where it is not the own teacher."""
        finished = self.step + 1
        measure = self.recorder.wants(finished)
        now = self.schedule.at(self.step)
        result = self.engine.train_step(batch, now, self.clock, measure=measure, asked=asked)
        self.step = finished
        self.count_skipped(result)
        if measure:
            self.measured(result, batch)
        due = time.monotonic() - self.saved_at > 60 * self.config.output.checkpoint_minutes
        stop, save = self.agreed(bool(self.asked_to_stop or self.failure), due, now=measure)
        aside = time.perf_counter()
        if stop or save or self.is_due(finished):
            self.once_in_a_while(finished, must_save=stop or save)
            self.saved_at = time.monotonic()
        self.paused = time.perf_counter() - aside
        self.logged_at = time.perf_counter() if measure else self.logged_at + self.paused
        self.over = stop or finished >= (self.config.steps or 0)

    def halt(self, why: str) -> None:
        """End here, saved."""
        self.asked_to_stop, self.over = why, True
        if not is_checkpoint(self.step, self.config.steps or 0, self.config.output):
            self.once_in_a_while(self.step, must_save=True)

    def measured(self, result: StepResult, batch: Batch) -> None:
        """A line of metrics, and one for the terminal."""
        passed, steps = time.perf_counter() - self.logged_at, self.step - self.logged_step
        self.seconds += passed
        row = self.log(result, batch, self.clock, steps, passed)
        self.logged_step = self.step
        left = ((self.config.steps or 0) - self.step) * passed / max(steps, 1)
        self.progress.update(self.step, row["loss"], row["images_per_second"], left, self.diagnosis.verdict.name)

    def leave_out(self, name: str, reason: str) -> None:
        """Note an image that can't be read; what other ranks found is told at the next checkpoint or evaluation."""
        self.unnamed.append((name, reason))
        if parallel.world_size() == 1:
            self.tell_left_out()

    def tell_left_out(self) -> None:
        """An event for each image that any rank has left out, once a run; the first is said."""
        found, self.unnamed = parallel.gather_lists(self.unnamed), []
        for name, reason in found:
            if name not in self.named and self.writer is not None:
                if not self.named:
                    say(
                        f"left out {name} ({reason}); others that can't be read are counted, and named in {self.path / EVENTS}"
                    )
                self.named.add(name)
                self.event("skipped_image", name=name, reason=reason)

    def announce_phase(self) -> None:
        """An event where a phase of several begins, with what it changes."""
        phase = self.engine.config
        if not self.config.phases or self.step != phase.start:
            return
        changed = self.config.phases[self.index - 1].changes if self.index else {}
        self.event(
            "phase", name=phase.phase_name, index=self.index, steps=(phase.steps or 0) - phase.start, changed=changed
        )
        if self.index and parallel.is_writer():
            said = ", ".join(f"{name} {value}" for name, value in changed.items())
            say(f"phase {phase.phase_name} from step {self.step}: {said}")

    def crops(self, decoded: Decoded, step: int) -> Batch:
        """The views of a step: a function of seed and step alone, whatever the number of ranks."""
        with self.clock("augment"):
            return self.multicrop(decoded.to(self.engine.device), generator(self.config.seed, "crops", step))

    def log(self, result: StepResult, batch: Batch, clock: Stopwatch, steps: int, seconds: float) -> dict[str, Any]:
        """One line of metrics, and the diagnosis that follows from it."""
        config, now = self.engine.config, result.now
        scalars: dict[str, Any] = {"loss": result.losses.total}
        scalars |= {f"loss/{name}": term.value for name, term in result.losses.terms.items()}
        scalars |= {f"loss/{name}": value for name, value in result.losses.figures.items()}
        scalars |= {f"loss_weight/{name}": term.weight for name, term in result.losses.terms.items()}
        if "dino_local" in result.losses.figures:
            scalars["loss_weight/dino_local"] = config.objective.local_weight * now.weights.local
        scalars |= {
            "lr": now.learning_rate,
            "weight_decay": now.weight_decay,
            "momentum": now.momentum,
            "teacher_temperature": now.teacher_temperature,
            "images_per_second": config.batch_size * steps / seconds,
            "memory": memory_mib(self.engine.device),
            "seconds": self.seconds,
            "images": self.config.images_at(self.step),
        }
        scalars |= {f"time/{part}": 1000 * value for part, value in clock.take(steps).items()}
        row = self.recorder.record(self.step, self.signals(result, batch), scalars)
        for finding in self.diagnosis.update(row):
            self.event("diagnosis", **finding.as_event())
        if self.writer is not None:
            self.writer.metric(row)
            if self.writer.trouble:
                say(self.writer.trouble)
        self.judge_skipped()
        return row

    def signals(self, result: StepResult, batch: Batch) -> Signals:
        engine, targets, losses = self.engine, result.targets, result.losses
        backbone = engine.teacher.backbone
        attention, cls, patches = None, targets.cls, targets.patches
        if self.distilled:  # who gave the targets never changes: features are those of the student's own teacher
            with torch.no_grad(), engine.autocast():
                seen = engine.teacher([batch.globals])
            cls, patches = seen.cls, seen.patches()
        assert patches is not None, "a measured step asks for patches"
        if self.recorder.wants_heavy(self.step) and backbone.has_attention:
            with torch.no_grad():
                attention = backbone.attention(batch.globals[0, :ATTENDED])[:, :, 0, 1 + backbone.registers :]
        centre, previous = engine.objective.centre, None
        if centre is not None:
            previous = self.recorder.last_centre.to(centre)
            self.recorder.last_centre = centre.clone()
        return Signals(
            teacher_logits=targets.logits,
            targets=targets.probabilities,
            student_logits=losses.student_logits,
            teacher_temperature=result.now.teacher_temperature,
            student_temperature=result.now.student_temperature,
            teacher_cls=cls,
            student_cls=losses.student_cls,
            teacher_patches=patches,
            centre=centre,
            previous_centre=previous,
            teacher_attention=attention,
            gradient_norms=result.gradient_norms,
            update_norms=result.update_norms,
            student_teacher_distance=whole(weight_distance(engine.student, engine.teacher)),
            patch_logits=targets.patch_logits,
            patch_targets=targets.patch_probabilities,
            student_patches=losses.student_patches,
            anchor_patches=targets.anchor,
        )

    def once_in_a_while(self, step: int, *, must_save: bool = False) -> None:
        """Whatever of evaluation, probe and checkpoint falls on this step."""
        config, engine, device = self.engine.config, self.engine, self.engine.device
        networks = {"teacher": engine.teacher, "student": engine.student}
        self.tell_left_out()
        if is_evaluation(step, config.steps or 0, config.evaluation):
            self.evaluate(networks)
        if not (must_save or is_checkpoint(step, config.steps or 0, config.output)):
            return
        try:
            relative = f"{PROBES}/{step_name(step)}"
            images = self.evaluator.test.first(config.output.probe_images)
            with checkpoint.draft_for_all(self.writer, self.path / relative, relative) as draft:
                write = draft / "tensors.safetensors" if self.writer is not None else None
                save_probe(write, networks, images, config, device, step)
            self.event("probe", path=relative)
            checkpoint.save(self.path, self.writer, engine, self.recorder, step, {"seconds": self.seconds})
            self.event("checkpoint", path=f"checkpoints/{step_name(step)}", state=True)
            if self.writer is not None:
                checkpoint.prune(self.path, config.output.keep_states)
        except checkpoint.Unwritten as error:
            if parallel.is_writer():
                say(f"checkpoint {step} could not be written ({error}); training goes on.")
            self.event("disk_full", sentence=f"checkpoint {step} could not be written: {error}")

    def evaluate(self, networks: dict[str, Any]) -> None:
        found = self.evaluator.measure(networks, self.engine.device)
        if not found or self.writer is None:
            return
        if self.step == 0:
            self.writer.update(baselines=self.evaluator.baselines(found) | self.references)
        self.event("evaluation", **found)
        self.writer.metric({"step": self.step, "seconds": self.seconds, **found})

    def is_due(self, step: int) -> bool:
        config, steps = self.engine.config, self.engine.config.steps or 0
        return is_checkpoint(step, steps, config.output) or is_evaluation(step, steps, config.evaluation)

    def count_skipped(self, result: StepResult) -> None:
        """Steps that did not reach the weights, counted on the device.  fp16 overflows of the scaled gradient are no fault."""
        bad = ~result.loss_finite if self.engine.scaler.is_enabled() else ~result.applied
        self.skipped["steps"] += bad
        self.skipped["in a row"] = (self.skipped["in a row"] + 1) * bad
        if self.engine.device.type == "cpu":
            self.judge_skipped(result)

    def judge_skipped(self, result: StepResult | None = None) -> None:
        """Record skipped steps, and end the run after a few in a row."""
        count = int(self.skipped["steps"])
        if not count:
            return
        self.skipped["steps"].zero_()
        cause = "the loss or a gradient was not finite"
        if result is not None:
            cause = "a gradient was not finite" if bool(result.loss_finite) else "the loss was not finite"
        self.event("skipped_step", cause=cause, steps=count)
        if int(self.skipped["in a row"]) >= PATIENCE:
            advice = "lower --optim.lr"
            if self.engine.config.machine.precision != "fp32":
                advice += ", or use --machine.precision fp32"
            self.failure = (
                f"{cause} in {PATIENCE} steps in a row; the weights are those of the last good step: {advice}."
            )

    def event(self, kind: str, **fields: Any) -> None:
        if self.writer is not None:
            self.writer.event(kind, self.step, **fields)

    def agreed(self, stop: bool, save: bool, *, now: bool) -> tuple[bool, bool]:
        """What any rank wants, all ranks do; several ranks ask each other only at logged steps."""
        if parallel.world_size() == 1:
            return stop, save
        if not now:
            return False, False
        wishes = parallel.global_max(
            torch.tensor([stop, save], dtype=torch.float32, device=self.engine.device)
        ).tolist()
        return bool(wishes[0]), bool(wishes[1])

    def ended(self) -> str:
        """Write down how it ended, and let go of the run."""
        self.progress.close()
        status = "failed" if self.failure else "finished" if self.step >= (self.config.steps or 0) else "stopped"
        why = {"failed": self.failure, "stopped": self.asked_to_stop or "another rank was asked to stop"}.get(
            status, ""
        )
        self.event(status, **({"why": why} if why else {}))
        if self.writer is not None:
            self.writer.update(status=status)
            self.writer.close()
        return status


def multicrop_of(config: TrainConfig, patch: int) -> MultiCrop:
    """The views of a phase, with masks and anchor crops where its objective wants them."""
    return MultiCrop(
        config.crops,
        parallel.rank(),
        parallel.world_size(),
        ibot=config.ibot if config.masks_patches else None,
        gram=config.gram if config.gram.weight else None,
        patch=patch,
    )


def begin_probes(writer: RunWriter, evaluator: Evaluator, config: TrainConfig) -> None:
    """Store the fixed images before the first probe."""
    try:
        with writer.published_file(PROBE_IMAGES) as path:
            save_images(path, evaluator.test.first(config.output.probe_images))
    except (OSError, SafetensorError) as error:
        raise RunError(
            f"can't write a run into {writer.path}: {checkpoint.why_unwritten(error, writer.path)}."
        ) from error
