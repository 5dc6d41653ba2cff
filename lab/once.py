"""Askers that wait for each other: for the answer to the same question, or for their turn."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Hashable, Iterator
from contextlib import contextmanager


class Turns:
    """A lock that is given to whoever has waited longest: who asks again and again keeps nobody out."""

    def __init__(self) -> None:
        self._lock, self._held = threading.Lock(), False
        self._waiting: deque[threading.Event] = deque()

    def __enter__(self) -> None:
        with self._lock:
            if not self._held:
                self._held = True
                return
            turn = threading.Event()
            self._waiting.append(turn)
        turn.wait()

    def __exit__(self, *cause: object) -> None:
        with self._lock:
            if self._waiting:
                self._waiting.popleft().set()
            else:
                self._held = False


class Once:
    """Who asks what somebody is being answered already waits, and then finds the answer where it was kept."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked: dict[Hashable, tuple[threading.Lock, int]] = {}

    @contextmanager
    def __call__(self, question: Hashable) -> Iterator[None]:
        """One asker of a question at a time; who comes in looks first whether the answer is there by now."""
        with self._lock:
            turn, askers = self._asked.get(question, (threading.Lock(), 0))
            self._asked[question] = (turn, askers + 1)
        try:
            with turn:
                yield
        finally:
            with self._lock:
                turn, askers = self._asked.pop(question)
                if askers > 1:
                    self._asked[question] = (turn, askers - 1)
