"""The lab's web server: our files, our data, and the Gradio page, on one address of this machine.

Only runs below the folders given are served, by opaque names; nothing is ever written; torch is never imported here.  A foreign
Host header is refused, so that a web page elsewhere can't reach the lab through a name it controls (DNS rebinding)."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

# Read by Gradio and huggingface_hub when they are imported: nothing is to leave this machine.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

from fastapi import FastAPI, Request, Response
from fastapi.responses import FileResponse, JSONResponse

from dino_core.errors import DinoError, RunError
from dino_core.rundir import read
from lab import frames
from lab.follow import glance
from lab.run import Network, Run
from lab.worker import Worker

STATIC = Path(__file__).parent.parent / "lab" / "static"
LOOK_AGAIN = 2.0
"""Seconds between searches for new runs."""
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; object-src 'none'; "
    "frame-ancestors 'self'"
)
"""The browser itself sees to it that the page asks nobody else for anything."""
OPEN_RUNS = 8
"""How many runs' histories are held in memory."""


class Shelf:
    """The runs below some folders, by opaque names."""

    def __init__(self, folders: Iterable[Path]) -> None:
        self.folders = [Path(folder) for folder in folders]
        self._lock = threading.Lock()
        self._paths: dict[str, Path] = {}
        self._open: dict[str, Run] = {}
        self._looked = -1e9

    def listing(self) -> list[dict[str, Any]]:
        """All runs, newest first, recorded (gallery) ones last."""
        rows = []
        for name, path in self._found().items():
            try:
                rows.append({"id": name, **glance(path)})
            except (DinoError, OSError):
                continue
        return sorted(rows, key=lambda row: row["gallery"])

    def run(self, name: str) -> Run:
        """A run by its name; RunError for any other text."""
        path = self._found().get(name) or self._found(again=True).get(name)
        if path is None:
            raise RunError("there is no such run below the folders this lab was given.")
        with self._lock:
            run = self._open.pop(name, None) or Run(path)
            self._open[name] = run
            while len(self._open) > OPEN_RUNS:
                del self._open[next(iter(self._open))]
        return run

    def _found(self, again: bool = False) -> dict[str, Path]:
        with self._lock:
            if again or time.monotonic() - self._looked > LOOK_AGAIN:
                found = [path.resolve() for folder in self.folders for path in read.find_runs(folder)]
                self._paths = {hashlib.sha256(str(path).encode()).hexdigest()[:12]: path for path in found}
                self._looked = time.monotonic()
            return self._paths


def host_of(header: str) -> str:
    """The host in a Host header, without port and brackets: `[::1]:7860` → `::1`."""
    if header.startswith("["):
        return header[1:].partition("]")[0].lower()
    return header.partition(":")[0].lower() if header.count(":") <= 1 else header.lower()


class OnlyKnownHosts:
    """Refuse requests whose Host header names another machine, and tell browsers to stay here."""

    def __init__(self, app: Any, allowed: frozenset[str]) -> None:
        self.app, self.allowed = app, allowed

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] not in ("http", "websocket"):
            return await self.app(scope, receive, send)
        headers = dict(scope["headers"])
        if host_of(headers.get(b"host", b"").decode("latin-1")) not in self.allowed:
            sentence = "This lab answers only under the address it was started with (dino-lab watch --host).\n"
            return await Response(sentence, 400, media_type="text/plain")(scope, receive, send)

        async def send_with_policy(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message["headers"],
                    (b"content-security-policy", POLICY.encode()),
                    (b"x-content-type-options", b"nosniff"),
                    (b"referrer-policy", b"no-referrer"),
                ]
            await send(message)

        return await self.app(scope, receive, send_with_policy)


def plotly_file() -> Path:
    """plotly.js as the plotly package brings it; found without importing the package."""
    found = importlib.util.find_spec("plotly")
    if found is None or found.origin is None:
        raise DinoError(
            "the lab draws its curves with plotly, which is not installed. Run: pip install 'dino-lab[lab]'"
        )
    return Path(found.origin).parent / "package_data" / "plotly.min.js"


def build(folders: Iterable[Path], *, host: str = "127.0.0.1", port: int = 7860) -> FastAPI:
    """The whole application: files, data, page."""
    import gradio

    from apps.observatory import HEAD, page

    shelf, worker = Shelf(folders), Worker()

    @asynccontextmanager
    async def living(app: FastAPI) -> Any:
        yield
        worker.close()

    app = FastAPI(title="DINO lab", docs_url=None, redoc_url=None, openapi_url=None, lifespan=living)
    app.state.shelf, app.state.worker = shelf, worker
    allowed = {"127.0.0.1", "localhost", "::1"} | ({host.lower()} if host not in ("0.0.0.0", "::") else _own_names())
    app.add_middleware(OnlyKnownHosts, allowed=frozenset(allowed))

    @app.exception_handler(DinoError)
    async def sentence(request: Request, error: DinoError) -> Response:
        return JSONResponse({"error": str(error)}, 404)

    add_files(app)
    add_data(app, shelf, worker)
    return gradio.mount_gradio_app(
        app, page(), path="/", server_name=host, server_port=port, footer_links=[], run_history=False, head=HEAD,
        theme=gradio.themes.Base(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]),
        show_error=False, enable_monitoring=False, mcp_server=False, pwa=False, ssr_mode=False,
    )  # fmt: skip


def add_files(app: FastAPI) -> None:
    """plotly.js, and our own modules and style sheet."""
    own = {file.name: file for file in STATIC.iterdir() if file.suffix in (".js", ".css", ".svg")}

    @app.get("/static/plotly.min.js")
    def plotly() -> Response:
        return FileResponse(plotly_file(), headers={"Cache-Control": "private, max-age=86400"})

    @app.get("/static/lab/{name}")
    def module(name: str) -> Response:
        if name not in own:
            raise DinoError(f"the lab has no file {name[:60]!r}.")
        return FileResponse(own[name], headers={"Cache-Control": "no-cache"})


def add_data(app: FastAPI, shelf: Shelf, worker: Worker) -> None:
    """What the page asks for.  Plain functions: FastAPI runs them in threads."""

    @app.get("/api/runs")
    def runs(request: Request) -> Response:
        content = {"runs": shelf.listing(), "folders": [folder.name for folder in shelf.folders]}
        return _unless_known(request, lambda: JSONResponse(content), str(content))

    @app.get("/api/run/{name}/since")
    def since(name: str, cursor: str = "") -> Response:
        news = shelf.run(name).since(cursor)
        return JSONResponse(news) if news["changed"] else Response(status_code=204)

    @app.get("/api/run/{name}/config")
    def config(name: str) -> Response:
        import dataclasses

        return JSONResponse(dataclasses.asdict(shelf.run(name).config))

    @app.get("/api/run/{name}/images")
    def images(request: Request, name: str) -> Response:
        run = shelf.run(name)
        key = f"{name} {_stamp(run.path / 'probes' / 'images.safetensors')}"
        return _unless_known(request, lambda: _tensors(frames.images(run.probe_images)), key)

    @app.get("/api/run/{name}/probe/{step}/attention")
    def attention(request: Request, name: str, step: int, layer: int = -1) -> Response:
        run = shelf.run(name)
        probe = run.probe(step)

        def made() -> Response:
            last = layer == -1 or layer == (run.config.backbone.depth - 1)
            if last and "teacher.attention" in probe:
                return _tensors(frames.attention(probe.attention, probe.grid, step, layer))
            return _tensors(frames.attention(worker.attention(run, step, layer), probe.grid, step, layer))

        return _unless_known(request, made, f"{name} {_stamp(probe.file)} {layer}")

    @app.get("/api/run/{name}/probe/{step}/features")
    def features(request: Request, name: str, step: int, network: Network = "teacher") -> Response:
        probe = shelf.run(name).probe(step)
        key = f"{name} {_stamp(probe.file)} {network}"
        return _unless_known(request, lambda: _tensors(frames.features(probe, network)), key)

    @app.get("/api/run/{name}/probe/{step}/pca")
    def pca(
        request: Request, name: str, step: int, anchor: int | None = None, mode: Literal["joint", "image"] = "joint",
        foreground: bool = False, network: Network = "teacher",
    ) -> Response:  # fmt: skip
        run = shelf.run(name)
        against = step if anchor is None else anchor
        stamps = [_stamp(run.probe(s).file) for s in (step, against)]

        def made() -> Response:
            return _tensors(frames.components(run, step, against, mode, only_foreground=foreground, network=network))

        return _unless_known(request, made, f"{name} {stamps} {mode} {foreground} {network}")


def _tensors(content: bytes) -> Response:
    return Response(content, media_type="application/octet-stream")


def _unless_known(request: Request, made: Callable[[], Response], key: str) -> Response:
    """The response, or 304 where the browser still has it from last time."""
    tag = f'"{hashlib.sha256(key.encode()).hexdigest()[:20]}"'
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers={"ETag": tag})
    response = made()
    response.headers.update({"ETag": tag, "Cache-Control": "private, no-cache"})
    return response


def _stamp(file: Path) -> int:
    return file.stat().st_mtime_ns if file.exists() else 0


def _own_names() -> set[str]:
    """Under which names this machine may be asked for when it listens on all its addresses."""
    import socket

    names = {socket.gethostname().lower(), socket.getfqdn().lower()}
    try:
        names |= {str(entry[4][0]).lower() for entry in socket.getaddrinfo(socket.gethostname(), None)}
    except OSError:
        return names
    return names
