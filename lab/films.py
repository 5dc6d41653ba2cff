"""A view through training as a film: `lab.film("attention", run, "heads.gif", image=2)`."""

from __future__ import annotations

import io
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, cast, get_args

import numpy as np
from PIL import Image

from dino_core.errors import RunError
from lab import stills
from lab.analysis import curves
from lab.local import find
from lab.run import Run

FRAMES = 24
"""Of a film whose steps are not named: spread by ratio, first and last among them."""
LAST = 1.5
"""Seconds that the last frame stays, beyond its turn."""
RATE = 3.0
"""Frames a second."""
MOST_FRAMES = 48
"""Pictures that a page may hand in for one film."""
MOST_PIXELS = 120_000_000
"""Of all of them together."""
Kind = Literal["gif", "mp4", "webp"]


def film(
    view: str,
    run: str | Path | Run | None,
    file: str | Path,
    *,
    steps: Sequence[int] | None = None,
    rate: float = RATE,
    **state: Any,
) -> Path:
    """Write a view through training as GIF or WebP, or as MP4 where there is an ffmpeg; `rate` is frames a second.

    `steps` are those of probes (24 spread by ratio by default); `state` as in `show`: image, patch."""
    target = Path(file)
    kind = target.suffix.removeprefix(".")
    if kind not in get_args(Kind):
        raise RunError(
            f"{target.name} is no film that can be written; expected a name that ends in .gif, .mp4 or .webp."
        )
    target.write_bytes(encoded(frames(view, find(run), steps, **state), cast(Kind, kind), rate))
    return target


def encoded(shown: list[Image.Image], kind: Kind, rate: float = RATE) -> bytes:
    """Frames as a film; the last stays a little longer."""
    return {"gif": gif, "mp4": mp4, "webp": webp}[kind](shown, rate)


def frames(view: str, run: Run, steps: Sequence[int] | None = None, **state: Any) -> list[Image.Image]:
    """One picture a step, all of one size."""
    known = run.probes
    if steps is None:
        steps = [int(known[i]) for i in curves.log_spaced(np.array(known), FRAMES)] if len(known) > FRAMES else known
    if missing := sorted(set(steps) - set(known)):
        raise RunError(f"{run.path.name} has no pictures at step {missing[0]}. It has: {', '.join(map(str, known))}.")
    if not steps:
        raise RunError(f"{run.path.name} has no pictures yet; they come with the first checkpoint.")
    given = {key: value for key, value in state.items() if key not in ("step", "until")}
    return [Image.open(io.BytesIO(stills.png(view, run, step, until=step, **given))).convert("RGB") for step in steps]


def pictures(body: bytes, sizes: Sequence[int]) -> list[Image.Image]:
    """Frames that were handed in, file after file; smaller ones are filled up to the largest.

    RunError for what is too many, too large, damaged or of another kind."""
    if not 0 < len(sizes) <= MOST_FRAMES or sum(sizes) != len(body) or min(sizes) <= 0:
        raise RunError(
            f"{len(sizes)} pictures of {sum(sizes)} bytes were announced, {len(body)} bytes came; at most {MOST_FRAMES}."
        )
    found, at = [], 0
    for size in sizes:
        try:
            with Image.open(io.BytesIO(body[at : at + size]), formats=("JPEG", "PNG", "WEBP")) as picture:
                if picture.width * picture.height * len(sizes) > MOST_PIXELS:
                    raise RunError(
                        f"{len(sizes)} pictures of {picture.width}×{picture.height} pixels are too large for a film."
                    )
                found.append(picture.convert("RGB"))
        except RunError:
            raise
        except Exception as error:  # on a damaged file, Pillow's decoders raise nearly anything
            raise RunError(
                f"picture {len(found) + 1} can't be read: {str(error)[:80] or type(error).__name__}."
            ) from error
        at += size
    width, height = (max(getattr(one, side) for one in found) for side in ("width", "height"))
    return [one if one.size == (width, height) else _filled(one, width, height) for one in found]


def _filled(picture: Image.Image, width: int, height: int) -> Image.Image:
    sheet = Image.new("RGB", (width, height), picture.getpixel((picture.width // 2, 2)))
    sheet.paste(picture, (0, 0))
    return sheet


def durations(count: int, rate: float) -> list[int]:
    """Milliseconds that each frame stays."""
    beat = round(1000 / rate)
    return [beat] * (count - 1) + [beat + round(1000 * LAST)]


def gif(shown: list[Image.Image], rate: float = RATE) -> bytes:
    """Frames as a GIF that repeats, in colours that all of them share."""
    sheet = Image.new("RGB", (shown[0].width, sum(frame.height for frame in shown)))
    for index, frame in enumerate(shown):
        sheet.paste(frame, (0, index * shown[0].height))
    palette = sheet.quantize(255)
    flat = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in shown]
    file = io.BytesIO()
    stays = durations(len(flat), rate)
    flat[0].save(file, "GIF", save_all=True, append_images=flat[1:], duration=stays, loop=0, optimize=False)
    return file.getvalue()


def webp(shown: list[Image.Image], rate: float = RATE) -> bytes:
    """Frames as an animated WebP, in all their colours."""
    file = io.BytesIO()
    stays = durations(len(shown), rate)
    shown[0].save(file, "WEBP", save_all=True, append_images=shown[1:], duration=stays, loop=0, quality=85)
    return file.getvalue()


def ffmpeg() -> str | None:
    """The program that writes MP4: this system's, or the one that the package imageio-ffmpeg brings; None without either."""
    if (found := shutil.which("ffmpeg")) is not None:
        return found
    try:
        from imageio_ffmpeg import get_ffmpeg_exe

        return str(get_ffmpeg_exe())
    except (ImportError, RuntimeError):
        return None


def mp4(shown: list[Image.Image], rate: float = RATE) -> bytes:
    """Frames as H.264 in an MP4 that every browser plays; RunError where nothing here writes it."""
    program = ffmpeg()
    if program is None:
        raise RunError("an MP4 needs ffmpeg: pip install imageio-ffmpeg brings one. GIF and WebP need nothing.")
    width, height = (side - side % 2 for side in shown[0].size)  # the codec takes even sizes
    stills = [frame.crop((0, 0, width, height)).tobytes() for frame in shown]
    stills += stills[-1:] * round(LAST * rate)
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "film.mp4"
        command = [
            program, "-y", "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}",
            "-r", str(rate), "-i", "-", "-c:v", "libx264", "-pix_fmt", "yuv420p", "-movflags", "+faststart", str(target),
        ]  # fmt: skip
        done = subprocess.run(command, input=b"".join(stills), capture_output=True)
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip()[:200]
            raise RunError(f"ffmpeg could not write the film: {said}")
        return target.read_bytes()
