"""Between pictures and latents, one by one to save memory, in tiles, and around the edges."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from ..layers import seamless
from ..runtime.device import layout
from ..runtime.finite import broken
from ..runtime.tiles import overlap_of
from .model import VAE
from .tiled import tiled_decode, tiled_encode


def encode(
    vae: VAE,
    images: Tensor,
    tile: int | None = None,
    axes: str | None = None,
    noise: Tensor | None = None,
) -> Tensor:
    """(B, 3, H, W) in [-1, 1] -> latents, float32.

    tile, axes  `tile` and `seamless` of a Request
    noise       see `VAE.encode`; of one image several latents may be picked, but not in tiles
    """
    run = partial(vae.encode, noise=noise)
    if tile is not None:
        run = partial(tiled_encode, vae, tile=tile, overlap=overlap_of(tile, vae.factor))
    return one_by_one(vae, run, images, axes, "encoding the image")


def decode(vae: VAE, latents: Tensor, tile: int | None = None, axes: str | None = None) -> Tensor:
    """Latents -> (B, 3, H, W) in [-1, 1], float32. tile, axes: as in `encode`."""
    run: Callable[[Tensor], Tensor] = vae.decode
    if tile is not None:
        run = partial(tiled_decode, vae, tile=tile, overlap=overlap_of(tile, vae.factor))
    return one_by_one(vae, run, latents, axes, "decoding the picture").clamp(-1, 1)


def one_by_one(
    vae: VAE, run: Callable[[Tensor], Tensor], x: Tensor, axes: str | None, doing: str
) -> Tensor:
    """run(x), a function of the VAE, of each of B by itself; NotFinite names what broke it."""
    weight = vae.quant.weight
    parts = x.to(weight.device, weight.dtype, memory_format=layout(weight.device)).chunk(len(x))
    with seamless(vae, axes):
        made = [run(part) for part in parts]
        for part, result in zip(parts, made):
            if not result.isfinite().all():
                raise broken(partial(run, part), {"vae": vae}, doing)
    return torch.cat(made).float()
