"""The network that predicts the noise in a latent, conditioned on a text."""

from .model import UNet, UNetConfig

__all__ = ["UNet", "UNetConfig"]
