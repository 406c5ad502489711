"""The shapes of the scenes as signed distances: negative inside, positive outside, 0 on the edge.

Each maps (x, y), arrays in the shape's own unit of length (x to the right, y down, the middle of
its extent at 0), to the distance in that unit. All reach about 1 from the middle, so that they look
equally large.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]
Distance = Callable[[Array, Array], Array]


def _polygon(vertices: list[tuple[float, float]], rounding: float = 0.06) -> Distance:
    """The signed distance to a closed polygon whose corners are rounded by letting it grow."""
    ends = np.array(vertices, np.float32)
    edges = np.roll(ends, -1, axis=0) - ends

    def distance(x: Array, y: Array) -> Array:
        nearest, inside = np.full_like(x, np.inf), np.zeros(x.shape, bool)
        for (ax, ay), (ex, ey) in zip(ends, edges, strict=True):
            px, py = x - ax, y - ay
            along = np.clip((px * ex + py * ey) / (ex * ex + ey * ey), 0, 1)
            nearest = np.minimum(nearest, (px - along * ex) ** 2 + (py - along * ey) ** 2)
            if ey != 0:  # each edge that a ray to the right crosses swaps inside and outside
                inside ^= ((py >= 0) != (py >= ey)) & (px < py * (ex / ey))
        return np.asarray(
            np.where(inside, np.float32(-1), np.float32(1)) * np.sqrt(nearest)
            - np.float32(rounding)
        )

    return distance


def _circle(x: Array, y: Array) -> Array:
    return np.asarray(np.sqrt(x * x + y * y) - np.float32(0.93))


def _ring(x: Array, y: Array) -> Array:
    return np.asarray(np.abs(np.sqrt(x * x + y * y) - np.float32(0.75)) - np.float32(0.25))


def _heart(x: Array, y: Array) -> Array:
    """A square that stands on its corner, with a half disc on each of its two upper sides."""
    half = np.float32(0.84)  # of the square's diagonal
    side, down = np.abs(x), y - np.float32(0.1035) * half
    square = (side + np.abs(down) - half) * np.float32(0.5**0.5)
    disc = np.sqrt((side - half / 2) ** 2 + (down + half / 2) ** 2) - half * np.float32(0.5**0.5)
    return np.asarray(np.minimum(square, disc))


def _star_vertices(outer: float, inner: float) -> list[tuple[float, float]]:
    """Five tips, the first one upwards; the middle of the height is at 0."""
    turns, middle = np.arange(10) * np.pi / 5, outer * (1 - np.cos(np.pi / 5)) / 2
    radii = np.where(np.arange(10) % 2 == 0, outer, inner)
    return [
        (float(r * np.sin(t)), float(middle - r * np.cos(t)))
        for r, t in zip(radii, turns, strict=True)
    ]


def _cross_vertices(arm: float, half: float) -> list[tuple[float, float]]:
    quarter = [(half, -arm), (half, -half), (arm, -half)]
    corners = []
    for _ in range(4):
        corners += quarter
        quarter = [(-y, x) for x, y in quarter]
    return corners


SHAPES: dict[str, Distance] = {
    "circle": _circle,
    "square": _polygon([(-0.78, -0.78), (0.78, -0.78), (0.78, 0.78), (-0.78, 0.78)]),
    "triangle": _polygon([(0, -0.86), (1.0, 0.86), (-1.0, 0.86)]),
    "star": _polygon(_star_vertices(outer=1.06, inner=0.48)),
    "heart": _heart,
    "cross": _polygon(_cross_vertices(arm=0.94, half=0.3)),
    "diamond": _polygon([(0, -1.02), (0.88, 0), (0, 1.02), (-0.88, 0)]),
    "ring": _ring,
}
