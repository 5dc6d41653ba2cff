"""The lab's web server: our files, our data, and the Gradio page, on one address of this machine.

Only runs below the folders given are served, by opaque names; nothing is ever written; torch is never imported here.  A foreign
Host header is refused, so that a web page elsewhere can't reach the lab through a name it controls (DNS rebinding)."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import importlib.util
import os
from collections.abc import Callable, Iterable
from contextlib import asynccontextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

# Read by Gradio and huggingface_hub when they are imported: nothing is to leave this machine.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
# Read by numpy: threads that wait for each other in small matrices take twenty times one thread's time beside a training.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import anyio.to_thread
import orjson
from fastapi import FastAPI, Request, Response
from fastapi.responses import FileResponse, JSONResponse
from starlette.concurrency import run_in_threadpool

from dino_core.errors import DinoError
from lab.answers import House
from lab.shelf import Shelf
from lab.sight import Given
from lab.telling import Telling
from lab.worker import Worker

STATIC = Path(__file__).parent.parent / "lab" / "static"
HESITATION = 0.3
"""Seconds before a wrong password is answered: guessing takes long."""
TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
"""Files of ours that a browser gets."""
THREADS = 200
"""Answers in the making at a time: many may wait for one that is computed, and news of the runs must not wait behind them."""
LARGEST_BODY = 24 * 2**20
"""Bytes that may be handed in at once: a photograph, not a video."""
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' blob:; font-src 'self' data:; connect-src 'self'; "
    "worker-src 'self' blob:; object-src 'none'; "
    "frame-ancestors 'self'"
)
"""The browser itself sees to it that the page asks nobody else for anything."""


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


class OnlyWithPassword:
    """Refuse whoever does not say the password (HTTP basic, any user name); compared in constant time, and not in a hurry."""

    def __init__(self, app: Any, password: str) -> None:
        self.app, self.password = app, password.encode()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] not in ("http", "websocket") or self._said(dict(scope["headers"]).get(b"authorization", b"")):
            return await self.app(scope, receive, send)
        await asyncio.sleep(HESITATION)
        ask = {"WWW-Authenticate": 'Basic realm="DINO lab", charset="UTF-8"'}
        refusal = Response("This lab asks for its password; any user name will do.\n", 401, ask, "text/plain")
        return await refusal(scope, receive, send)

    def _said(self, header: bytes) -> bool:
        kind, _, word = header.partition(b" ")
        try:
            given = base64.b64decode(word, validate=True).partition(b":")[2]
        except ValueError:
            given = b""
        return hmac.compare_digest(given, self.password) and kind.lower() == b"basic"


class BeginsWith:
    """Put into the page itself what the browser is to begin with: Gradio would name it only once its own script runs.  `head` is
    asked for it each time.

    What the address says is read by our scripts; Gradio, which has pages of its own, would stumble over a `page` in it."""

    def __init__(self, app: Any, head: Callable[[], bytes]) -> None:
        self.app, self.head = app, head

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["path"] != "/":
            return await self.app(scope, receive, send)
        plain = [(name, value) for name, value in scope["headers"] if name != b"accept-encoding"]
        start: Any = None
        content, head = b"", await run_in_threadpool(self.head)

        async def send_with_head(message: Any) -> None:
            nonlocal start, content
            if message["type"] == "http.response.start":
                start = message
                return
            if message["type"] != "http.response.body":
                await send(message)
                return
            content += message.get("body", b"")
            if message.get("more_body"):
                return
            whole = content.replace(b"</head>", head + b"</head>", 1)
            headers = [(name, value) for name, value in start["headers"] if name.lower() != b"content-length"]
            await send({**start, "headers": [*headers, (b"content-length", str(len(whole)).encode())]})
            await send({"type": "http.response.body", "body": whole})

        return await self.app({**scope, "headers": plain, "query_string": b""}, receive, send_with_head)


def answered(path: str, house: House) -> bytes:
    """A question of the page's first moments with its answer, for the page to come with: asked by itself, it would wait behind
    Gradio's scripts, and what follows from it would wait too."""
    answer = orjson.dumps(house.ask(path).make(), option=orjson.OPT_NON_STR_KEYS).replace(b"<", rb"\u003c")
    return f'<script type="application/json" data-answers="api/{path}">'.encode() + answer + b"</script>\n"


def plotly_file() -> Path:
    """plotly.js as the plotly package brings it; found without importing the package."""
    found = importlib.util.find_spec("plotly")
    if found is None or found.origin is None:
        raise DinoError(
            "the lab draws its curves with plotly, which is not installed. Run: pip install 'dino-lab[lab]'"
        )
    return Path(found.origin).parent / "package_data" / "plotly.min.js"


def build(
    folders: Iterable[Path],
    *,
    host: str = "127.0.0.1",
    port: int = 7860,
    read_only: bool = False,
    given: Given | None = None,
    password: str | None = None,
    notes: Path | None = None,
    tell: str | None = None,
) -> FastAPI:
    """The whole application: files, data, page.  `given` are models and folders of images to choose from.

    `notes` is the file that keeps notes, `tell` an address that is told of a run in trouble."""
    import gradio

    from apps.observatory import begin_with, head, page

    house = House(Shelf(folders), Worker(), read_only=read_only, more={"sight": given or Given(), "notes": notes})
    telling = Telling(house.shelf, tell) if tell else None

    @asynccontextmanager
    async def living(app: FastAPI) -> Any:
        anyio.to_thread.current_default_thread_limiter().total_tokens = THREADS
        if telling:
            telling.start()
        yield
        if telling:
            telling.stop()
        house.close()

    app = FastAPI(title="DINO lab", docs_url=None, redoc_url=None, openapi_url=None, lifespan=living)
    app.state.house = house
    always = begin_with().encode()
    app.add_middleware(BeginsWith, head=lambda: answered("runs", house) + always)
    allowed = {"127.0.0.1", "localhost", "::1"} | ({host.lower()} if host not in ("0.0.0.0", "::") else _own_names())
    if password:
        app.add_middleware(OnlyWithPassword, password=password)
    app.add_middleware(OnlyKnownHosts, allowed=frozenset(allowed))

    @app.exception_handler(DinoError)
    async def sentence(request: Request, error: DinoError) -> Response:
        return JSONResponse({"error": str(error)}, 404)

    @app.exception_handler(RecursionError)
    async def nested(request: Request, error: RecursionError) -> Response:
        return JSONResponse({"error": "a file of this run is nested deeper than anything that DINO lab writes."}, 404)

    add_files(app)
    add_data(app, house)
    return gradio.mount_gradio_app(
        app, page(), path="/", server_name=host, server_port=port, footer_links=[], run_history=False, head=head(),
        theme=gradio.themes.Base(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]),
        show_error=False, enable_monitoring=False, mcp_server=False, pwa=False, ssr_mode=False,
    )  # fmt: skip


@lru_cache(maxsize=256)
def own_file(file: Path, written: int) -> tuple[bytes, str]:
    """What a small file of ours holds, and a tag by which a browser knows that it has it already."""
    content = file.read_bytes()
    return content, f'"{hashlib.sha256(content).hexdigest()[:20]}"'


def add_files(app: FastAPI) -> None:
    """plotly.js, and our own modules and style sheet."""
    own = {file.name: file for file in STATIC.iterdir() if file.suffix in TYPES}

    @app.get("/static/plotly.min.js")
    def plotly() -> Response:
        return FileResponse(plotly_file(), headers={"Cache-Control": "private, max-age=86400"})

    @app.get("/static/lab/{name}")
    async def module(request: Request, name: str) -> Response:
        if name not in own:
            raise DinoError(f"the lab has no file {name[:60]!r}.")
        content, tag = own_file(own[name], own[name].stat().st_mtime_ns)
        headers = {"Cache-Control": "no-cache", "ETag": tag}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(content, headers=headers, media_type=TYPES[own[name].suffix])


def add_data(app: FastAPI, house: House) -> None:
    """What views ask, by their own answers (`lab.answers`).  Plain functions: FastAPI runs them in threads."""

    @app.get("/api/{path:path}")
    def ask(request: Request, path: str) -> Response:
        reply = house.ask(path, dict(request.query_params))
        if reply.key is None:
            return _sent(reply.make())
        tag = f'"{hashlib.sha256(f"{path} {reply.key}".encode()).hexdigest()[:20]}"'
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers={"ETag": tag})
        response = _sent(reply.make())
        response.headers.update({"ETag": tag, "Cache-Control": "private, no-cache"})
        return response

    @app.post("/api/{path:path}")
    async def tell(request: Request, path: str) -> Response:
        body = await _read(request)
        reply = await run_in_threadpool(house.tell, path, body, dict(request.query_params))
        return _sent(await run_in_threadpool(reply.make))


async def _read(request: Request) -> bytes:
    """What is handed in, up to a bound that holds whatever the header claims; only from a page of this lab."""
    origin = request.headers.get("origin")
    if origin is not None and origin.partition("://")[2] != request.headers.get("host"):
        raise DinoError("this lab takes nothing from the pages of others.")
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > LARGEST_BODY:
            raise DinoError(f"that is more than {LARGEST_BODY >> 20} MiB, the most this lab takes at once.")
        parts.append(part)
    return b"".join(parts)


def _sent(content: Any) -> Response:
    if content is None:
        return Response(status_code=204)
    if isinstance(content, bytes):
        return Response(content, media_type="application/octet-stream")
    return Response(orjson.dumps(content, option=orjson.OPT_NON_STR_KEYS), media_type="application/json")


def _own_names() -> set[str]:
    """Under which names this machine may be asked for when it listens on all its addresses."""
    import socket

    names = {socket.gethostname().lower(), socket.getfqdn().lower()}
    try:
        names |= {str(entry[4][0]).lower() for entry in socket.getaddrinfo(socket.gethostname(), None)}
    except OSError:
        return names
    return names
