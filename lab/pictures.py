"""Images that are no run's: from a folder the lab was given, or handed in by hand.

What is handed in is bounded in bytes, pixels and number before it is decoded, is kept in memory only, and is forgotten when newer
ones need its room.  Axes: I images, S side in pixels."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image, ImageSequence, UnidentifiedImageError

from dino_core.data.decoding import EXTENSIONS, to_rgb
from dino_core.errors import DataError

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
"""What is decoded.  No SVG, PDF or PostScript: those are programs."""
MOST_BYTES = 24 * 2**20
"""Of everything handed in at once."""
MOST_PIXELS = 50_000_000
"""Of one image, by what its header declares."""
MOST_IMAGES = 24
"""Handed in at once: a handful of photographs, or the frames of a short video."""
MOST_OF_A_FOLDER = 48
SIDE = 512
"""Images are cut to their central square and made at most this large; a single one may keep twice as much."""
ROOM = 192 * 2**20
"""Bytes of decoded images held in memory, all sets together."""


@dataclass(frozen=True)
class Pictures:
    """Square images of one size, ready to be shown to any network."""

    images: UInt8[np.ndarray, "I S S 3"]
    names: tuple[str, ...]
    masks: Bool[np.ndarray, "I S S"] | None = None
    labels: tuple[int, ...] | None = None
    video: bool = False
    """Whether they are the frames of one, in order."""

    @cached_property
    def digest(self) -> str:
        """A name for these pixels."""
        shape = repr(self.images.shape).encode()
        return hashlib.sha256(shape + np.ascontiguousarray(self.images).tobytes()).hexdigest()[:16]


class Sets:
    """Sets of images by the digest of their pixels, least recently used first; never written anywhere."""

    def __init__(self, room: int = ROOM) -> None:
        self.room = room
        self._kept: dict[str, Pictures] = {}
        self._lock = threading.Lock()

    def put(self, pictures: Pictures) -> str:
        with self._lock:
            self._kept.pop(pictures.digest, None)
            self._kept[pictures.digest] = pictures
            while len(self._kept) > 1 and sum(kept.images.nbytes for kept in self._kept.values()) > self.room:
                del self._kept[next(iter(self._kept))]
        return pictures.digest

    def get(self, digest: str) -> Pictures:
        with self._lock:
            found = self._kept.pop(digest, None)
            if found is None:
                raise DataError(
                    "these images are no longer held: the lab keeps what is handed in only for a while. Hand them in again."
                )
            self._kept[digest] = found
        return found


def handed_in(body: bytes, sizes: Sequence[int] = (), *, video: bool = False) -> Pictures:
    """The images in a body: one file, or several end to end whose `sizes` in bytes are given; of an animation every frame.

    Raises `DataError` for what is too large, too many, of another kind, or damaged."""
    if len(body) > MOST_BYTES:
        raise DataError(f"that is {len(body) >> 20} MiB; the lab takes up to {MOST_BYTES >> 20} MiB at once.")
    sizes = list(sizes) or [len(body)]
    if sum(sizes) != len(body) or min(sizes) <= 0:
        raise DataError(f"the sizes of the files add up to {sum(sizes)}, and {len(body)} bytes came.")
    if len(sizes) > MOST_IMAGES:
        raise DataError(f"those are {len(sizes)} images; the lab takes up to {MOST_IMAGES} at once.")
    ends = np.cumsum(sizes)
    found: list[np.ndarray] = []
    for number, (size, end) in enumerate(zip(sizes, ends, strict=True), 1):
        found += decoded(body[end - size : end], f"image {number}", MOST_IMAGES if len(sizes) == 1 else 1)
    animated = len(sizes) == 1 and len(found) > 1
    names = tuple(f"{'frame' if video or animated else 'image'} {i}" for i in range(1, len(found) + 1))
    return Pictures(together(found), names, video=video or animated)


def decoded(content: bytes, name: str, most: int = 1) -> list[UInt8[np.ndarray, "S S 3"]]:
    """The frames of one file, `most` of them spread over it, as squares of at most `SIDE` (one alone: twice that)."""
    try:
        with Image.open(BytesIO(content), formats=FORMATS) as image:
            if image.width * image.height > MOST_PIXELS:
                raise DataError(
                    f"{name} has {image.width}×{image.height} pixels; the lab takes up to {MOST_PIXELS // 10**6} million."
                )
            count = getattr(image, "n_frames", 1)
            if count > 1 and most > 1:
                chosen = set(np.linspace(0, min(count, 20 * most) - 1, min(count, most)).astype(int).tolist())
                frames = [frame.copy() for i, frame in enumerate(ImageSequence.Iterator(image)) if i in chosen]
                return [square(to_rgb(frame), SIDE) for frame in frames]
            return [square(to_rgb(image), 2 * SIDE if most > 1 else SIDE)]
    except DataError:
        raise
    except UnidentifiedImageError:
        raise DataError(f"{name} is no image this lab opens; it opens {', '.join(FORMATS)}.") from None
    except Exception as error:  # on a damaged file, Pillow's decoders raise nearly anything
        raise DataError(f"{name} can't be read: {str(error)[:120] or type(error).__name__}.") from error


def square(image: UInt8[np.ndarray, "h w 3"], largest: int) -> UInt8[np.ndarray, "S S 3"]:
    """The middle of an image, made smaller where it is larger than `largest`."""
    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    cut = image[top : top + side, left : left + side]
    return (
        cut
        if side <= largest
        else np.asarray(Image.fromarray(cut).resize((largest, largest), Image.Resampling.BICUBIC))
    )


def together(images: Sequence[UInt8[np.ndarray, "_ _ 3"]]) -> UInt8[np.ndarray, "I S S 3"]:
    """Squares of several sizes at the size of the largest."""
    side = max(max(len(image) for image in images), 16)
    return np.stack([image if len(image) == side else _resized(image, side) for image in images])


def _resized(image: np.ndarray, side: int) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC))


def of_folder(folder: Path) -> list[Path]:
    """Image files below a folder, spread over it where there are more than the lab shows one by one."""
    return spread(files_of(folder), MOST_OF_A_FOLDER)


def files_of(folder: Path) -> list[Path]:
    """All image files below a folder, in the order of their names; none that a link leads out of it."""
    root = folder.resolve()
    begin = root / "train" if (root / "train").is_dir() and (root / "train_mask").is_dir() else root
    return [
        file
        for file in sorted(begin.rglob("*"))
        if file.suffix.lower() in EXTENSIONS
        and not any(part.startswith(".") for part in file.relative_to(begin).parts)
        and file.resolve().is_relative_to(root)
    ]


def spread(files: list[Path], count: int) -> list[Path]:
    """At most `count` of them, from everywhere: from all classes, where folders are classes."""
    return files if len(files) <= count else [files[i] for i in np.linspace(0, len(files) - 1, count).astype(int)]


def classes_of(files: list[Path]) -> tuple[str, ...]:
    """The names of the folders that files are in; none where that is one, or nearly as many as files."""
    names = sorted({file.parent.name for file in files})
    return tuple(names) if 1 < len(names) <= max(2, len(files) // 2) else ()


def from_folder(folder: Path) -> Pictures:
    """The images of a folder, with the objects' masks where `train_mask` beside `train` has them; unreadable ones are left out."""
    files, images, names, masks = of_folder(folder), [], [], []
    for file in files:
        try:
            if file.stat().st_size > MOST_BYTES:
                continue
            images.append(decoded(file.read_bytes(), file.name)[0])
        except (DataError, OSError):
            continue
        names.append(file.stem)
        masks.append(_mask_of(file, folder))
    if not images:
        raise DataError(f"{folder.name} has no image that can be read ({', '.join(EXTENSIONS)}).")
    shown = together(images)
    return Pictures(shown, tuple(names), _masks(masks, shown.shape[1]))


def _mask_of(file: Path, folder: Path) -> np.ndarray | None:
    """Where the object is, by the convention of `dino_core.data.sources.Folder`."""
    root = folder.resolve()
    if not file.is_relative_to(root / "train"):
        return None
    mask = (root / "train_mask" / file.relative_to(root / "train")).with_suffix(".png")
    if not mask.is_file() or not mask.resolve().is_relative_to(root):
        return None
    try:
        return decoded(mask.read_bytes(), mask.name)[0]
    except (DataError, OSError):
        return None


def _masks(masks: Sequence[np.ndarray | None], side: int) -> Bool[np.ndarray, "I S S"] | None:
    if any(mask is None for mask in masks):
        return None
    return np.stack([_nearest(mask, side) > 127 for mask in masks if mask is not None])


def _nearest(mask: np.ndarray, side: int) -> np.ndarray:
    return np.asarray(Image.fromarray(mask[..., 0]).resize((side, side), Image.Resampling.NEAREST))
