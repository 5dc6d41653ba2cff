"""Image files of any kind become RGB bytes, or an `ImageError` that names the image and the reason.

Axes: H rows and W columns of an image, of any size."""

from __future__ import annotations

import contextlib
from io import BytesIO
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Shaped, UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from dino_core.errors import DataError

EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif")
MOST_PIXELS = 1_000_000_000
"""A file that declares more pixels is refused unread."""
MOST_DECODED = 250_000_000
"""So is one of which more would have to be decoded (750 MB of bytes); JPEG is decoded at a fraction of its size."""
UNDER_TRANSPARENCY = (128, 128, 128)
"""Transparent pixels show this mid-grey: black or white would be the strongest edge of many cut-outs."""

Image.MAX_IMAGE_PIXELS = MOST_PIXELS // 2  # Pillow refuses twice as many, and its own limit is a tenth of ours


class ImageError(DataError):
    """An image that can't be read: its name, and why."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}")
        self.name, self.reason = name, reason


def decode(file: Path | str | BytesIO, name: str, shorter_side: int | None = None) -> UInt8[np.ndarray, "H W 3"]:
    """RGB bytes of an image file, upright.

    A JPEG whose shorter side is at least twice `shorter_side` is decoded at a half, a quarter or an eighth of its
    size, never below `shorter_side`, which costs that much less."""
    try:
        with Image.open(file) as image:
            if shorter_side and image.format == "JPEG":
                shrink = max(1, min(image.size) // shorter_side)
                image.draft(None, (image.width // shrink, image.height // shrink))
            if image.width * image.height > MOST_DECODED:
                raise ImageError(name, f"{image.width} x {image.height} pixels; {MOST_DECODED:,} are allowed")
            return to_rgb(image)
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        raise ImageError(name, "not an image") from error
    except Image.DecompressionBombError as error:
        raise ImageError(name, f"declares more than {MOST_PIXELS:,} pixels") from error
    except Exception as error:  # on a broken file, Pillow's decoders raise nearly anything
        raise ImageError(name, str(error) or type(error).__name__) from error


def decode_mask(file: Path, name: str) -> Bool[np.ndarray, "H W"]:
    """True where a mask file is bright."""
    try:
        with Image.open(file) as image:
            return np.asarray(ImageOps.exif_transpose(image).convert("L")) > 127
    except Exception as error:
        raise ImageError(name, f"its mask can't be read: {str(error) or type(error).__name__}") from error


def to_rgb(image: Image.Image) -> UInt8[np.ndarray, "H W 3"]:
    """RGB bytes of an image of any mode: upright by its EXIF, deep greys scaled, transparency on mid-grey."""
    image.load()
    with contextlib.suppress(Exception):  # a broken EXIF block says nothing about the picture
        ImageOps.exif_transpose(image, in_place=True)
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return np.repeat(_bytes(np.asarray(image))[..., None], 3, 2)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (*UNDER_TRANSPARENCY, 255)), image)
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def _bytes(grey: Shaped[np.ndarray, "H W"]) -> UInt8[np.ndarray, "H W"]:
    """Deep greys scaled to 0..255: by 16 bits, fractions by 1, 255 or 65535; by their own range where they leave it."""
    floating = grey.dtype.kind == "f"
    grey = np.nan_to_num(grey.astype(np.float64), posinf=0, neginf=0)
    low, high = float(grey.min()), float(grey.max())
    for most in (1.0, 255.0, 65535.0) if floating else (65535.0,):
        if low >= 0 and high <= most:
            low, high = 0.0, most
            break
    return ((grey - low) * (255 / max(high - low, 1e-12)) + 0.5).astype(np.uint8)
