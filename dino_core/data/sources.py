"""Where images come from: the built-in `shapes`, a folder, a torchvision set, a Hugging Face set.

A source is a sequence of samples.  Whatever a file holds, `read` gives RGB bytes (`dino_core.data.decoding`), or raises
`ImageError`, which names the image and the reason; what to do about it is the loader's business.

Axes: H rows and W columns of an image, of any size."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import io
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image

from dino_core.config import Data, Shapes
from dino_core.data.decoding import EXTENSIONS, ImageError, decode, decode_mask, to_rgb
from dino_core.data.offline import offline
from dino_core.data.shapes import CLASSES, draw_scene
from dino_core.errors import DataError

Split = Literal["train", "test"]

TEST_NAMES = ("test", "val", "validation", "valid")
"""What the folder or split of held-out images may be called."""
HELD_OUT = 8
"""Without a test half, one image in this many is held out for the evaluations."""
SHAPES_TEST_IMAGES = 2000
LABEL_COLUMNS = ("label", "labels", "class", "category", "fine_label")
"""Columns of a Hugging Face set that hold labels, if none says so by its type."""


@dataclass(frozen=True)
class Sample:
    image: UInt8[np.ndarray, "H W 3"]
    label: int
    """-1 where the source has no label."""
    name: str
    mask: Bool[np.ndarray, "H W"] | None = None
    """The object, where the source knows it."""
    parts: UInt8[np.ndarray, "H W"] | None = None
    """Numbers of the object's parts, 0 on the background."""


@runtime_checkable
class Source(Protocol):
    """A sequence of images."""

    name: str
    classes: tuple[str, ...]
    """Empty when there are no labels."""

    def __len__(self) -> int: ...

    def read(self, index: int) -> Sample:
        """Raises `ImageError` for an image that can't be read."""


def open_source(data: Data, *, split: Split = "train", masks: bool = True) -> Source:
    """The images a config asks for; raises `DataError` where there are none.

    With `data.validation` all images of the source are for training, and the test split is the test half of that other
    source (all of it when it has no halves), its labels numbered as in training.  Without `masks` those of a folder are
    not read: training asks for none, and to decode one takes as long as the image."""
    if split == "train" or data.validation is None:
        return _open(data, split, whole=data.validation is not None, masks=masks)
    validation = _open(replace(data, source=data.validation), "test", whole=True)
    classes = _open(data, "train", whole=True).classes
    return Renumbered(validation, classes) if classes and validation.classes not in ((), classes) else validation


def _open(data: Data, split: Split, whole: bool, masks: bool = True) -> Source:
    """`whole`: hold no images out of a source that has no test half of its own."""
    if not data.source:
        raise DataError("which images? Give --data.source: shapes, a folder, torchvision:NAME or hf:NAME.")
    kind, _, name = data.source.partition(":")
    if data.source == "shapes":
        return ShapesSource(data.shapes, split)
    if kind == "torchvision" and name:
        return TorchvisionSource(name, split, whole)
    if kind == "hf" and name:
        return HuggingFaceSource(name, split, whole, data.decode_size)
    folder = Path(data.source).expanduser()
    if folder.is_dir():
        return FolderSource(folder, split, whole, data.decode_size, masks)
    if folder.exists():
        raise DataError(f"{data.source} is a file; expected a folder of images.")
    raise DataError(
        f"there is no folder {data.source!r}, and no other source of that name. "
        "Sources: shapes, a folder of images, torchvision:CIFAR10, hf:NAME."
    )


class ShapesSource:
    """The built-in scenes (`dino_core.data.shapes`); train and test are different streams."""

    name = "shapes"
    classes = CLASSES

    def __init__(self, config: Shapes, split: Split = "train") -> None:
        if config.images < 1 or config.size < 8:
            raise DataError(f"shapes of {config.images} images of {config.size} px; expected at least 1 of 8 px.")
        self.config, self.split = config, split
        self.images = config.images if split == "train" else SHAPES_TEST_IMAGES

    def __len__(self) -> int:
        return self.images

    def read(self, index: int) -> Sample:
        scene = draw_scene(self.config, self.split, index)
        return Sample(scene.image, scene.label, f"{self.split}/{index}", scene.mask, scene.parts)


class Renumbered:
    """A source whose labels are numbered by the names of other classes; -1 for a class they don't have."""

    def __init__(self, source: Source, classes: tuple[str, ...]) -> None:
        self.source, self.name, self.classes = source, source.name, classes
        self._numbers = [classes.index(name) if name in classes else -1 for name in source.classes]

    def __len__(self) -> int:
        return len(self.source)

    def read(self, index: int) -> Sample:
        sample = self.source.read(index)
        return replace(sample, label=self._numbers[sample.label] if sample.label >= 0 else -1)


# --------------------------------------------------------------------------------------------------- folder


class FolderSource:
    """A folder of images, at any depth.

    Its first level of folders are the classes, if every image lies in one and there are several.  With `train` and
    `test` (or `val`) folders, or pointed at one of them, each half has its own; else one image in eight, chosen by a
    hash of its name, is held out, so that adding images moves no other.  Masks lie beside the images: that of
    `train/cat/1.jpg` is `train_mask/cat/1.png`, white on the object; without `masks` they are not read.  Hidden files, and
    those whose extension is no image's, are left alone."""

    def __init__(
        self,
        folder: Path,
        split: Split = "train",
        whole: bool = False,
        shorter_side: int | None = None,
        masks: bool = True,
    ) -> None:
        if not folder.is_dir():
            raise DataError(f"there is no folder {str(folder)!r}.")
        folder = _without_wrapping(folder.resolve())
        halves = _halves(folder)
        named = folder.parent if folder.name in ("train", *TEST_NAMES) else folder
        self.name, self.root, self.shorter_side = named.name, halves.get(split, folder), shorter_side
        found = {root: sorted(_image_files(root)) for root in {self.root, *halves.values()}}
        every = found[self.root]
        if not every:
            raise DataError(
                f"{str(self.root)!r} holds no images (files ending in {', '.join(EXTENSIONS)}); "
                "expected images in it, or in folders named after their classes."
            )
        self.classes = _classes(path for paths in found.values() for path in paths)
        self.paths = every if halves or whole else [path for path in every if _held_out(path) == (split == "test")]
        if not self.paths:
            raise DataError(
                f"the {split} half of {str(folder)!r} is empty: one image in {HELD_OUT} is held out by its name, and "
                f"there are {len(every)}. Add images, or give it train and test folders."
            )
        beside = self.root.with_name(self.root.name + "_mask")
        self.masks = beside if masks and beside.is_dir() else None

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, index: int) -> Sample:
        path = self.paths[index]
        image = decode(self.root / path, path, self.shorter_side)
        label = self.classes.index(path.split("/", 1)[0]) if self.classes else -1
        return Sample(image, label, path, self._mask(path, image.shape[1], image.shape[0]))

    def _mask(self, path: str, width: int, height: int) -> Bool[np.ndarray, "H W"] | None:
        file = self.masks and (self.masks / path).with_suffix(".png")
        if not file or not file.exists():
            return None
        mask = Image.fromarray(decode_mask(file, path))
        return np.asarray(mask.resize((width, height), Image.Resampling.NEAREST))


def _without_wrapping(folder: Path) -> Path:
    """The folder's only folder of images if that is called `train`; masks may lie beside it."""
    inside = [entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith(".")]
    return folder / "train" if set(inside) - {"train_mask"} == {"train"} else folder


def _halves(folder: Path) -> dict[Split, Path]:
    """Where the images for training and for testing are, if they have folders of their own.

    A folder `train` without a test folder beside it, among others, is a class of trains."""
    home = folder.parent if folder.name == "train" or folder.name in TEST_NAMES else folder
    test = next((home / name for name in TEST_NAMES if (home / name).is_dir()), None)
    if (home / "train").is_dir() and test:
        # pointed at one of several test halves (val beside test): that one
        return {"train": home / "train", "test": folder if folder.name in TEST_NAMES else test}
    return {}


def _image_files(root: Path) -> list[str]:
    """Paths below `root`, with slashes; a folder that links lead to twice is read once."""
    found, seen = [], set()
    for folder, folders, files in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        here = Path(folder).relative_to(root)
        found += [(here / f).as_posix() for f in files if not f.startswith(".") and f.lower().endswith(EXTENSIONS)]
    return found


def _classes(paths: Iterable[str]) -> tuple[str, ...]:
    tops = {path.split("/", 1)[0] if "/" in path else "" for path in paths}
    return tuple(sorted(tops)) if "" not in tops and len(tops) > 1 else ()


def _held_out(name: str) -> bool:
    return hashlib.blake2s(os.fsencode(name), digest_size=4).digest()[0] % HELD_OUT == 0


def _rows(images: int, split: Split, whole: bool, name: str) -> np.ndarray:
    """Which rows of a set belong to a split: all of its own half, else every eighth is for testing."""
    rows = np.arange(images)
    if not whole:
        rows = rows[(rows % HELD_OUT == HELD_OUT - 1) == (split == "test")]
    if not len(rows):
        raise DataError(f"the {split} half of {name} is empty: it has {images} image(s). Give one that has more.")
    return rows


def _first_line(error: Exception | None) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


# ---------------------------------------------------------------------------------------------- torchvision


class TorchvisionSource:
    """A data set of `torchvision.datasets` by its name, in $DINO_LAB_DATA or ~/.cache/dino-lab."""

    def __init__(self, name: str, split: Split = "train", whole: bool = False) -> None:
        datasets = importlib.import_module("torchvision.datasets")
        if name not in datasets.__all__:
            raise DataError(f"torchvision has no data set {name!r}. It has: {', '.join(sorted(datasets.__all__))}.")
        self.name = f"torchvision:{name}"
        self._images, halved = _open_torchvision(getattr(datasets, name), name, split)
        self.classes = _torchvision_classes(self._images)
        self._rows = _rows(len(self._images), split, halved or whole, self.name)

    def __len__(self) -> int:
        return len(self._rows)

    def read(self, index: int) -> Sample:
        row = int(self._rows[index])
        name = f"{self.name}/{row}"
        try:
            image, label = self._images[row][:2]
            return Sample(to_rgb(image), int(label) if isinstance(label, int | np.integer) else -1, name)
        except Exception as error:  # each set has errors of its own
            raise ImageError(name, _first_line(error)) from error


def _open_torchvision(build: Any, name: str, split: Split) -> tuple[Any, bool]:
    """The data set, and whether it has train and test halves; downloaded if it is not there, unless that is forbidden."""
    root = Path(os.environ.get("DINO_LAB_DATA") or Path.home() / ".cache" / "dino-lab").expanduser()
    accepts = inspect.signature(build).parameters
    halves: list[dict[str, Any]] = [{}]
    if "train" in accepts:
        halves = [{"train": split == "train"}]
    elif "split" in accepts:
        halves = [{"split": one} for one in (("train", "trainval") if split == "train" else TEST_NAMES)]
    problems: list[Exception] = []
    for half in halves:
        for download in ({}, {"download": True}) if "download" in accepts and not offline() else ({},):
            try:
                return build(root=str(root), **half, **download), bool(half)
            except Exception as error:  # files missing, no network, a half of another name: the next may do
                problems.append(error)
    reason = next((error for error in reversed(problems) if not isinstance(error, ValueError)), problems[-1])
    raise DataError(
        f"{name} is not in {str(root)!r} and {'is not' if offline() else 'could not be'} downloaded ({_first_line(reason)}). "
        f"Put torchvision's files of {name} there, or name the folder that has them in DINO_LAB_DATA."
    ) from reason


def _torchvision_classes(images: Any) -> tuple[str, ...]:
    """Names of the classes, or their numbers where a set has only those."""
    if getattr(images, "classes", None):
        return tuple(" / ".join(c) if isinstance(c, tuple) else str(c) for c in images.classes)
    for attribute in ("targets", "labels", "_labels"):
        numbers = getattr(images, attribute, None)
        if numbers is not None and len(numbers) and np.ndim(numbers) == 1 and np.asarray(numbers).dtype.kind in "iu":
            return tuple(map(str, range(int(np.max(np.asarray(numbers))) + 1)))
    return ()


# --------------------------------------------------------------------------------------------- Hugging Face


class HuggingFaceSource:
    """A data set of the Hugging Face hub, `NAME` or `NAME:CONFIG`, or a folder that `datasets` can load.

    Its first column of images and its first column of class labels are used."""

    def __init__(self, name: str, split: Split = "train", whole: bool = False, shorter_side: int | None = None) -> None:
        try:
            datasets = importlib.import_module("datasets")
        except ImportError as error:
            raise DataError(
                f"hf:{name} needs the package `datasets`, which is not installed: pip install datasets."
            ) from error
        self.name, self.shorter_side = f"hf:{name}", shorter_side
        halves = _load_hugging_face(datasets, name)
        test = next((half for half in TEST_NAMES if half in halves), None)
        train = "train" if "train" in halves else next(iter(halves))
        images = halves[test if test and split == "test" else train]
        columns = images.features
        pictures = [column for column, kind in columns.items() if isinstance(kind, datasets.Image)]
        if not pictures:
            raise DataError(f"{self.name} has no column of images. Columns: {', '.join(columns)}.")
        self._picture, self._label = pictures[0], _label_column(datasets, columns)
        self._values = _label_values(halves[train], self._label) if self._label else []
        self.classes = tuple(getattr(columns.get(self._label), "names", None) or map(str, self._values))
        self._images = images.cast_column(self._picture, datasets.Image(decode=False))
        self._rows = _rows(len(images), split, bool(test) or whole, self.name)

    def __len__(self) -> int:
        return len(self._rows)

    def read(self, index: int) -> Sample:
        number = int(self._rows[index])
        row, name = self._images[number], f"{self.name}/{number}"
        held = row[self._picture]
        if held is None:
            raise ImageError(name, "has no image")
        image = decode(io.BytesIO(held["bytes"]) if held["bytes"] else held["path"], name, self.shorter_side)
        label = row[self._label] if self._label else None
        return Sample(image, self._values.index(label) if label in self._values else -1, name)


def _load_hugging_face(datasets: Any, name: str) -> Any:
    """All splits of a data set on disk or on the hub."""
    folder = Path(name).expanduser()
    try:
        if (folder / "dataset_dict.json").exists():
            return datasets.load_from_disk(str(folder))
        if (folder / "state.json").exists():
            return {"train": datasets.load_from_disk(str(folder))}
        if folder.is_dir():
            return datasets.load_dataset(str(folder))
        hub, _, config = name.partition(":")
        return datasets.load_dataset(hub, config or None)
    except Exception as error:  # no network, no such set, a set that wants a config: `datasets` says which
        raise DataError(
            f"the Hugging Face data set {name!r} could not be loaded ({_first_line(error)}). "
            "Without a connection, give a folder that holds it: hf:FOLDER."
        ) from error


def _label_column(datasets: Any, columns: Any) -> str | None:
    typed = [column for column, kind in columns.items() if isinstance(kind, datasets.ClassLabel)]
    return next(iter([*typed, *(name for name in LABEL_COLUMNS if name in columns)]), None)


def _label_values(images: Any, column: str) -> list[Any]:
    """What stands in the column for each class, in the order of the classes."""
    names = getattr(images.features[column], "names", None)
    return list(range(len(names))) if names else sorted(value for value in images.unique(column) if value is not None)
