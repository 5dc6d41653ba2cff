"""What a view shows, drawn by Python: for pages where no script runs (GitHub, nbconvert), and for films.

    @still("attention")
    def attention(canvas: Figure, run: Run, step: int, *, image: int = 0) -> None: ...

One function a view; it draws with matplotlib on the figure it is given, from `lab.analysis`, at one step of a run.  Keyword
arguments are the state that a link keeps.  Colours are told apart by colour-blind eyes, and mean the same at every step: a film may
not flicker."""

from __future__ import annotations

import inspect
import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from dino_core.errors import RunError
from dino_core.rundir import read
from lab.analysis import curves, gram, pca, similarity
from lab.run import Probe, Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BRIGHTEST = 6.0
"""The brightest colour of attention is this many times an equal share, as in the page."""
OKABE_ITO = ("#0072b2", "#d98a00", "#00875f", "#b8578d", "#56b4e9")


@dataclass(frozen=True)
class Still:
    draw: Callable[..., None]
    size: tuple[float, float]
    """Inches."""


STILLS: dict[str, Still] = {}


def still(name: str, size: tuple[float, float]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register how a view is drawn."""

    def register(draw: Callable[..., None]) -> Callable[..., None]:
        STILLS[name] = Still(draw, size)
        return draw

    return register


def drawn(name: str, run: Run, step: int | None = None, **state: Any) -> Figure:
    """A view as a matplotlib figure at a step, the last by default; RunError for a view that Python does not draw."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if name not in STILLS:
        raise RunError(f"Python draws no picture of {name!r}. It draws: {', '.join(STILLS)}.")
    from lab.views import catalogue

    wanted, view = STILLS[name], catalogue()[name]
    at = nearest(run.probes, step)
    figure = Figure(figsize=wanted.size, layout="constrained", dpi=110)
    FigureCanvasAgg(figure)
    accepted = inspect.signature(wanted.draw).parameters
    wanted.draw(figure, run, at, **{key: value for key, value in state.items() if key in accepted})
    when = "" if at is None else f", step {at}"
    figure.suptitle(f"{view.title}: {run.path.name}{when}", fontsize=10, fontweight="bold", x=0.01, ha="left")
    return figure


def png(name: str, run: Run, step: int | None = None, **state: Any) -> bytes:
    """The same as the bytes of a PNG."""
    file = io.BytesIO()
    drawn(name, run, step, **state).savefig(file, format="png")
    return file.getvalue()


def nearest(steps: list[int], step: int | None) -> int | None:
    """The step of a list nearest to another; the last one for None; None where there is no step."""
    if not steps or step is None:
        return steps[-1] if steps else None
    return min(steps, key=lambda known: (abs(known - step), known))


@still("attention", (8.4, 2.6))
def attention(figure: Figure, run: Run, step: int, *, image: int = 0) -> None:
    """The image, then the class token's attention a head, in multiples of an equal share."""
    probe, picked = run.probe(step), shown(run, image)
    maps = probe.attention[picked].astype(np.float32).reshape(-1, *probe.grid)
    axes = figure.subplots(1, len(maps) + 1)
    image_on(axes[0], run, picked)
    for head, (axis, weights) in enumerate(zip(axes[1:], maps), 1):
        drawn = axis.imshow(weights / weights.mean(), cmap="magma", vmin=0, vmax=BRIGHTEST)
        bare(axis, f"head {head}")
    figure.colorbar(drawn, ax=axes[1:], shrink=0.8, label="× an equal share")


@still("patches", (8.4, 2.8))
def patches(figure: Figure, run: Run, step: int, *, image: int = 0, patch: int | None = None) -> None:
    """The image, three principal components of all images' patches as colours, and cosines to one patch."""
    probe, picked = run.probe(step), shown(run, image)
    scores = whitened(str(probe.file), probe.file.stat().st_mtime_ns)
    last = run.probe(run.probes[-1]).file
    scores, _ = pca.align(scores, whitened(str(last), last.stat().st_mtime_ns))
    centre = (probe.grid[0] // 2) * probe.grid[1] + probe.grid[1] // 2
    query = centre if patch is None else min(int(patch), probe.grid[0] * probe.grid[1] - 1)
    cosines = similarity.to_patch(probe.patches.astype(np.float32), query, picked)[picked]
    axes = figure.subplots(1, 3)
    image_on(axes[0], run, picked)
    axes[1].imshow((1 / (1 + np.exp(-1.3 * scores[picked]))).reshape(*probe.grid, 3))
    bare(axes[1], "three components")
    similar = axes[2].imshow(cosines.reshape(probe.grid), cmap="cividis", vmin=-0.2, vmax=1)
    axes[2].plot(query % probe.grid[1], query // probe.grid[1], "s", mfc="none", mec="white")
    bare(axes[2], f"like patch {query + 1}")
    figure.colorbar(similar, ax=axes[2], shrink=0.8, label="cosine")


@lru_cache(maxsize=64)
def whitened(file: str, stamp: int) -> np.ndarray:
    """Joint scores of a probe's patches in units of their spread; the stamp makes the key."""
    from pathlib import Path

    scores = pca.project(Probe(Path(file)).patches.astype(np.float32), 3)
    spread = scores.std(axis=(0, 1))
    return scores / np.maximum(spread, 1e-6 * max(float(spread.max()), 1e-12))


@still("gram", (7.4, 3.4))
def gram_matrix(figure: Figure, run: Run, step: int, *, image: int = 0) -> None:
    """The image, and the cosine of every pair of its patches."""
    probe, picked = run.probe(step), shown(run, image)
    left, right = figure.subplots(1, 2)
    image_on(left, run, picked)
    matrix = gram.matrix(probe.patches[picked].astype(np.float32))
    drawn = right.imshow(matrix, cmap="cividis", vmin=-0.2, vmax=1)
    right.set(xlabel="patch", ylabel="patch", title="cosine of patches")
    figure.colorbar(drawn, ax=right, shrink=0.8, label="cosine")


CURVES = {
    "loss": (("loss", "teacher/entropy", "kl"), "nats"),
    "emergence": (("knn/teacher", "knn/student", "jaccard/heads_together", "jaccard/best_head", "pca_iou"), "share"),
    "collapse": (("target/mean_entropy", "teacher/mean_entropy", "teacher/entropy"), "nats"),
    "centre": (("centre/norm", "prototypes/perplexity"), ""),
    "schedules": (("lr", "momentum", "teacher_temperature"), ""),
}
"""The main curves of views that draw them, and their unit; curves without a common one stand below one another."""
DOTS = 40
"""Points of a curve up to which each has a dot."""


def _curves(name: str) -> None:
    names, unit = CURVES[name]

    @still(name, (7.4, 3.0))
    def lines(figure: Figure, run: Run, step: int | None, *, until: int | None = None) -> None:
        table = run.metrics()
        logged = [column for column in names if column in table and table[column].notna().any()]
        rows = figure.subplots(1 if unit else max(len(logged), 1), 1, sharex=True, squeeze=False)[:, 0]
        for place, (colour, column) in enumerate(zip(OKABE_ITO, logged)):
            axis, title = rows[0 if unit else place], read.describe(run.about, column)["title"]
            values = table[["step", column]].dropna()
            x, y = values["step"].to_numpy(), values[column].to_numpy(dtype=float)
            keep = curves.decimate(y)
            now = keep if until is None else keep[x[keep] <= until]
            marker = "o" if len(now) <= DOTS else None  # of one point a line shows nothing
            axis.plot(x[now], y[now], label=title, color=colour, lw=1.4, marker=marker, ms=3)
            axis.update_datalim(np.column_stack([x, y])[np.isfinite(y)])  # the axes of a film stay where they are
        for axis in rows:
            axis.autoscale_view()
            axis.set_ylabel(unit)
            if logged:  # over no curve, and still in a film
                axis.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0.0)
        rows[-1].set_xlabel("training step")
        if not logged:
            rows[0].set_title("none of its values was logged yet", fontsize=9)


for _name in CURVES:
    _curves(_name)


def shown(run: Run, image: int) -> int:
    """An image that there is."""
    return min(max(int(image), 0), len(run.probe_images.images) - 1)


def image_on(axis: Axes, run: Run, image: int) -> None:
    axis.imshow(run.probe_images.images[image].transpose(1, 2, 0))
    bare(axis, f"image {image + 1}")


def bare(axis: Axes, title: str) -> None:
    axis.set(xticks=[], yticks=[])
    axis.set_title(title, fontsize=9)
