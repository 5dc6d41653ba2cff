"""Fetch published weights by name, once, into the caches that their own tools use."""

from __future__ import annotations

import urllib.error
import urllib.request
from pathlib import Path

import timm
import torch

from dino_core.errors import CheckpointError
from dino_core.model.presets import Preset

HUB = "https://huggingface.co"
PATIENCE = 10.0
"""Seconds to wait for a server before the machine counts as offline."""
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
    """The weights of a repository on the Hugging Face hub, the first of `names` that it has, then its config.json if any.

    What is in the cache is taken from there without asking the network."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    def first(names: tuple[str, ...], local: bool) -> list[Path]:
        for name in names:
            try:
                return [Path(hf_hub_download(repository, name, local_files_only=local))]
            except EntryNotFoundError as error:
                if isinstance(error, LocalEntryNotFoundError) and not local:  # the network broke off
                    raise
        return []

    by_hand = (
        f"download {HUB}/{repository}/resolve/main/{names[0]} (and config.json beside it) "
        "where there is internet, and give the path of the file in place of the name."
    )
    try:
        found = first(names, True)
        if found:
            return found + first(("config.json",), True)
        if not _reachable(HUB):
            raise CheckpointError(f"no weights of {repository} here, and {HUB} can't be reached: {by_hand}")
        found = first(names, False)
        if not found:
            raise CheckpointError(f"{repository} has none of {', '.join(names)}; give the path of a file.")
        return found + first(("config.json",), False)
    except CheckpointError:
        raise
    except Exception as error:  # whatever the hub's client and its network library raise
        raise CheckpointError(f"{repository} can't be downloaded ({str(error)[:160]}): {by_hand}") from error


def _fetched(url: str) -> Path:
    """The file of a URL, downloaded if it isn't in torch.hub's cache yet."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[1]
    if path.is_file():
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path))
    except (OSError, urllib.error.URLError) as error:
        raise CheckpointError(
            f"{url} can't be downloaded ({error}): download it where there is internet and save it as {path}."
        ) from error
    return path


def _reachable(url: str) -> bool:
    """Whether anything answers there at all."""
    try:
        urllib.request.urlopen(url, timeout=PATIENCE).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True
