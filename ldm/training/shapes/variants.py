"""Scenes that the built-in model cannot draw, to teach it: a style, a colour, a layout.

outlines   only the contour of each shape is drawn, on the bare background; captions as ever
teal       one thing in each scene is of a colour that COLOURS has not
anywhere   one shape at any place and of any size, of which the caption says nothing
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from ..data import Image
from .distances import SHAPES, Array
from .scenes import COLOURS, EVERYTHING, Placed, Scene, backdrop, caption, draw, layout, paint, say

TEAL = (0, 112, 116)
Example = tuple[Image, str]


def outlines(seed: int, index: int, size: int) -> Example:
    scene, rng = draw(seed, index)
    canvas = backdrop(scene.background, size)
    for placed in layout(scene, rng):
        paint_outline(canvas, placed)
    return finished(canvas), caption(scene, rng)


def paint_outline(canvas: Array, placed: Placed, width: float = 3.2 / 64) -> None:
    """Draws the contour of a thing, just inside its edge, onto the canvas (size, size, 3)."""
    size = len(canvas)
    axis = (np.arange(size, dtype=np.float32) + 0.5) / size
    x, y = np.meshgrid((axis - placed.x) / placed.radius, (axis - placed.y) / placed.radius)
    edge = SHAPES[placed.thing.shape](x, y) * np.float32(placed.radius)
    distance = np.abs(edge + width / 2) - width / 2
    inside = np.clip(0.5 - distance * size, 0, 1)[:, :, None]
    canvas += inside * (np.array(COLOURS[placed.thing.colour], np.float32) - canvas)


def teal(seed: int, index: int, size: int) -> Example:
    scene, rng = draw(seed, index)
    which = int(rng.integers(len(scene.things)))
    things = list(scene.things)
    things[which] = replace(things[which], colour="teal")
    scene = replace(scene, things=tuple(things))
    canvas = backdrop(scene.background, size)
    for placed in layout(scene, rng):
        paint(canvas, placed, COLOURS | {"teal": TEAL})
    return finished(canvas), caption(scene, rng)


def anywhere(seed: int, index: int, size: int) -> Example:
    scene, rng = draw(seed, index)
    thing = scene.things[0]
    radius = float(rng.uniform(8, 20)) / 64
    x, y = rng.uniform(radius, 1 - radius, 2)
    canvas = backdrop(scene.background, size)
    paint(canvas, Placed(thing, float(x), float(y), radius))
    alone = Scene((thing,), None, scene.background)
    return finished(canvas), say(alone, EVERYTHING - {"size"}, rng)


def finished(canvas: Array) -> Image:
    return np.asarray(np.clip(canvas + 0.5, 0, 255), np.uint8)


VARIANTS: dict[str, Callable[[int, int, int], Example]] = {
    "outlines": outlines,
    "teal": teal,
    "anywhere": anywhere,
}


def examples_of(name: str, count: int, size: int, seed: int = 0) -> Iterator[Example]:
    """The first `count` pictures (size, size, 3) of a variant, with their captions."""
    return (VARIANTS[name](seed, index, size) for index in range(count))
