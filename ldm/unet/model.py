"""The U-Net: from a noisy latent, its time and a text to the network's prediction of the noise (or v).

Rombach et al. 2022, "High-resolution image synthesis with latent diffusion models"; the shape is Ronneberger et al.'s
2015, with the residual blocks and the time of Ho et al. 2020. B batch, C latent channels, H x W size of the latent.
"""

from dataclasses import dataclass
from itertools import repeat
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers import ResBlock
from .blocks import Downsample, SpatialTransformer, TimeEmbedding, Upsample


@dataclass(frozen=True)
class UNetConfig:
    """in_channels, out_channels   of the latent (inpainting and depth models see more than they predict)
    channels                    of each level, finest first
    res_blocks                  a level
    groups                      of every group norm
    attention                   whether each level has transformers
    context_width               D of the text
    heads, head_width           one of the two is None: heads by number (SD 1: 8) or by width (SD 2: 64)
    depth                       transformer blocks in each transformer
    linear_projection           see SpatialTransformer
    """

    in_channels: int
    out_channels: int
    channels: tuple[int, ...]
    res_blocks: int
    groups: int
    attention: tuple[bool, ...]
    context_width: int
    heads: int | None
    head_width: int | None
    depth: int
    linear_projection: bool

    def __post_init__(self) -> None:
        if (self.heads is None) == (self.head_width is None):
            raise ValueError(f"give heads or head_width, not {self.heads} and {self.head_width}: the other is None")
        if len(self.attention) != len(self.channels):
            raise ValueError(f"attention {self.attention} needs one entry for each level of channels {self.channels}")

    def heads_at(self, width: int) -> int:
        return self.heads if self.heads is not None else width // cast(int, self.head_width)


def transformers(config: UNetConfig, width: int, count: int) -> nn.ModuleList:
    return nn.ModuleList(
        SpatialTransformer(
            width, config.context_width, config.heads_at(width), config.groups, config.depth, config.linear_projection
        )
        for _ in range(count)
    )


class Down(nn.Module):
    """One resolution on the way down; each block's result is also kept for the way up."""

    def __init__(self, config: UNetConfig, level: int) -> None:
        super().__init__()
        width = config.channels[level]
        inputs = [config.channels[max(level - 1, 0)]] + [width] * (config.res_blocks - 1)
        self.res = nn.ModuleList(
            ResBlock(channels, width, config.groups, 1e-5, 4 * config.channels[0]) for channels in inputs
        )
        self.attn = transformers(config, width, len(inputs) if config.attention[level] else 0)
        self.downsample = Downsample(width) if level < len(config.channels) - 1 else None

    def forward(self, x: Tensor, time: Tensor, context: Tensor) -> list[Tensor]:
        results = []
        for res, attn in zip(self.res, self.attn or repeat(None)):
            x = res(x, time)
            x = attn(x, context) if attn is not None else x
            results.append(x)
        return results if self.downsample is None else [*results, self.downsample(x)]


class Mid(nn.Module):
    """The coarsest resolution, where every pixel sees the whole picture."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        width, time_width = config.channels[-1], 4 * config.channels[0]
        self.res1 = ResBlock(width, width, config.groups, 1e-5, time_width)
        (self.attn,) = transformers(config, width, 1)
        self.res2 = ResBlock(width, width, config.groups, 1e-5, time_width)

    def forward(self, x: Tensor, time: Tensor, context: Tensor) -> Tensor:
        x = self.res1(x, time)
        x = self.attn(x, context)
        return self.res2(x, time)  # type: ignore[no-any-return]


class Up(nn.Module):
    """One resolution on the way up; each block also reads the result kept on the way down."""

    def __init__(self, config: UNetConfig, level: int) -> None:
        super().__init__()
        width, below = config.channels[level], config.channels[min(level + 1, len(config.channels) - 1)]
        inputs = [below] + [width] * config.res_blocks
        skips = [width] * config.res_blocks + [config.channels[max(level - 1, 0)]]
        self.res = nn.ModuleList(
            ResBlock(channels + skip, width, config.groups, 1e-5, 4 * config.channels[0])
            for channels, skip in zip(inputs, skips, strict=True)
        )
        self.attn = transformers(config, width, len(inputs) if config.attention[level] else 0)
        self.upsample = Upsample(width) if level > 0 else None

    def forward(self, x: Tensor, skips: list[Tensor], time: Tensor, context: Tensor, size: torch.Size) -> Tensor:
        """size: height and width of the next finer level, if there is one."""
        for res, attn, skip in zip(self.res, self.attn or repeat(None), skips):
            x = res(torch.cat([x, skip], dim=1), time)
            x = attn(x, context) if attn is not None else x
        return x if self.upsample is None else self.upsample(x, size)


class UNet(nn.Module):
    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        channels, levels = config.channels, range(len(config.channels))
        self.time = TimeEmbedding(channels[0])
        self.stem = nn.Conv2d(config.in_channels, channels[0], 3, padding=1)
        self.down = nn.ModuleList(Down(config, level) for level in levels)
        self.mid = Mid(config)
        self.up = nn.ModuleList(Up(config, level) for level in reversed(levels))
        self.norm = nn.GroupNorm(config.groups, channels[0], eps=1e-5)
        self.out = nn.Conv2d(channels[0], config.out_channels, 3, padding=1)

    def forward(self, x: Tensor, t: Tensor, context: Tensor) -> Tensor:
        """The network's raw prediction.

        x (B, in_channels, H, W) noisy latent of any size; t (B,) training step, possibly fractional, or (1,) for all;
        context (B, M, context_width) text -> (B, out_channels, H, W)
        """
        time = self.time(t)
        maps = [self.stem(x)]
        for down in self.down:
            maps += down(maps[-1], time, context)
        h = self.mid(maps[-1], time, context)
        for up in self.up:
            skips = [maps.pop() for _ in range(self.config.res_blocks + 1)]
            h = up(h, skips, time, context, size=(maps or skips)[-1].shape[-2:])
        return self.out(F.silu(self.norm(h)))  # type: ignore[no-any-return]
