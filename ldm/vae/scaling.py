"""Latents as a U-Net sees them whose VAE has a mean and a standard deviation for each channel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from .model import VAEConfig


def normalised(z: Tensor, config: VAEConfig) -> Tensor:
    """(z - mean) / std * scale. (B, Z, h, w)"""
    return (z - of_channels(config.mean, z)) / of_channels(config.std, z) * config.scale


def restored(latents: Tensor, config: VAEConfig) -> Tensor:
    """The inverse of `normalised`."""
    std, mean = of_channels(config.std, latents), of_channels(config.mean, latents)
    return latents / config.scale * std + mean


def of_channels(values: Sequence[float], like: Tensor) -> Tensor:
    return like.new_tensor(values)[:, None, None]


def check(config: VAEConfig) -> None:
    """ValueError unless each channel, or none, has a mean and a standard deviation."""
    counts = len(config.mean), len(config.std)
    if counts not in ((0, 0), (config.latent_channels,) * 2) or min(config.std, default=1) <= 0:
        raise ValueError(
            f"a VAE with {config.latent_channels} channels of latents, {counts[0]} means and "
            f"{counts[1]} deviations of them: give one each, and above 0, or none"
        )
