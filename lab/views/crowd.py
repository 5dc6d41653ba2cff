"""What the pages of prototypes and embeddings ask of `lab.crowd`.  What is not there yet is answered with how far it is."""

from __future__ import annotations

import json
from typing import Any, Literal

import numpy as np
from safetensors.numpy import save

from dino_core.errors import RunError
from lab import crowd
from lab.analysis import layout as plane
from lab.analysis import prototypes, similarity
from lab.answers import House, Reply, answers, stamp
from lab.background import Waiting, background
from lab.crowd import Tokens
from lab.run import Run

Method = Literal["pca", "umap", "tsne"]
SHOWN = 16
"""Prototypes of which one image's shares are drawn through training."""


def packed(found: crowd.Seen, **said: Any) -> bytes:
    return save({name: np.ascontiguousarray(value) for name, value in found.items()}, {"said": json.dumps(said)})


def reply(found: crowd.Seen | Waiting, key: str, **said: Any) -> Reply:
    """What is there, or how far it is; only the first can be kept by who asked."""
    if isinstance(found, Waiting):
        waiting = found.said()
        return Reply(lambda: waiting)
    return Reply(lambda: packed(found, **said), key)


@answers("run/{run}/crowd/pictures")
def pictures(house: House, run: str, count: int = 0) -> Reply:
    """Small pictures and labels."""
    found = house.shelf.run(run)
    crowd.checked(house, found, count)
    return reply(
        crowd.pictures(house, found, count), f"{run} {count} {stamp(found.path / 'probes' / 'images.safetensors')}"
    )


@answers("run/{run}/crowd/{step}/answers")
def said_of(house: House, run: str, step: int, count: int = 0) -> Reply:
    """The first prototypes of every image's answer, and of every patch's where patches have a head of their own."""
    found = house.shelf.run(run)
    crowd.checked(house, found, count)
    at = crowd.stop_of(found, step, count)
    seen = crowd.seen(house, found, at, count)
    names = ("top", "probability", "entropy", "patch_top", "patch_probability", "twins", "twin_cosine")
    kept = seen if isinstance(seen, Waiting) else {name: seen[name] for name in names if name in seen}
    grid = [0, 0] if isinstance(seen, Waiting) else seen["grid"].tolist()
    return reply(
        kept, _key(found, at, count), step=at, temperature=crowd.temperature(found, at), centred=crowd.centred(found),
        prototypes=found.config.head.prototypes, patch_prototypes=_patch_prototypes(found), rows=grid[0], columns=grid[1],
    )  # fmt: skip


def _patch_prototypes(run: Run) -> int | None:
    head = run.config.patch_head
    return None if head is None else head.prototypes


def _key(run: Run, step: int, count: int) -> str:
    if count == 0:
        return f"{run.path} {stamp(run.probe(step).file)} {crowd.temperature(run, step)} {run.checkpoints}"
    return str(crowd.question(run, step, count)["entry"])


@answers("run/{run}/crowd/{step}/loss")
def loss(house: House, run: str, step: int, count: int = 0) -> Reply:
    """Each image's own `loss` (M), in nats, at the last checkpoint not after the step."""
    found = house.shelf.run(run)
    crowd.checked(house, found, count)
    at, seen = crowd.losses(house, found, step, count)
    if isinstance(seen, Waiting):
        return reply(seen, "")
    return reply({"loss": seen["loss"]}, f"{run} {at} {count} loss", step=at, student=bool(seen["student"][0]))


@answers("run/{run}/crowd/{step}/vectors")
def vectors(house: House, run: str, step: int, count: int = 0, tokens: Tokens = "cls") -> Reply:
    """One row a point in eight bits, from which neighbours are found in the browser."""
    found = house.shelf.run(run)
    crowd.checked(house, found, count)
    at = crowd.stop_of(found, step, count)
    seen = crowd.seen(house, found, at, count)
    if isinstance(seen, Waiting):
        return reply(seen, "")

    def made() -> bytes:
        integers, scale = similarity.quantised(crowd.rows_of(seen, tokens))
        return packed({"rows": integers, "scale": scale}, step=at)

    return Reply(made, f"{_key(found, at, count)} {tokens}")


@answers("run/{run}/crowd/{step}/layout")
def layout(
    house: House, run: str, step: int, anchor: int, count: int = 0, tokens: Tokens = "cls", method: Method = "pca"
) -> Reply:
    """`xy` (P 2) of every point, with its `image` and, of patches, its `place` on the grid; turned towards the anchor's."""
    found = house.shelf.run(run)
    crowd.checked(house, found, count)
    at, to = crowd.stop_of(found, step, count), crowd.stop_of(found, anchor, count)
    seen = crowd.seen(house, found, at, count)
    if isinstance(seen, Waiting):
        return reply(seen, "")
    if method == "pca":
        theirs = crowd.seen(house, found, to, count)
        if isinstance(theirs, Waiting):
            return reply(theirs, "")
        return Reply(
            lambda: packed(points(_principal(seen, theirs, tokens), seen, tokens), step=at, anchor=to),
            f"{_key(found, at, count)} {_key(found, to, count)} {tokens}",
        )
    most = 12 if count <= crowd.MOST_LOSSES else 2  # of very many images, no checkpoint between is laid out
    stops = crowd.thinned(found.probes if count == 0 else found.checkpoints, (at, to), most)
    if to not in stops:
        raise RunError(f"there is no stop {to} to begin from. Stops: {', '.join(map(str, stops))}.")
    entry, question = crowd.layout_question(found, crowd.chain(stops, to, at), count, tokens, method)
    placed = background(house).get(entry, question)
    if isinstance(placed, Waiting):
        return reply(placed, "")
    return reply(points(placed["xy"], seen, tokens), str(entry), step=at, anchor=to)


def _principal(seen: crowd.Seen, theirs: crowd.Seen, tokens: Tokens) -> np.ndarray:
    ours, reference = (plane.principal(crowd.rows_of(one, tokens)) for one in (seen, theirs))
    return plane.align(ours, reference) if ours.shape == reference.shape else ours


def points(xy: np.ndarray, seen: crowd.Seen, tokens: Tokens) -> crowd.Seen:
    images, each = seen["places"].shape if tokens == "patches" else (len(seen["cls"]), 1)
    found = {"xy": xy.astype(np.float32), "image": np.repeat(np.arange(images, dtype=np.int32), each)}
    return found | ({"place": seen["places"].reshape(-1), "grid": seen["grid"]} if tokens == "patches" else {})


@answers("run/{run}/prototypes/image")
def one_image(house: House, run: str, image: int = 0) -> Reply:
    """Through training, the shares of one probe image's answer that its leading prototypes have; `rest` is what others have.

    `exact` says of which stops a checkpoint holds the centre; between them it is interpolated."""
    found = house.shelf.run(run)
    steps = found.probes
    if not steps:
        raise RunError(f"{found.path} has no probe yet.")

    def made() -> dict[str, Any]:
        answer = np.stack([_answer(house, found, step, image) for step in steps])
        chosen = prototypes.leading(answer, SHOWN)
        shares = answer[:, chosen]
        return {
            "steps": steps, "prototypes": chosen.tolist(), "shares": shares.round(5).tolist(), "count": answer.shape[1],
            "rest": (1 - shares.sum(axis=1)).round(5).tolist(), "entropy": prototypes.entropy(answer).round(4).tolist(),
            "temperature": [crowd.temperature(found, step) for step in steps], "centred": crowd.centred(found),
            "exact": [crowd.centre_at(found, step)[1] for step in steps],
        }  # fmt: skip

    return Reply(made, f"{run} {image} {stamp(*(found.probe(step).file for step in steps))} {found.checkpoints}")


def _answer(house: House, run: Run, step: int, image: int) -> np.ndarray:
    seen = crowd.seen(house, run, step, 0)
    assert not isinstance(seen, Waiting)
    if not 0 <= image < len(seen["answer"]):
        raise RunError(f"there is no probe image {image}; there are {len(seen['answer'])}.")
    return seen["answer"][image].astype(np.float64)


@answers("run/{run}/prototypes/history")
def history(house: House, run: str, until: int, count: int = 0) -> Reply:
    """How many prototypes are first for some image at each stop, and how many were born and died since the stop before.

    `guessed` are the stops at which the centre that decides it was interpolated, between checkpoints that hold it."""
    found = house.shelf.run(run)
    crowd.checked(house, found, count)
    stops = [stop for stop in (found.probes if count == 0 else found.checkpoints) if stop <= until]
    if not stops:
        raise RunError(f"{found.path} has no {'probe' if count == 0 else 'checkpoint'} yet.")
    each = []
    for number, step in enumerate(stops):
        seen = crowd.seen(house, found, step, count)
        if isinstance(seen, Waiting):
            share = (number + seen.share) / len(stops)
            told = Waiting(share, f"checkpoint {number + 1} of {len(stops)}: {seen.doing}")
            return reply(told, "")
        each.append(seen["top"][:, 0])
    total = found.config.head.prototypes or int(max(first.max() for first in each)) + 1
    alive = np.stack([prototypes.used(first, total) > 0 for first in each])
    kept = count > 0 or not crowd.centred(found)
    guessed = [] if kept else [step for step in stops if not crowd.centre_at(found, step)[1]]
    return Reply(
        lambda: {**crowd.births(alive, stops), "images": len(each[0]), "prototypes": total, "guessed": guessed},
        f"{run} {count} {[_key(found, step, count) for step in stops]}",
    )
