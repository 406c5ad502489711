"""The U-Net: from a noisy latent, its time and a text to a prediction of the noise (or of v).

Rombach et al. 2022, "High-resolution image synthesis with latent diffusion models"; the shape is
Ronneberger et al.'s 2015, with the residual blocks and the time of Ho et al. 2020.

B batch, C channels of the latent, H x W its size, c_i channels of level i, T = 4 c_0 width of the
embedded time.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..conditioning import Conditioning
from ..layers import Conv2d, GroupNorm, ResBlock
from .blocks import Downsample, Embedding, SpatialTransformer, Upsample, timestep_embedding
from .embeddings import ClassEmbedding


@dataclass(frozen=True)
class UNetConfig:
    """in_channels, out_channels   of the latent, and of the prediction
    concat_channels             beside the latent: 5 for inpainting, 1 for depth, else 0
    channels                    of each level, finest first
    res_blocks                  a level
    groups                      of every group norm
    depth                       transformer blocks in each transformer of a level; 0: it has none
    mid_depth                   the same of the middle's transformer; 0: the middle is one residual
                                block (SSD-1B), None: there is none (the small distilled models)
    context_width               D of the text
    vector_width                V of the vector that is added to the time; None: there is none
    classes                     how many the vector, then of width 1, tells by number: the noise
                                levels of the x4 upscaler; None: it tells no class
    guidance_width              of the embedding of the guidance scale, where that was distilled
                                into the network: 256; None: it was not
    only_cross_attention        the levels where the first attention of each transformer block
                                reads the text, too: x4 upscaler
    up_depth                    as `depth`, of each block on the way up where they differ (SSD-1B);
                                of each level, finest first; (): as on the way down
    heads, head_width           one of the two is None: heads by number (SD 1: 8) or by width (SD 2:
                                64)
    linear_projection           see SpatialTransformer
    """

    in_channels: int
    out_channels: int
    concat_channels: int
    channels: tuple[int, ...]
    res_blocks: int
    groups: int
    depth: tuple[int, ...]
    mid_depth: int | None
    context_width: int
    vector_width: int | None
    heads: int | None
    head_width: int | None
    linear_projection: bool
    classes: int | None = None
    guidance_width: int | None = None
    only_cross_attention: tuple[int, ...] = ()
    up_depth: tuple[tuple[int, ...], ...] = ()

    def __post_init__(self) -> None:
        if (self.heads is None) == (self.head_width is None):
            given = f"{self.heads} and {self.head_width}"
            raise ValueError(f"give heads or head_width, not {given}: the other is None")
        if len(self.depth) != len(self.channels):
            what = f"depth {self.depth} needs one entry"
            raise ValueError(f"{what} for each level of channels {self.channels}")
        up, blocks = self.up_depth, self.res_blocks + 1
        if up and [len(level) for level in up] != [blocks] * len(self.channels):
            what = f"up_depth {up} needs {blocks} entries"
            raise ValueError(f"{what} for each level of channels {self.channels}")
        if any(0 in level and any(level) for level in up):
            raise ValueError(f"up_depth {up}: a level has a transformer in each block, or in none")

    def depths_up(self, level: int) -> tuple[int, ...]:
        """Of each block of a level on the way up."""
        even = (self.depth[level],) * (self.res_blocks + 1)
        return self.up_depth[level] if self.up_depth else even

    def heads_at(self, width: int) -> int:
        return self.heads if self.heads is not None else width // cast(int, self.head_width)


def transformer(
    config: UNetConfig, width: int, depth: int, only_cross_attention: bool = False
) -> SpatialTransformer:
    return SpatialTransformer(
        width, config.context_width, config.heads_at(width), config.groups, depth,
        config.linear_projection, only_cross_attention,
    )  # fmt: skip


def transformers(config: UNetConfig, level: int, depths: Iterable[int]) -> nn.ModuleList:
    """One for each residual block of a level, or none at all."""
    width, only_cross = config.channels[level], level in config.only_cross_attention
    return nn.ModuleList(transformer(config, width, depth, only_cross) for depth in depths if depth)


class Down(nn.Module):
    """One resolution on the way down; each block's result is also kept for the way up."""

    def __init__(self, config: UNetConfig, level: int) -> None:
        super().__init__()
        width = config.channels[level]
        inputs = [config.channels[max(level - 1, 0)]] + [width] * (config.res_blocks - 1)
        self.res = nn.ModuleList(
            ResBlock(channels, width, config.groups, 1e-5, 4 * config.channels[0])
            for channels in inputs
        )
        self.attn = transformers(config, level, [config.depth[level]] * len(inputs))
        self.downsample = Downsample(width) if level < len(config.channels) - 1 else None

    def forward(self, x: Tensor, t_emb: Tensor, context: Tensor) -> list[Tensor]:
        skips = []
        for res, attn in zip(self.res, self.attn or repeat(None)):
            x = res(x, t_emb)
            x = attn(x, context) if attn is not None else x
            skips.append(x)
        return skips if self.downsample is None else [*skips, self.downsample(x)]


class Mid(nn.Module):
    """The coarsest resolution, where every pixel sees the whole picture. Distilled models may have
    its first residual block alone, or nothing."""

    __call__: Callable[..., Tensor]

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        width, time_width = config.channels[-1], 4 * config.channels[0]
        res = partial(ResBlock, width, width, config.groups, 1e-5, time_width)
        self.res1 = res() if config.mid_depth is not None else None
        self.attn = transformer(config, width, config.mid_depth) if config.mid_depth else None
        self.res2 = res() if config.mid_depth else None

    def forward(self, x: Tensor, t_emb: Tensor, context: Tensor) -> Tensor:
        x = x if self.res1 is None else self.res1(x, t_emb)
        x = x if self.attn is None else self.attn(x, context)
        return x if self.res2 is None else self.res2(x, t_emb)


class Up(nn.Module):
    """One resolution on the way up; each block also takes a result of the way down."""

    def __init__(self, config: UNetConfig, level: int) -> None:
        super().__init__()
        width = config.channels[level]
        below = config.channels[min(level + 1, len(config.channels) - 1)]
        inputs = [below] + [width] * config.res_blocks
        skips = [width] * config.res_blocks + [config.channels[max(level - 1, 0)]]
        self.res = nn.ModuleList(
            ResBlock(channels + skip, width, config.groups, 1e-5, 4 * config.channels[0])
            for channels, skip in zip(inputs, skips, strict=True)
        )
        self.attn = transformers(config, level, config.depths_up(level))
        self.upsample = Upsample(width) if level > 0 else None

    def forward(
        self, x: Tensor, skips: list[Tensor], t_emb: Tensor, context: Tensor, size: torch.Size
    ) -> Tensor:
        """size: height and width of the next finer level, if there is one."""
        for res, attn, skip in zip(self.res, self.attn or repeat(None), skips):
            x = res(torch.cat([x, skip], dim=1), t_emb)
            x = attn(x, context) if attn is not None else x
        return x if self.upsample is None else self.upsample(x, size)


class UNet(nn.Module):
    __call__: Callable[..., Tensor]

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        channels, levels = config.channels, range(len(config.channels))
        self.time = Embedding(channels[0], 4 * channels[0], config.guidance_width)
        self.vector: nn.Module | None = None
        if config.classes is not None:
            self.vector = ClassEmbedding(config.classes, 4 * channels[0])
        elif config.vector_width is not None:
            self.vector = Embedding(config.vector_width, 4 * channels[0])
        self.stem = Conv2d(config.in_channels + config.concat_channels, channels[0], 3, padding=1)
        self.down = nn.ModuleList(Down(config, level) for level in levels)
        self.mid = Mid(config)
        self.up = nn.ModuleList(Up(config, level) for level in reversed(levels))
        self.norm = GroupNorm(config.groups, channels[0], eps=1e-5)
        self.out = Conv2d(channels[0], config.out_channels, 3, padding=1)

    def forward(
        self, x: Tensor, t: Tensor, cond: Conditioning | Tensor, residuals: Sequence[Tensor] = ()
    ) -> Tensor:
        """The network's raw prediction.

        x (B, C, H, W) noisy latent of any size; t (B,) training step, possibly fractional, or (1,)
        for all; cond: see Conditioning, or its context (B, M, D) alone -> (B, out_channels, H, W).
        residuals: of a ControlNet, added to the skips and the middle.
        ValueError: cond has not what this network is conditioned on, or more.
        """
        cond = Conditioning.of(cond)
        self.check(cond)
        # fmt: off
        t_emb = timestep_embedding(t, self.config.channels[0])           # (B, c_0)
        t_emb = self.time(t_emb, cond.guidance)                          # (B, T)
        if self.vector is not None:
            t_emb = t_emb + self.vector(cond.vector)                     # (B, T)
        if cond.concat is not None:
            x = torch.cat([x, cond.concat], dim=1)                       # (B, C + C', H, W)

        skips = [self.stem(x)]                                           # (B, c_0, H, W)
        for down in self.down:
            skips += down(skips[-1], t_emb, cond.context)                # (B, c_i, H/2^i, W/2^i)
        h = self.mid(skips[-1], t_emb, cond.context)                     # the same, i the last
        if residuals:
            *skips, h = (own + more for own, more in zip([*skips, h], residuals))
        for up in self.up:
            own = [skips.pop() for _ in range(self.config.res_blocks + 1)]
            size = (skips or own)[-1].shape[-2:]
            h = up(h, own, t_emb, cond.context, size)                    # (B, c_i, 2H/2^i, 2W/2^i)
        return self.out(F.silu(self.norm(h)))                            # (B, out_channels, H, W)
        # fmt: on

    def check(self, cond: Conditioning) -> None:
        """ValueError unless the vector and the concat are as wide as this network's, and a guidance
        scale is given where it takes one."""
        wanted = {"vector": self.config.vector_width, "concat": self.config.concat_channels}
        for name, given in (("vector", cond.vector), ("concat", cond.concat)):
            width = 0 if given is None else given.shape[1]
            if width != (wanted[name] or 0):
                what = f"this U-Net is conditioned on a {name} of width {wanted[name] or 0}"
                raise ValueError(f"{what}, not {width} (0: none)")
        if (cond.guidance is None) != (self.config.guidance_width is None):
            takes = "no guidance" if self.config.guidance_width is None else "a guidance"
            raise ValueError(f"this U-Net is told {takes} scale: `guidance` of a Conditioning")
