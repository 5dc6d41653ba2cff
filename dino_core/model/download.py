"""Fetch published weights by name, once, into the caches that their own tools use."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterable
from http.client import HTTPException
from pathlib import Path

import timm
import torch
from tqdm import tqdm

from dino_core.errors import CheckpointError
from dino_core.model.files import CONFIGS, shards_of
from dino_core.model.presets import Preset

HUB = "https://huggingface.co"
PATIENCE = 10.0
"""Seconds to wait for a server before the machine counts as offline."""
PARTIAL, RANGE_NOT_SATISFIABLE = 206, 416
FILES = ("model.safetensors", "pytorch_model.bin", "open_clip_model.safetensors")


def published_file(preset: Preset) -> Path:
    """The official weights of a preset, in torch.hub's cache."""
    if preset.url is None:
        raise CheckpointError(
            f"the weights of {preset.name} are sent on request (ai.meta.com/resources/models-and-libraries/"
            "dinov3-downloads): download the file by hand and give its path in place of the name."
        )
    return _fetched(preset.url)


def timm_file(name: str) -> Path:
    """The weights of a timm model, in the cache of huggingface_hub."""
    known = timm.get_pretrained_cfg(name, allow_unregistered=False)
    if known is None or not (known.hf_hub_id or known.url):
        raise CheckpointError(f"timm publishes no weights for {name}; timm.list_pretrained() lists those it has.")
    if not known.hf_hub_id:
        return _fetched(str(known.url))
    return hub_files(known.hf_hub_id, (known.hf_hub_filename,) if known.hf_hub_filename else FILES)[0]


def hub_files(repository: str, names: tuple[str, ...] = FILES) -> list[Path]:
    """The weights of a repository on the Hugging Face hub: the first of `names` that it has, or all shards of an index.

    Its configs are fetched beside them.  What is in the cache is taken from there without asking the network."""
    from huggingface_hub import constants

    by_hand = (
        f"download {HUB}/{repository}/resolve/main/{names[0]} (and config.json beside it) "
        "where there is internet, and give the path of the file in place of the name."
    )
    try:
        found = _of_hub(repository, names, local=True)
        if found:
            return found
        if not _reachable(constants.ENDPOINT):
            raise CheckpointError(
                f"no weights of {repository} here, and {constants.ENDPOINT} can't be reached: {by_hand}"
            )
        found = _of_hub(repository, names, local=False)
        if not found:
            raise CheckpointError(f"{repository} has none of {', '.join(names)}; give the path of a file.")
        return found
    except CheckpointError:
        raise
    except Exception as error:  # whatever the hub's client and its network library raise
        raise CheckpointError(f"{repository} can't be downloaded ({str(error)[:160]}): {by_hand}") from error


def _of_hub(repository: str, names: tuple[str, ...], *, local: bool) -> list[Path]:
    """As `hub_files`, from the cache alone or also over the network; empty where there is nothing."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    def first(names: Iterable[str]) -> list[Path]:
        for name in names:
            try:
                return [Path(hf_hub_download(repository, name, local_files_only=local))]
            except EntryNotFoundError as error:
                if isinstance(error, LocalEntryNotFoundError) and not local:  # the network broke off
                    raise
        return []

    found = first(names) or first(f"{name}.index.json" for name in names)
    if found and found[0].name.endswith(".index.json"):
        shards = shards_of(found[0])
        pieces = [first([path.name]) for path in shards]
        found = [piece[0] for piece in pieces if piece] if all(pieces) else []
    if found:
        for config in CONFIGS:
            first([config])
    return found


def _fetched(url: str) -> Path:
    """The file of a URL, downloaded if it isn't in torch.hub's cache yet."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[1]
    if path.is_file():
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        download(url, path)
    except (OSError, HTTPException) as error:
        raise CheckpointError(
            f"{url} can't be downloaded ({error}): download it where there is internet and save it as {path}."
        ) from error
    return path


def download(url: str, path: Path) -> None:
    """Save a URL as a file, with progress.  What an earlier attempt got is kept beside it and gone on with.

    The file appears when it is whole, so a name that is there can be trusted."""
    part = path.with_name(path.name + ".part")
    have = part.stat().st_size if part.is_file() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        answer = urllib.request.urlopen(request, timeout=PATIENCE)
    except urllib.error.HTTPError as error:
        if error.code != RANGE_NOT_SATISFIABLE:
            raise
        part.unlink()  # of another file, or whole already: begin again
        have, answer = 0, urllib.request.urlopen(url, timeout=PATIENCE)
    with answer:
        if answer.status != PARTIAL:  # a server that always sends all of it
            have = 0
        if answer.headers.get_content_type() == "text/html":
            raise OSError("the server sent a page instead of the file")
        size = answer.headers.get("Content-Length")
        total = have + int(size) if size else None
        with (
            part.open("ab" if have else "wb") as file,
            tqdm(desc=path.name, total=total, initial=have, unit="B", unit_scale=True) as progress,
        ):
            while piece := answer.read(2**20):
                file.write(piece)
                progress.update(len(piece))
    if total is not None and part.stat().st_size != total:
        raise OSError(
            f"the connection ended after {part.stat().st_size} of {total} bytes; try again to go on from there"
        )
    part.rename(path)


def _reachable(url: str) -> bool:
    """Whether anything answers there at all."""
    try:
        urllib.request.urlopen(url, timeout=PATIENCE).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True
