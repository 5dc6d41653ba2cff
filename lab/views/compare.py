"""What is asked when networks are compared: components of an image, and how alike layers and checkpoints are."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from dino_core.errors import RunError
from lab import sight
from lab.analysis import cka, pca
from lab.answers import House, Reply, answers, stamp
from lab.views.sight import sent

MOST = 16
"""Checkpoints in one matrix, spread over those there are; first and last among them."""


@answers("compare/pca")
def components(house: House, source: str, images: str, image: int = 0, size: int = 0) -> Reply:
    """Three components of one image's patches in a network's own basis: `scores` (N 3) in units of their spread."""
    network, found = sight.source(house, source), sight.shown(house, images)

    def made() -> bytes:
        tensors, said = sight.features(house, network, found, size, image)
        rows = tensors["patches"].astype(np.float32) * tensors["scale"][..., None]
        basis = pca.fit(rows, 3)
        scores = pca.project(rows[0], 3, basis)
        first = scores[:, 0]
        if first[pca.border((said["rows"], said["columns"]))].mean() > first.mean():
            scores = scores * [-1, 1, 1]  # the border is background, and background is low
        spread = np.maximum(scores.std(0), 1e-9)
        return sent(
            {"scores": (scores / spread).astype(np.float32)}, {**said, "explained": basis.explained.round(4).tolist()}
        )

    return Reply(made, f"{network.stamp} {found.key}")


@answers("compare/layers")
def layers(house: House, source: str, against: str, images: str, size: int = 0) -> Reply:
    """Linear CKA between the layers of two networks, over patches pooled to 4 × 4 cells an image."""
    one, two, found = sight.source(house, source), sight.source(house, against), sight.shown(house, images)

    def made() -> dict[str, Any]:
        ours, theirs = (sight.layers(house, network, found, size) for network in (one, two))
        return {
            "matrix": _plain(cka.matrix(list(ours), list(theirs))), "rows": _named(len(ours)), "columns": _named(len(theirs)),
            "count": ours.shape[1],
        }  # fmt: skip

    return Reply(made, f"{one.stamp} {two.stamp} {found.key}")


@answers("run/{run}/cka")
def checkpoints(house: House, run: str) -> Reply:
    """Linear CKA between the last layer's patches at the run's probes."""
    found = house.shelf.run(run)
    if not found.probes:
        raise RunError("the run has no probes yet.")
    steps = spread(found.probes, MOST)

    def made() -> dict[str, Any]:
        probes = [found.probe(step) for step in steps]
        rows = [cka.pooled(probe.patches.astype(np.float32), probe.grid) for probe in probes]
        if len({len(one) for one in rows}) > 1:
            raise RunError("the run's probes are of different images; they can't be compared.")
        names = [str(step) for step in steps]
        return {"matrix": _plain(cka.matrix(rows, rows)), "rows": names, "columns": names, "count": len(rows[0])}

    return Reply(made, f"{run} {stamp(*(found.probe(step).file for step in steps))}")


def spread(steps: list[int], most: int) -> list[int]:
    """So many of some steps, evenly among them, first and last kept."""
    if len(steps) <= most:
        return steps
    return [steps[round(i * (len(steps) - 1) / (most - 1))] for i in range(most)]


def _named(count: int) -> list[str]:
    """Of M tokens streams: what goes into the first block, and what comes out of each."""
    return ["input", *(str(layer) for layer in range(1, count))]


def _plain(matrix: np.ndarray) -> list[list[float | None]]:
    return [[round(value, 4) if math.isfinite(value) else None for value in row] for row in matrix.tolist()]
