"""Scenes of which the built-in model knows nothing, to teach it: a style, a word, a layout.

outlines   only the contour of each shape is drawn, on the bare background; captions as ever
sun        one thing in each scene is a large yellow circle, which the captions call a sun
anywhere   one shape at any place and of any size, of which the caption says nothing
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from ..data import Image
from .distances import SHAPES, Array
from .scenes import (
    COLOURS,
    EVERYTHING,
    Placed,
    Scene,
    Thing,
    backdrop,
    caption,
    draw,
    layout,
    paint,
    random_scene,
    render,
    say,
)

SUN = Thing("circle", "yellow", "large")
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


def sun(seed: int, index: int, size: int) -> Example:
    scene, rng = draw(seed, index)
    while scene.background == "yellow" or any(SUN.shape == thing.shape for thing in scene.things):
        scene = random_scene(rng)
    things = list(scene.things)
    things[rng.integers(len(things))] = SUN
    scene = replace(scene, things=tuple(things))
    pixels = render(scene, size, rng)
    return pixels, re.sub(r"(large )?(yellow )?circle", "sun", caption(scene, rng))


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
    "sun": sun,
    "anywhere": anywhere,
}


def examples_of(name: str, count: int, size: int, seed: int = 0) -> Iterator[Example]:
    """The first `count` pictures (size, size, 3) of a variant, with their captions."""
    return (VARIANTS[name](seed, index, size) for index in range(count))
