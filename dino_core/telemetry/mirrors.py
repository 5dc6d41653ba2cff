"""Other places to write the metrics to, beside the run directory: TensorBoard, Weights & Biases, trackio.

Each is imported only when asked for."""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from dino_core.errors import ConfigError

MIRRORS = ("tensorboard", "wandb", "trackio")


@runtime_checkable
class Mirror(Protocol):
    def log(self, row: Mapping[str, Any]) -> None: ...

    def close(self) -> None: ...


def open_mirrors(names: Sequence[str], folder: str | Path, name: str, config: Mapping[str, Any]) -> list[Mirror]:
    """The mirrors of a run, of its folder, name and config; ConfigError where a package is missing."""
    return [_open(mirror, Path(folder), name, config) for mirror in names]


def numbers(row: Mapping[str, Any]) -> dict[str, float]:
    """The finite numbers of a row, without its step."""
    return {
        key: float(value)
        for key, value in row.items()
        if key != "step" and isinstance(value, int | float) and math.isfinite(value)
    }


class TensorBoard:
    """Event files in the run's folder `tensorboard`."""

    def __init__(self, folder: Path) -> None:
        writer = importlib.import_module("torch.utils.tensorboard").SummaryWriter
        self._writer = writer(str(folder / "tensorboard"))

    def log(self, row: Mapping[str, Any]) -> None:
        for key, value in numbers(row).items():
            self._writer.add_scalar(key, value, row["step"])

    def close(self) -> None:
        self._writer.close()


class Tracker:
    """Weights & Biases, or trackio, which speaks the same language."""

    def __init__(self, package: str, folder: Path, name: str, config: Mapping[str, Any]) -> None:
        module = importlib.import_module(package)
        where = {"dir": str(folder)} if package == "wandb" else {}
        self._run = module.init(project="dino-lab", name=name, config=dict(config), **where)

    def log(self, row: Mapping[str, Any]) -> None:
        self._run.log(numbers(row), step=row["step"])

    def close(self) -> None:
        self._run.finish()


def _open(mirror: str, folder: Path, name: str, config: Mapping[str, Any]) -> Mirror:
    if mirror not in MIRRORS:
        raise ConfigError(f"no mirror {mirror!r}. Mirrors: {', '.join(MIRRORS)}.")
    try:
        importlib.import_module(mirror)
    except ImportError as error:
        raise ConfigError(f"output.mirrors asks for {mirror}, which is not installed: pip install {mirror}.") from error
    return TensorBoard(folder) if mirror == "tensorboard" else Tracker(mirror, folder, name, config)
