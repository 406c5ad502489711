"""Reads a scene back out of a picture, to measure how well a model follows its prompts.

By analysis and synthesis: what differs from the backdrop falls into connected parts; each part's
area and centroid say where each of the shapes would have to lie, and the shape and the colour that,
drawn there, come closest to the picture are what it shows. Nothing is learnt, so nothing is shared
with the models that are evaluated.
"""

from dataclasses import dataclass, replace
from functools import cache
from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data import Image
from .distances import SHAPES, Array
from .scenes import COLOURS, SIZES, TOWARDS, Placed, Scene, Thing, backdrop, paint

Mask = NDArray[np.bool_]

CONTRAST = 30  # grey levels from the backdrop (or its shadow) from which on a pixel is of a part
SPECK = 24 / 64**2  # parts with less area than this are no shapes; a small star has 116 / 64**2
LIKENESS = 0.6  # overlap (intersection over union) below which a part is none of the shapes
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Reading:
    """What a picture shows; a thing's shape is UNKNOWN where no shape fits."""

    background: str
    things: tuple[Placed, ...]


def read(image: Image) -> Reading:
    """The background and the things in a square picture (size, size, 3) uint8."""
    if image.shape != (len(image), len(image), 3) or image.dtype != np.uint8:
        raise ValueError(
            f"a picture to read is (size, size, 3) uint8, not {image.shape} {image.dtype}"
        )
    picture = image.astype(np.float32)
    size = len(picture)
    rim = np.ones((size, size), bool)
    rim[size // 32 : -(size // 32), size // 32 : -(size // 32)] = False
    background = nearest_colour(np.median(picture[rim], axis=0))
    contrast = _contrast(picture, backdrop(background, size))
    things = (_identify(part, picture, background) for part in _parts(contrast))
    return Reading(background, tuple(things))


def verdict(reading: Reading, scene: Scene) -> dict[str, bool]:
    """Whether each attribute is right for all things; seen and asked things are paired by likeness.

    Keys: shape, colour, size, relation, background, all. Too few or too many things make every
    attribute of the things wrong; a lone thing's relation is right.
    """
    complete = len(reading.things) == len(scene.things)
    orders = permutations(reading.things) if complete else [()]
    seen = max(orders, key=lambda order: _likeness(order, scene.things))
    right = {
        name: complete and all(_matches(name, seen, scene.things))
        for name in ("shape", "colour", "size")
    }
    right["relation"] = scene.relation is None or (complete and _relation(*seen) == scene.relation)
    right["background"] = reading.background == scene.background
    return right | {"all": all(right.values())}


def nearest_colour(rgb: Array) -> str:
    """The name of the colour that is closest to (r, g, b)."""
    return min(COLOURS, key=lambda name: float(np.linalg.norm(rgb - np.array(COLOURS[name]))))


def _matches(name: str, seen: tuple[Placed, ...], asked: tuple[Thing, ...]) -> list[bool]:
    return [getattr(s.thing, name) == getattr(a, name) for s, a in zip(seen, asked, strict=False)]


def _likeness(seen: tuple[Placed, ...], asked: tuple[Thing, ...]) -> tuple[int, int]:
    """How many attributes agree; where that is even, how many shapes. Places do not count."""
    kinds = ("shape", "colour", "size")
    shapes, colours, sizes = (sum(_matches(kind, seen, asked)) for kind in kinds)
    return shapes + colours + sizes, shapes


def _relation(subject: Placed, other: Placed) -> str:
    dx, dy = subject.x - other.x, subject.y - other.y
    return max(TOWARDS, key=lambda name: dx * TOWARDS[name][0] + dy * TOWARDS[name][1])


def _contrast(picture: Array, ground: Array) -> Array:
    """(H, W): how far each pixel is from the backdrop, made 0.74 (shadow) to 1.1 times as bright"""
    light = np.clip((picture * ground).sum(-1) / (ground * ground).sum(-1), 0.74, 1.1)
    return np.asarray(np.linalg.norm(picture - light[:, :, None] * ground, axis=-1))


def _parts(contrast: Array) -> list[Mask]:
    """The connected regions that stand out, each cut where its contrast falls to half."""
    parts = []
    for region in _regions(contrast > CONTRAST):
        part = region & (contrast > np.median(contrast[region]) / 2)
        if part.mean() > SPECK:
            parts.append(part)
    return parts


def _regions(mask: Mask) -> list[Mask]:
    """The 4-connected regions of a mask: every pixel takes the greatest label it can reach."""
    labels = np.where(mask, np.arange(1, mask.size + 1).reshape(mask.shape), 0)
    while True:
        spread = _neighbourhood(labels, np.maximum) * mask
        if np.array_equal(spread, labels):
            return [labels == label for label in np.unique(labels[mask])]
        labels = spread


def _neighbourhood(values: NDArray[Any], combine: np.ufunc) -> NDArray[Any]:
    """Every pixel combined with its four neighbours."""
    padded = np.pad(values, 1)
    cross = [padded[2:, 1:-1], padded[:-2, 1:-1], padded[1:-1, 2:], padded[1:-1, :-2]]
    return np.asarray(combine.reduce([values, *cross]))


def _grid(size: int) -> tuple[Array, Array]:
    axis = (np.arange(size, dtype=np.float32) + 0.5) / size
    x, y = np.meshgrid(axis, axis)
    return x, y


@cache
def _moments(shape: str) -> tuple[float, float, float]:
    """A shape's area and centroid (x, y), in its own unit of length."""
    x, y = (4 * (axis - 0.5) for axis in _grid(400))
    inside = SHAPES[shape](x, y) < 0
    return 16 * float(inside.mean()), float(x[inside].mean()), float(y[inside].mean())


def _fit(shape: str, part: Mask) -> Placed:
    """The shape where its area and centroid are the part's; its colour is still unknown."""
    x, y = _grid(len(part))
    area, middle_x, middle_y = _moments(shape)
    radius = float(part.mean() / area) ** 0.5
    size = min(SIZES, key=lambda name: abs(np.log(radius / SIZES[name])))
    centre_x = float(x[part].mean()) - radius * middle_x
    centre_y = float(y[part].mean()) - radius * middle_y
    return Placed(Thing(shape, UNKNOWN, size), centre_x, centre_y, radius)


def _overlap(placed: Placed, part: Mask) -> float:
    """Intersection over union of a placed shape and a part."""
    x, y = _grid(len(part))
    distance = SHAPES[placed.thing.shape]
    inside = distance((x - placed.x) / placed.radius, (y - placed.y) / placed.radius) < 0
    return float((inside & part).sum() / (inside | part).sum())


def _identify(part: Mask, picture: Array, background: str) -> Placed:
    """The colour that suits the best-covering shape, then the shape that fits best in it."""
    grown = _neighbourhood(part, np.logical_or)

    def error(placed: Placed) -> float:
        canvas = backdrop(background, len(picture))
        paint(canvas, placed)
        drawings = (canvas, _soft(canvas))
        return min(float(((drawing - picture)[grown] ** 2).sum()) for drawing in drawings)

    fits = [_fit(shape, part) for shape in SHAPES]
    closest = max(fits, key=lambda placed: _overlap(placed, part))
    colour = min((_with(closest, colour=name) for name in COLOURS), key=error).thing.colour
    if _overlap(closest, part) < LIKENESS:
        return _with(closest, shape=UNKNOWN, colour=colour)
    return min((_with(placed, colour=colour) for placed in fits), key=error)


def _soft(picture: Array) -> Array:
    """Blurred as a decoder may blur it: with weights 1, 2, 1 along both axes, twice."""
    for axis in (0, 1, 0, 1):
        picture = (np.roll(picture, 1, axis) + 2 * picture + np.roll(picture, -1, axis)) / 4
    return picture


def _with(placed: Placed, **changes: str) -> Placed:
    return replace(placed, thing=replace(placed.thing, **changes))
