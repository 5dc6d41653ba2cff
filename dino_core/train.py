"""`python -m dino_core.train RECIPE [options]`: builds a run from a config and trains it.  torchrun starts it as it is.

`start`, `resume` and `fork` are what the command line, notebooks and tests call."""

from __future__ import annotations

import datetime
import functools
import os
import platform
import secrets
import shlex
import socket
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from dino_core.machine import be_a_good_neighbour, choose

be_a_good_neighbour()  # before torch is imported

import torch  # noqa: E402
from torch.distributed.device_mesh import DeviceMesh  # noqa: E402
from torch.nn.parallel import DistributedDataParallel  # noqa: E402

from dino_core import __version__, checkpoint, parallel  # noqa: E402
from dino_core.anchors import anchor_of  # noqa: E402
from dino_core.config import TrainConfig, to_json  # noqa: E402
from dino_core.data.loader import Loader  # noqa: E402
from dino_core.data.sources import Source, open_source  # noqa: E402
from dino_core.engine import Engine  # noqa: E402
from dino_core.errors import ConfigError, RunError  # noqa: E402
from dino_core.evaluation.during import Evaluator  # noqa: E402
from dino_core.fit import check_crops, fit  # noqa: E402
from dino_core.handover import hand_over  # noqa: E402
from dino_core.loop import Loop, begin_probes  # noqa: E402
from dino_core.model import Backbone, Head, Network  # noqa: E402
from dino_core.model.abreast import can_share  # noqa: E402
from dino_core.model.continued import continued, first_backbone, first_weights_again  # noqa: E402
from dino_core.model.frugal import keep_less  # noqa: E402
from dino_core.model.recomputing import recompute  # noqa: E402
from dino_core.model.unfused import attend_in_products, fused_is_slower  # noqa: E402
from dino_core.objective import Objective, build_objective  # noqa: E402
from dino_core.objective.spread import check_group  # noqa: E402
from dino_core.optimizers import build_optimizer  # noqa: E402
from dino_core.progress import say  # noqa: E402
from dino_core.rundir.read import checkpoints, read_config, read_run, read_table  # noqa: E402
from dino_core.rundir.schema import CHECKPOINTS, EVENTS, METRICS, PROBE_IMAGES, step_name  # noqa: E402
from dino_core.rundir.write import RunWriter  # noqa: E402
from dino_core.seeds import seed_of  # noqa: E402
from dino_core.stopping import opening, uninterrupted  # noqa: E402
from dino_core.telemetry.diagnosis import Diagnosis  # noqa: E402
from dino_core.telemetry.mirrors import open_mirrors  # noqa: E402
from dino_core.telemetry.monitors import catalogue  # noqa: E402
from dino_core.telemetry.recorder import Recorder  # noqa: E402


@dataclass
class Parent:
    """Where a forked run begins."""

    run: Path
    step: int
    changed: dict[str, list[Any]]

    @property
    def folder(self) -> Path:
        return self.run / CHECKPOINTS / step_name(self.step)

    def brings_anchor(self, phase: TrainConfig) -> bool:
        """Whether a fork within a phase goes on with the Gram anchor that the parent had: it had one, and kept it."""
        theirs = read_config(self.run)
        gram = theirs.phase(theirs.phase_before(self.step)).gram
        anchored = bool(gram.weight) and gram.anchor == "phase"
        return self.step != phase.start and anchored and checkpoint.has_state(self.run, self.step)

    def as_json(self) -> dict[str, Any]:
        return {"run": self.run.name, "path": str(self.run.resolve()), "step": self.step, "changed": self.changed}


def start(config: TrainConfig, out: Path | None = None, *, parent: Parent | None = None) -> tuple[Path, str]:
    """Train a new run, from its first step or from a checkpoint of another run; its folder, and how it ended."""
    machine, said = choose(config.machine, remembered=parent is not None)
    parallel.start(torch.device(machine.device or "cpu"))
    source = open_source(config.data, split="train", masks=False)
    config, derived = fit(replace(config, machine=machine), len(source))
    out = Path(out) if out is not None else Path("runs") / agreed_name(config)
    with opening():
        return out, carried_out(opened(config, out, source, [*said, *derived], {"derived": derived}, parent=parent))


def opened(
    config: TrainConfig,
    out: Path,
    source: Source,
    said: list[str],
    about: dict[str, Any],
    *,
    parent: Parent | None = None,
    prepare: Callable[[Engine], None] | None = None,
) -> Loop:
    """A new run, ready for its first step: `about` is added to run.json, `prepare` may change the engine's state."""
    weights = None
    if config.init.backbone is not None and parent is None:
        config, weights, sentence = continued(config, mask_token=config.hides_patches)
        said.append(sentence)
    elif config.init.backbone is not None and config.init.architecture is None:
        raise ConfigError("a fork begins with its parent's weights; give --init.backbone to a new run.")
    step = config.start if parent is None else parent.step
    phase = config.phase(config.phase_at(step))
    engine = build_engine(phase, weights, out if parent is None else parent.run)
    check_phases(config, engine.student.backbone)
    evaluator, recorder = Evaluator.of(config, source), build_recorder(config, out)
    if parent is not None:
        said.append(begin_from(parent, engine, recorder))
    if parent is None or not parent.brings_anchor(phase):
        engine.objective.begin(engine.teacher)
    if prepare is not None:
        prepare(engine)
    writer = None
    if parallel.is_writer():
        about = {**described(config, out, source), **about, "parent": parent.as_json() if parent else None}
        if parent is not None:
            about["baselines"] = read_run(parent.run).get("baselines", {})
        writer = RunWriter(out, about, to_json(config))
        begin_probes(writer, evaluator, config)
        writer.event("started", step, parent=about["parent"])
        announce(config, out, said, about, new=True)
    return looping(config, out, engine, recorder, source, evaluator, writer, step=step)


def resume(run: Path) -> str:
    """Go on from the last whole checkpoint, as if never stopped; how it ended."""
    with opening():
        return carried_out(reopened(run))


def reopened(run: Path, *, prepare: Callable[[Engine], None] | None = None) -> Loop:
    """A run as it was at its last whole checkpoint, ready for the next step; a damaged one gives way to the one before.

    One that died before its first begins again as it was begun: from its parent, from published weights, with what
    `prepare` changes."""
    config, about = read_config(run), read_run(run)
    machine, said = choose(config.machine, remembered=True)
    parallel.start(torch.device(machine.device or "cpu"))
    states = checkpoint.states(run)
    if not states and checkpoints(run):
        raise RunError(f"{run} kept no state to resume from, only teachers. Start from one with `dino-lab fork {run}`.")
    if states and states[0] >= (config.steps or 0):
        raise RunError(f"{run} is finished: it has done its {config.steps} steps. `dino-lab fork` goes on with more.")
    config = replace(config, machine=machine)
    source = open_source(config.data, split="train", masks=False)
    if len(source) != about["images"]:
        raise RunError(f"{run} was trained on {about['images']} images; {config.data.source!r} now has {len(source)}.")
    recorder, seconds = build_recorder(config, run), 0.0
    if states:
        engine, step, seconds, passed_over = last_whole(config, run, states, recorder)
        said = [f"resumed at step {step} of {config.steps}", *passed_over, *said]
    else:  # it died before its first checkpoint
        parent = about.get("parent")
        step = parent["step"] if parent else config.start
        phase, continues = config.phase(config.phase_at(step)), parent is None and config.init.backbone is not None
        engine = build_engine(phase, first_weights_again(config) if continues else None, run)
        again = f"begins again, from {config.init.backbone}" if continues else "begins again"
        said.insert(0, begin_from(Parent(Path(parent["path"]), step, {}), engine, recorder) if parent else again)
        if parent is None or step == phase.start:
            engine.objective.begin(engine.teacher)
        if prepare is not None:
            prepare(engine)
    evaluator = Evaluator.of(config, source)
    writer = None
    if parallel.is_writer():
        segment = about["segment"] + 1
        writer = RunWriter(run, about, to_json(config), segment=segment)
        if not (run / PROBE_IMAGES).exists():
            begin_probes(writer, evaluator, config)
        writer.event("resumed", step)
        announce(config, run, said, about, new=False)
    return looping(config, run, engine, recorder, source, evaluator, writer, step=step, seconds=seconds)


def last_whole(
    config: TrainConfig, run: Path, states: list[int], recorder: Recorder
) -> tuple[Engine, int, float, list[str]]:
    """The engine at the newest of the `states` that can be read, its step, the seconds trained, and what was passed over.

    Raises `RunError`, that of the newest, where none can be read."""
    damaged: list[RunError] = []
    for step in states:
        engine = build_engine(config.phase(config.phase_before(step)), run=run)
        try:
            seconds = checkpoint.restore(run / CHECKPOINTS / step_name(step), engine, recorder)["seconds"]
        except RunError as error:
            damaged.append(error)
            continue
        return (
            engine,
            step,
            seconds,
            [f"passed over a damaged checkpoint: that of step {s}" for s in states if s > step],
        )
    raise damaged[0]


def begin_from(parent: Parent, engine: Engine, recorder: Recorder) -> str:
    """Start where another run was: with all of its state where it kept any, else from its teacher; what was done.

    What the other run had under other options is handed over like from phase to phase."""
    if not checkpoint.has_state(parent.run, parent.step):
        checkpoint.start_from_teacher(parent.folder, engine)
        return f"begins at step {parent.step} of {parent.run}, from its teacher alone: the optimizer starts anew"
    theirs = read_config(parent.run)
    phase = theirs.phase(theirs.phase_before(parent.step))
    before = build_engine(replace(phase, machine=engine.config.machine), run=parent.run)
    checkpoint.restore(parent.folder, before, recorder)
    hand_over(before, engine, same_phase=parent.step > engine.config.start)
    return f"begins at step {parent.step} of {parent.run}"


def build_engine(
    config: TrainConfig,
    weights: dict[str, torch.Tensor] | None = None,
    run: Path | None = None,
    before: Engine | None = None,
) -> Engine:
    """Student, teacher, objective and optimizer of one phase, the same on every rank, on the configured device.

    `run` is where a Gram anchor that is a step is looked for.  The networks of the phase `before` serve on where the next
    ones would be the same, so that none is twice in memory.  The backbone begins with `weights` where some are given
    (`dino_core.model.continued`)."""
    device = torch.device(config.machine.device or "cpu")
    torch.manual_seed(seed_of(config.seed, "weights"))
    objective = objective_of(config, run).to(device)
    if config.machine.parallel == "fsdp" and parallel.active() and (anchor := getattr(objective, "anchor", None)):
        shard_backbone(anchor, device)
    if before is not None and networks_of(before.config) == networks_of(config):
        student, wrapped, teacher = before.student, before.wrapped, before.teacher
    else:
        student, wrapped, teacher = build_networks(config, device, weights)
    optimizer = build_optimizer(config.optim, student)
    checkpoint.initialise(optimizer)
    scaler = torch.amp.GradScaler(device.type, enabled=config.machine.precision == "fp16")
    return Engine(config, student, wrapped, teacher, objective, optimizer, device, scaler)


def networks_of(config: TrainConfig) -> tuple[Any, ...]:
    """What the networks of a phase depend on."""
    heads = config.head, config.patch_head, config.hides_patches
    return config.backbone, config.init.architecture, heads, config.image_size, config.machine


def build_networks(
    config: TrainConfig, device: torch.device, weights: dict[str, torch.Tensor] | None = None
) -> tuple[Network, torch.nn.Module, Network]:
    """The student, the student as it is called, and the teacher."""
    torch.manual_seed(seed_of(config.seed, "weights"))
    backbone = first_backbone(config)
    if weights is not None:
        backbone.load_state_dict(weights)
    head = Head(backbone.dim, config.head)
    patch_head = None if config.patch_head is None else Head(backbone.dim, config.patch_head)
    student = Network(backbone, head, patch_head)
    teacher = student.frozen_copy()
    machine = config.machine
    for network in (student, teacher):
        network.to(device)
        if fused_is_slower(device, machine.precision):
            attend_in_products(network)
    if machine.checkpointing:
        recompute(student.backbone)
    elif device.type == "cpu" and machine.precision == "bf16" and not machine.compile:
        keep_less(student.backbone)  # in float32 there is memory enough (LOG.md)
    if machine.parallel == "fsdp" and parallel.active():
        shard(student, device, reshard=machine.reshard)
        shard(teacher, device)
    if machine.compile:
        student.compile()
        teacher.compile()
    elif device.type == "cpu" and not parallel.active() and not machine.checkpointing and can_share(student):
        student.threads = teacher.threads = config.machine.threads or torch.get_num_threads()
        torch.set_num_threads(1)
    wrapped: torch.nn.Module = student
    if parallel.active() and config.machine.parallel == "ddp":
        wrapped = DistributedDataParallel(
            student,
            device_ids=[device.index] if device.type == "cuda" else None,
            process_group=parallel.together(),
        )
    return student, wrapped, teacher


def next_engine(old: Engine, config: TrainConfig, run: Path) -> Engine:
    """The engine of the next phase, with all that the last one has learnt."""
    new = build_engine(config, run=run, before=old)
    hand_over(old, new, same_phase=False)
    new.objective.begin(new.teacher)
    return new


def objective_of(config: TrainConfig, run: Path | None) -> Objective:
    """The objective that a phase's whole config asks for."""
    prototypes = config.head.prototypes or 0
    return build_objective(
        config.objective,
        prototypes,
        ibot=config.ibot,
        koleo=config.koleo,
        patch_prototypes=prototypes if config.patch_head is None else config.patch_head.prototypes,
        gram=config.gram,
        anchor=anchor_of(config, run),
        refresh=config.gram.refresh_steps(config.start, config.steps or config.start),
    )


def build_recorder(config: TrainConfig, out: Path) -> Recorder:
    """Telemetry of every rank; the first also feeds the mirrors."""
    names = config.output.mirrors if parallel.is_writer() else ()
    mirrors = open_mirrors(names, out, out.name, asdict(config)) if names else ()
    output = config.output
    return Recorder(None, config.head.prototypes or 0, output.log_every, output.heavy_every, mirrors)


def shard(network: Network, device: torch.device, *, reshard: bool = True) -> None:
    """FSDP2: each block, the rest of the backbone, and each head, split over the ranks (ZeRO-3, without `reshard` ZeRO-2).

    Student and teacher alike, so that the teacher follows without any traffic.  Backbone and head are units of their
    own, for evaluations and probes call them without the network around them."""
    mesh = shard_backbone(network.backbone, device, reshard=reshard)
    for head in network.heads():
        shard_unit(head, mesh, reshard)


def shard_backbone(backbone: Backbone, device: torch.device, *, reshard: bool = True) -> DeviceMesh:
    from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
    from torch.distributed.fsdp import register_fsdp_forward_method

    group = parallel.together()
    mesh = (
        init_device_mesh(device.type, (parallel.world_size(),))
        if group is None
        else DeviceMesh.from_group(group, device.type)
    )
    for part in (*backbone.blocks(), backbone):
        shard_unit(part, mesh, reshard)
    register_fsdp_forward_method(backbone, "attention")
    return mesh


def shard_unit(part: torch.nn.Module, mesh: DeviceMesh, reshard: bool) -> None:
    from torch.distributed.fsdp import fully_shard

    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view")  # nothing here writes into it
    fully_shard(part, mesh=mesh, reshard_after_forward=reshard)
    if not reshard:
        part.register_forward_hook(reshard_without_gradient)


def reshard_without_gradient(unit: Any, *_: Any) -> None:
    """No backward pass will come to give the gathered weights back."""
    if not torch.is_grad_enabled():
        unit.reshard()


def looping(
    config: TrainConfig,
    out: Path,
    engine: Engine,
    recorder: Recorder,
    source: Source,
    evaluator: Evaluator,
    writer: RunWriter | None,
    *,
    step: int,
    seconds: float = 0.0,
) -> Loop:
    """The loop that goes on from `step`."""

    @functools.cache
    def loader(batch_size: int) -> Loader:
        return Loader(
            source,
            batch_size=batch_size,
            seed=config.seed,
            rank=parallel.rank(),
            world_size=parallel.world_size(),
            decode_size=config.data.decode_size or 2 * config.crops.global_size,
            cache_mib=config.data.cache,
            workers=config.data.workers,
            pinned=engine.device.type == "cuda",
            on_skip=lambda name, reason: loop.leave_out(name, reason),
        )

    prototypes = config.head.prototypes or 0
    diagnosis = Diagnosis(prototypes, config.steps)
    for row in read_table(out / METRICS)[0]:
        diagnosis.update(row)
    loop = Loop(
        config,
        out,
        engine,
        config.phase_called(engine.config.phase_name),
        lambda old, phase: next_engine(old, phase, out),
        lambda phase: loader(per_rank(phase)),
        evaluator,
        recorder,
        diagnosis,
        writer,
        step=step,
        seconds=seconds,
        named={row["name"] for row in read_table(out / EVENTS)[0] if row.get("event") == "skipped_image"},
    )
    return loop


def carried_out(loop: Loop) -> str:
    """Train to the end; how it ended."""
    with written_down(loop):
        status = loop.run()
    if parallel.is_writer():
        farewell(status, loop, loop.path)
    return status


@contextmanager
def written_down(*loops: Loop) -> Iterator[None]:
    """Whatever ends the runs inside is written into those that have not ended: a fault, or the user, who did not want to wait."""
    try:
        yield
    except BaseException as error:
        with uninterrupted():
            for loop in loops:
                write_down(loop, error)
        raise


def write_down(loop: Loop, error: BaseException) -> None:
    if loop.writer is None or loop.writer.closed:
        return
    status, why = "failed", f"{type(error).__name__}: {error}"
    if isinstance(error, KeyboardInterrupt):
        status, why = "stopped", f"Ctrl-C, without saving: {left_behind(loop)}"
        together = loop.path.parent if loop.distilled else loop.path
        say(f"stopped at step {loop.step} ({why}). Go on with: {going_on(together)}")
    loop.writer.event(status, loop.step, why=why)
    loop.writer.update(status=status)
    loop.writer.close()


def left_behind(loop: Loop) -> str:
    """Where a run that ended without saving would go on."""
    kept = checkpoint.newest_state(loop.path)
    return "it has no checkpoint yet" if kept is None else f"its last checkpoint is that of step {kept}"


def per_rank(config: TrainConfig) -> int:
    world = parallel.world_size()
    if config.batch_size % world:
        raise ConfigError(
            f"a batch of {config.batch_size} can't be split over {world} ranks evenly; change --batch-size."
        )
    return config.batch_size // world


def check_phases(config: TrainConfig, backbone: Backbone) -> None:
    """Whatever would end a later phase at its first step is said before the first step of all."""
    if backbone.has_attention:
        check_crops(config, backbone.patch, config.backbone.name)
    for index in range(len(config.phases) + 1):
        phase = config.phase(index)
        images, koleo = per_rank(phase), phase.koleo
        if phase.objective.koleo_weight and koleo.over_ranks and koleo.group and images % phase.optim.accumulate == 0:
            check_group(koleo.group, images // phase.optim.accumulate, parallel.world_size())


def described(config: TrainConfig, out: Path, source: Source) -> dict[str, Any]:
    """What run.json says about a run that begins."""
    import timm

    return {
        "name": out.name,
        "recipe": config.recipe,
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "world_size": parallel.world_size(),
        "device": device_name(config),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "timm": timm.__version__,
            "dino_lab": __version__,
        },
        "commit": commit(),
        "steps": config.steps,
        "images": len(source),
        "classes": list(source.classes),
        "gallery": False,
        "baselines": {},
        "metrics": catalogue(),
    }


def device_name(config: TrainConfig) -> str:
    device = torch.device(config.machine.device or "cpu")
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def commit() -> str | None:
    """The commit of the checkout this code runs from, if it is one."""
    here = Path(__file__).parent
    try:
        done = subprocess.run(["git", "-C", here, "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None


def agreed_name(config: TrainConfig) -> str:
    """A name for a run's folder, the same on all ranks: when, which recipe, and four random digits."""
    now = datetime.datetime.now().strftime("%Y%m%d-%H%M")
    names = [f"{now}_{config.recipe or 'run'}_{secrets.token_hex(2)}"]
    if parallel.active():
        torch.distributed.broadcast_object_list(names, src=0)
    return names[0]


def announce(config: TrainConfig, out: Path, said: list[str], about: dict[str, Any], *, new: bool) -> None:
    say(f"{'training' if new else 'resuming'} {config.recipe or 'a run'} in {out}")
    for sentence in said:
        say(f"  {sentence}")
    together = out.parent if "distilled_from" in about else out  # students go on with each other
    say(f"  Ctrl-C stops and saves; resume with: {going_on(together)}")


def going_on(out: Path) -> str:
    """The command that goes on with a run or students, on as many processes: with others it would not be bit for bit."""
    if not parallel.active():
        return f"dino-lab resume {shlex.quote(str(out))}"
    with parallel.everyone():
        here = os.environ.get("LOCAL_WORLD_SIZE", str(parallel.world_size()))
    hosts = os.environ.get("GROUP_WORLD_SIZE", "1")
    several = "" if hosts == "1" else f"--nnodes={hosts} "
    return f"torchrun {several}--nproc-per-node={here} -m dino_core.cli resume {shlex.quote(str(out))}"


def farewell(status: str, loop: Loop, out: Path) -> None:
    saved = loop.step in checkpoints(loop.path)
    if status == "failed":
        say(f"failed at step {loop.step}: {loop.failure}")
    elif status == "stopped":
        how = "saved" if saved else f"not saved: {left_behind(loop)}"
        say(f"stopped at step {loop.step} ({loop.asked_to_stop}), {how}. Go on with: {going_on(out)}")
    else:
        say(f"finished {loop.step} steps in {loop.seconds:.0f} s of training: {out}")
        if not saved:
            say(f"  its end could not be saved: {left_behind(loop)}")
    if loop.named:
        say(f"  {len(loop.named)} image(s) could not be read and were left out; {out / EVENTS} names them")


def main(arguments: list[str] | None = None) -> int:
    """torchrun's way in; the same options as `dino-lab train`."""
    from dino_core.cli import guarded
    from dino_core.commands.train import main as train

    try:
        return guarded(train, sys.argv[1:] if arguments is None else arguments)
    finally:
        parallel.stop()


if __name__ == "__main__":
    sys.exit(main())
