"""How far the run is, in the terminal: one line that moves, or a line now and then where nothing can move."""

from __future__ import annotations

import os
import sys
import time

from tqdm import tqdm


def say(text: str) -> None:
    """One line to the user, from the first rank; a user who reads no more (`| head`) ends no training."""
    try:
        tqdm.write(text, file=sys.stdout)
        sys.stdout.flush()
    except BrokenPipeError:
        to_nobody()


def to_nobody() -> None:
    """What is printed from now on goes nowhere, and what is still waiting is no error when Python ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


class Progress:
    """`step / steps, loss, images a second, time left, diagnosis`."""

    QUIET_SECONDS = 15.0

    def __init__(self, steps: int, start: int, *, enabled: bool) -> None:
        self.steps, self.enabled, self.told = steps, enabled, 0.0
        moves = enabled and sys.stdout.isatty()
        self.bar = tqdm(total=steps, initial=start, disable=not moves, unit="step", file=sys.stdout, dynamic_ncols=True)

    def update(self, step: int, loss: float, images_per_second: float, seconds_left: float, diagnosis: str) -> None:
        words = f"loss {loss:.3f}  {images_per_second:.0f} images/s  {diagnosis}"
        if not self.bar.disable:
            self.bar.n = step
            self.bar.set_postfix_str(words)
        elif self.enabled and time.monotonic() - self.told > self.QUIET_SECONDS:
            self.told = time.monotonic()
            left = time.strftime("%H:%M:%S", time.gmtime(seconds_left))
            say(f"step {step}/{self.steps}  {words}  {left} left")

    def close(self) -> None:
        self.bar.close()
