"""Pictures that join themselves: what lies beyond an edge is the opposite edge."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

Sides = tuple[int, int, int, int]  # left, right, top, bottom, as torch's `pad` counts


@contextmanager
def seamless(network: nn.Module, axes: str) -> Iterator[None]:
    """While it lasts, the network's convolutions wrap around along the axes, see `Conv2d`.

    Shifting the input around such an edge then shifts the output alike, so that a picture joins
    itself.
    """
    convs: list[Any] = [module for module in network.modules() if hasattr(module, "wrap")]
    try:
        for conv in convs:
            conv.wrap = axes
        yield
    finally:
        for conv in convs:
            conv.wrap = ""


def pad(x: Tensor, sides: Sides, wrap: str = "") -> Tensor:
    """x with margins: of the opposite edge along the axes in `wrap`, of zeros along the others."""
    left, right, top, bottom = sides
    if not wrap:
        return F.pad(x, sides)
    x = F.pad(x, (left, right, 0, 0), "circular" if "x" in wrap else "constant")
    return F.pad(x, (0, 0, top, bottom), "circular" if "y" in wrap else "constant")
