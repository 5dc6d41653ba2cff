"""Views in a notebook: `lab.show("attention", run)`.

The modules of `lab/static` run as they do on the page, and ask this kernel by messages; `House` answers them in threads, so that
the kernel stays free.  Widgets of one run share one clock and one selection (`lab/static/notebook.js`); Python sees both in
`widget.state` and moves them by setting it.  A saved notebook holds a picture and a few lines of script, never the data."""

from __future__ import annotations

import base64
import contextvars
import json
import secrets
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any
from weakref import WeakSet

import anywidget
import traitlets

from dino_core.errors import DinoError
from dino_core.rundir.schema import EVENTS, METRICS, PROBES, RUN
from lab import modules, stills
from lab.local import Overlay, beginning, find, make, name_of
from lab.run import Run
from lab.views import STATIC, View, catalogue

KERNEL = secrets.token_hex(6)
"""Widgets of two kernels in one page share nothing."""
GLANCE = 0.5
"""Seconds between looks at a run that is shown, to say that it has grown."""


def show(
    view: str | list[str],
    run: str | Path | Run | None = None,
    step: int | None = None,
    *,
    height: int | None = None,
    overlay: Overlay = None,
    **state: Any,
) -> Widget:
    """A view, or several below one another, in a notebook cell.

    `run` is a folder, a `Run`, or a name (`find`); without one it is the newest below ./runs, else a recorded one.  `step` and
    `state` (image, patch, layer, whatever the view keeps in a link) are where it begins: `show("attention", run, step=500,
    image=2)`.  Others can be laid over it (`overlay`: one run, or a list).  A `height` in pixels lets a long view scroll."""
    begins = {**state, **beginning(overlay), **({} if step is None else {"step": step})}
    if unheard := modules.unheard(modules.known(view), state):
        warnings.warn(unheard, stacklevel=2)
    return Widget(modules.known(view), find(run), begins, height)


@cache
def _script() -> str:
    """What a notebook keeps: the loader without its export marks, and the few lines that ask for the rest."""
    loader = (STATIC / "loader.js").read_text("utf-8").replace("export ", "")
    return loader + (STATIC / "widget.js").read_text("utf-8")


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(2, thread_name_prefix="dino-lab")


class Widget(anywidget.AnyWidget):
    """One or more views of a run.  `state` is what is looked at; `step`, `image` and `patch` read and set parts of it."""

    state = traitlets.Dict().tag(sync=True)
    height = traitlets.Int(None, allow_none=True).tag(sync=True)
    _views: Any = traitlets.List().tag(sync=True)
    _modules: Any = traitlets.List().tag(sync=True)
    _run = traitlets.Unicode().tag(sync=True)
    _kernel = traitlets.Unicode(KERNEL).tag(sync=True)
    _place = traitlets.Unicode().tag(sync=True)
    """Where the page's widget manager keeps this widget's model."""
    _version = traitlets.Unicode().tag(sync=True)
    _icon = traitlets.Unicode().tag(sync=True)

    def __init__(self, views: list[View], run: Run, state: dict[str, Any], height: int | None = None) -> None:
        shown, place = _framed(views), secrets.token_hex(16)
        self._esm = _script()
        self.run, self.views = run, views
        super().__init__(
            model_id=place, _place=place, state=state, height=height, _run=name_of(run), _version=modules.version(),
            _icon=modules.picture(),
            _views=[asdict(view) for view in shown],
            _modules=[one.name for one in modules.ordered(["notebook", *(view.module for view in shown)])],
        )  # fmt: skip
        self.on_msg(self._asked)
        _watch(self)

    @property
    def step(self) -> int | None:
        """The clock; None follows the newest checkpoint."""
        return self.state.get("step")

    @step.setter
    def step(self, step: int | None) -> None:
        self.look(step=step)

    @property
    def image(self) -> int:
        return self.state.get("image", 0)

    @image.setter
    def image(self, image: int) -> None:
        self.look(image=image)

    @property
    def patch(self) -> int | None:
        """The pinned patch."""
        return self.state.get("patch")

    @patch.setter
    def patch(self, patch: int | None) -> None:
        self.look(patch=patch)

    def look(self, **state: Any) -> None:
        """Look at something else: every widget of this run follows.  None takes a setting back."""
        self.state = {key: value for key, value in {**self.state, **state}.items() if value is not None}

    def open(self) -> None:
        super().open()
        self._answer_anywhere()

    def _send(self, message: dict[str, Any], buffers: Any = None) -> None:
        super()._send(message, buffers)
        self._answer_anywhere()

    def _answer_anywhere(self) -> None:
        """Questions of the page go where JupyterLab sends them, a thread beside the cells.

        From 7.4 on ipykernel remembers from where a widget last spoke, which may be a cell that still runs, and leads the page's
        messages there: a view would stand still until the cell ends."""
        if self.comm is not None:
            self.comm.__dict__.pop("_reply_subshell_id", None)

    def _asked(self, _: Any, message: dict[str, Any], buffers: list[memoryview]) -> None:
        context = contextvars.copy_context()  # the kernel knows by it which cell an answer belongs to
        _pool().submit(context.run, self._answer, message, [bytes(part) for part in buffers])

    def _answer(self, message: dict[str, Any], buffers: list[bytes]) -> None:
        try:
            made = _ANSWERS[message["kind"]](message, buffers)
            parts = [made] if isinstance(made, bytes) else []
            self.send({"id": message["id"], "answer": None if parts else made}, parts)
        except (DinoError, ValueError, KeyError, OSError, ImportError) as error:
            self.send({"id": message["id"], "error": f"{error}"})

    def __repr__(self) -> str:
        said = "; ".join(f"{view.title}: {view.shows}" for view in self.views)
        return f"{said} (run {self.run.path.name}; run this cell to see it move)"

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        """The widget, and for readers without a kernel a picture of what it shows, or its captions."""
        bundle: Any = super()._repr_mimebundle_(**kwargs)
        data, about = bundle if isinstance(bundle, tuple) else (bundle, {})
        data["text/plain"] = repr(self)
        if (still := self._still()) is not None:
            data["image/png"] = base64.b64encode(still).decode()
        return data, about

    def _still(self) -> bytes | None:
        name = next((view.name for view in self.views if view.films), None)
        try:
            return None if name is None else stills.png(name, self.run, self.step, **_without_step(self.state))
        except (DinoError, OSError, ValueError, ImportError):
            return None


def _framed(views: list[View]) -> list[View]:
    """Views with the bar of networks above, where one is looked through, and with the clock below, where it moves them."""
    moved = any(hole in asked for view in views for asked in view.records for hole in ("{step}", "{source}"))
    above = [catalogue()["sources"]] if modules.look_through(views) else []
    below = [catalogue()["transport"]] if moved else []
    return [view for view in above if view not in views] + views + [view for view in below if view not in views]


def _without_step(state: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in state.items() if key != "step"}


def _told(message: dict[str, Any], buffers: list[bytes]) -> Any:
    path = str(message["path"]).removeprefix("api/")
    if not message.get("told"):
        return make(path)
    return make(path, buffers[0] if buffers else json.dumps(message["body"]).encode())


def _plotly(*_: Any) -> bytes:
    import plotly

    return (Path(plotly.__file__).parent / "package_data" / "plotly.min.js").read_bytes()


_ANSWERS: dict[str, Any] = {
    "ask": _told,
    "modules": lambda message, _: [asdict(one) for one in modules.ordered(message["names"])],
    "theme": lambda *_: modules.theme_below(".dino-lab"),
    "plotly": _plotly,
}

_shown: WeakSet[Widget] = WeakSet()
_watching = threading.Lock()


def _watch(widget: Widget) -> None:
    """From now on say when the widget's run has grown."""
    _shown.add(widget)
    if _watching.acquire(blocking=False):
        threading.Thread(target=_look, name="dino-lab-watch", daemon=True).start()


def _look() -> None:
    seen: dict[Path, tuple[int, ...]] = {}
    while True:
        time.sleep(GLANCE)
        for widget in list(_shown):
            path = widget.run.path
            now = tuple(_changed(path / part) for part in (METRICS, EVENTS, RUN, PROBES))
            if seen.setdefault(path, now) != now and widget.comm is not None:
                for other in list(_shown):
                    if other.run.path == path and other.comm is not None:
                        other.send({"kind": "news"})
                seen[path] = now


def _changed(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
