"""Decides when monitors run, and brings all their numbers off the device in one go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from dino_core.parallel import global_mean
from dino_core.rundir.write import RunWriter
from dino_core.telemetry.derived import Derived
from dino_core.telemetry.mirrors import Mirror
from dino_core.telemetry.monitors import MONITORS, Monitor
from dino_core.telemetry.signals import Signals


class Recorder:
    """Turns a step's signals into a line of metrics.

    Every rank has one and calls it at the same steps, for it reduces over ranks; only rank 0's has a writer.  Values
    stay on the device until all are known, then cross over together: one synchronisation a logged step."""

    def __init__(
        self,
        writer: RunWriter | None,
        prototypes: int,
        log_every: int = 10,
        heavy_every: int = 50,
        mirrors: Sequence[Mirror] = (),
    ) -> None:
        self.writer, self.mirrors = writer, mirrors
        self.log_every, self.heavy_every = log_every, heavy_every
        self._idle = torch.zeros(prototypes, dtype=torch.int64)
        self.last_centre = torch.zeros(prototypes)
        """The centre at the last logged step, to see how far it moves."""

    def wants(self, step: int) -> bool:
        """Whether this step is logged; the first always is."""
        return step == 1 or step % self.log_every == 0 or self.wants_heavy(step)

    def wants_heavy(self, step: int) -> bool:
        """Whether the monitors that cost more run too."""
        return step == 1 or step % self.heavy_every == 0

    @torch.no_grad()
    def record(self, step: int, signals: Signals, scalars: Mapping[str, Tensor | float]) -> dict[str, Any]:
        """One line of metrics: the scalars given and what the monitors make of the signals.

        Tensors among the scalars are averaged over ranks; plain numbers are taken as they are."""
        if self._idle.device != signals.targets.device:
            self._idle = self._idle.to(signals.targets.device)
        derived = Derived(signals, self._idle)
        measured = {name: value for name, value in scalars.items() if isinstance(value, Tensor)}
        for monitor in MONITORS.values():
            if not monitor.heavy or self.wants_heavy(step):
                measured.update(_run(monitor, derived))
        self._idle = derived.idle
        row = {"step": step, **scalars, **_bring(measured, signals.targets.device)}
        if self.writer is not None:
            self.writer.metric(row)
        for mirror in self.mirrors:
            mirror.log(row)
        return row

    def state_dict(self) -> dict[str, Tensor]:
        """What a resumed run needs to go on counting."""
        return {"idle": self._idle, "last_centre": self.last_centre}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self._idle, self.last_centre = state["idle"].clone(), state["last_centre"].clone()


def _run(monitor: Monitor, derived: Derived) -> dict[str, Tensor]:
    """A monitor's numbers under their full names; none where the step lacks a tensor it reads."""
    arguments = {name: derived.read(name, monitor.gather) for name in monitor.reads}
    if any(value is None for value in arguments.values()):
        return {}
    value = monitor.measure(**arguments)
    if isinstance(value, Tensor):
        return {monitor.name: value}
    return {f"{monitor.name}/{part}".rstrip("/"): number for part, number in value.items()}


def _bring(measured: Mapping[str, Tensor], device: torch.device) -> dict[str, float]:
    """Numbers on the device as Python floats: one reduction over ranks, one synchronisation."""
    if not measured:
        return {}
    together = torch.stack([value.detach().to(device, torch.float32).reshape(()) for value in measured.values()])
    return dict(zip(measured, global_mean(together).tolist(), strict=True))
