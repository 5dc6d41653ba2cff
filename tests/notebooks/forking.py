"""Kernels, and what else runs notebooks, as forks of a process that has imported torch once.

Each is a process of its own with nothing in its namespace, as fresh as one that was started anew, but for modules that are there
already: it spares the seconds of processor which every notebook spends on importing the same.  Trainings that a notebook begins
are forks too, of a process that stands beside its kernel: the kernel itself has threads, which no fork survives."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, NoReturn

import pytest

from tests.ranks import PRELOADED

NOTEBOOKS = [*PRELOADED, "matplotlib.pyplot", "ipykernel.kernelapp", "plotly.graph_objects", "notebooks.live"]


class Forked:
    """As much of a Popen as jupyter_client needs."""

    stdin = stdout = stderr = None

    def __init__(
        self, command: list[str], *, env: dict[str, str], cwd: str | Path, said: Path | None = None, **_: Any
    ) -> None:
        """`python -m ipykernel_launcher ...` or `python FILE ...`; what it prints goes into the file `said`."""
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(NOTEBOOKS)
        ready, tell = context.Pipe(duplex=False)
        self.process = context.Process(target=_go_on_as, args=(command, env, str(cwd), said, tell))
        self.process.start()
        self.pid = self.process.pid
        tell.close()
        ready.recv()  # it has a process group of its own, to which signals are sent

    def poll(self) -> int | None:
        return self.process.exitcode

    def wait(self, timeout: float | None = None) -> int | None:
        self.process.join(timeout)
        return self.process.exitcode

    def send_signal(self, number: int) -> None:
        if self.pid is not None and self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _go_on_as(command: list[str], env: dict[str, str], folder: str, said: Path | None, tell: Connection) -> None:
    os.setsid()
    tell.send("ready")
    os.environ.clear()
    os.environ.update(env)
    os.chdir(folder)
    sys.path[:] = [*env.get("PYTHONPATH", "").split(os.pathsep), *sys.path]
    if said is not None:
        _write_into(said)
    _trainings_are_forks()
    if command[1] != "-m":
        sys.argv = command[1:]
        runpy.run_path(command[1], run_name="__main__")
        return
    from ipykernel import kernelapp

    assert command[2] == "ipykernel_launcher"
    sys.argv = command[2:]
    kernelapp.launch_new_instance()


def _write_into(said: Path) -> None:
    with said.open("a") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)


class Training:
    """As much of a Popen as `notebooks.live` needs of `python -m dino_core.cli ...`."""

    beside: ClassVar[Connection]
    """Of the process that forks."""
    turn: ClassVar = threading.Lock()

    def __init__(self, command: list[str], *, stdout: Any, **_: Any) -> None:
        assert command[1:3] == ["-m", "dino_core.cli"], command
        self.code: int | None = None
        self.pid: int = self._asked("start", command[3:], dict(os.environ), os.getcwd(), stdout.name)

    def _asked(self, *question: Any) -> Any:
        with self.turn:
            self.beside.send(question)
            return self.beside.recv()

    def poll(self) -> int | None:
        if self.code is None:
            self.code = self._asked("poll", self.pid)
        return self.code

    def wait(self, timeout: float) -> int:
        until = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > until:
                raise subprocess.TimeoutExpired("dino_core.cli", timeout)
            time.sleep(0.05)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _trainings_are_forks() -> None:
    """From here on, of the notebook that this process becomes."""
    from notebooks import live

    Training.beside, asked = multiprocessing.Pipe()
    if os.fork() == 0:
        Training.beside.close()
        _stand_beside(asked)
    asked.close()
    live.subprocess = SimpleNamespace(  # type: ignore[attr-defined]
        Popen=Training, DEVNULL=subprocess.DEVNULL, TimeoutExpired=subprocess.TimeoutExpired
    )


def _stand_beside(asked: Connection) -> NoReturn:
    """Fork what is asked for, until the kernel has ended.

    A kernel that shuts down waits for what it started, all of its process group: trainings are in it, this process is not."""
    group, ended = os.getpgrp(), dict[int, int]()
    os.setpgid(0, 0)
    while True:
        while not asked.poll(0.05):
            ended |= _reaped()
        try:
            kind, *about = asked.recv()
        except EOFError:
            os._exit(0)
        if kind == "poll":
            asked.send(ended.get(about[0]))
            continue
        if (pid := os.fork()) == 0:
            asked.close()
            os.setpgid(0, group)
            _train(*about)
        asked.send(pid)


def _reaped() -> dict[int, int]:
    """The exit codes of those that have ended since."""
    found = dict[int, int]()
    with suppress(ChildProcessError):
        while (known := os.waitpid(-1, os.WNOHANG))[0]:
            found[known[0]] = os.waitstatus_to_exitcode(known[1])
    return found


def _train(arguments: list[str], env: dict[str, str], folder: str, said: str) -> NoReturn:
    """`python -m dino_core.cli ...`, ended as Python ends it."""
    os.environ.clear()
    os.environ.update(env)
    os.chdir(folder)
    _write_into(Path(said))
    sys.argv = ["dino-lab", *arguments]
    code: Any = 1
    try:
        runpy.run_module("dino_core.cli", run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


@contextmanager
def forked_kernels() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("jupyter_client.provisioning.local_provisioner.launch_kernel", Forked)
        yield
