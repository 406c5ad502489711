"""The networks' first weights, where torch's own would waste the first thousand steps."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from ..clip.config import TextConfig
from ..clip.model import TextEncoder
from ..layers import ResBlock
from ..unet import UNet, UNetConfig
from ..unet.blocks import SpatialTransformer
from ..vae import VAE, VAEConfig


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Weights drawn within depend on the seed alone; torch's own generator is left as it was."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


def new_vae(config: VAEConfig, seed: int) -> VAE:
    """Little noise in the latents at first (a deviation of e^-2), so that there is some signal."""
    with seeded(seed):
        vae = VAE(config)
    vae.quant.get_parameter("bias").data[config.latent_channels :] = -4.0
    return vae


def new_text(config: TextConfig, seed: int) -> TextEncoder:
    """Small embeddings, as CLIP's (Radford et al. 2021) are at first: training soon moves them."""
    with seeded(seed):
        text = TextEncoder(config)
        nn.init.normal_(text.token.weight, std=0.02)
        nn.init.normal_(text.position.weight, std=0.01)
    return text


def new_unet(config: UNetConfig, seed: int) -> UNet:
    """Every block adds nothing at first, and the prediction is 0, as in Ho et al. 2020's code."""
    with seeded(seed):
        unet = UNet(config)
    last: list[nn.Module] = [unet.out]
    last += [part.conv2 for part in unet.modules() if isinstance(part, ResBlock)]
    last += [part.proj_out for part in unet.modules() if isinstance(part, SpatialTransformer)]
    for layer in last:
        for parameter in layer.parameters():
            nn.init.zeros_(parameter)
    return unet
