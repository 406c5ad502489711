"""The autoencoder: from a picture to a latent an eighth its size in each direction, and back.

Esser et al. 2021 (VQGAN) with the KL regularisation of Rombach et al. 2022, sec. 3.1.

    picture (B, 3, H, W) -> encoder -> quant -> mean, log variance -> sample, times scale -> latent
    latent (B, Z, H/f, W/f) -> over scale -> post_quant -> decoder -> picture

B batch, H x W size of the picture, f = 2^(levels - 1) its reduction, Z latent channels, C channels
of a feature map.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers import Conv2d, GroupNorm, Linear, ResBlock, attention
from ..runtime.seamless import pad
from .scaling import normalised, restored

EPS = 1e-6  # of every group norm


@dataclass(frozen=True)
class VAEConfig:
    """image_channels, latent_channels   3 and 4 in Stable Diffusion
    channels                          of each level, finest first
    res_blocks                        a level of the encoder; the decoder has one more
    groups                            of every group norm. Several channels each: what tells flat
                                      colours apart must not be a group's mean, which is removed
    scale                             what the latent is multiplied with: it then is about 1
    mean, std                         of each of its channels, see `normalised`; (): not told
    """

    image_channels: int
    latent_channels: int
    channels: tuple[int, ...]
    res_blocks: int
    groups: int
    scale: float
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    @property
    def factor(self) -> int:
        """How much smaller a latent is than its picture, in each direction."""
        return int(2 ** (len(self.channels) - 1))


class Attention(nn.Module):
    """Every pixel of a feature map looks at every other, with a single head."""

    __call__: Callable[..., Tensor]

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.norm = GroupNorm(groups, channels, EPS)
        self.q = Linear(channels, channels)
        self.k = Linear(channels, channels)
        self.v = Linear(channels, channels)
        self.out = Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)"""
        h = self.norm(x).flatten(2).transpose(1, 2)  # (B, L, C)
        h = self.out(attention(self.q(h), self.k(h), self.v(h), heads=1))
        return x + h.transpose(1, 2).view_as(x)


class Mid(nn.Module):
    """The coarsest resolution of encoder and decoder."""

    __call__: Callable[..., Tensor]

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.res1 = ResBlock(channels, channels, groups, EPS)
        self.attn = Attention(channels, groups)
        self.res2 = ResBlock(channels, channels, groups, EPS)

    def forward(self, x: Tensor) -> Tensor:
        return self.res2(self.attn(self.res1(x)))


class Downsample(nn.Module):
    """Half the size, by a convolution of stride 2 that sees one more row and column at the bottom
    and the right."""

    __call__: Callable[..., Tensor]

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = Conv2d(channels, channels, 3, stride=2, padding=(0, 1, 0, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H/2, W/2)"""
        return self.conv(x)


class Upsample(nn.Module):
    """Twice the size by repeating pixels, then a convolution to smooth them: both at once.

    To repeat pixels is a transposed convolution with a 2x2 box of ones. It and the convolution make
    one transposed convolution, whose 4x4 kernel is the 3x3 one summed over such boxes: 16 products
    a pixel of the input instead of 36.
    """

    __call__: Callable[..., Tensor]

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, 2H, 2W)"""
        if self.conv.wrap:  # a margin of one pixel becomes one of two, which is cut off again
            return self.enlarged(pad(x, (1, 1, 1, 1), self.conv.wrap))[..., 2:-2, 2:-2]
        return self.enlarged(x)

    def enlarged(self, x: Tensor) -> Tensor:
        """What `forward` does, with zeros around the map."""
        kernel = F.avg_pool2d(self.conv.weight, 2, stride=1, padding=1, divisor_override=1)
        kernel = kernel.flip(2, 3).transpose(0, 1)  # (in, out, 4, 4)
        return F.conv_transpose2d(x, kernel, self.conv.bias, stride=2, padding=1)


class Level(nn.Module):
    """One resolution: residual blocks, then the change of size, if any."""

    __call__: Callable[..., Tensor]

    def __init__(
        self, inputs: int, channels: int, res_blocks: int, groups: int, resize: nn.Module | None
    ) -> None:
        super().__init__()
        widths = [inputs] + [channels] * res_blocks
        self.res = nn.ModuleList(
            ResBlock(before, after, groups, EPS) for before, after in pairwise(widths)
        )
        self.resize = nn.Identity() if resize is None else resize

    def forward(self, x: Tensor) -> Tensor:
        for stage in (*self.res, self.resize):
            x = stage(x)
        return x


class Encoder(nn.Module):
    """(B, 3, H, W) -> (B, 2Z, H/f, W/f): the mean and log variance of each latent, before
    `VAE.quant`."""

    __call__: Callable[..., Tensor]

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        channels, groups = config.channels, config.groups
        self.stem = Conv2d(config.image_channels, channels[0], 3, padding=1)
        self.down = nn.ModuleList()
        for i, (before, width) in enumerate(pairwise((channels[0], *channels))):
            resize = Downsample(width) if i < len(channels) - 1 else None
            self.down.append(Level(before, width, config.res_blocks, groups, resize))
        self.mid = Mid(channels[-1], groups)
        self.norm = GroupNorm(groups, channels[-1], EPS)
        self.out = Conv2d(channels[-1], 2 * config.latent_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.stem(x)
        for down in self.down:
            h = down(h)
        h = self.mid(h)
        return self.out(F.silu(self.norm(h), inplace=True))


class Decoder(nn.Module):
    """(B, Z, H/f, W/f) -> (B, 3, H, W)"""

    __call__: Callable[..., Tensor]
    up: Any  # Levels, coarsest first

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        channels, groups = config.channels[::-1], config.groups
        self.stem = Conv2d(config.latent_channels, channels[0], 3, padding=1)
        self.mid = Mid(channels[0], groups)
        self.up = nn.ModuleList()
        for i, (before, width) in enumerate(pairwise((channels[0], *channels))):
            resize = Upsample(width) if i < len(channels) - 1 else None
            self.up.append(Level(before, width, config.res_blocks + 1, groups, resize))
        self.norm = GroupNorm(groups, channels[-1], EPS)
        self.out = Conv2d(channels[-1], config.image_channels, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        h = self.mid(self.stem(z))
        for up in self.up:
            for stage in (*up.res, up.resize):  # up(h) would keep h until its level is done
                h = stage(h)
        return self.out(F.silu(self.norm(h), inplace=True))


class VAE(nn.Module):
    """Pictures in [-1, 1] <-> scaled latents."""

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        self.config, self.factor = config, config.factor
        self.encoder = Encoder(config)
        self.quant = Conv2d(2 * config.latent_channels, 2 * config.latent_channels, 1)
        self.post_quant = Conv2d(config.latent_channels, config.latent_channels, 1)
        self.decoder = Decoder(config)

    def moments(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance of the unscaled latents. (B, 3, H, W) -> two of (B, Z, H/f, W/f)"""
        if images.shape[-1] % self.factor or images.shape[-2] % self.factor:
            what = f"a picture of {images.shape[-1]} x {images.shape[-2]} cannot be encoded"
            raise ValueError(f"{what}: width and height must be multiples of {self.factor}")
        mean, log_variance = self.quant(self.encoder(images)).chunk(2, dim=1)
        return mean, log_variance.clamp(-30, 20)

    def encode(self, images: Tensor, noise: Tensor | None = None, scaled: bool = True) -> Tensor:
        """(B, 3, H, W) in [-1, 1] -> latents (B, Z, H/f, W/f); times `scale`, unless not `scaled`.

        The mean of the posterior; or, given standard normal noise of the latents' shape, the sample
        that it picks: z = mean + std * noise. Kingma & Welling 2014, sec. 2.4.
        """
        mean, log_variance = self.moments(images)
        if noise is not None:
            mean = mean + torch.exp(0.5 * log_variance) * noise.to(mean)
        if scaled and self.config.mean:
            return normalised(mean, self.config)
        return mean * self.config.scale if scaled else mean

    def decode(self, latents: Tensor, scaled: bool = True) -> Tensor:
        """Latents (B, Z, H/f, W/f) as `encode` gives them -> pictures (B, 3, H, W), in [-1, 1] but
        for small overshoots."""
        if scaled and self.config.mean:
            latents, scaled = restored(latents, self.config), False
        return self.decoder(self.post_quant(latents / self.config.scale if scaled else latents))
