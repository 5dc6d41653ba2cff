"""Several students that step together, so that their teacher looks once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import torch

from dino_core import parallel
from dino_core.distillation.sight import Eyes
from dino_core.distillation.teacher import Teacher
from dino_core.loop import Loop
from dino_core.stopping import listening
from dino_core.train import farewell, written_down


@dataclass
class Lockstep:
    """At each step the teacher looks, then every student whose turn it is steps on what it said.

    A student that was resumed from a later step waits for the others; one that ends or fails leaves them to go on."""

    teacher: Teacher
    loops: list[Loop]
    """Of this process."""
    eyes: Eyes
    start: int
    stop: int
    asks_every: int
    """Steps after which several ranks ask each other whether to stop."""
    asked_to_stop: str = ""
    ended: dict[str, str] = field(default_factory=dict)
    """How students ended, by name."""

    def run(self) -> dict[str, str]:
        with listening(self), written_down(*self.loops):
            for loop in self.loops:
                loop.begin()
            for step in range(self.start, self.stop):
                self.step(step)
                if self.all_done(step + 1):
                    break
            self.eyes.close()
            for loop in self.loops:
                self.let_go(loop)
        return self.ended

    def step(self, step: int) -> None:
        active = [loop for loop in self.loops if loop.step == step and not loop.over]
        for waiting in self.loops if step == self.start else [loop for loop in self.loops if loop not in active]:
            waiting.logged_at = time.perf_counter()  # nobody's training: others began, or catch up
        seen = [(loop, self.eyes.batch(loop)) for loop in active]
        with timed(active, "teacher"):
            views = self.eyes.teachers(step, seen)
            with self.loops[0].engine.autocast():
                self.teacher.look(views)
        for loop, batch in seen:
            with timed([other for other in active if other is not loop], "others"):
                loop.train_on(batch, self.teacher)
            for other in active:
                other.logged_at += loop.paused if other is not loop else 0.0
            if loop.over:
                self.let_go(loop)

    def all_done(self, step: int) -> bool:
        """Whether somebody asked to stop, here or on another rank, or no student is left."""
        left = any(not loop.over for loop in self.loops)
        with parallel.everyone():
            if parallel.world_size() > 1:
                if step % self.asks_every and step < self.stop:
                    return False
                wishes = parallel.global_max(
                    torch.tensor([bool(self.asked_to_stop), left], dtype=torch.float32, device=self.eyes.device)
                ).tolist()
                left = bool(wishes[1])
                self.asked_to_stop = self.asked_to_stop or ("another rank was asked to stop" if wishes[0] else "")
        if self.asked_to_stop:
            for loop in self.loops:
                if not loop.over:
                    loop.halt(self.asked_to_stop)
        return bool(self.asked_to_stop) or not left

    def let_go(self, loop: Loop) -> None:
        """Close a student's run, once."""
        name = loop.path.name
        if name not in self.ended:
            self.ended[name] = loop.ended()
            if parallel.is_writer():
                farewell(self.ended[name], loop, loop.path.parent)


@contextmanager
def timed(loops: list[Loop], part: str) -> Iterator[None]:
    """Adds to this part of the time of each."""
    with ExitStack() as stack:
        for loop in loops:
            stack.enter_context(loop.clock(part))
        yield
