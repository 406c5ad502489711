"""Encoding and decoding in tiles: a picture of any size in the memory of one tile.

Two things make a tile's result differ from the whole picture's. It lacks what lies beyond its
edges: hence tiles overlap, and fade into each other. And its group norms would take their
statistics from the tile alone, which shifts colours from tile to tile: hence all tiles share the
statistics of a small version of the whole.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch.nn.functional as F
from torch import Tensor, nn

from ..layers import GroupNorm
from ..runtime.tiles import in_tiles, overlap_of
from .model import VAE


def tiled_encode(vae: VAE, images: Tensor, tile: int, overlap: int | None = None) -> Tensor:
    """`vae.encode(images)` in tiles of `tile` pixels; both lengths in pixels, multiples of the
    VAE's factor; overlap None: see `overlap_of`."""
    overlap = overlap_of(tile, vae.factor) if overlap is None else overlap
    check(vae, tile, overlap)
    return shared(vae.encoder, vae.encode, images, tile, overlap, 1 / vae.factor)


def tiled_decode(vae: VAE, latents: Tensor, tile: int, overlap: int | None = None) -> Tensor:
    """`vae.decode(latents)` in tiles of `tile` pixels; both lengths in pixels, multiples of the
    VAE's factor; overlap None: see `overlap_of`."""
    overlap = overlap_of(tile, vae.factor) if overlap is None else overlap
    check(vae, tile, overlap)
    f = vae.factor
    return shared(vae.decoder, vae.decode, latents, tile // f, overlap // f, f)


def check(vae: VAE, tile: int, overlap: int) -> None:
    for length in (tile, overlap):
        if length % vae.factor:
            what = f"tiles of {tile} that overlap by {overlap}"
            raise ValueError(f"{what}: give multiples of {vae.factor}")


def shared(
    network: nn.Module,
    run: Callable[[Tensor], Tensor],
    x: Tensor,
    tile: int,
    overlap: int,
    scale: float,
) -> Tensor:
    """`in_tiles` with the same statistics for every tile. The small version takes pixels of x as
    they are, here and there: means of them would have less contrast."""
    if max(x.shape[-2:]) <= tile:
        return run(x)
    small = F.interpolate(x, [min(tile, side) for side in x.shape[-2:]], mode="nearest-exact")
    with statistics_from(network, lambda: run(small)):
        return in_tiles(run, x, tile, overlap, scale)


@contextmanager
def statistics_from(network: nn.Module, run: Callable[[], object]) -> Iterator[None]:
    """While it lasts, the network's group norms use the means and variances that they met in run(),
    not new ones."""
    norms = [module for module in network.modules() if isinstance(module, GroupNorm)]
    try:
        for norm in norms:
            norm.shared = []
        run()
        yield
    finally:
        for norm in norms:
            norm.shared = None
