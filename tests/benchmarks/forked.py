"""Benchmarks whose contestants are forked from a process that has imported torch once, not started anew with an import each.

What is measured is the same, in processes of their own; `python -m benchmarks.worker`, which starts them in earnest, other tests
call."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

from tests.ranks import PRELOADED


def run(arguments: list[str], said: Path, timeout: float) -> int | None:
    """The exit code of `python -m benchmarks` with these arguments; what it says goes into a file."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    process = context.Process(target=_measured, args=(arguments, said))
    process.start()
    process.join(timeout)
    process.kill()
    process.join()
    return process.exitcode


def _measured(arguments: list[str], said: Path) -> NoReturn:
    from benchmarks import __main__, worker

    with said.open("w") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    worker.subprocess = SimpleNamespace(Popen=Forked, PIPE=subprocess.PIPE)  # type: ignore[attr-defined]
    sys.exit(__main__.main(arguments))


class Forked:
    """As much of a Popen as a contestant's needs: this process once more, which goes on as `benchmarks.worker`."""

    def __init__(self, command: list[str], *, env: dict[str, str], **_: Any) -> None:
        asked, answered = os.pipe(), os.pipe()
        self.pid, self.code = os.fork(), None
        if self.pid == 0:
            os.setsid()
            os.dup2(asked[0], 0)
            os.dup2(answered[1], 1)
            os.close(asked[1])
            _contend(command, env)
        os.close(asked[0])
        os.close(answered[1])
        self.stdin, self.stdout = os.fdopen(asked[1], "w"), os.fdopen(answered[0])

    def wait(self) -> int:
        if self.code is None:
            self.code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.code

    def kill(self) -> None:
        """And the processes that it started, which load data for it."""
        for end in (os.killpg, os.kill):
            with suppress(ProcessLookupError):
                end(self.pid, signal.SIGKILL)

    def communicate(self) -> None:
        self.stdin.close()
        self.stdout.close()
        self.wait()


def _contend(command: list[str], env: dict[str, str]) -> NoReturn:
    import torch

    from benchmarks import worker

    os.environ.clear()
    os.environ.update(env)
    torch.set_num_threads(int(env["OMP_NUM_THREADS"]))
    sys.argv, sys.stdin = command[2:], os.fdopen(0)
    code = 1
    try:
        worker.main()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)
