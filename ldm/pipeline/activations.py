"""How much memory the networks of a family take while they compute, beside their weights."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from torch import nn

from ..conditioning import Conditioning
from ..models.families import Family
from ..models.family import meta_model
from ..runtime.device import layout
from ..runtime.live import peak
from ..runtime.resident import free_memory
from ..vae import VAE
from ..vae.tiled import tiled_decode

if TYPE_CHECKING:
    from .job import Job
    from .model import LatentDiffusion


@lru_cache(maxsize=4)
def shapes(family: Family, dtype: torch.dtype) -> nn.ModuleDict:
    """The family's networks without numbers, as they are loaded: the VAE in float32."""
    networks = meta_model(family).requires_grad_(False).eval().to(dtype)
    networks["vae"].to(torch.float32)
    return networks


@lru_cache(maxsize=64)
def of_unet(family: Family, dtype: torch.dtype, kind: str, width: int, height: int) -> float:
    """Bytes of results that live at once for each row of its batch, of latents of that size."""
    config, unet = family.unet, shapes(family, dtype)["unet"]

    def like(*size: int) -> torch.Tensor:
        return torch.empty(2, *size, dtype=dtype, device="meta")

    x = like(config.in_channels, height, width)
    vector = None if config.vector_width is None else like(config.vector_width)
    concat = like(config.concat_channels, height, width) if config.concat_channels else None
    guidance = None if config.guidance_width is None else like()
    told = Conditioning(
        like(family.text[0].length, config.context_width), vector, concat, guidance=guidance
    )
    x = x.contiguous(memory_format=layout(torch.device(kind)))
    t = torch.empty(1, device="meta")
    return peak(lambda: unet(x, t, told)) / 2


@lru_cache(maxsize=64)
def of_vae(
    family: Family,
    dtype: torch.dtype,
    kind: str,
    width: int,
    height: int,
    tile: int | None,
    encodes: bool,
) -> float:
    """Bytes of results that live at once while a picture is decoded, or encoded: in bfloat16 where
    the U-Net is, else in float32."""
    own = dtype if dtype == torch.bfloat16 else torch.float32
    with torch.device("meta"):
        vae, f = VAE(family.vae).requires_grad_(False).to(own), family.vae.factor
    if tile is not None:  # no more of them live at once in a larger picture
        width, height = (min(side, tile + tile // 4 // f * f) for side in (width, height))
    z = torch.empty(
        1, family.vae.latent_channels, height // f, width // f, dtype=own, device="meta"
    )
    z = z.contiguous(memory_format=layout(torch.device(kind)))
    decoding = peak(lambda: vae.decode(z) if tile is None else tiled_decode(vae, z, tile))
    if not encodes or tile is not None:
        return decoding
    picture = torch.empty(1, family.vae.image_channels, height, width, dtype=own, device="meta")
    return max(decoding, peak(lambda: vae.encode(picture)))


def rows(job: Job) -> int:
    """Of the U-Net's batch, for each picture."""
    return (2 if job.guided else 1) + job.picture_guided


def room(model: LatentDiffusion, job: Job) -> int:
    """How many pictures of a job the memory that is free has room for: a careful estimate, without
    any run of the networks, and at most 16."""
    last = job.passes[-1]
    area = last.width * last.height
    pixels = min(area, area if job.request.tile is None else job.request.tile**2)
    maps = rows(job) * (32 * model.unet.config.channels[0] + sum(x.numbers for x in job.additions))
    size = maps * (pixels // model.vae.factor**2) * model.dtype.itemsize
    return max(1, min(16, free_memory(model.device) // 2 // size))
