"""How fast accelerators multiply at best: dense matrix products, as their data sheets say.  Needs no torch."""

from __future__ import annotations

from dataclasses import dataclass

from dino_core.errors import ConfigError

GB, GIB = 10**9, 2**30


@dataclass(frozen=True)
class Device:
    """TFLOP/s of dense products without sparsity, and memory in bytes."""

    half: float
    """In bf16, or in fp16 where it has no bf16, summed in float32."""
    single: float
    """In float32 proper, as torch multiplies by default."""
    memory: int

    def peak(self, precision: str) -> float:
        """Operations a second."""
        return 1e12 * (self.single if precision == "fp32" else self.half)


DEVICES = {
    "v100": Device(125.0, 15.7, 32 * GB),
    "t4": Device(65.0, 8.1, 16 * GB),
    "rtx3090": Device(71.0, 35.6, 24 * GB),
    "rtx4090": Device(165.0, 82.6, 24 * GB),
    "a10": Device(125.0, 31.2, 24 * GB),
    "l4": Device(121.0, 30.3, 24 * GB),
    "l40s": Device(362.0, 91.6, 48 * GB),
    "a100": Device(312.0, 19.5, 80 * GB),
    "h100": Device(989.0, 67.0, 80 * GB),
    "h200": Device(989.0, 67.0, 141 * GB),
    "b200": Device(2250.0, 80.0, 180 * GB),
    "mi250x": Device(383.0, 95.7, 128 * GB),
    "mi300x": Device(1307.0, 163.4, 192 * GB),
}
"""The SXM or OAM form where there are several."""


def device(name: str) -> Device:
    if name.lower() not in DEVICES:
        raise ConfigError(f"no peak is known for {name!r}; give --peak in TFLOP/s, or one of {', '.join(DEVICES)}.")
    return DEVICES[name.lower()]


def bytes_of(text: str) -> int:
    """`80GB`, `79.6 GiB`, or a plain number of GB."""
    for unit, size in (("GIB", GIB), ("MIB", 2**20), ("TB", 1000 * GB), ("GB", GB), ("MB", 10**6), ("", GB)):
        if text.strip().upper().endswith(unit):
            try:
                size = round(float(text.strip()[: len(text.strip()) - len(unit)]) * size)
            except ValueError:
                break
            if size > 0:
                return size
            break
    raise ConfigError(f"{text!r} is no amount of memory; expected a number of GB, such as 80GB or 79.6GiB.")
