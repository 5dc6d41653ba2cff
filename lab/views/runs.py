"""What is asked of runs and of the images they are probed with."""

from __future__ import annotations

import dataclasses
from typing import Literal

from lab import frames, local, views
from lab.answers import House, Reply, answers, stamp
from lab.run import Network


@answers("views")
def catalogue(house: House) -> Reply:
    return Reply(views.said)


@answers("runs")
def runs(house: House) -> Reply:
    """All runs of the folders, newest first."""
    content = {"runs": house.shelf.listing(), "folders": [folder.name for folder in house.shelf.folders]}
    return Reply(lambda: content, str(content))


@answers("run/{run}/since")
def since(house: House, run: str, cursor: str = "") -> Reply:
    """What is new since a cursor (`lab.follow`)."""
    news = house.shelf.run(run).since(cursor)
    return Reply(lambda: news if news["changed"] else None)


@answers("run/{run}/within")
def within(house: House, run: str, first: int, last: int) -> Reply:
    """The curves between two steps as they were logged: what zooming in shows (`lab.follow`)."""
    return Reply(lambda: house.shelf.run(run).within(first, last))


@answers("run/{run}/config")
def config(house: House, run: str) -> Reply:
    """Exactly what runs."""
    return Reply(lambda: dataclasses.asdict(house.shelf.run(run).config))


@answers("run/{run}/place")
def place(house: House, run: str) -> Reply:
    """What `lab.find` takes for this run where the lab was started: its name, or its folder where that leads elsewhere."""
    path = house.shelf.run(run).path
    return Reply(lambda: {"place": path.name if house.read_only or local.leads_to(path.name, path) else str(path)})


@answers("run/{run}/images")
def images(house: House, run: str) -> Reply:
    """The probe images, labels and masks."""
    found = house.shelf.run(run)
    key = f"{run} {stamp(found.path / 'probes' / 'images.safetensors')}"
    return Reply(lambda: frames.images(found.probe_images), key)


@answers("run/{run}/probe/{step}/attention")
def attention(house: House, run: str, step: int, layer: int = -1) -> Reply:
    """Class-token attention of all heads of a layer: from the probe where it holds that layer, else computed."""
    found = house.shelf.run(run)
    probe = found.probe(step)

    def made() -> bytes:
        last = layer == -1 or layer == (found.config.backbone.depth - 1)
        if last and "teacher.attention" in probe:
            return frames.attention(probe.attention, probe.grid, step, layer)
        return frames.attention(house.worker.attention(found, step, layer), probe.grid, step, layer)

    return Reply(made, f"{run} {stamp(probe.file)} {layer}")


@answers("run/{run}/probe/{step}/features")
def features(house: House, run: str, step: int, network: Network = "teacher") -> Reply:
    """Patch features in eight bits."""
    probe = house.shelf.run(run).probe(step)
    return Reply(lambda: frames.features(probe, network), f"{run} {stamp(probe.file)} {network}")


@answers("run/{run}/probe/{step}/pca")
def pca(
    house: House,
    run: str,
    step: int,
    anchor: int | None = None,
    mode: Literal["joint", "image"] = "joint",
    foreground: bool = False,
    network: Network = "teacher",
) -> Reply:
    """Three principal components, turned towards those of the checkpoint `anchor`."""
    found = house.shelf.run(run)
    against = step if anchor is None else anchor
    stamps = stamp(*(found.probe(s).file for s in (step, against)))

    def made() -> bytes:
        return frames.components(found, step, against, mode, only_foreground=foreground, network=network)

    return Reply(made, f"{run} {stamps} {mode} {foreground} {network}")
