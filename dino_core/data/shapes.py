"""`shapes`: scenes of objects made of parts, drawn by code, with exact masks of the object and of its parts.

Ten classes of three to five named parts each.  A scene is a pure function of (seed, split, index): nothing is stored,
nothing is downloaded, the set is as large as one likes, and what attention and features should find is known exactly.

Objects are drawn as signed distances: a primitive gives the distance of a point to its outline (negative inside), in
the object's own coordinates, x to the right, y down, the object filling about [-1, 1]^2.  A pixel is covered by
clip(1/2 - distance in pixels, 0, 1), which smooths edges without supersampling.

Axes: H rows and W columns of the image, h rows and w columns of the window around the object, P points."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, UInt8

from dino_core.config import Shapes

Split = Literal["train", "test"]
Distance = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Distance of points (x, y) to an outline, negative inside."""

OBJECT_SHARE = 0.185
"""Share of the image that an object of medium scale covers."""
SCALE_SPREAD = 0.6
"""At pose 1 the covered share is this share times exp(U(-0.6, 0.6)): from 10 to 34 %."""
TURN = math.radians(60)
"""At pose 1 objects turn by up to this angle either way."""
STRETCH = 0.15
"""At pose 1 objects are stretched along their own axes by up to this much either way."""
OVERHANG = 0.15
"""At pose 1 objects may be cut by the frame: together, the margins they may leave it by are this share of its side."""
HUE_SPREAD = 0.06
TONE_SPREAD = 0.15
"""Spread of hue, and of saturation and value, around the colour typical of the class."""


# ---------------------------------------------------------------------------------------------- primitives


def _norm(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.sqrt(u * u + v * v)


def ellipse(x: float, y: float, width: float, height: float, turn: float = 0.0) -> Distance:
    """Half axes `width` and `height` around (x, y), turned by `turn` degrees."""
    cos, sin = math.cos(math.radians(turn)), math.sin(math.radians(turn))
    a, b, c, d = cos / width, sin / width, -sin / height, cos / height
    near = min(width, height)

    def distance(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        u, v = u - x, v - y
        if turn:
            u, v = a * u + b * v, c * u + d * v
        else:
            u, v = a * u, d * v
        return near * (_norm(u, v) - 1)

    return distance


def box(x: float, y: float, width: float, height: float) -> Distance:
    """Half sides `width` and `height` around (x, y)."""

    def distance(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        return np.maximum(np.abs(u - x) - width, np.abs(v - y) - height)

    return distance


def polygon(*corners: tuple[float, float]) -> Distance:
    """A convex polygon: the farthest of its half planes.  Corners go round clockwise as seen on the screen (y down)."""
    points = np.array(corners)
    edges = np.roll(points, -1, 0) - points
    normals = np.stack([edges[:, 1], -edges[:, 0]], 1) / np.linalg.norm(edges, axis=1, keepdims=True)
    planes = [(float(n[0]), float(n[1]), float(n @ p)) for n, p in zip(normals, points, strict=True)]

    def distance(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        a, b, c = planes[0]
        farthest = a * u + b * v - c
        for a, b, c in planes[1:]:
            np.maximum(farthest, a * u + b * v - c, out=farthest)
        return farthest

    return distance


def discs(radius: float, *centres: tuple[float, float]) -> Distance:
    """Several discs of one radius."""

    def distance(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        nearest = _norm(u - centres[0][0], v - centres[0][1])
        for x, y in centres[1:]:
            np.minimum(nearest, _norm(u - x, v - y), out=nearest)
        return nearest - radius

    return distance


def ring(x: float, y: float, radius: float, thickness: float) -> Distance:
    """A circle drawn with a pen of half width `thickness`."""

    def distance(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        return np.abs(_norm(u - x, v - y) - radius) - thickness

    return distance


def union(*distances: Distance) -> Distance:
    return lambda u, v: np.minimum.reduce([distance(u, v) for distance in distances])


def intersection(*distances: Distance) -> Distance:
    return lambda u, v: np.maximum.reduce([distance(u, v) for distance in distances])


# ------------------------------------------------------------------------------------------------- objects


@dataclass(frozen=True)
class Part:
    name: str
    colour: tuple[float, float, float]
    """Hue, saturation and value typical of the class, each in [0, 1]."""
    distance: Distance


GREEN, WOOD, DARK, PALE, RED, BLUE, GOLD = (
    (0.31, 0.65, 0.55), (0.08, 0.60, 0.45), (0.62, 0.35, 0.20), (0.12, 0.20, 0.90),
    (0.00, 0.75, 0.75), (0.58, 0.65, 0.75), (0.13, 0.75, 0.85),
)  # fmt: skip

PETALS = [(0.4 * math.sin(i * math.pi / 3), -0.35 - 0.4 * math.cos(i * math.pi / 3)) for i in range(6)]
JIB = ((-0.1, -0.45), (-0.1, 0.3), (-0.6, 0.3))

OBJECTS: dict[str, tuple[Part, ...]] = {  # parts in the order they are painted
    "fish": (
        Part("tail", (0.03, 0.75, 0.80), polygon((-0.35, 0.0), (-1.0, 0.5), (-1.0, -0.5))),
        Part("fin", (0.98, 0.65, 0.70), polygon((-0.25, -0.2), (0.05, -0.72), (0.4, -0.2))),
        Part("body", (0.07, 0.80, 0.85), ellipse(0.15, 0.0, 0.72, 0.42)),
        Part("eye", (0.62, 0.30, 0.15), discs(0.1, (0.55, -0.1))),
    ),
    "tree": (
        Part("trunk", WOOD, box(0.0, 0.6, 0.14, 0.4)),
        Part("crown", GREEN, discs(0.48, (0.0, -0.5), (-0.36, -0.06), (0.36, -0.06))),
        Part("fruit", RED, discs(0.11, (-0.05, -0.55), (-0.4, -0.02), (0.3, 0.05), (0.32, -0.32))),
    ),
    "cup": (
        Part("saucer", (0.55, 0.25, 0.85), ellipse(0.0, 0.62, 0.85, 0.14)),
        Part("handle", BLUE, ring(0.52, 0.0, 0.27, 0.09)),
        Part("body", (0.56, 0.55, 0.85), polygon((-0.6, -0.45), (0.6, -0.45), (0.42, 0.58), (-0.42, 0.58))),
        Part("drink", (0.06, 0.65, 0.30), ellipse(0.0, -0.45, 0.6, 0.14)),
    ),
    "house": (
        Part("chimney", (0.02, 0.50, 0.45), box(0.42, -0.6, 0.1, 0.3)),
        Part("wall", PALE, box(0.0, 0.35, 0.62, 0.5)),
        Part("roof", (0.01, 0.70, 0.60), polygon((0.0, -0.85), (0.85, -0.1), (-0.85, -0.1))),
        Part("door", WOOD, box(-0.25, 0.55, 0.14, 0.3)),
        Part("window", (0.55, 0.50, 0.90), box(0.27, 0.25, 0.16, 0.16)),
    ),
    "car": (
        Part("cabin", (0.64, 0.60, 0.60), polygon((-0.38, -0.5), (0.3, -0.5), (0.6, 0.02), (-0.62, 0.02))),
        Part("windows", (0.52, 0.30, 0.90), union(box(-0.2, -0.22, 0.17, 0.16), box(0.2, -0.22, 0.14, 0.16))),
        Part("body", (0.62, 0.75, 0.75), union(box(0.0, 0.18, 0.86, 0.24), ellipse(0.6, 0.18, 0.38, 0.24))),
        Part("wheels", DARK, discs(0.23, (-0.5, 0.42), (0.5, 0.42))),
    ),
    "bird": (
        Part("tail", (0.55, 0.55, 0.50), polygon((-0.4, -0.02), (-0.95, 0.42), (-0.98, 0.02))),
        Part("body", (0.14, 0.65, 0.90), ellipse(-0.05, 0.1, 0.58, 0.38, turn=-12.0)),
        Part("beak", (0.06, 0.85, 0.80), polygon((0.6, -0.5), (0.98, -0.3), (0.6, -0.2))),
        Part("head", (0.16, 0.55, 0.95), discs(0.29, (0.45, -0.35))),
        Part("wing", BLUE, ellipse(-0.15, 0.05, 0.36, 0.18, turn=25.0)),
    ),
    "flower": (
        Part("stem", GREEN, box(0.0, 0.5, 0.06, 0.5)),
        Part("leaf", (0.36, 0.60, 0.50), ellipse(0.26, 0.62, 0.3, 0.13, turn=-30.0)),
        Part("petals", (0.88, 0.55, 0.90), discs(0.27, *PETALS)),
        Part("centre", GOLD, discs(0.22, (0.0, -0.35))),
    ),
    "boat": (
        Part("mast", WOOD, box(0.0, -0.2, 0.045, 0.72)),
        Part("flag", RED, polygon((0.0, -0.98), (0.38, -0.85), (0.0, -0.72))),
        Part("sail", (0.12, 0.10, 0.95), union(polygon(*JIB), polygon((0.1, -0.65), (0.78, 0.3), (0.1, 0.3)))),
        Part("hull", (0.05, 0.70, 0.50), polygon((-0.9, 0.42), (0.9, 0.42), (0.58, 0.85), (-0.6, 0.85))),
    ),
    "mushroom": (
        Part("stem", (0.11, 0.25, 0.85), polygon((-0.2, 0.0), (0.2, 0.0), (0.27, 0.9), (-0.27, 0.9))),
        Part("gills", (0.09, 0.35, 0.60), ellipse(0.0, 0.05, 0.72, 0.14)),
        Part("cap", (0.99, 0.80, 0.75), intersection(ellipse(0.0, 0.05, 0.85, 0.85), box(0.0, -0.45, 1.0, 0.5))),
        Part("spots", PALE, discs(0.12, (-0.4, -0.2), (0.05, -0.48), (0.42, -0.12), (-0.05, -0.12))),
    ),
    "key": (
        Part("bow", GOLD, ring(-0.58, 0.0, 0.33, 0.13)),
        Part("shaft", (0.12, 0.60, 0.70), box(0.35, 0.0, 0.62, 0.11)),
        Part("teeth", (0.10, 0.55, 0.55), union(box(0.58, 0.22, 0.09, 0.16), box(0.86, 0.26, 0.09, 0.2))),
    ),
}  # fmt: skip

CLASSES: tuple[str, ...] = tuple(OBJECTS)
PARTS: dict[str, tuple[str, ...]] = {name: tuple(part.name for part in parts) for name, parts in OBJECTS.items()}
PART_NAMES: tuple[str, ...] = ("background", *(f"{name}/{part}" for name, parts in PARTS.items() for part in parts))
"""What the numbers in a part map mean; each class has numbers of its own."""


@lru_cache
def _outline(name: str) -> tuple[np.ndarray, float]:
    """Points on the convex outline of an object (P 2), and the area it covers, in its own coordinates."""
    axis = np.linspace(-1.3, 1.3, 261, dtype=np.float32)
    u, v = np.meshgrid(axis, axis)
    inside = np.minimum.reduce([part.distance(u, v) for part in OBJECTS[name]]) < 0
    points = np.stack([u[inside], v[inside]], 1)
    angles = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    directions = np.stack([np.cos(angles), np.sin(angles)])
    convex = points[np.unique((points @ directions).argmax(0))].astype(np.float64)
    return convex, float(inside.sum() * (axis[1] - axis[0]) ** 2)


# --------------------------------------------------------------------------------------------------- scene


@dataclass(frozen=True)
class Scene:
    image: UInt8[np.ndarray, "H W 3"]
    label: int
    mask: Bool[np.ndarray, "H W"]
    parts: UInt8[np.ndarray, "H W"]
    """0 on the background, else an index into `PART_NAMES`."""


def draw_scene(config: Shapes, split: Split, index: int) -> Scene:
    """The scene `index` of a split: background, distractors, then one object over them."""
    random = np.random.default_rng((config.seed & 0xFFFFFFFF, ("train", "test").index(split), index))
    label = int(random.integers(len(CLASSES)))
    canvas = BACKGROUNDS[config.background](random, config.size)
    for _ in range(config.distractors):
        _draw_distractor(random, canvas)
    parts = _draw_object(random, canvas, label, config)
    image = np.empty((config.size, config.size, 3), np.uint8)
    canvas *= 255
    canvas += 0.5
    np.minimum(np.maximum(canvas, 0, out=canvas), 255, out=image.transpose(2, 0, 1), casting="unsafe")
    return Scene(image, label, parts > 0, parts)


def _draw_object(random: np.random.Generator, canvas: np.ndarray, label: int, config: Shapes) -> np.ndarray:
    """Paint an object of a class on the canvas (3 H W), in place; its part map (H W)."""
    name, size = CLASSES[label], config.size
    outline, area = _outline(name)
    # from the object's coordinates to pixels: pixel = matrix @ point + offset
    scale = size * np.sqrt(OBJECT_SHARE / area * np.exp(SCALE_SPREAD * config.pose * random.uniform(-1, 1)))
    turn = TURN * config.pose * random.uniform(-1, 1)
    stretch = 1 + STRETCH * config.pose * random.uniform(-1, 1)
    mirror = -1.0 if random.random() < 0.5 * min(config.pose, 1) else 1.0
    cos, sin = np.cos(turn), np.sin(turn)
    matrix = np.array([[cos, -sin], [sin, cos]]) * (mirror * stretch, 1 / stretch)
    reach = outline @ matrix.T
    low, high = reach.min(0), reach.max(0)
    scale = min(scale, 0.98 * size / (high - low).max())
    matrix, low, high = matrix * scale, low * scale, high * scale
    room = ((1 + OVERHANG) * size - (high - low)) * (random.random(2) - 0.5) * min(config.pose, 1)
    offset = size / 2 - (low + high) / 2 + room

    left, top = (max(int(p) - 1, 0) for p in offset + low)
    right, bottom = (min(int(p) + 2, size) for p in offset + high)
    a, b, c, d = (np.array([matrix[1, 1], -matrix[0, 1], -matrix[1, 0], matrix[0, 0]]) / (mirror * scale**2)).tolist()
    x, y = _pixels(left, right, offset[0]), _pixels(top, bottom, offset[1])[:, None]
    u, v = a * x + b * y, c * x + d * y  # h w

    window = canvas[:, top:bottom, left:right]
    parts = np.zeros((size, size), np.uint8)
    part_window = parts[top:bottom, left:right]
    shade = 1 - np.float32(0.15) * v  # light falls from above
    first = PART_NAMES.index(f"{name}/{PARTS[name][0]}")
    colours = _colours(random, _typical(name), config.palette)
    for number, (part, colour) in enumerate(zip(OBJECTS[name], colours, strict=True), first):
        coverage = _coverage(part.distance(u, v), scale)
        _paint(window, colour * shade, coverage)
        np.copyto(part_window, number, where=coverage > 0.5)
    return parts


def _pixels(start: int, stop: int, origin: float) -> np.ndarray:
    """Centres of pixels, seen from an origin."""
    return np.arange(start, stop, dtype=np.float32) + np.float32(0.5 - origin)


def _draw_distractor(random: np.random.Generator, canvas: np.ndarray) -> None:
    """Paint one small blob without meaning on the canvas (3 H W), in place."""
    size = canvas.shape[1]
    x, y = random.random(2) * size
    radius = size * random.uniform(0.03, 0.06)
    left, top = (max(int(p - 2 * radius - 1), 0) for p in (x, y))
    right, bottom = (min(int(p + 2 * radius + 2), size) for p in (x, y))
    blob = ellipse(0.0, 0.0, radius, radius * random.uniform(1, 1.8), random.uniform(0, 180))
    distance = blob(_pixels(left, right, x), _pixels(top, bottom, y)[:, None])
    _paint(canvas[:, top:bottom, left:right], _any_colours(random, 1)[0], _coverage(distance, 1.0))


def _coverage(distance: np.ndarray, scale: float) -> np.ndarray:
    """How much of each pixel lies inside an outline; `scale` is pixels per unit of distance."""
    coverage = distance * np.float32(-scale)
    coverage += np.float32(0.5)
    np.maximum(coverage, 0, out=coverage)
    return np.minimum(coverage, 1, out=coverage)


def _paint(window: np.ndarray, colour: np.ndarray, coverage: np.ndarray) -> None:
    """Lay a colour (3 h w) over a window (3 h w) of the canvas, in place, where it covers it (h w)."""
    layer = colour - window
    layer *= coverage
    window += layer


# ------------------------------------------------------------------------------------- colours, backgrounds


def _colours(random: np.random.Generator, typical: np.ndarray, palette: str) -> np.ndarray:
    """Red, green and blue (P 3 1 1) of parts whose typical hue, saturation and value are given (P 3)."""
    if palette == "free":
        return _any_colours(random, len(typical))
    hsv = typical + random.standard_normal(typical.shape) * (HUE_SPREAD, TONE_SPREAD, TONE_SPREAD)
    return rgb(hsv[:, 0], hsv[:, 1].clip(0, 1), hsv[:, 2].clip(0.1, 1))


def _any_colours(random: np.random.Generator, colours: int) -> np.ndarray:
    return rgb(*random.uniform((0, 0.4, 0.35), 1, (colours, 3)).T)


@lru_cache
def _typical(name: str) -> np.ndarray:
    return np.array([part.colour for part in OBJECTS[name]])


def rgb(
    hue: Float[np.ndarray, " P"], saturation: Float[np.ndarray, " P"], value: Float[np.ndarray, " P"]
) -> Float[np.ndarray, "P 3 1 1"]:
    """Red, green and blue of hues (whole turns), saturations and values (both in [0, 1])."""
    wheel = np.abs((hue[:, None] * 6 + (0, 4, 2)) % 6 - 3) - 1
    pure = wheel.clip(0, 1)
    return (value[:, None] * (1 - saturation[:, None] * (1 - pure))).astype(np.float32)[..., None, None]


@lru_cache
def _upsampling(cells: int, size: int) -> np.ndarray:
    """Smooth interpolation (size, cells + 1) from a grid of random values to pixels."""
    position = (np.arange(size, dtype=np.float32) + np.float32(0.5)) * cells / size
    cell = position.astype(int)
    t = position - cell
    t = t * t * (3 - 2 * t)
    matrix = np.zeros((size, cells + 1), np.float32)
    matrix[np.arange(size), cell], matrix[np.arange(size), cell + 1] = 1 - t, t
    return matrix


OCTAVES = (4, 8, 16, 32)
"""Cells across the image in each octave of noise."""


def _noise(random: np.random.Generator, size: int) -> np.ndarray:
    """Smooth noise of several octaves (H W), with mean 0 and standard deviation 1 in every image."""
    field = np.zeros((size, size), np.float32)
    for cells in OCTAVES:
        up = _upsampling(cells, size)
        field += up @ random.standard_normal((cells + 1, cells + 1), np.float32) @ up.T
    field -= field.mean()
    field /= np.sqrt(np.vdot(field, field) / field.size)
    return field


def _plain(random: np.random.Generator, size: int) -> np.ndarray:
    """Grey noise of one family: no image's background differs from another's in anything but chance."""
    grey = np.float32(0.5) + np.float32(0.1) * _noise(random, size)
    return np.repeat(grey[None], 3, 0)


def _textured(random: np.random.Generator, size: int) -> np.ndarray:
    """Clouds between two random colours."""
    one, other = _any_colours(random, 2)
    share = (np.float32(0.5) + np.float32(0.25) * _noise(random, size)).clip(0, 1)
    return one + share * (other - one)


def _identifying(random: np.random.Generator, size: int) -> np.ndarray:
    """Crossed stripes whose colours, directions and widths are one all over an image and others in every other."""
    axis = (np.arange(size, dtype=np.float32) + 0.5) / size
    hue, value = random.uniform((0, 0.3), 1, (3, 2)).T
    colours = rgb(hue, np.full(3, 0.9), value)
    canvas = np.tile(colours[0], (1, size, size))
    for colour in colours[1:]:
        angle, cycles, phase = random.uniform((0, 4, 0), (np.pi, 14, 1)) * (1, 2 * np.pi, 2 * np.pi)
        across, down = np.float32(cycles * np.cos(angle)) * axis, np.float32(cycles * np.sin(angle)) * axis[:, None]
        wave = np.sin(across + down + np.float32(phase))
        _paint(canvas, colour, (np.float32(0.35) + np.float32(1.4) * wave).clip(0, np.float32(0.7)))
    return canvas + np.float32(0.03) * _noise(random, size)


BACKGROUNDS: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "plain": _plain,
    "textured": _textured,
    "identifying": _identifying,
}
