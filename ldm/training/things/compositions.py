"""Where the things of a picture stand: one, two side by side or above one another, or a few alike.

Lengths are fractions of the picture's side; x points right and y points down.
"""

from dataclasses import dataclass

import numpy as np
from PIL.Image import Resampling, fromarray

from ..data import Image
from ..shapes.scenes import TOWARDS
from .collection import Collection, Pixels
from .grounds import Ground, draw_ground, paint_ground
from .rendering import CELLS, resized

SIZES = {"": (0.66, 0.86), "small": (0.34, 0.46), "large": (0.9, 0.98)}  # of a thing alone
PLACES = {  # of a small thing alone: where its middle is
    "": (0.5, 0.5),
    "left": (0.27, 0.5),
    "right": (0.73, 0.5),
    "top": (0.5, 0.27),
    "bottom": (0.5, 0.73),
    "upper left": (0.27, 0.27),
    "upper right": (0.73, 0.27),
    "lower left": (0.27, 0.73),
    "lower right": (0.73, 0.73),
}
GRIDS = {  # the middles of some things alike
    2: ((0.27, 0.5), (0.73, 0.5)),
    3: ((0.5, 0.27), (0.27, 0.72), (0.73, 0.72)),
    4: ((0.27, 0.27), (0.73, 0.27), (0.27, 0.73), (0.73, 0.73)),
}
KINDS = {"alone": 0.7, "pair": 0.2, "some": 0.1}  # how often each is drawn


@dataclass(frozen=True)
class Composition:
    """things: numbers of entries. One: with a size of SIZES, a place of PLACES, and how many there
    are; two: with a relation of shapes.scenes.TOWARDS. ground: what they stand on."""

    things: tuple[int, ...]
    ground: Ground
    size: str = ""
    place: str = ""
    count: int = 1
    relation: str | None = None


def compose(
    collection: Collection,
    things: tuple[int, ...],
    kind: str,
    plain: bool,
    rng: np.random.Generator,
) -> Composition:
    """An arrangement of a kind of KINDS of these things, two for a pair. plain: of one colour."""
    ground = draw_ground([collection.pictures[i] for i in things], plain, rng)
    if kind == "pair":
        return Composition(things, ground, relation=list(TOWARDS)[rng.integers(len(TOWARDS))])
    if kind == "some":
        return Composition(things, ground, count=int(rng.choice([2, 3, 4], p=[0.5, 0.3, 0.2])))
    size = ("", "small", "large")[rng.choice(3, p=[0.72, 0.18, 0.1])]
    place = ""
    if size == "small" and rng.random() < 0.7:
        place = list(PLACES)[rng.integers(1, len(PLACES))]
    return Composition(things, ground, size, place)


def _spots(scene: Composition, rng: np.random.Generator) -> list[tuple[int, float, float, float]]:
    """Each thing's number, its middle (x, y) and its side."""
    if scene.relation is not None:
        dx, dy = TOWARDS[scene.relation]
        sides = rng.uniform(0.42, 0.48, 2)
        ends = zip(scene.things, (0.245, -0.245), sides, strict=True)
        return [(i, 0.5 + at * dx, 0.5 + at * dy, float(side)) for i, at, side in ends]
    if scene.count > 1:
        side = float(rng.uniform(0.4, 0.46))
        return [(scene.things[0], x, y, side) for x, y in GRIDS[scene.count]]
    x, y = PLACES[scene.place]
    return [(scene.things[0], x, y, float(rng.uniform(*SIZES[scene.size])))]


def _scaled(pixels: Pixels, side: int, cells: bool) -> Pixels:
    """(side, side, 4), or, of pixel art, the nearest size that keeps its cells whole."""
    if cells:
        side = max(CELLS, round(side / CELLS) * CELLS)
        return np.array(fromarray(pixels).resize((side, side), Resampling.NEAREST))
    return resized(pixels, side, side)


def render(
    collection: Collection, scene: Composition, size: int, rng: np.random.Generator
) -> Image:
    """The scene as a picture (size, size, 3)."""
    canvas = paint_ground(scene.ground, size)
    for i, x, y, side in _spots(scene, rng):
        cells = collection.entries[i].style == "pixel art"
        thing = _scaled(collection.pictures[i], round(side * size), cells)
        slack = max(0.0, 1 - len(thing) / size) / 2  # it may move by a pixel or two, not out
        shift = rng.uniform(-1, 1, 2) * min(slack, 0.02)
        half = len(thing) / 2
        left, top = (round((at + by) * size - half) for at, by in zip((x, y), shift, strict=True))
        left, top = (min(max(at, 0), size - len(thing)) for at in (left, top))
        patch = canvas[top : top + len(thing), left : left + len(thing)]
        alpha = thing[:, :, 3:].astype(np.float32) / 255
        patch += alpha * (thing[:, :, :3] - patch)
    return np.asarray(np.clip(canvas + 0.5, 0, 255), np.uint8)
