"""How far dense features have gone from an earlier checkpoint's, at every stop; and dense against global quality."""

from __future__ import annotations

from functools import lru_cache
from html import escape
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lab.analysis import gram
from lab.answers import House, Reply, answers, stamp
from lab.run import Network, Probe, Run
from lab.views.figures import figure

IMAGES = 8
"""Probe images that the curves are means of."""
WORK = 4096 * 1024
"""Numbers in one image's features, beyond which fewer images are read."""
LOOKS = [
    ("circle", "solid"), ("square", "dot"), ("diamond", "dash"), ("triangle-up", "dashdot"), ("x", "longdash"),
    ("star", "longdashdot"),
]  # fmt: skip
"""Of the run and of those laid over it, as on the other pages (laid.js)."""
RIM = "#d55e00"
Dense = Literal["pca_iou", "jaccard/best_head"]


@answers("run/{run}/gram")
def through_training(house: House, run: str, anchor: int, network: Network = "teacher") -> Reply:
    """At every stop, means over the probe images: `distance` of the Gram matrix from the anchor's, `cosine` between patches,
    `contrast` of object and background where there are masks.  `images` says how many."""
    found = house.shelf.run(run)
    steps = found.probes
    files = [found.probe(step).file for step in steps]
    against = found.probe(anchor).file
    masks = _masks(found)
    key = f"{run} {network} {stamp(against, *files)}"

    def made() -> dict[str, Any]:
        rows = [_stop(str(file), stamp(file), str(against), stamp(against), network, masks) for file in files]
        names = ("distance", "cosine", "contrast")
        values = {name: [_finite(row[i]) for row in rows] for i, name in enumerate(names)}
        return {"steps": steps, "images": rows[0][3] if rows else 0, "anchor": anchor, **values}

    return Reply(made, key)


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _masks(run: Run) -> str:
    """Where the masks are; nothing where the run has none."""
    return str(run.path) if run.probe_images.masks is not None else ""


@lru_cache(maxsize=512)
def _stop(file: str, at: str, anchor: str, since: str, network: Network, masks: str) -> tuple[float, float, float, int]:
    """Distance, cosine, contrast and the number of images of one stop; the files' stamps make the key."""
    probe = Probe(Path(file))
    patches = probe.read(f"{network}.patches")
    count = max(1, min(IMAGES, len(patches), IMAGES * WORK // max(1, patches[0].size)))
    ours = patches[:count].astype(np.float64)
    theirs = Probe(Path(anchor)).read(f"{network}.patches")[:count].astype(np.float64)
    same = ours.shape[:2] == theirs.shape[:2]
    distance = float(gram.distance(ours, theirs).mean()) if same else float("nan")
    return distance, float(np.mean([_cosine(image) for image in ours])), _contrast(ours, probe.grid, masks), count


def _cosine(patches: np.ndarray) -> float:
    """Mean over all pairs of different patches."""
    rows = gram.normalised(patches)
    total = rows.sum(axis=0)
    return float((total @ total - (rows**2).sum()) / max(len(rows) * (len(rows) - 1), 1))


def _contrast(patches: np.ndarray, grid: tuple[int, int], run: str) -> float:
    if not run:
        return float("nan")
    masks = Run(run).probe_images.masks
    assert masks is not None
    found = [gram.contrast(image, gram.on_patches(mask > 0, grid)) for image, mask in zip(patches, masks, strict=False)]
    known = [value for value in found if np.isfinite(value)]
    return float(np.mean(known)) if known else float("nan")


@figure(
    page="gram",
    place=40,
    title="Dense against global",
    shows="Each dot is one evaluation: right, the class token tells classes better; up, patches find objects "
    "better; runs laid over have symbols of their own, and what Gram anchoring held has a rim.",
    look="Training first goes up and right. Dense decay turns the path down while it still goes right: an anchor's time.",
    needs="an evaluation that logged both: labels for k-NN, masks for the rest",
)
def dense_against_global(run: Run, *, dense: Dense = "pca_iou", beside: tuple[Run, ...] = ()) -> Any:
    """k-NN accuracy of the teacher against a dense metric, joined in the order of training."""
    import plotly.graph_objects as go

    titles = {
        "pca_iou": "object in the first component (IoU)",
        "jaccard/best_head": "attention on the object (Jaccard)",
    }
    drawn, last, anchored = go.Figure(), 0, False
    for one, (symbol, dash) in zip((run, *beside), LOOKS):
        table = one.metrics()
        if not {"knn/teacher", dense} <= set(table.columns):
            continue
        rows = table[["step", "knn/teacher", dense]].dropna()
        config = one.config
        held = [config.phase(config.phase_before(step)).gram.weight > 0 for step in rows["step"]]
        rims = {
            "color": [RIM if on else "rgba(134,140,150,.8)" for on in held],
            "width": [2 if on else 1 for on in held],
        }
        last, anchored = max(last, *rows["step"], 0), anchored or any(held)
        drawn.add_scatter(
            x=rows["knn/teacher"], y=rows[dense], mode="lines+markers", name=escape(one.name), text=rows["step"],
            line={"color": "rgba(134,140,150,.6)", "width": 1.2, "dash": dash},
            hovertemplate=f"{escape(one.name)}, step %{{text}}<br>k-NN %{{x:.1%}}, dense %{{y:.1%}}<extra></extra>",
            marker={"color": np.log10(rows["step"] + 1), "coloraxis": "coloraxis", "size": 9, "symbol": symbol, "line": rims},
        )  # fmt: skip
    if not drawn.data:
        drawn.update_layout(title=f"this run logs no {dense} beside k-NN accuracy")
    if anchored:
        drawn.add_scatter(x=[None], y=[None], mode="markers", name="Gram anchoring", marker={
            "symbol": "circle-open", "size": 9, "color": RIM, "line": {"width": 2, "color": RIM}})  # fmt: skip
    share = {"tickformat": ".1~%", "autorangeoptions": {"clipmin": 0, "clipmax": 1}}  # around one dot plotly shows ±1
    drawn.update_xaxes(title="k-NN accuracy, teacher (share)", **share)
    drawn.update_yaxes(title=titles.get(dense, f"{dense} (share)"), **share)
    legend = {"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom"}
    drawn.update_layout(coloraxis={"colorscale": "Cividis", "colorbar": _steps(last)}, legend=legend)
    return drawn


def _steps(last: int) -> dict[str, Any]:
    """A colour bar with steps at powers of ten."""
    powers = range(int(np.log10(max(int(last), 1))) + 1)
    return {
        "title": "step",
        "thickness": 16,
        "tickvals": [np.log10(10**p + 1) for p in powers],
        "ticktext": [f"{10**p:,}" for p in powers],
    }
