"""A view through training as a film: `lab.film("attention", run, "heads.gif", image=2)`."""

from __future__ import annotations

import io
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

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
"""Seconds that the last frame stays."""


def film(
    view: str,
    run: str | Path | Run | None,
    file: str | Path,
    *,
    steps: Sequence[int] | None = None,
    rate: float = 3.0,
    **state: Any,
) -> Path:
    """Write a view through training as GIF, or as MP4 where ffmpeg is installed; `rate` is frames a second.

    `steps` are those of probes (24 spread by ratio by default); `state` as in `show`: image, patch."""
    target = Path(file)
    shown = frames(view, find(run), steps, **state)
    if target.suffix == ".gif":
        target.write_bytes(gif(shown, rate))
    elif target.suffix == ".mp4":
        _mp4(shown, target, rate)
    else:
        raise RunError(f"{target.name} is no film that can be written; expected a name that ends in .gif or .mp4.")
    return target


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


def gif(shown: list[Image.Image], rate: float = 3.0) -> bytes:
    """Frames as a GIF that repeats, in colours that all of them share."""
    beat = round(1000 / rate)
    sheet = Image.new("RGB", (shown[0].width, sum(frame.height for frame in shown)))
    for index, frame in enumerate(shown):
        sheet.paste(frame, (0, index * shown[0].height))
    palette = sheet.quantize(255)
    flat = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in shown]
    file = io.BytesIO()
    durations = [beat] * (len(flat) - 1) + [beat + round(1000 * LAST)]
    flat[0].save(file, "GIF", save_all=True, append_images=flat[1:], duration=durations, loop=0, optimize=False)
    return file.getvalue()


def _mp4(shown: list[Image.Image], target: Path, rate: float) -> None:
    if (ffmpeg := shutil.which("ffmpeg")) is None:
        raise RunError("an MP4 needs ffmpeg, which is not installed here; a .gif needs nothing.")
    width, height = (side - side % 2 for side in shown[0].size)  # the codec takes even sizes
    frames = b"".join(frame.crop((0, 0, width, height)).tobytes() for frame in shown)
    command = [
        ffmpeg, "-y", "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(rate),
        "-i", "-", "-pix_fmt", "yuv420p", "-movflags", "+faststart", str(target),
    ]  # fmt: skip
    done = subprocess.run(command, input=frames, capture_output=True)
    if done.returncode:
        raise RunError(f"ffmpeg could not write {target.name}: {done.stderr.decode(errors='replace').strip()[:200]}")
