"""A tiny autoencoder for the latents of a large one: previews, and pictures in a hurry.

TAESD by Ollin Boer Bohan (github.com/madebyollin/taesd) was distilled from Stable Diffusion's VAE,
a second one from SDXL's. It is plain 3x3 convolutions and ReLUs, has no norms and no attention, and
works on latents as the U-Net sees them, times the scale.

    picture (B, 3, H, W) -> (x + 1) / 2 -> encoder -> latent (B, Z, H/f, W/f)
    latent -> 3 tanh(z / 3) -> decoder -> 2 x - 1 -> picture

B batch, C channels of a feature map, f = 2^(levels - 1) the reduction, Z latent channels.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers import Conv2d
from .model import VAEConfig

BLOCKS = 3  # of each level


class Block(nn.Module):
    """Three convolutions around which the input is added back. (B, C, H, W) -> the same"""

    __call__: Callable[..., Tensor]

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = Conv2d(channels, channels, 3, padding=1)
        self.conv2 = Conv2d(channels, channels, 3, padding=1)
        self.conv3 = Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.conv1(x))
        h = F.relu(self.conv2(h))
        return F.relu(x + self.conv3(h))


class Down(nn.Module):
    """(B, C, H, W) -> (B, C, H/2, W/2)"""

    __call__: Callable[..., Tensor]
    blocks: Callable[[Tensor], Tensor]

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = without_bias(Conv2d(channels, channels, 3, stride=2, padding=1))
        self.blocks = nn.Sequential(*(Block(channels) for _ in range(BLOCKS)))

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(self.conv(x))


class Up(nn.Module):
    """(B, C, H, W) -> (B, C, 2H, 2W)"""

    __call__: Callable[..., Tensor]
    blocks: Callable[[Tensor], Tensor]

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(Block(channels) for _ in range(BLOCKS)))
        self.conv = without_bias(Conv2d(channels, channels, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(self.blocks(x), scale_factor=2, mode="nearest"))


class TinyEncoder(nn.Module):
    """Pictures (B, 3, H, W) in [-1, 1] -> scaled latents (B, Z, H/f, W/f)."""

    __call__: Callable[..., Tensor]
    down: Callable[[Tensor], Tensor]

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        channels = config.channels[0]
        self.stem = Conv2d(config.image_channels, channels, 3, padding=1)
        self.first = Block(channels)
        self.down = nn.Sequential(*(Down(channels) for _ in config.channels[1:]))
        self.out = Conv2d(channels, config.latent_channels, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        h = self.first(self.stem((images + 1) / 2))
        return self.out(self.down(h))


class TinyDecoder(nn.Module):
    """Scaled latents (B, Z, H/f, W/f) -> pictures (B, 3, H, W) in about [-1, 1]."""

    __call__: Callable[..., Tensor]
    up: Callable[[Tensor], Tensor]

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        channels = config.channels[0]
        self.stem = Conv2d(config.latent_channels, channels, 3, padding=1)
        self.up = nn.Sequential(*(Up(channels) for _ in config.channels[1:]))
        self.last = Block(channels)
        self.out = Conv2d(channels, config.image_channels, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        h = F.relu(self.stem(3 * torch.tanh(z / 3)))
        return 2 * self.out(self.last(self.up(h))) - 1


def without_bias(conv: Conv2d) -> Conv2d:
    conv.register_parameter("bias", None)
    return conv


class TAESD(nn.Module):
    """Pictures in [-1, 1] <-> scaled latents, in the place of a model's VAE.

    config   its own sizes, and the scale of the model's latents
    """

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = TinyEncoder(config)
        self.decoder = TinyDecoder(config)

    @property
    def factor(self) -> int:
        return self.config.factor

    def encode(self, images: Tensor, noise: Tensor | None = None, scaled: bool = True) -> Tensor:
        """(B, 3, H, W) in [-1, 1] -> latents (B, Z, H/f, W/f); over `scale`, unless `scaled`. They
        have no variance that noise could be scaled by."""
        z = self.encoder(images)
        return z if scaled else z / self.config.scale

    def decode(self, latents: Tensor, scaled: bool = True) -> Tensor:
        """Latents (B, Z, H/f, W/f) as `encode` gives them -> pictures (B, 3, H, W)."""
        return self.decoder(latents if scaled else latents * self.config.scale)
