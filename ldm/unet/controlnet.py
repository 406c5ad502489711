"""ControlNet: a copy of the U-Net's way down that is also shown a picture, a hint, and tells the
U-Net what to add to its maps.

Zhang et al. 2023, "Adding conditional control to text-to-image diffusion models", fig. 3.

B batch, H x W the size of the latent, f how much smaller it is than a picture, c_i channels of
level i.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from ..conditioning import Conditioning
from ..layers import Conv2d
from .blocks import Embedding, timestep_embedding
from .model import Down, Mid, UNetConfig

HINT_WIDTHS = 16, 32, 96, 256  # of the original: a picture becomes 8 times as small


def zero_conv(channels: int, out: int, kernel: int) -> Conv2d:
    """A convolution that training starts from zero: at first the control changes nothing."""
    conv = Conv2d(channels, out, kernel, padding=kernel // 2)
    nn.init.zeros_(conv.weight)
    nn.init.zeros_(cast(Tensor, conv.bias))
    return conv


class Hint(nn.Module):
    """A picture becomes a map of the latent's size: convolutions of stride 1 and 2 in turn.

    widths    of each resolution, the picture's first
    channels  of the picture
    """

    __call__: Callable[..., Tensor]

    def __init__(self, widths: Sequence[int], out: int, channels: int) -> None:
        super().__init__()
        self.stem = Conv2d(channels, widths[0], 3, padding=1)
        self.blocks = nn.ModuleList()
        for width, coarser in pairwise(widths):
            self.blocks.append(Conv2d(width, width, 3, padding=1))
            self.blocks.append(Conv2d(width, coarser, 3, stride=2, padding=1))
        self.out = zero_conv(widths[-1], out, 3)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, fH, fW) in [0, 1] -> (B, c_0, H, W)"""
        x = F.silu(self.stem(x))
        for block in self.blocks:
            x = F.silu(block(x))
        return self.out(x)


class ControlNet(nn.Module):
    """config         of the U-Net that it controls; channels beside the latent it is not shown
    hint_widths    of the convolutions of the hint; one more than f is a power of 2
    hint_channels  of the picture: 3

    pooled         whether each residual is the mean of its pixels: that for shuffled pictures says
                   of none of them where it is (the paper's authors, in version 1.1)
    """

    __call__: Callable[..., list[Tensor]]

    def __init__(
        self, config: UNetConfig, hint_widths: Sequence[int] = HINT_WIDTHS, hint_channels: int = 3
    ) -> None:
        super().__init__()
        self.pooled = False
        self.config = config = replace(config, concat_channels=0, guidance_width=None, classes=None)
        channels, last = config.channels, len(config.channels) - 1
        self.time = Embedding(channels[0], 4 * channels[0])
        self.vector: nn.Module | None = None
        if config.vector_width is not None:
            self.vector = Embedding(config.vector_width, 4 * channels[0])
        self.stem = Conv2d(config.in_channels, channels[0], 3, padding=1)
        self.hint = Hint(hint_widths, channels[0], hint_channels)
        self.down = nn.ModuleList(Down(config, level) for level in range(last + 1))
        self.mid = Mid(config)
        widths = [channels[0]]
        for level, width in enumerate(channels):
            widths += [width] * (config.res_blocks + (level < last))
        self.zero = nn.ModuleList(zero_conv(width, width, 1) for width in [*widths, channels[-1]])

    def forward(
        self, x: Tensor, t: Tensor, cond: Conditioning | Tensor, hint: Tensor
    ) -> list[Tensor]:
        """The residuals of a call of the U-Net: what to add to each of its skips, and last to the
        map of its middle.

        x, t, cond: what the U-Net is called with; hint (B, 3, fH, fW) in [0, 1].
        """
        cond = Conditioning.of(cond)
        t_emb = self.embedded(t, cond)
        return self.residuals(self.stem(x) + self.hint(hint), t_emb, cond.context)

    def embedded(self, t: Tensor, cond: Conditioning) -> Tensor:
        """The time, and the vector that is added to it. -> (B, 4 c_0)"""
        t_emb = self.time(timestep_embedding(t, self.config.channels[0]))
        return t_emb if self.vector is None else t_emb + self.vector(cond.vector)

    def residuals(self, x: Tensor, t_emb: Tensor, context: Tensor) -> list[Tensor]:
        """The way down from x (B, c_0, H, W), and a zero convolution of each of its maps."""
        maps = [x]
        for down in self.down:
            maps += down(maps[-1], t_emb, context)
        maps.append(self.mid(maps[-1], t_emb, context))
        found = [zero(map) for zero, map in zip(self.zero, maps, strict=True)]
        return pooled(found) if self.pooled else found


def pooled(residuals: Sequence[Tensor]) -> list[Tensor]:
    """Each (B, C, h, w) as the mean of its pixels, everywhere."""
    return [one.mean((2, 3), keepdim=True).expand_as(one) for one in residuals]
