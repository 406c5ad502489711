"""Hints for ControlNets, made from a picture: edges, a blur, a picture without details, grey.

H x W pixels; a picture (1, 3, H, W) in [0, 1].
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

TAN_22, TAN_67 = 13573 / 2**15, 13573 / 2**15 + 2  # of 22.5 and 67.5 degrees, as OpenCV has them


def edges(picture: Tensor, low: float = 100, high: float = 200) -> Tensor:
    """White edges, one pixel wide, on black. Canny 1986, "A computational approach to edge
    detection"; the arithmetic, of 8-bit levels, and the thresholds are those of OpenCV's `Canny` as
    lllyasviel calls it, without smoothing before.

    low, high   an edge is where the gradient is above `high`, and goes on while it is above `low`
    """
    levels = F.pad((picture * 255).round(), (1, 1, 1, 1), "replicate").squeeze(0)[:, None]
    smooth, slope = torch.tensor([1.0, 2, 1]), torch.tensor([-1.0, 0, 1])
    sobel = torch.stack([smooth[:, None] * slope, slope[:, None] * smooth])[:, None]
    gradient = F.conv2d(levels, sobel.to(levels))  # (3, 2, H, W)
    strength = gradient.abs().sum(1)  # (3, H, W): |dx| + |dy|
    best = strength.argmax(0, keepdim=True)  # the channel with the steepest slope
    strength = strength.gather(0, best)[0]
    dx, dy = gradient.gather(0, best[:, None].expand(1, 2, -1, -1))[0]
    found = thinned(strength, dx, dy) & (strength > low)
    edge = found & (strength > high)
    while True:
        near = F.max_pool2d(edge[None].float(), 3, stride=1, padding=1)[0] > 0
        if torch.equal(grown := found & near, edge):
            return edge.to(picture).expand(1, 3, -1, -1)
        edge = grown


def thinned(strength: Tensor, dx: Tensor, dy: Tensor) -> Tensor:
    """Where the strength is greater than that of both neighbours across the edge. (H, W)"""
    height, width = strength.shape
    padded = F.pad(strength, (1, 1, 1, 1))

    def beside(down: int, right: int) -> Tensor:
        return padded[1 + down : 1 + down + height, 1 + right : 1 + right + width]

    x, y = dx.abs(), dy.abs()
    upright = (strength > beside(0, -1)) & (strength >= beside(0, 1))
    level = (strength > beside(-1, 0)) & (strength >= beside(1, 0))
    falling = (strength > beside(-1, -1)) & (strength > beside(1, 1))
    rising = (strength > beside(-1, 1)) & (strength > beside(1, -1))
    slanted = torch.where(dx * dy < 0, rising, falling)
    return torch.where(y < x * TAN_22, upright, torch.where(y > x * TAN_67, level, slanted))


def blur(picture: Tensor, sigma: float = 9) -> Tensor:
    """Convolved with a Gaussian; beyond the edges are the last pixels."""
    radius = round(3 * sigma)
    kernel = torch.arange(-radius, radius + 1).to(picture).square().div(-2 * sigma**2).exp()
    kernel = (kernel / kernel.sum()).expand(3, 1, 1, -1)
    padded = F.pad(picture, (radius, radius, radius, radius), "replicate")
    rows = F.conv2d(padded, kernel, groups=3)
    return F.conv2d(rows, kernel.transpose(2, 3), groups=3)


def tile(picture: Tensor, factor: int = 4) -> Tensor:
    """Without its details: at a fraction of its size, and enlarged again."""
    size = picture.shape[-2:]
    small = F.interpolate(picture, [max(1, side // factor) for side in size], mode="area")
    return F.interpolate(small, size, mode="bicubic").clamp(0, 1)


def grey(picture: Tensor) -> Tensor:
    """Its luminance (ITU-R BT.601), in all three channels."""
    weights = torch.tensor([0.299, 0.587, 0.114]).to(picture)[:, None, None]
    return (picture * weights).sum(1, keepdim=True).expand_as(picture)


def none(picture: Tensor) -> Tensor:
    """The picture is the hint already."""
    return picture


HINTS: dict[str, Callable[[Tensor], Tensor]] = {
    "none": none,
    "edges": edges,
    "blur": blur,
    "tile": tile,
    "grey": grey,
}
