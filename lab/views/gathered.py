"""What the pages of embeddings and prototypes ask of networks and images that are no run's own (`lab.gathered`)."""

from __future__ import annotations

from typing import Any

from dino_core.errors import RunError
from lab import crowd, gathered
from lab.analysis import similarity
from lab.answers import House, Reply, answers
from lab.background import Waiting, background
from lab.crowd import Tokens
from lab.views.crowd import Method, packed, points, reply

ANSWERS = ("top", "probability", "entropy", "twins", "twin_cosine")


@answers("gathered/pictures")
def pictures(house: House, images: str, count: int = 0) -> Reply:
    """Small pictures and labels; the classes of a folder are said."""
    found = gathered.many(house, images, count)
    return reply(gathered.small(house, found), f"{found.key} {found.count}", classes=found.classes, count=found.count)


@answers("gathered/answers")
def said_of(house: House, source: str, images: str, count: int = 0, size: int = 0) -> Reply:
    """The first prototypes of every image's answer, of a network that has a head; `why` says why it has none."""
    network, found = gathered.network(house, source), gathered.many(house, images, count)
    seen = gathered.seen(house, network, found, size)
    if isinstance(seen, Waiting):
        return reply(seen, "")
    about: dict[str, Any] = {"step": _step(source), "why": _why(house, network, seen, found)}
    if "top" in seen:
        centred = "has_centre" in seen and bool(seen["has_centre"][0])
        about |= {
            "prototypes": int(seen["prototypes"][0]),
            "centred": centred,
            "temperature": _temperature(network, seen),
        }
    rows, columns = seen["grid"].tolist()
    about |= {"patch_prototypes": None, "rows": rows, "columns": columns, "images": len(seen["cls"])}
    kept = {name: seen[name] for name in ANSWERS if name in seen}
    return Reply(
        lambda: packed(kept or {"grid": seen["grid"]}, **about), f"{network.stamp} {found.key} {found.count} {size}"
    )


def _step(source: str) -> int | None:
    return int(source.split(":")[2]) if source.startswith("run:") else None


def _temperature(network: gathered.Source, seen: crowd.Seen) -> float:
    step = _step(network.text)
    return (
        float(seen["temperature"][0]) if network.run is None or step is None else crowd.temperature(network.run, step)
    )


def _why(house: House, network: gathered.Source, seen: crowd.Seen, images: gathered.Many) -> str:
    if "top" in seen:
        return ""
    if images.album is None:
        return "images handed in are looked at through the backbone alone"
    return gathered.why_no_head(house, network)


@answers("gathered/vectors")
def vectors(house: House, source: str, images: str, count: int = 0, size: int = 0, tokens: Tokens = "cls") -> Reply:
    """One row a point in eight bits, from which neighbours are found in the browser."""
    network, found = gathered.network(house, source), gathered.many(house, images, count)
    seen = gathered.seen(house, network, found, size)
    if isinstance(seen, Waiting):
        return reply(seen, "")

    def made() -> bytes:
        integers, scale = similarity.quantised(crowd.rows_of(seen, tokens))
        return packed({"rows": integers, "scale": scale}, step=_step(source))

    return Reply(made, f"{network.stamp} {found.key} {found.count} {size} {tokens}")


@answers("gathered/layout")
def layout(
    house: House, source: str, images: str, anchor: str, count: int = 0, size: int = 0, tokens: Tokens = "cls",
    method: Method = "pca",
) -> Reply:  # fmt: skip
    """`xy` (P 2) of every point, with its `image` and, of patches, its `place`; turned towards what the anchor's network sees."""
    network, reference = gathered.network(house, source), gathered.network(house, anchor)
    found = gathered.many(house, images, count)
    seen = gathered.seen(house, network, found, size)
    theirs = seen if source == anchor else gathered.seen(house, reference, found, size)
    for one in (seen, theirs):
        if isinstance(one, Waiting):
            return reply(one, "")
    assert not isinstance(seen, Waiting)
    assert not isinstance(theirs, Waiting)
    said = {"step": _step(source), "anchor": _step(anchor)}
    key = f"{network.stamp} {reference.stamp} {found.key} {found.count} {size} {tokens} {method}"
    if method == "pca":
        return Reply(lambda: packed(points(gathered.principal(seen, theirs, tokens), seen, tokens), **said), key)
    if found.album is None:
        raise RunError("a handful of images handed in is laid out by PCA; UMAP and t-SNE need many.")
    chain = [network] if source == anchor else [reference, network]
    placed = background(house).get(*gathered.layout_question(chain, found, size, tokens, method))
    return reply(placed if isinstance(placed, Waiting) else points(placed["xy"], seen, tokens), key, **said)
