"""What Ctrl-C and SIGTERM mean to a training: end after the step in hand, with a checkpoint.

Whoever presses Ctrl-C twice out of habit loses nothing: the second time is answered by a sentence, and only once that could be read
does Ctrl-C end the run without saving.  SIGTERM never does, for launchers forward what the terminal has sent already."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from dino_core import parallel
from dino_core.progress import say

READ = 1.0
"""Seconds that the sentence needs to be read; Ctrl-C within them is of the same hand movement."""


@runtime_checkable
class Stoppable(Protocol):
    """What can be asked to stop."""

    asked_to_stop: str
    """Who asked; empty while nobody has."""


@dataclass
class Listener:
    """Takes the signals for one run."""

    run: Stoppable
    told_at: float | None = None
    """When it was said that Ctrl-C would end the run without saving."""
    ended: bool = False
    """Whether it did: what is left to do is short, and not to be cut off."""

    def take(self, number: int, _: object = None) -> None:
        """Note who asks first; KeyboardInterrupt at a Ctrl-C that knows what it does."""
        if not self.run.asked_to_stop:
            self.run.asked_to_stop = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
            tell(f"{self.run.asked_to_stop}: ends after the step in hand, with a checkpoint")
        elif number == signal.SIGINT and self.told_at is None:
            self.told_at = time.monotonic()
            tell("saving; Ctrl-C once more ends at once, without saving")
        elif number == signal.SIGINT and not self.ended and time.monotonic() - (self.told_at or 0.0) > READ:
            self.ended = True
            raise KeyboardInterrupt


def tell(sentence: str) -> None:
    """Say it from within a signal handler, which may have interrupted a line that is being said."""
    with suppress(RuntimeError):  # "reentrant call"
        if parallel.is_writer():
            say(sentence)


@contextmanager
def listening(run: Stoppable) -> Iterator[None]:
    """Ctrl-C and SIGTERM ask the run to stop, until the block ends."""
    listener = Listener(run)
    try:
        before = {number: signal.signal(number, listener.take) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not the main thread: somebody else listens
        before = {}
    while _early:
        listener.take(_early.pop())
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


_early: list[int] = []


@contextmanager
def opening() -> Iterator[None]:
    """SIGTERM is kept for the run that begins to listen inside the block: once its folder is there, it ends as one that was
    asked to, not as one that died."""
    _early.clear()
    try:
        before = signal.signal(signal.SIGTERM, lambda number, _: _early.append(number))
    except ValueError:  # not the main thread: somebody else listens
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Ctrl-C does nothing for a moment: somebody keeps pressing it while the end is written down."""
    try:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    except ValueError:  # not the main thread: Ctrl-C is not for us
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
