"""What a layout of weights is: how it is recognised among tensors, how it is read, and what writing it gives.

Tensors have first been freed of wrappers (`dino_core.model.layouts.unwrapping`), so keys begin with the network's own parts."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from dino_core.errors import CheckpointError
from dino_core.model.architectures import Architecture

Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Hints:
    """What is known besides the tensors."""

    heads: int | None = None
    """What the caller says."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """The `config.json` beside a file of transformers."""


@dataclass(frozen=True)
class Reading:
    """A network and its weights, under our names."""

    architecture: Architecture
    weights: Tensors


@dataclass(frozen=True)
class Layout:
    """One way in which weights are published."""

    name: str
    """As a message says it."""
    recognise: Callable[[Tensors], bool]
    read: Callable[[Tensors, Hints], Reading]


@dataclass(frozen=True)
class Written:
    """A network under the names of a layout."""

    tensors: Tensors
    config: dict[str, Any] = field(default_factory=dict)
    """The `config.json` that belongs beside the tensors."""
    said: tuple[str, ...] = ()
    """What the layout could not keep, a sentence each."""


def renamed(tensors: Tensors, rules: Iterable[tuple[str, str]]) -> Tensors:
    """Every rule (pattern, replacement) applied to every key, in order."""
    rules = tuple(rules)
    result = {}
    for key, tensor in tensors.items():
        for pattern, replacement in rules:
            key = re.sub(pattern, replacement, key)
        result[key] = tensor
    return result


def without(tensors: Tensors, pattern: str) -> Tensors:
    """All but the keys in which the pattern is found at the start."""
    return {key: tensor for key, tensor in tensors.items() if not re.match(pattern, key)}


def count(tensors: Tensors, pattern: str) -> int:
    """One more than the highest number that the pattern's group catches; 0 where it is never found."""
    return 1 + max((int(found[1]) for key in tensors if (found := re.match(pattern, key))), default=-1)


def need(tensors: Tensors, key: str) -> Tensor:
    """A tensor that the layout can't be without."""
    if key not in tensors:
        raise CheckpointError(f"it has no {key}.")
    return tensors[key]
