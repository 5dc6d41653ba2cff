"""Open a file of weights without running anything that it says."""

from __future__ import annotations

import argparse
import json
import pickle
import re
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from dino_core.errors import CheckpointError

SUFFIXES = (".pth", ".pt", ".safetensors", ".bin", ".ckpt")
CONFIGS = ("config.json", "open_clip_config.json")
LONGEST_CONFIG = 2**20
"""Bytes of a config.json that are read."""


def open_weights(path: Path) -> Any:
    """What a file holds, on the CPU.  Pickles may hold tensors, plain containers and `argparse.Namespace`: DINO's full
    checkpoints keep their arguments in one."""
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist; give a file ({', '.join(SUFFIXES[:3])}), a folder or a name.")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} is damaged or holds more than weights ({_reason(error)}); what could run code is not opened."
        ) from error
    except RuntimeError as error:
        if "TorchScript" in str(error):
            raise CheckpointError(
                f"{path} is a TorchScript program, which would have to be run; take the same network's state dict "
                "(OpenCLIP's and timm's files are such)."
            ) from error
        raise CheckpointError(f"{path} is damaged or no file of weights ({_reason(error)}).") from error
    except Exception as error:  # whatever reading noise ends in
        raise CheckpointError(f"{path} is damaged or no file of weights ({_reason(error)}).") from error


def read_config(folder: Path) -> dict[str, Any]:
    """The `config.json` of a folder of transformers or timm, and OpenCLIP's, together; empty where there is none."""
    config: dict[str, Any] = {}
    for path in (folder / name for name in CONFIGS):
        if not path.is_file():
            continue
        try:
            with path.open("rb") as file:
                found = json.loads(file.read(LONGEST_CONFIG))
        except (OSError, ValueError, RecursionError) as error:
            raise CheckpointError(f"{path} is damaged ({_reason(error)}).") from error
        config |= found if isinstance(found, dict) else {}
    return config


def weights_in(folder: Path) -> list[Path]:
    """The files of one network in a folder as transformers and timm save it: one, or shards listed in an index."""
    for index in sorted(folder.glob("*.index.json")):
        return shards_of(index)
    for suffix in (".safetensors", ".bin", ".pth", ".pt"):
        files = [path for path in sorted(folder.glob(f"*{suffix}")) if path.is_file()]
        if len(files) > 1:
            several = ", ".join(path.name for path in files[:6])
            raise CheckpointError(f"{folder} has several files of weights: {several}; give one of them.")
        if files:
            return files
    return []


def shards_of(index: Path) -> list[Path]:
    """The files over which a network is spread, beside their index."""
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{index} is damaged ({_reason(error)}).") from error
    return [index.parent / Path(str(name)).name for name in names]  # only inside the folder


def _reason(error: Exception) -> str:
    """The part of an error that says what is wrong, without the advice to open it all the same."""
    text = " ".join(str(error).split())
    told = re.search(r"(?:unsupported|Unsupported) (?:global: )?(GLOBAL [\w.]+\w|operand \d+|\w+ [\w.]+\w)", text)
    return (told[1] if told else text[:160]) or type(error).__name__
