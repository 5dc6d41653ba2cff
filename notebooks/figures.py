"""How figures of the course look, and what each must have: title, axes with units, legend, what to look at."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#8C6BB1")
"""Okabe and Ito's palette in an order that keeps neighbours apart in luminance: told apart by colour-blind readers."""


def style() -> None:
    """The course's look, and small static figures."""
    import matplotlib
    from cycler import cycler

    if os.environ.get("MPLBACKEND") is None and not _in_notebook():
        matplotlib.use("agg")
    matplotlib.rcParams.update(
        {
            "figure.dpi": 84,
            "figure.figsize": (7.2, 3.6),
            "figure.constrained_layout.use": True,
            "axes.prop_cycle": cycler(color=COLOURS),
            "axes.grid": True,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.titlesize": 11,
            "axes.titlelocation": "left",
            "grid.alpha": 0.3,
            "legend.frameon": False,
            "image.interpolation": "nearest",
        }
    )


def _in_notebook() -> bool:
    try:
        from IPython import get_ipython
    except ImportError:
        return False
    return get_ipython() is not None


def look(figure: Figure, shows: str, at: str) -> None:
    """Show a figure with one sentence of what it shows and one of what to look at.

    Raises `ValueError` for a figure that lacks a title, the name of an axis, or a legend of several lines."""
    import matplotlib.pyplot as plt

    legends = [axes.get_legend() for axes in figure.axes] + figure.legends
    explained = {text.get_text() for legend in legends if legend for text in legend.get_texts()}
    for axes in figure.axes:
        if axes.get_label() != "<colorbar>":
            _complete(axes, explained)
    words = f"**Shown:** {shows}  \n**Look at:** {at}"
    if _in_notebook():
        from IPython.display import Image, Markdown, display

        display(Image(data=png(figure)), Markdown(words))
    else:
        figure.canvas.draw()
        print(words)
    plt.close(figure)


def png(figure: Figure) -> bytes:
    """The figure with 256 colours of its own: a third of the bytes, and nobody sees it."""
    from PIL import Image

    drawn, small = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", facecolor="white")
    Image.open(drawn).convert("RGB").quantize(256).save(small, format="png", optimize=True)
    return small.getvalue()


def _complete(axes: Axes, explained: set[str]) -> None:
    if not axes.axison and not axes.images and not axes.lines:
        return
    missing = []
    if not any(axes.get_title(loc=place) for place in ("left", "center", "right")):
        missing.append("a title")
    if axes.axison and not axes.images:
        missing += [
            f"a name of its {side} axis" for side in "xy" if not getattr(axes, f"get_{side}label")()
        ]
    labels = axes.get_legend_handles_labels()[1]
    if len(labels) > 1 and not explained.issuperset(labels):
        missing.append("a legend")
    if missing:
        name = axes.get_title(loc="left") or axes.get_title() or "one without a title"
        raise ValueError(f"the axes {name!r} lack {' and '.join(missing)}.")
