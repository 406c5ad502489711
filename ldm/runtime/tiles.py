"""Work on a large map in overlapping tiles, so that memory follows the tile and not the map."""

from collections.abc import Callable

import torch
from torch import Tensor


def in_tiles(
    run: Callable[[Tensor], Tensor], x: Tensor, tile: int, overlap: int, scale: float = 1
) -> Tensor:
    """run(x), computed tile by tile and blended where the tiles overlap.

    x (B, C, H, W); run maps (B, C, h, w) to (B, D, h * scale, w * scale), so that the result is (B,
    D, H * scale, W * scale). tile and overlap are lengths in x. Each tile counts for less towards
    its edges, where it lacks what lies beyond: linearly over the overlap. A map no larger than a
    tile is run as it is.
    """
    if not 0 <= overlap < tile:
        what = f"tiles of {tile} cannot overlap by {overlap}"
        raise ValueError(f"{what}: give 0 or more, and less than a tile")
    height, width = x.shape[-2:]
    if max(height, width) <= tile:
        return run(x)
    result, total = torch.zeros(()), torch.zeros(())
    for top, bottom in spans(height, tile, overlap, scale):
        for left, right in spans(width, tile, overlap, scale):
            part = run(x[..., top:bottom, left:right])
            if result.ndim == 0:
                size = round(height * scale), round(width * scale)
                result = part.new_zeros(*part.shape[:2], *size)
                total = result.new_zeros(size)
            high, wide = part.shape[-2:]
            weight = ramps(high, overlap * scale)[:, None] * ramps(wide, overlap * scale)
            weight = weight.to(part)
            row, column = round(top * scale), round(left * scale)
            where = ..., slice(row, row + high), slice(column, column + wide)
            result[where] += weight * part
            total[where] += weight
    return result / total


def overlap_of(tile: int, grid: int = 1) -> int:
    """By how much tiles overlap: a quarter, or a little less, so that it is a multiple of the
    grid."""
    return tile // 4 // grid * grid


def spans(length: int, tile: int, overlap: int, scale: float = 1) -> list[tuple[int, int]]:
    """Where the tiles along one side begin and end: evenly spread, overlapping by about `overlap`,
    none beyond the end.

    Where the result is smaller than the map, tiles begin at whole pixels of the result.

    >>> spans(20, tile=8, overlap=2), spans(5, tile=8, overlap=2)
    ([(0, 8), (6, 14), (12, 20)], [(0, 5)])
    """
    if length <= tile:
        return [(0, length)]
    count = -(-(length - overlap) // (tile - overlap))
    grid = max(1, round(1 / scale))
    starts = [round(i * (length - tile) / (count - 1) / grid) * grid for i in range(count)]
    return [(start, start + tile) for start in starts]


def ramps(length: int, edge: float) -> Tensor:
    """(length,) weights that rise over `edge` at the start and fall at the end, never quite to
    0."""
    near = torch.arange(length) + 0.5
    return torch.minimum(near, near.flip(0)).div(max(edge, 0.5)).clamp(max=1)
