"""`show`: a view of the lab in the notebook, live where it can be, else a static figure of the same numbers."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

import lab
from notebooks.figures import look


def show(
    view: str, run: lab.Run, *, step: int | None = None, image: int | None = None, **controls: Any
) -> Any:
    """The lab's widget where a notebook can show it; in a static page, or without widgets, a figure.

    Widgets of one run look at one image: a view that names none leaves alone what another one shows."""
    if not os.environ.get("DINO_COURSE_STATIC") and hasattr(lab, "show"):
        asked = controls if image is None else {"image": image, **controls}
        return lab.show(view, run=run, step=step, **asked)
    if view not in STATIC:
        raise ValueError(f"no view {view!r} as a figure. There are: {', '.join(STATIC)}.")
    return STATIC[view](run, step=step, image=image or 0, **controls)


def figure(
    rows: int = 1,
    columns: int = 1,
    width: float = 7.2,
    height: float = 3.6,
    widths: Sequence[float] | None = None,
) -> tuple[Any, Any]:
    """A figure that is shown by `look` and not by its cell; `width` and `height` in inches, `widths` of columns as shares."""
    import matplotlib.pyplot as plt

    drawn, axes = plt.subplots(rows, columns, figsize=(width, height), width_ratios=widths)
    plt.close(drawn)
    return drawn, axes


def mostly_object(run: lab.Run) -> np.ndarray:
    """Which patches of the probe images are more than half covered by the object: bool (I N)."""
    (rows, columns), masks = run.probe().grid, run.probe_images.masks
    if masks is None:
        raise ValueError(f"{run.name} has no masks of objects; use a run on shapes.")
    tiles = masks.astype(bool).reshape(len(masks), rows, masks.shape[1] // rows, columns, -1)
    return tiles.mean(axis=(2, 4)).reshape(len(masks), -1) > 0.5


def loss(run: lab.Run, *, step: int | None, image: int) -> None:
    """The loss and what it is made of."""
    table = run.metrics()
    drawn, axes = figure()
    names = {
        "loss/dino": "loss",
        "teacher/entropy": "H(teacher)",
        "kl": "KL(teacher || student)",
    }
    for name, label in names.items():
        if name in table:
            line = table[["step", name]].dropna()
            axes.plot(line["step"], line[name], label=label, marker="." if len(line) < 3 else None)
    axes.set(
        title=f"The loss of {run.name} and its two parts", xlabel="training step", ylabel="nats"
    )
    if axes.lines:
        axes.legend()
    look(drawn, "the cross-entropy between views, and the entropy and the divergence that add up to it.",
         "whether the divergence stays away from 0: where it is 0, nothing is left to learn.")  # fmt: skip


def collapse(run: lab.Run, *, step: int | None, image: int) -> None:
    """Entropy, divergence and information, in units of their largest value."""
    table = run.metrics()
    whole = np.log(run.config.head.prototypes or 1)
    drawn, axes = figure()
    names = {
        "teacher/entropy": "H: how undecided about each image",
        "target/mean_entropy": "H of the mean: how widely prototypes are used",
        "kl": "KL: what the student has to learn",
        "teacher/information": "information about the image",
    }
    for name, label in names.items():
        if name in table:
            line = table[["step", name]].dropna()
            axes.plot(line["step"], line[name] / whole, label=label)
    axes.set(
        title=f"Collapse or not: {run.name}",
        xlabel="training step",
        ylabel=f"share of ln K = {whole:.2f} nats",
    )
    axes.set(
        ylim=(-0.02, 1.25), yticks=np.arange(0, 1.1, 0.2)
    )  # the legend lies above what shares can be
    if axes.lines:
        axes.legend(fontsize=8, ncols=2, loc="upper left")
    look(drawn, "the numbers of notebook 03 in a real run, of the batch of each logged step.",
         "whether KL and information stay away from 0; H alone says nothing.")  # fmt: skip


def emergence(run: lab.Run, *, step: int | None, image: int) -> None:
    """What nobody asked the network to learn, beside what costs no learning."""
    table, baselines = run.metrics(), run.about["baselines"]
    drawn, axes = figure(1, 3, width=10, height=3)
    panels = {
        "k-NN accuracy": (("knn/teacher", "knn/student"), "knn_raw_pixels", "raw pixels"),
        "First component on the object": (("pca_iou",), "pca_iou_untrained", "untrained"),
        "Best attention head": (("jaccard/best_head",), "jaccard_centred_box", "centred box"),
    }
    for place, (title, (names, baseline, word)) in zip(axes, panels.items()):
        for name in [name for name in names if name in table]:
            line = table[["step", name]].dropna()
            place.plot(line["step"], 100 * line[name], marker="o", markersize=2, label=name)
        if baseline in baselines:
            place.axhline(100 * baselines[baseline], color="grey", linestyle=":", label=word)
        place.set(title=title, xlabel="training step", ylabel="%")
        place.legend(fontsize=8)
    look(drawn, "three things nobody asked the network to learn, in percent, measured with labels and masks it never saw.",
         "the step at which each curve passes its dotted line, which costs no learning.")  # fmt: skip


def attention(run: lab.Run, *, step: int | None, image: int, head: int | None = None) -> None:
    """One image and what each head of the last layer looks at."""
    probe = run.probe(step)
    picture = run.probe_images.images[image].transpose(1, 2, 0)
    maps = probe.attention[image].astype(np.float32)
    chosen = range(len(maps)) if head is None else [head]
    drawn, axes = figure(1, 1 + len(chosen), width=1.5 * (1 + len(chosen)), height=1.9)
    axes[0].imshow(picture)
    axes[0].set_title("image")
    for place, index in zip(axes[1:], chosen):
        place.imshow(maps[index].reshape(probe.grid), cmap="viridis", vmin=0)
        place.set_title(f"head {index}")
    for place in axes:
        place.axis("off")
    look(drawn, f"the class token's attention over the patches, last layer, step {probe.step}; each map on its own scale.",
         "which heads light up the object, and which the background.")  # fmt: skip


def patches(run: lab.Run, *, step: int | None, image: int, patch: int | None = None) -> None:
    """One image, its three principal components as colours, and the similarity of one patch to the others."""
    from lab.analysis import pca, similarity

    probe = run.probe(step)
    features = probe.patches[image].astype(np.float32)
    patch = len(features) // 2 + probe.grid[1] // 2 if patch is None else patch
    scores = pca.project(features, 3)
    colours = 1 / (1 + np.exp(-2 * scores / np.maximum(scores.std(axis=0), 1e-9)))
    drawn, axes = figure(1, 3, width=6.4, height=2.5)
    axes[0].imshow(run.probe_images.images[image].transpose(1, 2, 0))
    axes[0].set_title("image")
    axes[1].imshow(colours.reshape(*probe.grid, 3))
    axes[1].set_title("three components")
    shown = axes[2].imshow(
        similarity.to_patch(features, patch).reshape(probe.grid), cmap="cividis", vmin=-0.2, vmax=1
    )
    axes[2].plot(patch % probe.grid[1], patch // probe.grid[1], "rx")
    axes[2].set_title("cosine to the patch x")
    drawn.colorbar(shown, ax=axes[2], fraction=0.046, label="cosine")
    for place in axes:
        place.axis("off")
    look(drawn, f"the patch features of one image at step {probe.step}: components as red, green, blue; and one patch against all.",
         "whether patches of one part share a colour, and whether what is like the marked patch is the same part.")  # fmt: skip


def gram(run: lab.Run, *, step: int | None, image: int, anchor: int | None = None) -> None:
    """The Gram matrix of one image now, at an earlier step, and their difference."""
    from lab.analysis.gram import matrix

    probe = run.probe(step)
    earlier = run.probe(run.probes[len(run.probes) // 2] if anchor is None else anchor)
    now, then = (matrix(p.patches[image].astype(np.float32)) for p in (probe, earlier))
    drawn, axes = figure(1, 3, width=7.2, height=2.5)
    shown = (
        ("step", probe.step, now),
        ("anchor, step", earlier.step, then),
        ("difference", "", now - then),
    )
    for place, (word, number, values) in zip(axes, shown):
        low, ramp = (-1.0, "RdBu_r") if word == "difference" else (-0.2, "cividis")
        picture = place.imshow(values, cmap=ramp, vmin=low, vmax=1)
        place.set(title=f"{word} {number}", xlabel="patch")
        drawn.colorbar(picture, ax=place, fraction=0.046)
    axes[0].set_ylabel("patch")
    drawn.suptitle(f"Cosines between the patches of image {image}, {run.name}", fontsize=10)
    look(drawn, "cosines between all patches of one image now and at an anchor, and what has changed (red: more alike than then).",
         "whether the difference follows parts of the image, or everything has become more alike.")  # fmt: skip


STATIC = {
    "loss": loss,
    "collapse": collapse,
    "emergence": emergence,
    "attention": attention,
    "patches": patches,
    "gram": gram,
}
