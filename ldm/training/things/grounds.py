"""What a thing stands on: one colour, or two in a pattern; never one that its rim has."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..shapes.distances import Array
from ..shapes.scenes import COLOURS as SCENE_COLOURS
from ..shapes.scenes import backdrop
from .collection import Pixels
from .rendering import rim

COLOURS = SCENE_COLOURS | {
    "light blue": (168, 212, 244),
    "dark blue": (22, 34, 98),
    "light green": (168, 226, 160),
    "dark green": (18, 82, 44),
    "beige": (236, 220, 188),
    "lavender": (202, 184, 238),
}

APART = 84.0  # distance of two colours, in levels of red, green and blue, that an eye tells apart
CLEAR = 0.85  # this part of a thing's rim must be that far from its ground


@dataclass(frozen=True)
class Ground:
    """colours: one, for "plain", or two names; pattern: a key of PATTERNS."""

    pattern: str
    colours: tuple[str, ...]


def _gradient(x: Array, y: Array) -> Array:
    return y


def _halves(x: Array, y: Array) -> Array:
    return np.asarray(x > 0.5, np.float32)


def _stripes(x: Array, y: Array) -> Array:
    return np.asarray((x * 8).astype(int) % 2, np.float32)


def _checks(x: Array, y: Array) -> Array:
    return np.asarray(((x * 8).astype(int) + (y * 8).astype(int)) % 2, np.float32)


def _dots(x: Array, y: Array) -> Array:
    dx, dy = (x * 6) % 1 - 0.5, (y * 6) % 1 - 0.5
    return np.asarray(dx * dx + dy * dy < 0.3**2, np.float32)


# how much of the second colour there is at (x, y), which are in 0..1; and how often it is drawn
PATTERNS: dict[str, tuple[Callable[[Array, Array], Array] | None, float]] = {
    "plain": (None, 0.68),
    "gradient": (_gradient, 0.1),
    "stripes": (_stripes, 0.06),
    "dots": (_dots, 0.06),
    "checks": (_checks, 0.05),
    "halves": (_halves, 0.05),
}


def clear_colours(things: list[Pixels]) -> list[str]:
    """The colours that the things stand out from, best first; the best one if they do from none."""
    names, palette = list(COLOURS), np.array(list(COLOURS.values()), np.float32)
    clear = np.ones(len(names), np.float32)
    for pixels in things:
        far = np.linalg.norm(rim(pixels)[:, None] - palette, axis=-1) > APART  # (M, colours)
        clear = np.minimum(clear, far.mean(axis=0))
    best = sorted(range(len(names)), key=lambda i: -clear[i])
    return [names[i] for i in best if clear[i] >= CLEAR] or [names[best[0]]]


def draw_ground(things: list[Pixels], plain: bool, rng: np.random.Generator) -> Ground:
    """A ground from which the things stand out. plain: of one colour."""
    free = clear_colours(things)
    shares = [share for _, share in PATTERNS.values()]
    pattern = "plain" if plain else list(PATTERNS)[rng.choice(len(shares), p=shares)]
    if pattern == "plain" or len(free) == 1:
        return Ground("plain", (free[rng.integers(len(free))],))
    first, second = rng.choice(len(free), 2, replace=False)
    return Ground(pattern, (free[first], free[second]))


def paint_ground(ground: Ground, size: int) -> Array:
    """(size, size, 3) float32 in 0..255; one colour is lit as the procedural scenes' is."""
    if ground.pattern == "plain" and ground.colours[0] in SCENE_COLOURS:
        return backdrop(ground.colours[0], size)
    first, *rest = (np.array(COLOURS[name], np.float32) for name in ground.colours)
    second = rest[0] if rest else first
    axis = (np.arange(size, dtype=np.float32) + 0.5) / size
    x, y = np.meshgrid(axis, axis)
    mix = PATTERNS[ground.pattern][0]
    share = (mix(x, y) if mix is not None else np.zeros_like(x))[:, :, None]
    return np.asarray(first + share * (second - first), np.float32)
