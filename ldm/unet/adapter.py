"""T2I-Adapter: a small network that looks at a hint once, and whose features are added to the maps
of the U-Net's way down.

Mou et al. 2023, "T2I-Adapter: learning adapters to dig out more controllable ability for
text-to-image diffusion models", fig. 3.

B batch, H x W the size of the hint, c_i channels of level i.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from ..layers import Conv2d
from .model import UNet


@dataclass(frozen=True)
class AdapterConfig:
    """hint_channels  of the picture: 3, or 1 of grey hints
    factor         how many pixels along each side become channels: 8, or SDXL's 16
    channels       of each level, finest first
    res_blocks     a level
    halved         the levels that begin at half the size of the one before
    light          every level is a quarter as wide inside (the adapters for colour)
    kernel         of the second convolution of each block
    """

    hint_channels: int
    factor: int
    channels: tuple[int, ...]
    res_blocks: int
    halved: tuple[int, ...]
    light: bool
    kernel: int


class AdapterBlock(nn.Module):
    """Two convolutions around which the input is added back."""

    __call__: Callable[..., Tensor]

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.conv1 = Conv2d(width, width, 3, padding=1)
        self.conv2 = Conv2d(width, width, kernel, padding=kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.relu(self.conv1(x)))


class AdapterLevel(nn.Module):
    """One resolution; its result is a feature."""

    __call__: Callable[..., Tensor]

    def __init__(self, config: AdapterConfig, channels: int, level: int) -> None:
        super().__init__()
        out = config.channels[level]
        width = out // 4 if config.light else out
        self.halved = level in config.halved
        self.inward = Conv2d(channels, width, 1) if config.light or channels != width else None
        self.res = nn.ModuleList(
            AdapterBlock(width, config.kernel) for _ in range(config.res_blocks)
        )
        self.outward = Conv2d(width, out, 1) if config.light else None

    def forward(self, x: Tensor) -> Tensor:
        x = F.avg_pool2d(x, 2, ceil_mode=True) if self.halved else x
        x = x if self.inward is None else self.inward(x)
        for res in self.res:
            x = res(x)
        return x if self.outward is None else self.outward(x)


class T2IAdapter(nn.Module):
    __call__: Callable[..., list[Tensor]]

    def __init__(self, config: AdapterConfig) -> None:
        super().__init__()
        self.config = config
        pixels, first = config.hint_channels * config.factor**2, config.channels[0]
        self.stem = None if config.light else Conv2d(pixels, first, 3, padding=1)
        inputs = [pixels if config.light else first, *config.channels]
        self.levels = nn.ModuleList(
            AdapterLevel(config, channels, level)
            for level, (channels, _) in enumerate(pairwise(inputs))
        )

    def forward(self, hint: Tensor) -> list[Tensor]:
        """(B, 3, H, W) in [0, 1] -> a feature of each level: (B, c_i, H/f, W/f), halved on the way.

        Sides that the factor does not divide are made longer by their last pixels.
        """
        (height, width), factor = hint.shape[-2:], self.config.factor
        hint = F.pad(hint, (0, -width % factor, 0, -height % factor), "replicate")
        if self.config.hint_channels == 1:
            hint = hint.mean(1, keepdim=True)
        x = F.pixel_unshuffle(hint, factor)
        x = x if self.stem is None else self.stem(x)
        features = []
        for level in self.levels:
            x = level(x)
            features.append(x)
        return features


@contextmanager
def added(unet: UNet, features: Sequence[Tensor]) -> Iterator[None]:
    """While it lasts, the features are added to the U-Net's maps: to the last of each level, before
    it is made smaller.

    Those for SDXL begin at half the latent's size, so that the first is added behind the finest
    level, and the last to the middle. The original's place for each: TencentARC/T2I-Adapter.
    """
    levels: list[Any] = [*unet.down]
    last = [[*level.res, *level.attn][-1] for level in levels]
    places = last if len(features) == len(last) else [levels[0].downsample, *last[1:], unet.mid]
    with ExitStack() as stack:
        for module, feature in zip(places, features, strict=True):
            plus = module.register_forward_hook(lambda _, args, x, feature=feature: x + feature)
            stack.callback(plus.remove)
        yield
