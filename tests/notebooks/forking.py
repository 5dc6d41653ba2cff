"""Kernels, and what else runs notebooks, as forks of a process that has imported torch once.

Each is a process of its own with nothing in its namespace, as fresh as one that was started anew, but for modules that are there
already: it spares the seconds of processor which every notebook spends on importing the same."""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from tests.ranks import PRELOADED

NOTEBOOKS = [*PRELOADED, "matplotlib.pyplot", "ipykernel.kernelapp", "plotly.graph_objects"]


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
        with said.open("w") as file:
            for stream in (1, 2):
                os.dup2(file.fileno(), stream)
    if command[1] != "-m":
        sys.argv = command[1:]
        runpy.run_path(command[1], run_name="__main__")
        return
    from ipykernel import kernelapp

    assert command[2] == "ipykernel_launcher"
    sys.argv = command[2:]
    kernelapp.launch_new_instance()


@contextmanager
def forked_kernels() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("jupyter_client.provisioning.local_provisioner.launch_kernel", Forked)
        yield
