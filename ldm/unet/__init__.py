"""The network that predicts the noise in a latent, reading a text."""

from .model import UNet, UNetConfig

__all__ = ["UNet", "UNetConfig"]
