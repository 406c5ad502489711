"""The autoencoder between pictures and latents."""

from .model import VAE, VAEConfig

__all__ = ["VAE", "VAEConfig"]
