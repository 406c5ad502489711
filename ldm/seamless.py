"""Pictures that tile: convolutions that see the opposite edge beyond an edge."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from .vae.model import Downsample, Upsample


@contextmanager
def seamless(network: nn.Module, axes: str | None) -> Iterator[None]:
    """While it lasts, the network's convolutions wrap around: axes "x" left and right, "y" top and bottom,
    "xy" both, None neither.

    Shifting the input around such an edge then shifts the output alike, so that the picture joins itself. The
    layers are the same afterwards, whatever happened.
    """
    if axes is None:
        yield
        return
    wrapped: list[nn.Module] = []
    try:
        for module in network.modules():
            if isinstance(module, Downsample):
                module.forward = partial(downsampled, module, axes)  # type: ignore[method-assign]
            elif isinstance(module, Upsample):
                module.forward = partial(upsampled, module, axes)  # type: ignore[method-assign]
            elif isinstance(module, nn.Conv2d) and module.padding != (0, 0):
                module.forward = partial(convolved, module, axes)  # type: ignore[method-assign]
            else:
                continue
            wrapped.append(module)
        yield
    finally:
        for module in wrapped:
            del module.forward  # the class's shows again


def convolved(conv: nn.Conv2d, axes: str, x: Tensor) -> Tensor:
    down, right = (length // 2 for length in conv.kernel_size)
    x = padded(x, (right, right, down, down), axes)
    return F.conv2d(x, conv.weight, conv.bias, conv.stride, 0, conv.dilation, conv.groups)


def downsampled(layer: Downsample, axes: str, x: Tensor) -> Tensor:
    return layer.conv(padded(x, (0, 1, 0, 1), axes))  # type: ignore[no-any-return]


def upsampled(layer: Upsample, axes: str, x: Tensor) -> Tensor:
    """A margin of one pixel becomes one of two, which is cut off again."""
    return Upsample.forward(layer, padded(x, (1, 1, 1, 1), axes))[..., 2:-2, 2:-2]


def padded(x: Tensor, sides: tuple[int, int, int, int], axes: str) -> Tensor:
    """x with margins (left, right, top, bottom): of the opposite edge along the axes, of zeros along the others."""
    left, right, top, bottom = sides
    x = F.pad(x, (left, right, 0, 0), "circular" if "x" in axes else "constant")
    return F.pad(x, (0, 0, top, bottom), "circular" if "y" in axes else "constant")
