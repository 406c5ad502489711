"""Reads a scene back out of a picture, so that how well a model follows its prompt is measured, not felt.

By analysis and synthesis: what differs from the backdrop falls into connected parts; each part's area and centroid say
where each of the shapes would have to lie, the one that covers the part best is what it shows, and its colour is the
one whose rendering comes closest. Nothing is learnt, so nothing is shared with the models that are judged.
"""

from dataclasses import dataclass
from functools import cache
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from .scenes import COLOURS, SIZES, TOWARDS, Image, Placed, Scene, Thing, backdrop, paint
from .shapes import SHAPES, Array

Mask = NDArray[np.bool_]

CONTRAST = 30  # grey levels from the backdrop, shadows aside, from which on a pixel belongs to a part
SPECK = 24 / 64**2  # parts with less area than this are no shapes; a small star has 116 / 64**2
LIKENESS = 0.7  # overlap (intersection over union) below which a part is none of the shapes
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Reading:
    """What a picture shows; a thing's shape is UNKNOWN where no shape fits."""

    background: str
    things: tuple[Placed, ...]


def read(image: Image) -> Reading:
    """The background and the things in a square picture (size, size, 3) uint8."""
    if image.ndim != 3 or image.shape[0] != image.shape[1] or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"a picture to judge is (size, size, 3) uint8, not {image.shape} {image.dtype}")
    picture = image.astype(np.float32)
    size = len(picture)
    rim = np.ones((size, size), bool)
    rim[size // 32 : -(size // 32), size // 32 : -(size // 32)] = False
    background = nearest_colour(np.median(picture[rim], axis=0))
    contrast = _contrast(picture, backdrop(background, size))
    things = (_identify(part, picture, background) for part in _parts(contrast))
    return Reading(background, tuple(things))


def verdict(reading: Reading, scene: Scene) -> dict[str, bool]:
    """Whether each attribute is right for all things, under the kindest pairing of what is seen with what was asked.

    Keys: shape, colour, size, relation, background, all. Too few or too many things make every attribute of the
    things wrong; a lone thing's relation is right.
    """
    verdicts = [
        _compare(reading.background, seen, scene)
        for seen in permutations(reading.things)
        if len(seen) == len(scene.things)
    ]
    if not verdicts:
        verdicts = [_compare(reading.background, (), scene)]
    return max(verdicts, key=lambda right: sum(right.values()))


def nearest_colour(rgb: Array) -> str:
    """The name of the colour that is closest to (r, g, b)."""
    return min(COLOURS, key=lambda name: float(np.linalg.norm(rgb - np.array(COLOURS[name]))))


def _compare(background: str, seen: tuple[Placed, ...], scene: Scene) -> dict[str, bool]:
    pairs = list(zip(seen, scene.things, strict=True)) if seen else []
    right = {
        name: bool(pairs) and all(getattr(s.thing, name) == getattr(asked, name) for s, asked in pairs)
        for name in ("shape", "colour", "size")
    }
    right["relation"] = scene.relation is None or (bool(pairs) and _relation(*seen) == scene.relation)
    right["background"] = background == scene.background
    return right | {"all": all(right.values())}


def _relation(subject: Placed, other: Placed) -> str:
    dx, dy = subject.x - other.x, subject.y - other.y
    return max(TOWARDS, key=lambda name: dx * TOWARDS[name][0] + dy * TOWARDS[name][1])


def _contrast(picture: Array, ground: Array) -> Array:
    """(H, W): how far each pixel is from the backdrop, lit or in shadow (from 0.74 to 1.1 times as bright)."""
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
        padded = np.pad(labels, 1)
        spread = np.maximum.reduce([labels, padded[2:, 1:-1], padded[:-2, 1:-1], padded[1:-1, 2:], padded[1:-1, :-2]])
        spread *= mask
        if np.array_equal(spread, labels):
            return [labels == label for label in np.unique(labels[mask])]
        labels = spread


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


def _fit(shape: str, part: Mask) -> tuple[float, Placed]:
    """The shape where its area and centroid are the part's, and how well the two overlap (0 to 1)."""
    x, y = _grid(len(part))
    area, middle_x, middle_y = _moments(shape)
    radius = float(part.mean() / area) ** 0.5
    centre_x, centre_y = float(x[part].mean()) - radius * middle_x, float(y[part].mean()) - radius * middle_y
    inside = SHAPES[shape]((x - centre_x) / radius, (y - centre_y) / radius) < 0
    overlap = float((inside & part).sum() / (inside | part).sum())
    size = min(SIZES, key=lambda name: abs(np.log(radius / SIZES[name])))
    return overlap, Placed(Thing(shape, UNKNOWN, size), centre_x, centre_y, radius)


def _identify(part: Mask, picture: Array, background: str) -> Placed:
    overlap, placed = max((_fit(shape, part) for shape in SHAPES), key=lambda fit: fit[0])
    thing = placed.thing

    def error(colour: str) -> float:
        canvas = backdrop(background, len(picture))
        paint(canvas, Placed(Thing(thing.shape, colour, thing.size), placed.x, placed.y, placed.radius))
        return float(((canvas - picture)[part] ** 2).sum())

    shape = thing.shape if overlap > LIKENESS else UNKNOWN
    return Placed(Thing(shape, min(COLOURS, key=error), thing.size), placed.x, placed.y, placed.radius)
