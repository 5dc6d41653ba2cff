"""One self-contained HTML file of views of a run, which works from a USB stick: `lab.export("attention", run, "dino.html")`.

The very modules of the page run in it; what they would ask a server is asked here and packed into the file.  A view's captions list
its questions (`records`): paths with holes, of which `lab.wanted` says what each stands for, `{step}` for each stop of a clock; and
besides `{controls}` (of a figure, every choice) and `{name:this|that}` (each of these).  What takes a worker a while is waited for.
The file itself forbids the browser to ask anyone."""

from __future__ import annotations

import base64
import gzip
import html
import itertools
import json
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote

import numpy as np

from dino_core.errors import DinoError, RunError
from lab import modules
from lab.analysis import curves
from lab.local import LOOK, Overlay, beginning, find, laid_over, make, name_of
from lab.run import Run
from lab.views import EVERYWHERE, PAGES, STATIC, View, catalogue, rows
from lab.wanted import PATIENCE, Wanted

STOPS = 12
"""Steps that are recorded when none are named: spread by ratio, first and last among them."""
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval' blob:; worker-src blob:; style-src 'unsafe-inline'; "
    "img-src data: blob:; font-src data:; connect-src data: blob:; base-uri 'none'; form-action 'none'"
)
FOLDERS = re.compile(r"(?<![\w.])(?:/[^/\s'\"]+)+/(?=[^/\s'\"])")
"""Of a path in a sentence: a file is handed on, and where things lie on this machine is nobody's business."""
COMBINATIONS = 24
"""Settings of one figure that are recorded at most."""


@dataclass(frozen=True)
class Exported:
    """A file that was written."""

    file: Path
    size: int
    """Bytes."""
    answers: int
    limits: str
    """What is in it and what is not, in a sentence."""

    def __str__(self) -> str:
        return f"{self.file}: {self.size / 2**20:.1f} MiB, {self.answers} answers. {self.limits}"


@dataclass(frozen=True)
class Refused:
    """Why a question can't be answered, in a sentence; a file says it too."""

    sentence: str


def export(
    views: str | Sequence[str],
    run: str | Path | Run | None,
    file: str | Path,
    *,
    steps: Sequence[int] | None = None,
    layers: Sequence[int] = (-1,),
    images: Sequence[int] | None = None,
    models: Sequence[str] = (),
    pictures: str | None = None,
    overlay: Overlay = None,
    patience: float = PATIENCE,
    **state: Any,
) -> Exported:
    """Write views of a run into one HTML file that needs no server, no network, and no Python.

    `steps` are the stops of its clock (by default 12 spread by ratio), `layers` and `images` what else is recorded where a view
    asks for each by itself (the last layer, and the image it begins with), `models` and `pictures` further networks and images
    (`lab.offer`; `folder:0`), `overlay` one or several runs laid over this one; `state` is where the reader begins (step=500).
    Answers that a worker still computes are waited for, up to `patience` seconds.  Gives the size and what is not in it; DinoError
    for a model that can't be opened."""
    source = find(run)
    for model in models if source.probes else ():  # one that can't be opened is said before anything is written
        make(f"sight/features?source=model:{quote(model, safe=':')}&images=probe:{name_of(source)}")
    text, answers, limits = document(
        views, run, steps=steps, layers=layers, images=images, models=models, pictures=pictures, overlay=overlay,
        patience=patience, **state,
    )  # fmt: skip
    target = Path(file)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, "utf-8")
    return Exported(target, target.stat().st_size, answers, limits)


def document(
    views: str | Sequence[str],
    run: str | Path | Run | None,
    *,
    steps: Sequence[int] | None = None,
    layers: Sequence[int] = (-1,),
    images: Sequence[int] | None = None,
    models: Sequence[str] = (),
    pictures: str | None = None,
    overlay: Overlay = None,
    patience: float = PATIENCE,
    **state: Any,
) -> tuple[str, int, str]:
    """The text of that file, how many answers are in it, and its limits."""
    shown, source = modules.known(views), find(run)
    picked = tuple(images) if images else (int(state.get("image", 0)),)
    crowd = int(state.get("crowd", 0))
    laid = [Wanted(other, _stops(other, None), layers, picked, patience=patience) for other in laid_over(overlay)]
    wanted = [Wanted(source, _stops(source, steps), layers, picked, models, pictures, patience, crowd, laid), *laid]
    limits = _limits(wanted[0])
    answered = dict(recorded(shown, *wanted))
    placed = [view for view in shown if view.page != EVERYWHERE]
    order = _framed(placed)
    given = {"run": name_of(source), "page": placed[0].page if placed else PAGES[0].name, **state}
    given |= {**beginning(overlay), "images": pictures}
    start = {
        "views": [asdict(view) for view in order], "pages": _pages(placed), "about": {"limits": limits}, "icon": modules.picture(),
        "state": {key: value for key, value in given.items() if value is not None},
    }  # fmt: skip
    made = {path: content for path, content in answered.items() if not isinstance(content, Refused)}
    parts = [_packed(f"answer-{i}", content) for i, content in enumerate(made.values())]
    start["kinds"] = {
        spelt(path): {"id": f"answer-{i}", "json": not isinstance(content, bytes)}
        for i, (path, content) in enumerate(made.items())
    } | {spelt(path): {"why": one.sentence} for path, one in answered.items() if isinstance(one, Refused)}
    if modules.needs_plotly(placed):
        parts.append(_plotly())
    scripts = modules.ordered(["onefile", *(view.module for view in order)])
    return _page(source, placed, order, scripts, start, parts, limits), len(made), limits


def _framed(placed: list[View]) -> list[View]:
    """Views in their order, with what stands around them: pages where there are several, the bar of networks where one is looked
    through, the clock."""
    several, through = len({view.page for view in placed}) > 1, modules.look_through(placed)
    frame = [("pages", several), ("sources", through), ("transport", True)]
    return [catalogue()[name] for name, there in frame if there] + placed


def recorded(views: Iterable[View], *runs: Wanted) -> Iterator[tuple[str, Any]]:
    """All answers that these views ask for, by their path; what can't be answered is left out, and the view says so."""
    wanted, names = list(views), [name_of(one.run) for one in runs]
    rows = [next(row for row in make("runs")["runs"] if row["id"] == name) for name in names]
    yield "runs", {"runs": [{**row, "status": _still(row["status"])} for row in rows], "folders": []}
    yield "views", {"pages": _pages(wanted), "views": {view.name: asdict(view) for view in wanted}}
    students = any("student.patches" in one.run.probe(stop) for one in runs for stop in one.stops)
    counts = [int(count) for count in runs[0].choices()["count"]]
    offered = {"models": list(runs[0].models), "folders": [], "takes": False}
    yield "sight", {**offered, "students": students, "counts": counts}
    for one, name in zip(runs, names, strict=True):
        news = make(f"run/{name}/since?cursor=")
        head = news["head"]
        kept = {"probes": list(one.stops), "checkpoints": one.checkpoints}
        news["head"] = {**head, **kept, "status": _still(head["status"])}
        yield f"run/{name}/since?cursor=", news
        yield from _asked(wanted, one)
    for name, other in itertools.permutations(names, 2):
        yield f"run/{name}/compare/{other}", make(f"run/{name}/compare/{other}")


def _asked(views: Iterable[View], wanted: Wanted) -> Iterator[tuple[str, Any]]:
    """What views ask about one run, each question once."""
    choices, until, done = wanted.choices(), time.monotonic() + wanted.patience, set[str]()
    for view in views:
        for template in view.records:
            for path in paths(template, view, choices):
                if path in done:
                    continue
                done.add(path)
                try:
                    content = _waited(path, until)
                except DinoError as error:
                    if "=model:" in path:  # what a network can't be asked is worth saying in its place
                        yield path, Refused(FOLDERS.sub("", str(error)))
                    continue
                except (OSError, KeyError, ValueError):
                    continue
                if content is not None:
                    yield path, content


def _waited(path: str, until: float) -> Any:
    """The answer to a path; None where it is not there in time."""
    while isinstance(content := make(path), dict) and "waiting" in content:
        if time.monotonic() > until:
            return None
        time.sleep(LOOK)
    return content


def paths(template: str, view: View, choices: dict[str, list[str]]) -> Iterator[str]:
    """The questions that a template stands for; `choices` say what its holes stand for (`Wanted.choices`)."""
    figures = [quote(json.dumps(c, separators=(",", ":"), ensure_ascii=False), safe="") for c in settings(view)]
    known = {**choices, "controls": figures}
    holes = re.findall(r"\{(\w+)(?::([^}]*))?\}", template)
    for key, those in holes:
        if those:
            known[key] = those.split("|")
        elif key not in known:
            raise ValueError(f"{view.name} records {template!r}; of {{{key}}} nobody knows what it stands for.")
    used = list(dict.fromkeys(key for key, _ in holes))
    for combination in itertools.product(*(known[key] for key in used)):
        path = template
        for key, value in zip(used, combination, strict=True):
            path = re.sub(rf"\{{{key}(?::[^}}]*)?\}}", value.replace("\\", r"\\"), path)
        yield path


def settings(view: View) -> list[dict[str, Any]]:
    """Every setting of a figure's choices and switches, its defaults first; numbers stay at their defaults."""
    kinds = {"choice": lambda about: about["choices"], "switch": lambda _: [False, True]}
    options = [
        sorted(kinds[about["kind"]](about), key=lambda value: value != about["default"])
        if about["kind"] in kinds
        else [about["default"]]
        for about in view.controls.values()
    ]
    found = [dict(zip(view.controls, combination)) for combination in itertools.product(*options)]
    return found[:COMBINATIONS]


def spelt(path: str) -> str:
    """What two spellings of a question have in common: the order of its values does not matter, nor how they are quoted."""
    where, _, query = path.partition("?")
    values = sorted(f"{key}={value}" for key, value in parse_qsl(query, keep_blank_values=True))
    return f"{where}?{'&'.join(values)}" if values else where


def _stops(run: Run, steps: Sequence[int] | None) -> list[int]:
    known = run.probes
    if steps is None:
        return [int(known[i]) for i in curves.log_spaced(np.array(known), STOPS)] if len(known) > STOPS else known
    if missing := sorted(set(steps) - set(known)):
        raise RunError(f"{run.path.name} has no pictures at step {missing[0]}. It has: {', '.join(map(str, known))}.")
    return sorted(set(steps))


def _limits(wanted: Wanted) -> str:
    probes, stops, layers = wanted.run.probes, wanted.stops, tuple(wanted.layers)
    shown = f"all {len(stops)}" if len(stops) == len(probes) else f"{len(stops)} of {len(probes)}"
    depth = "the last layer" if layers == (-1,) else f"layers {', '.join(map(str, layers))}"
    numbers = ", ".join(str(image + 1) for image in wanted.images)
    which = f"image {numbers}" if len(wanted.images) == 1 else f"images {numbers}"
    return (
        f"It holds {shown} checkpoints and, where a view asks for one, {depth} and {which}; "
        "what needs a network to run is in the lab itself."
    )


def _still(status: str) -> str:
    """A file does not grow, whatever the run does."""
    return "stopped" if status == "running" else status


def _pages(views: Iterable[View]) -> list[dict[str, Any]]:
    used = {view.page for view in views}
    return [asdict(page) for page in PAGES if page.name in used]


@cache
def _plotly() -> str:
    import plotly

    return _packed("plotly", (Path(plotly.__file__).parent / "package_data" / "plotly.min.js").read_bytes())


def _packed(name: str, content: Any) -> str:
    """An answer as an element that the browser does not read until it is asked to."""
    data = content if isinstance(content, bytes) else json.dumps(content, allow_nan=False, default=float).encode()
    text = base64.b64encode(gzip.compress(data, 6, mtime=0)).decode()
    return f'<script type="text/plain" id="{name}">{text}</script>'


def _page(
    run: Run,
    views: list[View],
    order: list[View],
    scripts: list[modules.Module],
    start: Any,
    parts: list[str],
    limits: str,
) -> str:
    said = run.about
    facts = [str(said.get("recipe") or ""), f"{run.status}", f"made by DINO lab. {limits}"]
    about = html.escape(" · ".join(fact for fact in facts if fact))
    title = f"DINO lab: {run.name}"
    loader = (STATIC / "loader.js").read_text("utf-8").replace("export ", "")
    code = (
        f"{loader}\nconst MODULES = {_script([asdict(one) for one in scripts])};\nconst START = {_script(start)};\n"
        + ("const urls = addresses(MODULES);\nimport(urls.onefile).then(({ open }) => open({ ...START, urls }));\n")
    )
    body = "\n".join(_section(view) for view in order if view.page == EVERYWHERE and view.name != "transport")
    body += "\n".join(_laid_out(views))
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(title)}</title>
<link rel="icon" href="{modules.picture()}">
<style data-lab-theme>
{modules.theme()}
</style>
</head>
<body class="one-file">
<main>
<header class="lab-view top"><div class="brand">
<img src="{modules.picture()}" alt="" width="34" height="34">
<div><h1>{html.escape(run.name)}</h1><p>{about}</p></div><span class="quiet"></span>
</div></header>
{body}
<section class="lab-view" data-view="transport"></section>
<noscript><p>These pictures are drawn by the browser: allow JavaScript for this file. It asks nobody for anything.</p></noscript>
</main>
{chr(10).join(parts)}
<script type="module">
{code}</script>
</body>
</html>
"""


def _script(value: Any) -> str:
    """JSON that may stand in a script: nothing in it can end the element."""
    return (
        json.dumps(value, ensure_ascii=False)
        .replace("<", "\\u003c")
        .replace("\u2028", "\\u2028")
        .replace("\u2029", "\\u2029")
    )


def _section(view: View) -> str:
    return f'<section class="lab-view" data-view="{html.escape(view.name)}" aria-label="{html.escape(view.title)}"></section>'


def _laid_out(views: list[View]) -> Iterator[str]:
    """Pages from top to bottom, two halves that follow each other side by side, as in the lab."""
    names = {view.name for view in views}
    for page in PAGES:
        placed = [[view for view in row if view.name in names] for row in rows(page.name)]
        if not (placed := [row for row in placed if row]):
            continue
        yield f'<div class="lab-page lab-page-{page.name}">'
        for row in placed:
            yield f'<div class="one-row">{"".join(_section(view) for view in row)}</div>'
        yield "</div>"
