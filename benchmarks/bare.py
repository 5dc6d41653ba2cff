"""A Chromium that nobody looks into while it works: for memory, which Playwright's own tools would fill.

Playwright listens to each page's network, and for whoever listens Chromium keeps the answers, up to 200 MB a page.  This one is
spoken to by the DevTools protocol over two pipes, with the few domains that are asked for."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.hosts import CHROMIUM, DRAWN, FLAGS

Message = dict[str, Any]
ON_FILES_3_AND_4 = """import fcntl, os, sys
read, write = (fcntl.fcntl(int(file), fcntl.F_DUPFD, 10) for file in sys.argv[1:3])  # out of the way of 3 and 4
os.dup2(read, 3), os.dup2(write, 4)
os.execv(sys.argv[3], sys.argv[3:])"""
"""A shell would do, but Debian's takes no file above 9."""


class Bare:
    """One page of a browser of its own."""

    def __init__(self, to: int, back: int) -> None:
        self._to, self._back = os.fdopen(to, "wb", buffering=0), os.fdopen(back, "rb", buffering=0)
        self._numbers, self._read = itertools.count(1), b""
        target = self.browser("Target.createTarget", url="about:blank", newWindow=True, width=1280, height=900)[
            "targetId"
        ]
        self._page = self.browser("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]

    def browser(self, method: str, **parameters: Any) -> Message:
        """Ask the browser."""
        return self._ask({"method": method, "params": parameters})

    def page(self, method: str, **parameters: Any) -> Message:
        """Ask the page."""
        return self._ask({"method": method, "params": parameters, "sessionId": self._page})

    def evaluate(self, expression: str) -> Any:
        """What an expression comes to in the page; a promise is waited for."""
        found = self.page("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in found:
            raise RuntimeError(f"{expression[:80]!r} failed in the page: {found['exceptionDetails']}")
        return found["result"].get("value")

    def open(self, address: str, ready: str) -> None:
        """Go there, and wait until an expression holds."""
        self.page("Page.navigate", url=address)
        deadline = time.monotonic() + DRAWN
        while not self.evaluate(ready):
            if time.monotonic() > deadline:
                raise RuntimeError(f"{address} did not get to {ready!r} within {DRAWN:g} s.")
            time.sleep(0.1)

    def mib(self) -> float:
        """Resident memory of the page's process: of those that draw pages the largest, beside which are spare ones."""
        found = self.browser("SystemInfo.getProcessInfo")["processInfo"]
        pids = ",".join(str(one["id"]) for one in found if one["type"] == "renderer")
        told = subprocess.run(["ps", "-o", "rss=", "-p", pids], capture_output=True, text=True).stdout
        return max(map(int, told.split())) / 2**10

    def _ask(self, question: Message) -> Message:
        number = next(self._numbers)
        self._to.write(json.dumps(question | {"id": number}).encode() + b"\0")
        while True:
            said = self._next()
            if said.get("id") != number:
                continue  # an event
            if "error" in said:
                raise RuntimeError(f"{question['method']}: {said['error']['message']}")
            return said["result"]

    def _next(self) -> Message:
        while b"\0" not in self._read:
            more = self._back.read(2**16)
            if not more:
                raise RuntimeError("Chromium went away.")
            self._read += more
        message, _, self._read = self._read.partition(b"\0")
        return json.loads(message)


@contextmanager
def bare() -> Iterator[Bare]:
    """A browser that is closed afterwards.  It reads file 3 and writes file 4."""
    (read, to), (back, write) = os.pipe(), os.pipe()
    with tempfile.TemporaryDirectory(prefix="benchmark-", ignore_cleanup_errors=True) as profile:
        flags = [*FLAGS, "--headless", "--remote-debugging-pipe", f"--user-data-dir={profile}", "about:blank"]
        command = [sys.executable, "-c", ON_FILES_3_AND_4, str(read), str(write), str(CHROMIUM), *flags]
        process = subprocess.Popen(command, pass_fds=(read, write), stderr=subprocess.DEVNULL)
        os.close(read)
        os.close(write)
        try:
            yield Bare(to, back)
        finally:
            process.terminate()
            process.wait(30)
