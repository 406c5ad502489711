"""Encoding and decoding in tiles: a picture of any size in the memory of one tile.

Two things make a tile's result differ from the whole picture's. It lacks what lies beyond its edges: hence tiles
overlap, and fade into each other. And its group norms would take their statistics from the tile alone, which shifts
colours from tile to tile: hence all tiles share the statistics of a small version of the whole.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from ..tiles import in_tiles
from .model import VAE


def tiled_encode(vae: VAE, images: Tensor, tile: int, overlap: int) -> Tensor:
    """`vae.encode(images)` in tiles of `tile` pixels; both lengths in pixels, multiples of the VAE's factor."""
    check(vae, tile, overlap)
    return shared(vae.encoder, vae.encode, images, tile, overlap, 1 / vae.factor)


def tiled_decode(vae: VAE, latents: Tensor, tile: int, overlap: int) -> Tensor:
    """`vae.decode(latents)` in tiles of `tile` pixels; both lengths in pixels, multiples of the VAE's factor."""
    check(vae, tile, overlap)
    return shared(vae.decoder, vae.decode, latents, tile // vae.factor, overlap // vae.factor, vae.factor)


def check(vae: VAE, tile: int, overlap: int) -> None:
    for length in (tile, overlap):
        if length % vae.factor:
            raise ValueError(f"tiles of {tile} that overlap by {overlap}: give multiples of {vae.factor}")


def shared(
    network: nn.Module, run: Callable[[Tensor], Tensor], x: Tensor, tile: int, overlap: int, scale: float
) -> Tensor:
    """`in_tiles` with the same statistics for every tile. The small version takes pixels of x as they are, here and
    there: means of them would have less contrast."""
    if max(x.shape[-2:]) <= tile:
        return run(x)
    small = F.interpolate(x, [min(tile, side) for side in x.shape[-2:]], mode="nearest-exact")
    with statistics_from(network, lambda: run(small)):
        return in_tiles(run, x, tile, overlap, scale)


@contextmanager
def statistics_from(network: nn.Module, run: Callable[[], object]) -> Iterator[None]:
    """While it lasts, the network's group norms use the means and variances that they met in run(), not new ones."""
    norms = [module for module in network.modules() if isinstance(module, nn.GroupNorm)]
    try:
        for norm in norms:
            norm.forward = partial(measured, norm)  # type: ignore[method-assign]
        run()
        yield
    finally:
        for norm in norms:
            del norm.forward  # the class's shows again


def measured(norm: nn.GroupNorm, x: Tensor) -> Tensor:
    """The norm of x (B, C, H, W), by whose statistics it goes from then on."""
    groups = x.reshape(len(x), norm.num_groups, -1)
    mean, variance = groups.mean(2, keepdim=True), groups.var(2, keepdim=True, correction=0)
    norm.forward = partial(normalised, norm, mean, variance)  # type: ignore[method-assign]
    return normalised(norm, mean, variance, x)


def normalised(norm: nn.GroupNorm, mean: Tensor, variance: Tensor, x: Tensor) -> Tensor:
    """Wu & He 2018, eq. 1 and 2, with a mean and a variance (B, groups, 1) that are given."""
    groups = x.reshape(len(x), norm.num_groups, -1)
    groups = (groups - mean) * (variance + norm.eps).rsqrt()
    return groups.view_as(x) * norm.weight[:, None, None] + norm.bias[:, None, None]
