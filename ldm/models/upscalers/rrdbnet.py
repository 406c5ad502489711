"""ESRGAN's network, with which most upscalers were trained: residual blocks that are dense inside.

Wang et al. 2018, "ESRGAN: enhanced super-resolution generative adversarial networks", fig. 4. Its
later use for factors 1 and 2, which folds 4x4 or 2x2 pixels into channels first: Wang et al. 2021,
"Real-ESRGAN", fig. 4.

    (B, 3, H, W) in [0, 1] -> (B, 3, sH, sW)
    B batch, C channels of a feature map, s = 2^ups / fold
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...layers import Conv2d

SLOPE, SHARE = 0.2, 0.2  # of the leaky ReLUs; of a residual that is added


@dataclass(frozen=True)
class RRDBConfig:
    """channels   of the feature maps
    growth     channels that each convolution within a dense block adds
    blocks     of three dense blocks each
    ups        how often the map is doubled at the end
    fold       how many pixels in each direction become channels at the start
    """

    channels: int
    growth: int
    blocks: int
    ups: int
    fold: int

    @property
    def scale(self) -> float:
        return float(2**self.ups / self.fold)


class DenseBlock(nn.Module):
    """Each convolution sees what all before it made. (B, C, H, W) -> the same"""

    __call__: Callable[..., Tensor]

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        widths = [channels + i * growth for i in range(5)]
        outs = [growth] * 4 + [channels]
        self.convs = nn.ModuleList(
            Conv2d(width, out, 3, padding=1) for width, out in zip(widths, outs)
        )

    def forward(self, x: Tensor) -> Tensor:
        *inner, last = self.convs
        seen = x
        for conv in inner:
            seen = torch.cat([seen, F.leaky_relu(conv(seen), SLOPE)], 1)
        h: Tensor = last(seen)
        return x + SHARE * h


class RRDB(nn.Module):
    """A residual in residual dense block. (B, C, H, W) -> the same"""

    __call__: Callable[..., Tensor]

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        self.dense = nn.ModuleList(DenseBlock(channels, growth) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        h = x
        for block in self.dense:
            h = block(h)
        return x + SHARE * h


class RRDBNet(nn.Module):
    __call__: Callable[..., Tensor]

    def __init__(self, config: RRDBConfig) -> None:
        super().__init__()
        channels = config.channels
        self.config, self.scale = config, config.scale
        self.stem = Conv2d(3 * config.fold**2, channels, 3, padding=1)
        self.body = nn.ModuleList(RRDB(channels, config.growth) for _ in range(config.blocks))
        self.trunk = Conv2d(channels, channels, 3, padding=1)
        self.up = nn.ModuleList(Conv2d(channels, channels, 3, padding=1) for _ in range(config.ups))
        self.hr = Conv2d(channels, channels, 3, padding=1)
        self.out = Conv2d(channels, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] -> (B, 3, sH, sW). H and W: multiples of the fold."""
        first = self.stem(F.pixel_unshuffle(x, self.config.fold))
        h = first
        for block in self.body:
            h = block(h)
        h = first + self.trunk(h)
        for conv in self.up:
            h = F.leaky_relu(conv(F.interpolate(h, scale_factor=2, mode="nearest")), SLOPE)
        return self.out(F.leaky_relu(self.hr(h), SLOPE))
