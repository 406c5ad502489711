"""From a drawing to the pixels of a collection.

S side of a picture, in pixels. Alpha is straight.
"""

import numpy as np
from PIL.Image import Image, Resampling, fromarray

from ..shapes.distances import Array
from .collection import Pixels

UNCHANGED = (1, 0, 0, 0, 1, 0)  # the transform x, y -> 1x + 0y + 0, 0x + 1y + 0
CELLS = 16  # side of pixel art, in its own pixels
INK = (28, 28, 34)  # of silhouettes


def rendered(svg: str) -> Pixels:
    """A drawing in its own size. (H, W, 4). ValueError if it cannot be drawn."""
    from io import BytesIO

    from PIL.Image import open as open_picture
    from resvg import render, usvg

    try:
        tree = usvg.Tree.from_str(svg, usvg.Options.default())
        png = bytes(render(tree, UNCHANGED))
    except BaseException as error:  # a panic in Rust is no Exception
        if isinstance(error, KeyboardInterrupt):
            raise
        raise ValueError(f"a drawing cannot be rendered: {error}") from None
    return np.array(open_picture(BytesIO(png)).convert("RGBA"))


def fitted(pixels: Pixels, size: int) -> Pixels:
    """What is visible, scaled until it fills a square, in whose middle it stands. (S, S, 4)

    ValueError if nothing is visible.
    """
    rows, columns = (np.flatnonzero((pixels[:, :, 3] > 8).any(axis)) for axis in (1, 0))
    if not len(rows):
        raise ValueError("a picture shows nothing")
    shown = pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    height, width = shown.shape[:2]
    scale = size / max(height, width)
    small = resized(shown, max(1, round(width * scale)), max(1, round(height * scale)))
    square = np.zeros((size, size, 4), np.uint8)
    top, left = (size - small.shape[0]) // 2, (size - small.shape[1]) // 2
    square[top : top + small.shape[0], left : left + small.shape[1]] = small
    return square


def resized(pixels: Pixels, width: int, height: int) -> Pixels:
    """Scaled with the colours multiplied by alpha, so that what is invisible lends none."""
    picture: Image = fromarray(pixels).convert("RGBa")
    return np.array(picture.resize((width, height), Resampling.LANCZOS).convert("RGBA"))


def pixel_art(pixels: Pixels) -> Pixels:
    """The same in CELLS x CELLS flat cells, each there or not. (S, S, 4), S a multiple of CELLS"""
    cells = resized(pixels, CELLS, CELLS)
    cells[:, :, 3] = np.where(cells[:, :, 3] > 110, 255, 0)
    cells[:, :, :3] = np.minimum((cells[:, :, :3].astype(int) + 12) // 24 * 24, 255)  # few colours
    side = len(pixels) // CELLS
    return np.ascontiguousarray(cells.repeat(side, 0).repeat(side, 1))


def silhouette(pixels: Pixels) -> Pixels:
    """The same in one colour, INK."""
    dark = np.array(pixels)
    dark[:, :, :3] = INK
    return dark


def fill(pixels: Pixels) -> float:
    """The part of what is visible in its own bounding box: 0.785 of a disc, 1 of a square."""
    body = pixels[:, :, 3] > 127
    rows, columns = body.any(1).sum(), body.any(0).sum()
    return float(body.sum() / max(1, rows * columns))


def rim(pixels: Pixels) -> Array:
    """The colours along the edge of what is visible. (M, 3) float32"""
    body = pixels[:, :, 3] > 127
    around = np.pad(body, 1)
    inner = around[2:, 1:-1] & around[:-2, 1:-1] & around[1:-1, 2:] & around[1:-1, :-2]
    return np.asarray(pixels[body & ~inner][:, :3], np.float32)
