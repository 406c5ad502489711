"""A small version of each family: its structure, in sizes that are built in milliseconds."""

from dataclasses import replace

import torch
from torch import nn

from helpers import MERGES, TINY
from ldm.clip.augmentation import seeing
from ldm.clip.model import TextEncoder
from ldm.models.families import FAMILIES, Family
from ldm.models.weights import Checkpoint
from ldm.unet import UNet
from ldm.vae import VAE

WIDTHS = {256: 16, 320: 16, 384: 24, 512: 32, 640: 32, 768: 48, 1280: 64, 1024: 64, 1536: 96}
NUMBERS = {"sizes": 6, "sizes_and_score": 5}  # that stand beside the pooled text, each 8 wide


def small(family: Family) -> Family:
    text = tuple(
        replace(
            tower, vocabulary=TINY.text[0].vocabulary, length=12, width=width, layers=3, heads=2,
            mlp_width=3 * width, projection=tower.projection and 20,
        )
        for tower in family.text
        for width in (12 if tower.activation == "quick_gelu" else 20,)
    )  # fmt: skip
    unet, vector = family.unet, family.unet.vector_width
    vision = family.vision and replace(
        family.vision, size=16, patch=4, width=24, layers=2, heads=2, mlp_width=40, projection=10
    )
    if vision is not None:
        vector = 20
    elif vector is not None and unet.classes is None:
        vector = 20 + 8 * NUMBERS[family.conditioning[0]]
    unet = replace(
        unet, channels=tuple(WIDTHS[width] for width in unet.channels), groups=8,
        context_width=sum(tower.width for tower in text), vector_width=vector,
        classes=unet.classes and 30, guidance_width=unet.guidance_width and 10,
        heads=unet.heads and 2, head_width=unet.head_width and 8,
    )  # fmt: skip
    vae = replace(family.vae, channels=tuple(width // 8 for width in family.vae.channels), groups=8)
    size = 8 * vae_factor(family)
    return replace(family, text=text, unet=unet, vae=vae, size=size, vision=vision)


def vae_factor(family: Family) -> int:
    return 2 ** (len(family.vae.channels) - 1)


def random_model(family: Family, seed: int = 0) -> Checkpoint:
    """Random weights, always the same: no bias is 0, and no norm's weight 1."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        text = tuple(TextEncoder(tower) for tower in family.text)
        networks = (*text, UNet(family.unet), VAE(family.vae))
        others = networks_besides(family)
        for network in (*networks, others):
            for parameter in network.eval().requires_grad_(False).parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
    return Checkpoint(family, text, *networks[-2:], tuple(MERGES), others=others)


def networks_besides(family: Family) -> nn.ModuleDict:
    """What sees a picture, if anything does."""
    if family.vision is None:
        return nn.ModuleDict()
    return nn.ModuleDict(seeing(family.vision))


SMALL = {name: small(family) for name, family in FAMILIES.items()}
